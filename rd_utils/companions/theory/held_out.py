"""From a collection to arrays: what the notebooks of the theory take, the groups that they hold out, and what a student makes of these."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, cast

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator
from scipy.spatial.distance import cdist

from rd_utils.companions.theory.arrays import TheoryError
from rd_utils.companions.theory.deviation import loss_range
from rd_utils.companions.theory.floor import pair_terms, pairwise_decomposition
from rd_utils.companions.theory.labels import gradient_noise
from rd_utils.companions.theory.population import Population, Sampler, law_terms, sampler_law
from rd_utils.data.collections import positives
from rd_utils.models.tokens import TokenTable, take
from rd_utils.scoring import entropy
from rd_utils.study import bounds, params
from rd_utils.study.graph import tokenizer_of
from rd_utils.workflow.pipeline import Pipeline

if TYPE_CHECKING:
    from rd_utils.models import BiStudent

_Collection = (  # all that have documents of their own
    params.EmbeddedCollection | params.DocumentedCollection | params.IrDatasetsCollection | params.FolderCollection
)
_BiEncoder = params.StaticBi | params.TinyBertBi | params.BiEncoder  # all that embed


class TheoryParameters(params.Part):
    """Parameters that the notebooks of the theory share, and all of ``07a_floor``.

    The first ``training_queries`` queries by sorted query_id train the student; of the others ``held_out_queries`` (or all) are held out.
    """

    collection: params.Documents
    training_queries: bounds.Count = Field(ge=8)
    held_out_queries: bounds.Count | None = Field(default=None, ge=2)
    strategies: dict[bounds.Name, params.Strategy]
    trained_on: bounds.Name
    random_share: bounds.Fraction = 0.2
    group_size: bounds.Few = Field(default=16, ge=2)
    teacher: params.Teacher
    loss: params.LossName = "ranknet"
    temperature: bounds.Temperature = 1.0
    architecture: params.Architecture
    training: params.Training
    seed: bounds.Seed = Field(default=0, lt=2**53)  # times a thousand, it is torch's

    @model_validator(mode="after")
    def _runs(self) -> TheoryParameters:
        for name in (self.trained_on, "corpus_random"):
            params.known(name, self.strategies, "strategies")
        if self.strategies["corpus_random"].kind != "corpus_random":
            raise ValueError(f"the strategy named corpus_random is of kind {self.strategies['corpus_random'].kind}; give it its own kind")
        if not isinstance(self.architecture, params.BiArchitecture):
            raise ValueError(f"architecture is {self.architecture.kind}; the range needs scores that are dot products, so a bi-encoder")
        if not params.LOSSES[self.loss].uses_temperature:
            raise ValueError(
                f"loss is {self.loss}, which ignores the teacher's probabilities; choose one that distils them, such as ranknet or kl"
            )
        known = cast(_Collection, self.collection).max_queries
        if known is not None and known <= self.training_queries:
            raise ValueError(f"training_queries is {self.training_queries} of {known}; leave some to hold out")
        return self

    @property
    def mixed(self) -> str:
        """Return the name of ``trained_on`` with a share of corpus-random negatives."""
        return f"{self.trained_on} with {self.random_share:g} random"

    @property
    def knows_all(self) -> bool:
        """Tell whether the true risk is known: on the embedded collection, where the exact teacher scores every document."""
        return self.collection.source == "embedded"

    def student(self) -> params.StudentSpec:
        """Return the student, trained on the first queries."""
        part = self.collection.model_copy(update={"max_queries": self.training_queries})
        return params.StudentSpec(
            groups=self.groups(self.trained_on).model_copy(update={"collection": part}),
            loss=self.loss,
            teacher=self.teacher,
            temperature=self.temperature,
            architecture=self.architecture,
            training=self.training,
            seed=self.seed,
        )

    def groups(self, name: str, random_share: float = 0.0) -> params.GroupsSpec:
        """Return the groups of a strategy for all queries, short ones filled with corpus-random documents."""
        return params.GroupsSpec(
            collection=self.collection,
            strategy=self.strategies[name],
            group_size=self.group_size,
            shortage=params.CorpusRandom(),
            random_share=random_share,
            seed=self.seed,
        )

    def specs(self) -> list[params.Spec]:
        """Return what the notebook makes."""
        groups = [self.groups(name) for name in self.strategies]
        return [self.student(), *(params.ScoresSpec(groups=each, teacher=self.teacher) for each in groups)]


class BoundsParameters(TheoryParameters):
    """Parameters of ``07b_bounds``."""

    n: Annotated[tuple[bounds.Count, ...], Field(min_length=1), bounds.Unique]
    n_repeats: bounds.Few = Field(default=200, ge=20)
    delta: bounds.Fraction = 0.05
    clip: bounds.Scale = 2.0
    sigmas: Annotated[tuple[bounds.Scale, ...], Field(min_length=1), bounds.Unique] = (0.03, 0.1, 0.3, 1.0)
    perturbations: bounds.Few = Field(default=20, ge=2)


class BiasParameters(TheoryParameters):
    """Parameters of ``07c_bias``; ``targets`` are strategies whose draws stand for what the risk is about."""

    targets: Annotated[tuple[bounds.Name, ...], Field(min_length=1), bounds.Unique]

    @model_validator(mode="after")
    def _targets_are_known(self) -> BiasParameters:
        for name in self.targets:
            params.known(name, self.strategies, "strategies")
        return self


class Steepness(NamedTuple):
    """A bound on ``||u_q||``, the scale of the scores included, over all queries that the risk is about.

    ``known``: it follows from the student alone, before any query is drawn; otherwise it is an assumption. ``why``: which of them, in
    words.
    """

    bound: float
    known: bool
    why: str


class HeldOut(NamedTuple):
    """Groups as arrays, one a query: what a student and a teacher make of them.

    Attributes:
        query_ids: (n,).
        query_rows: (n,) rows of the collection's queries.
        doc_rows: (n, group) rows of its documents, the positive first.
        teacher_scores: (n, group) raw scores.
        student_scores: (n, group).
        query_vectors: (n, d), the scale of the scores included.
        group_vectors: (n, group, d).
    """

    query_ids: np.ndarray
    query_rows: np.ndarray
    doc_rows: np.ndarray
    teacher_scores: np.ndarray
    student_scores: np.ndarray
    query_vectors: np.ndarray
    group_vectors: np.ndarray

    def positive_pairs(self, temperature: float) -> pd.DataFrame:
        """Return :func:`~rd_utils.companions.theory.floor.pairwise_decomposition` over pairs with the positive, one row a query_id."""
        pairs = pairwise_decomposition(self.teacher_scores, self.student_scores, temperature, pairs="positive")
        return pairs.set_axis(self.query_ids)

    def clipped_losses(self, temperature: float, clip: float) -> np.ndarray:
        """Return each group's mean loss over its positive pairs, of the student whose margins are cut to ``[-clip, clip]``."""
        teacher = (self.teacher_scores[:, :1] - self.teacher_scores[:, 1:]) / temperature
        student = np.clip(self.student_scores[:, :1] - self.student_scores[:, 1:], -clip, clip)
        return pair_terms(teacher, student)[0].mean(axis=1)

    def locality_limits(self) -> pd.DataFrame:
        """Return low and high of each group: what the distances from the positive allow for its mean loss, whatever the teacher says."""
        distances = np.linalg.norm(self.group_vectors[:, 1:] - self.group_vectors[:, :1], axis=2)
        low, high = loss_range(np.linalg.norm(self.query_vectors, axis=1)[:, None] * distances)
        return pd.DataFrame({"low": low.mean(axis=1), "high": high.mean(axis=1)})

    def one_margin(self, seed: int) -> np.ndarray:
        """Return the student's margin of the positive over one negative of each group, drawn uniformly."""
        columns = np.random.default_rng(seed).integers(1, self.student_scores.shape[1], size=len(self.student_scores))
        return self.student_scores[:, 0] - self.student_scores[np.arange(len(columns)), columns]


def split_queries(parameters: TheoryParameters, query_ids: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the training and the held-out query ids, as the parameters cut them.

    Args:
        parameters: How many of each.
        query_ids: Of all queries that have groups.
    """
    ordered = sorted(set(query_ids))
    held_out = ordered[parameters.training_queries :][: parameters.held_out_queries]
    if len(held_out) < 2:
        raise TheoryError(
            f"{len(ordered)} queries leave {len(held_out)} beside {parameters.training_queries} for training; lower training_queries"
        )
    return ordered[: parameters.training_queries], held_out


def steepness(pipeline: Pipeline, parameters: TheoryParameters, samples: Sequence[HeldOut]) -> Steepness:
    """Bound the trained student's ``||u_q||`` over queries that nobody has seen, which Hoeffding's and Bernstein's interval needs.

    A static encoder's query is a mean of token vectors, and no mean is longer than the longest of what it averages:
    ``||u_q|| <= scale max_t ||v_t||``. Under the cosine every query has length 1, so it is the scale. Of any other encoder nothing follows
    from this module; the largest of the queries at hand is returned, as an assumption about the others.

    Args:
        pipeline: Makes what is missing.
        parameters: Of the notebook.
        samples: Groups whose queries are at hand, for the encoders of which nothing is known beforehand.

    Returns:
        The bound, and on what it rests.
    """
    architecture = parameters.architecture
    if isinstance(architecture, (params.StaticBi, params.BiEncoder)) and architecture.similarity == "cosine":
        return Steepness(float(architecture.scale), True, "every query has length 1: the scale")
    if isinstance(architecture, params.StaticBi):
        longest = np.linalg.norm(pipeline.student(parameters.student()).token_vectors().astype(np.float64), axis=1).max()
        return Steepness(float(architecture.scale * longest), True, "a query is a mean of token vectors: scale x the longest of them")
    vectors = np.concatenate([sample.query_vectors for sample in samples])
    largest = float(np.linalg.norm(vectors, axis=1).max())
    return Steepness(largest, False, f"assumed: no query is longer than the longest of the {len(vectors)} that were read")


def read_groups(
    pipeline: Pipeline, parameters: TheoryParameters, name: str, *, random_share: float = 0.0, trained: bool = False
) -> HeldOut:
    """Read the groups of a strategy, one a query (its first positive, so that they are independent), and score them.

    Args:
        pipeline: Makes what is missing.
        parameters: Of the notebook.
        name: The strategy.
        random_share: The share of corpus-random negatives in place of its own.
        trained: The training queries' groups instead of the held-out ones.
    """
    spec = parameters.groups(name, random_share)
    groups = pipeline.groups(spec)
    training, held_out = split_queries(parameters, pipeline.qrels(parameters.collection)["query_id"])
    keep = groups["query_id"].isin(training if trained else held_out) & ~groups["query_id"].duplicated()
    query_rows, doc_rows = (rows[keep.to_numpy()] for rows in pipeline.group_rows(spec))
    teachers = pipeline.group_scores(params.ScoresSpec(groups=spec, teacher=parameters.teacher))[keep.to_numpy()].astype(np.float64)
    used, place = np.unique(doc_rows, return_inverse=True)
    queries, docs = _vectors(pipeline, parameters, query_rows, used)
    vectors = docs[place.reshape(doc_rows.shape)]
    students = np.einsum("nd,ngd->ng", queries, vectors)
    return HeldOut(groups.loc[keep, "query_id"].to_numpy(), query_rows, doc_rows, teachers, students, queries, vectors)


def read_held_out(pipeline: Pipeline, parameters: TheoryParameters) -> dict[str, HeldOut]:
    """Read the held-out groups of every strategy, and of the trained one with its random share."""
    held = {name: read_groups(pipeline, parameters, name) for name in parameters.strategies}
    return held | {parameters.mixed: read_groups(pipeline, parameters, parameters.trained_on, random_share=parameters.random_share)}


class Truth(NamedTuple):
    """What is known where every document is scored: the population, its samplers, their laws, and each query's terms under them."""

    population: Population
    samplers: list[Sampler]
    laws: dict[str, np.ndarray]
    terms: dict[str, pd.DataFrame]


def read_truth(pipeline: Pipeline, parameters: TheoryParameters, held: dict[str, HeldOut]) -> Truth | None:
    """Return the true risks of what :func:`read_held_out` read; None where the teacher does not know every document."""
    if not parameters.knows_all:
        return None
    sample = held[parameters.trained_on]
    population, samplers = read_population(pipeline, parameters, sample)
    own = next(sampler for sampler in samplers if sampler.name == parameters.trained_on)
    samplers.append(with_share(own, parameters.random_share))
    laws = {sampler.name: sampler_law(sampler, population.allowed) for sampler in samplers}
    return Truth(population, samplers, laws, {name: law_terms(population, law).set_axis(sample.query_ids) for name, law in laws.items()})


def read_population(pipeline: Pipeline, parameters: TheoryParameters, held_out: HeldOut) -> tuple[Population, list[Sampler]]:
    """Score every document for the held-out queries, and return the population with the strategies on it.

    Args:
        pipeline: Makes what is missing.
        parameters: Of the notebook; strategies must be corpus-random or draw uniformly from candidates without a filter.
        held_out: Any strategy's held-out groups, which name the queries and their positives.

    Returns:
        The population, and one sampler a strategy.

    Raises:
        TheoryError: A strategy's probabilities are not those of a uniform pool.
    """
    collection, n_docs = parameters.collection, len(pipeline.docs(parameters.collection))
    rows, n = held_out.query_rows, len(held_out.query_rows)
    queries, docs = _vectors(pipeline, parameters, rows, np.arange(n_docs))
    positive = held_out.doc_rows[:, 0]
    every = np.tile(np.arange(n_docs), n)
    teachers = pipeline.teacher_scores(parameters.teacher, collection, np.repeat(rows, n_docs), every)[0].reshape(n, n_docs)
    students = queries @ docs.T
    own = np.arange(n)
    known = positives(pipeline.qrels(collection))
    known = known[known["query_id"].isin(held_out.query_ids) & known["doc_id"].isin(set(pipeline.docs(collection)["doc_id"]))]
    allowed = np.ones((n, n_docs), dtype=bool)
    of_query = {query_id: row for row, query_id in enumerate(held_out.query_ids)}
    allowed[known["query_id"].map(of_query).to_numpy(), pipeline.doc_rows(collection, known["doc_id"])] = False
    population = Population(
        teacher_margins=(teachers[own, positive][:, None] - teachers.astype(np.float64)) / parameters.temperature,
        student_margins=students[own, positive][:, None] - students,
        distances=cdist(docs[positive], docs),
        lipschitz=np.linalg.norm(queries, axis=1),
        allowed=allowed,
    )
    return population, [_sampler(pipeline, parameters, name, held_out.query_ids, allowed) for name in parameters.strategies]


def with_share(sampler: Sampler, random_share: float) -> Sampler:
    """Return the sampler with a share of its negatives, rounded to whole documents, replaced by corpus-random ones.

    >>> with_share(Sampler("bm25", [], 15, 15), 0.2)[2:]
    (12, 15)
    """
    kept = sampler.n_negatives - round(random_share * sampler.n_negatives)
    return sampler._replace(name=f"{sampler.name} with {random_share:g} random", n_pooled=min(sampler.n_pooled, kept))


def perturbed_losses(
    pipeline: Pipeline, parameters: BoundsParameters, sample: HeldOut, sigmas: Sequence[float], draws: int
) -> tuple[dict[float, np.ndarray], float, int]:
    """Draw students from Gaussians around the trained weights, and compute their losses on groups, for :func:`pac_bayes`.

    Args:
        pipeline: Makes what is missing.
        parameters: Of the notebook.
        sample: The groups.
        sigmas: Standard deviations of the weights.
        draws: Students of each.

    Returns:
        sigma -> (draws,) mean losses of positive pairs, of margins cut to ``[-clip, clip]``, scaled from their range to [0, 1]; the squared
        distance of the trained from the initial weights; and how many weights there are.
    """
    from rd_utils.models import GroupBatch

    spec = parameters.student()
    student = pipeline.student(spec).cpu()
    start = pipeline.untrained(spec.architecture, spec.groups.collection, spec.seed).cpu()
    tokenizer = tokenizer_of(spec.architecture, parameters.collection)
    queries, docs = (pipeline.tokens(of, parameters.collection, tokenizer) for of in ("queries", "docs"))
    batch = GroupBatch(queries, docs, sample.query_rows, sample.doc_rows)
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    centre = [weight.detach().clone() for weight in weights]
    first = [weight.detach() for weight in start.parameters() if weight.requires_grad]
    distance = sum(float((a.double() - b.double()).square().sum()) for a, b in zip(centre, first, strict=True))
    low, high = loss_range(parameters.clip)
    found = {}
    with torch.no_grad():
        for number, sigma in enumerate(sigmas):
            generator = torch.Generator().manual_seed(parameters.seed * 1000 + number)
            values = []
            for _ in range(draws):
                for weight, middle in zip(weights, centre, strict=True):
                    weight.copy_(middle + sigma * torch.randn(middle.shape, generator=generator))
                scores = student(batch).double().numpy()
                values.append(sample._replace(student_scores=scores).clipped_losses(parameters.temperature, parameters.clip).mean())
            found[sigma] = (np.array(values) - low) / (high - low)
        for weight, middle in zip(weights, centre, strict=True):
            weight.copy_(middle)
    return found, distance, sum(weight.numel() for weight in weights)


def batch_noise(
    pipeline: Pipeline, parameters: TheoryParameters, sample: HeldOut, *, batches: int = 3, groups: int = 8, draws: int = 200
) -> pd.DataFrame:
    """Measure :func:`gradient_noise` of the trained student on a few batches of groups.

    Args:
        pipeline: Makes what is missing.
        parameters: Of the notebook.
        sample: The groups; the first ``batches * groups`` are used.
        batches: How many.
        groups: Of a batch.
        draws: How often the labels of a batch are drawn.

    Returns:
        One row a batch: the columns of :class:`GradientNoise`, and entropy, the batch's mean listwise entropy (nats).
    """
    from rd_utils.models import GroupBatch

    if len(sample.query_rows) < batches * groups:
        raise TheoryError(f"{len(sample.query_rows)} groups are fewer than {batches} batches of {groups}; ask for fewer or smaller ones")
    student = pipeline.student(parameters.student()).cpu().eval()
    tokenizer = tokenizer_of(parameters.architecture, parameters.collection)
    queries, docs = (pipeline.tokens(of, parameters.collection, tokenizer) for of in ("queries", "docs"))
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    rows = []
    for number in range(batches):
        part = slice(number * groups, (number + 1) * groups)
        scores = student(GroupBatch(queries, docs, sample.query_rows[part], sample.doc_rows[part]))
        teachers = sample.teacher_scores[part]
        noise = gradient_noise(scores, weights, teachers, parameters.temperature, draws=draws, seed=parameters.seed + number)
        own = entropy.listwise_entropy(teachers, parameters.temperature).mean() * math.log(teachers.shape[1])
        rows.append(noise._asdict() | {"entropy": own})
    return pd.DataFrame(rows)


def document_vectors(pipeline: Pipeline, parameters: TheoryParameters) -> np.ndarray:
    """Return the trained student's embeddings of all documents, float64 (n_docs, d), not normalised but where its similarity is cosine."""
    return _vectors(pipeline, parameters, np.empty(0, dtype=np.int64), np.arange(len(pipeline.docs(parameters.collection))))[1]


def _vectors(
    pipeline: Pipeline, parameters: TheoryParameters, query_rows: np.ndarray, doc_rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the trained student's embeddings of queries, times the scale of its scores, and of documents, float64."""
    student = cast("BiStudent", pipeline.student(parameters.student()))
    tokenizer = tokenizer_of(parameters.architecture, parameters.collection)

    def encoded(of: Literal["queries", "docs"], rows: np.ndarray, kind: str) -> np.ndarray:
        table: TokenTable = pipeline.tokens(of, parameters.collection, tokenizer)
        return student.encode(take(table, rows), kind=kind).astype(np.float64)

    queries = encoded("queries", query_rows, "query") if len(query_rows) else np.empty((0, 0))
    return queries * cast(_BiEncoder, parameters.architecture).scale, encoded("docs", doc_rows, "document")


def _sampler(pipeline: Pipeline, parameters: TheoryParameters, name: str, query_ids: np.ndarray, allowed: np.ndarray) -> Sampler:
    """Return a strategy on the population: the same window of ranks as rd_utils.mining.sampling draws from."""
    strategy, m = parameters.strategies[name], parameters.group_size - 1
    if strategy.kind == "corpus_random":
        return Sampler(name, [np.empty(0, dtype=np.int64)] * len(query_ids), 0, m)
    if not isinstance(strategy, params.FromCandidates) or strategy.draw != "uniform" or strategy.filter is not None:
        raise TheoryError(
            f"the strategy {name} does not draw uniformly from unfiltered candidates, so its exact risk is not computed; leave it out"
        )
    spec = params.CandidatesSpec(collection=parameters.collection, retriever=strategy.retriever, depth=strategy.depth)
    run = pipeline.candidates(spec)
    run = run[run["query_id"].isin(query_ids)]
    rows = pd.Series(pipeline.doc_rows(parameters.collection, run["doc_id"])).groupby(run["query_id"].to_numpy(), sort=False)
    found = {query_id: group.to_numpy() for query_id, group in rows}
    pools = [found.get(query_id, np.empty(0, dtype=np.int64)) for query_id in query_ids]
    pools = [pool[allowed[row, pool]][strategy.from_rank - 1 : strategy.depth] for row, pool in enumerate(pools)]
    return Sampler(name, pools, m, m)
