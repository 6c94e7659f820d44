"""From the names of a study to parts: what `retriever: bm25` or `teacher: strong` means on one of its collections.

A study names its retrievers, strategies, teachers and architectures, and these name one another. A :class:`Resolver` follows the names and
returns the parts of :mod:`rd_utils.params`.
"""

from __future__ import annotations

from typing import Any

from rd_utils import params, studies
from rd_utils.studies import Study


class Resolver:
    """The parts that a study's names stand for on one training collection.

    Args:
        study: the validated study.
        collection: the training collection.
    """

    def __init__(self, study: Study, collection: Any) -> None:
        self.study, self.collection = study, collection

    @property
    def reference(self) -> Any | None:
        """Return the encoder in which distances are measured."""
        return None if self.study.reference is None else self.untrained(self.study.reference)

    def untrained(self, architecture: str, seed: int = 0) -> params.UntrainedSystem:
        """Return an architecture before training."""
        return params.UntrainedSystem(architecture=self.study.architectures[architecture], collection=self.collection, seed=seed)

    def retriever(self, name: str) -> Any:
        """Return a named retriever."""
        entry = self.study.retrievers[name]
        if entry.kind == "dense":
            if entry.strategy is None:
                return params.Dense(encoder=self.untrained(entry.architecture, entry.seed), index=entry.index)
            student = self._student(entry, entry.training or self.study.training)
            return params.Dense(encoder=params.StudentSystem(student=student), index=entry.index)
        if entry.kind == "reranked":
            return params.Reranked(
                retriever=self.retriever(entry.retriever), from_depth=entry.from_depth, teacher=self.teacher(entry.teacher)
            )
        if entry.kind == "pooled":
            return params.Pooled(retrievers=tuple(self.retriever(other) for other in entry.retrievers), at_most=entry.at_most)
        return entry

    def strategy(self, name: str) -> Any:
        """Return a named strategy; of a refreshed one, what its first groups are drawn by."""
        entry = self.study.strategies[name]
        if entry.kind == "refreshed":
            return self.strategy(entry.start)
        own = entry.model_dump(exclude={"kind", "retriever", "filter"})
        if entry.kind == "candidates":
            keep = entry.filter and params.FalseNegativeFilter(
                **entry.filter.model_dump(exclude={"teacher"}), teacher=self.teacher(entry.filter.teacher)
            )
            return params.FromCandidates(retriever=self.retriever(entry.retriever), filter=keep, **own)
        if entry.kind == "graph":
            return params.Graph(retriever=self.retriever(entry.retriever), **own)
        if entry.kind == "diameter_targeted":
            return params.DiameterTargeted(retriever=self.retriever(entry.retriever), reference=self.reference, **own)
        return entry

    def refresh(self, strategy: str) -> params.Refresh | None:
        """Return how a named strategy draws anew while the student trains; None where it does not."""
        entry = self.study.strategies[strategy]
        return params.Refresh(**entry.model_dump(exclude={"kind", "start"})) if entry.kind == "refreshed" else None

    def teacher(self, name: str) -> Any:
        """Return a named teacher."""
        entry = self.study.teachers[name]
        if entry.kind == "trained":
            return params.TrainedTeacher(student=self._student(entry, entry.training))
        if entry.kind == "encoder":
            return params.EncoderTeacher(encoder=self.untrained(entry.architecture), precision=entry.precision)
        if entry.kind == "bm25":
            return params.BM25Teacher(retriever=self.retriever(entry.retriever))
        if entry.kind == "ensemble":
            members = tuple(self.teacher(member) for member in entry.members)
            return params.EnsembleTeacher(members=members, calibration=self.groups(entry.strategy, entry.seed))
        return entry

    def cut(self, name: str) -> params.EntropyCut | None:
        """Return a named part of the training queries; None for all of them."""
        if name == "all":
            return None
        entry = self.study.cuts[name]
        return params.EntropyCut(teacher=self.teacher(entry.teacher), **entry.model_dump(exclude={"teacher"}))

    def augmentation(self, name: str) -> params.Augmentation:
        """Return a named augmentation of texts and targets; the share of random documents is part of the groups."""
        if name == "none":
            return params.Augmentation()
        return params.Augmentation(**self.study.augmentations[name].model_dump(exclude={"random_share"}))

    def groups(self, strategy: str, seed: int, augmentation: str = "none", cut: str = "all") -> params.GroupsSpec:
        """Return the groups of a named strategy and a seed."""
        study = self.study
        return params.GroupsSpec(
            collection=self.collection,
            strategy=self.strategy(strategy),
            group_size=study.group_size,
            shortage="drop" if study.shortage == "drop" else self.strategy(study.shortage),
            draws=1 if self.study.strategies[strategy].kind == "refreshed" else study.draws,
            random_share=0.0 if augmentation == "none" else study.augmentations[augmentation].random_share,
            cut=self.cut(cut),
            seed=seed,
        )

    def search(self, architecture: str) -> params.Search | None:
        """Return how the learning rate of an architecture is chosen: on the study's first collection."""
        settings = self.study.search
        if settings is None or architecture not in settings.architectures:
            return None
        first = self.study.collections[0].train
        if self.collection != first:
            return Resolver(self.study, first).search(architecture)
        rates = settings.architectures[architecture]
        return params.Search(
            learning_rates=rates.learning_rates,
            embedding_ratio=rates.embedding_ratio,
            collection=first,
            strategy=self.strategy(settings.strategy),
            teacher=None if settings.teacher is None else self.teacher(settings.teacher),
            validation=settings.validation,
            first_stages=tuple(self.first_stage(stage) for stage in settings.first_stages),
            measure=settings.measure,
            seed=settings.seed,
        )

    def first_stage(self, stage: studies.FirstStageEntry) -> params.FirstStage:
        """Return a first stage with its retriever."""
        return params.FirstStage(kind=stage.kind, retriever=self.retriever(stage.retriever), depth=stage.depth)

    def _student(self, entry: Any, training: params.Training) -> params.StudentSpec:
        """Return the student that a trained retriever or teacher is."""
        return params.StudentSpec(
            groups=self.groups(entry.strategy, entry.seed),
            loss=entry.loss,
            teacher=None if entry.teacher is None else self.teacher(entry.teacher),
            architecture=self.study.architectures[entry.architecture],
            training=training,
            refresh=self.refresh(entry.strategy),
            seed=entry.seed,
        )
