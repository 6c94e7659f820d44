"""A trained student, its history, and what it was trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from rd_utils.cost import flops
from rd_utils.cost.flops import Flops
from rd_utils.cost.workload import Counter, Work
from rd_utils.mining import sampling
from rd_utils.mining.strategies import CorpusRandom, FromCandidates
from rd_utils.models.architectures import InteractionCross
from rd_utils.models.encoding import encoded, on_device, text_tokens, untrained
from rd_utils.scoring import entropy
from rd_utils.stages.docs import DOCS
from rd_utils.stages.groups import GROUPS
from rd_utils.stages.queries import QUERIES
from rd_utils.stages.scores import SCORES
from rd_utils.stages.search import SEARCH
from rd_utils.store import Draft, identity
from rd_utils.study.graph import architecture_inputs, collection_inputs
from rd_utils.study.kinds import Architecture, BiArchitecture, DualArchitecture
from rd_utils.study.settings import Augmentation, Training
from rd_utils.study.specs import DescriptionSpec, Refresh, ScoresSpec, StudentSpec, search_spec, with_rate
from rd_utils.study.stage import Given, Inputs, Stage, prefixed
from rd_utils.training import augmentation
from rd_utils.training.reporting import reporting
from rd_utils.workflow.progress import Pushed

if TYPE_CHECKING:
    from rd_utils.data.runs import Run
    from rd_utils.models import Student
    from rd_utils.models.tokens import TokenTable
    from rd_utils.training.groups import GroupTable
    from rd_utils.training.loop import TrainingRecord

Texts = Callable[[int], "tuple[TokenTable, TokenTable]"]  # of an epoch
OnStep = Callable[..., None]  # called with the steps done and their total


def _inputs(spec: StudentSpec) -> Inputs:
    collection = spec.groups.collection
    found: Inputs = {"groups": spec.groups} | collection_inputs(collection)
    if spec.teacher is not None:
        found["scores"] = ScoresSpec(groups=spec.groups, teacher=spec.teacher)
        if spec.refresh is not None:  # scores groups that are not drawn yet
            found |= prefixed("teacher_", spec.teacher.inputs(collection))
    search = search_spec(spec)
    return found | ({"search": search} if search else {}) | architecture_inputs(spec.architecture, collection, collection)


def _make(spec: StudentSpec, given: Given, draft: Draft) -> None:
    settings = settings_of(spec, given)
    if spec.search is not None:
        draft.counts["learning_rate"] = settings.learning_rate
    groups, temperature = training_groups(spec, given)
    named = f"{spec.architecture.kind}, {spec.loss}, seed {spec.seed}"
    with reporting(f"{named}, {identity(spec)}", Pushed(given.track, f"training {named}")) as progress:
        if settings.processes > 1:
            from rd_utils.training import launch

            launch.train_student(spec, groups, temperature, given.store, draft, settings.processes, progress)
        else:
            student = on_device(untrained(spec.architecture, spec.seed, given))
            record = train(student, spec, groups, temperature, given, progress)
            save(student, record, draft.folder)
            draft.counts |= {"steps": record.steps, "documents_seen": record.documents_seen, "tokens_seen": record.tokens_seen}
    draft.counts |= {"temperature": temperature}


def settings_of(spec: StudentSpec, given: Given) -> Training:
    """Return a student's training settings, with the learning rate that its search chose."""
    if spec.search is None:
        return spec.training
    choice = given(SEARCH).query("chosen").iloc[0]
    return with_rate(spec.training, float(choice["learning_rate"]), spec.search.embedding_ratio)


def training_groups(spec: StudentSpec, given: Given) -> tuple[GroupTable, float]:
    """Return what a student is trained on, and the temperature that divides the teacher's scores."""
    from rd_utils.training.groups import GroupTable

    groups = given(GROUPS)
    scores, temperature = targets(spec, given)
    positives = None
    if spec.training.in_batch_negatives:
        docs = given(DOCS)
        query_rows, doc_rows = given(QUERIES).positives(docs)
        positives = np.unique((query_rows * len(docs.frame) + doc_rows)[doc_rows >= 0])
    doc_rows = groups.doc_rows.astype(np.int64)
    return GroupTable(groups.query_rows, doc_rows, scores, draws=spec.groups.draws, positive_pairs=positives), temperature


def targets(spec: StudentSpec | DescriptionSpec, given: Given) -> tuple[np.ndarray | None, float]:
    """Return the teacher scores that a student is trained on, augmented, and the temperature that divides them."""
    if spec.teacher is None:
        return None, 1.0
    scores = augmentation.augment_scores(given(SCORES), spec.augmentation, spec.seed)
    if spec.target_entropy is None:
        return scores, spec.temperature
    return scores, entropy.solve_temperature(scores, spec.target_entropy)


def train(student: Student, spec: StudentSpec, groups: GroupTable, temperature: float, given: Given, progress: OnStep) -> TrainingRecord:
    """Train a student in place, alone or as one of several processes."""
    from rd_utils.training import loop

    settings, (queries, docs) = settings_of(spec, given), text_tokens(given)
    return loop.train(
        student,
        queries,
        docs,
        groups,
        loss=spec.loss,
        temperature=temperature,
        training=settings,
        seed=spec.seed,
        smoothing=spec.augmentation.smoothing,
        hard_weight=spec.augmentation.hard_weight,
        texts=augmented_texts(spec.augmentation, student, queries, docs, spec.seed) if spec.augmentation.changes_texts else None,
        regroup=Regroup(spec, spec.refresh, given) if spec.refresh else None,
        regroup_every=spec.refresh.every if spec.refresh else None,
        checkpoint_folder=given.store.checkpoints(spec) if settings.checkpoint_every else None,
        progress=progress,
    )


def augmented_texts(own: Augmentation, student: Student, queries: TokenTable, docs: TokenTable, seed: int) -> Texts:
    """Return what gives an epoch's augmented token tables."""
    words = student.vocabulary()
    starts = augmentation.word_starts(words)
    neighbours = None
    if own.query_replacement:
        markers = ("[", "<")  # special tokens are no words
        whole = np.flatnonzero(starts & np.array([word[:1] not in markers and any(map(str.isalnum, word)) for word in words]))
        neighbours = augmentation.nearest_words(student.token_vectors(), whole, own.neighbours)
    return lambda epoch: augmentation.augment_texts(queries, docs, own, starts=starts, neighbours=neighbours, seed=seed, epoch=epoch)


class Regroup:
    """Draws the groups anew from a student's own candidates, for the queries and positives that had a group at first."""

    def __init__(self, spec: StudentSpec, refresh: Refresh, given: Given) -> None:
        self.spec, self.given, self.depth = spec, given, refresh.depth
        self.strategy = FromCandidates(**refresh.model_dump(exclude={"every"}))  # its retriever is the student
        self.n_docs, first = len(given(DOCS).frame), given(GROUPS)
        self.wanted = first.query_rows * self.n_docs + first.doc_rows[:, 0]  # those whose shortage or cut decided

    def __call__(self, number: int, student: Student) -> GroupTable:
        """Return the groups of the refresh of this number."""
        from rd_utils.mining import dense
        from rd_utils.training.groups import GroupTable

        queries, docs = text_tokens(self.given)
        vectors = encoded(student, docs, kind="document"), encoded(student, queries, kind="query")
        drawn = self._drawn(dense.search(*vectors, self.depth + 20, self.given(DOCS).ties), number)
        query_rows, doc_rows = drawn.query_rows, drawn.doc_rows.astype(np.int64)
        scores = None
        if self.spec.teacher is not None:
            repeated = np.repeat(query_rows, doc_rows.shape[1])
            given, collection = self.given.part("teacher_"), self.spec.groups.collection
            scores = self.spec.teacher.scores(collection, repeated, doc_rows.ravel(), given).scores
            scores = scores.reshape(doc_rows.shape).astype(np.float32)
            scores = augmentation.augment_scores(scores, self.spec.augmentation, _seed_of(self.spec.seed, number, 5))
        return GroupTable(query_rows, doc_rows, scores)

    def _drawn(self, run: Run, number: int) -> sampling.Groups:
        queries, groups = self.given(QUERIES), self.spec.groups
        drawn = sampling.draw_groups(
            self.given(DOCS).frame["doc_id"],
            queries.qrels,
            strategy=self.strategy,
            group_size=groups.group_size,
            shortage=CorpusRandom(),
            seed=_seed_of(self.spec.seed, number, 6),
            random_share=groups.random_share,
            query_ids=queries.frame["query_id"],
            candidates=run,
        )
        pairs = drawn.query_rows * self.n_docs + drawn.doc_rows[:, 0]
        order = np.argsort(pairs)
        return drawn.take(order[np.searchsorted(pairs, self.wanted, sorter=order)])


def _seed_of(seed: int, number: int, purpose: int) -> int:
    """Return the seed of one purpose of one refresh of a student."""
    return int(np.random.SeedSequence([seed, number, purpose]).generate_state(1)[0])


def save(student: Student, record: TrainingRecord, folder: Path) -> None:
    """Write a trained student and its history into an artefact's folder."""
    student.save(folder / "model")
    record.history.to_parquet(folder / "history.parquet", index=False)


def _read(folder: Path, spec: StudentSpec, given: Given) -> Student:
    from rd_utils import models

    return on_device(models.load(folder / "model"))


def _work(spec: StudentSpec, counter: Counter) -> Work:
    training, architecture, groups = spec.training, spec.architecture, spec.groups
    steps = training.steps(groups.group_size)
    if training.stop_at is not None:
        steps = min(steps, training.model_copy(update={"documents": training.stop_at}).steps(groups.group_size))
    per_step = training.queries_per_batch * training.accumulation_steps
    n_groups, size = steps * per_step, groups.group_size
    collection = groups.collection
    weights = counter.weights(architecture, collection)
    if isinstance(architecture, DualArchitecture):
        tokens, counted = counter.encoding(architecture, collection, collection, n_groups * size, n_groups)
        words = counter.known.lexicon_words(architecture, collection)
        one = architecture.matching(*counter.reads(architecture, collection, collection), words)
        more = Flops(one * training.queries_per_batch * size * n_groups)  # every query with every document of its batch
    else:
        tokens, counted = counter.scoring(architecture, collection, collection, n_groups * size)
        more = Flops()
        if isinstance(architecture, InteractionCross):
            passes = max(1.0, tokens / 12_288 / (steps * training.accumulation_steps)) * steps * training.accumulation_steps
            more = Flops(0.0, 3.0 * weights * passes)  # the norms of the whole vocabulary
    if counted is not None:
        counted = (counted + more) * (1 + flops.BACKWARD) + Flops(0.0, flops.OPTIMISER * weights * steps)
    if counted is not None and spec.refresh is not None:
        sizes, times = counter.known.sizes(collection), (steps - 1) // spec.refresh.every
        embeds = cast("BiArchitecture", architecture)  # or it could not look for its own negatives
        again, computed = counter.encoding(embeds, collection, collection, sizes.docs * times, sizes.queries * times)
        tokens, counted = tokens + again, counted + cast("Flops", computed)
    in_batch = tokens / (steps * training.accumulation_steps)
    work = Work(
        "student",
        documents=float(n_groups * size),
        tokens=tokens,
        mode="train",
        precision=training.precision,
        disk=4 * weights,
        memory=60 * n_groups * size / max(1, n_groups / max(1.0, counter.groups(groups))),
    )
    memory = 16 * weights + _activations(architecture, in_batch, training.precision)
    return counter.model(work, architecture, counted, model_memory=memory)


def _activations(architecture: Architecture, tokens: float, precision: str) -> float:
    """Return the bytes of what a batch's forward pass keeps for its backward one: ``N T (34 d + 5 a L)`` in half precision.

    Source: V. Korthikanti et al., Reducing Activation Recomputation in Large Transformer Models, 2022, equation 1; L is taken as 128 here.
    """
    shape = architecture.shape
    if shape is None:
        return 4.0 * tokens * getattr(architecture, "dimension", 0)
    return shape.layers * tokens * (34 * shape.hidden + 5 * shape.heads * 128) * (2 if precision == "fp32" else 1)


STUDENT = Stage(
    name="student",
    version=1,
    spec=StudentSpec,
    inputs=_inputs,
    make=_make,
    work=_work,
    read=_read,
    keep=False,
    libraries=("ir_measures", "rd_utils.models", "rd_utils.training.loop"),
)
