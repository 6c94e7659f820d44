"""What the artefacts of a finished study say: each frame is made when it is asked for first, and then kept.

The report's sections, the notebook and the files in the study's folder all read these frames, so that none can say something else.
"""

from __future__ import annotations

from functools import cached_property
from typing import TypedDict

import pandas as pd

from rd_utils.analysis import characteristics, contrasts, factorial, questions, tables
from rd_utils.companions import advice
from rd_utils.cost import costs
from rd_utils.report.drawing import as_setting
from rd_utils.report.page import Section
from rd_utils.report.sources import Notebooks, executed_notebooks
from rd_utils.study.params import nearest
from rd_utils.study.plan import DIMENSIONS, PLACE, Plan
from rd_utils.study.studies import AnalysisSettings
from rd_utils.workflow.pipeline import Pipeline

EXAMPLES = 40  # of which single groups are shown

# The frames that are written, each a property of Findings; those that every study has come first.
NEEDED = ("results", "per_query", "summary", "differences", "cells")
FRAMES = (
    *NEEDED, "macro", "seed_against_seed", "matrices", "across", "strategy_spread", "learning_rates", "descriptions", "entropies",
    "variance", "surfaces", "behaviours", "calibration", "by_query", "relations", "points", "prices", "walk", "options", "regrets",
)  # fmt: skip


class Pair(TypedDict):
    """A training collection, and a test collection of its students."""

    collection: str
    test_collection: str


class Results:
    """What a study measured: its results and their means; what is said of them, and beside them, are its :class:`Findings`.

    Args:
        plan: The study.
        pipeline: Where its artefacts lie; what is missing there is made when a frame needs it.
        known: Frames that are there already, by name, such as those of an earlier run.

    Raises:
        ValueError: A frame has a name that nothing shows.
    """

    def __init__(self, plan: Plan, pipeline: Pipeline, known: dict[str, pd.DataFrame] | None = None) -> None:
        self.plan, self.pipeline = plan, pipeline
        self.sections: dict[str, Section] = {}  # those of the report that were asked for, by name
        if unknown := [name for name in known or {} if name not in FRAMES]:
            raise ValueError(f"unknown table {unknown[0]!r}{nearest(unknown[0], FRAMES)}")
        vars(self).update(known or {})

    @property
    def settings(self) -> AnalysisSettings:
        """What the study's file says about its analysis."""
        return self.plan.study.analysis

    @property
    def measure(self) -> str:
        """The measure that is compared."""
        return self.settings.measure

    @cached_property
    def notebooks(self) -> Notebooks:
        """The executed notebooks that made the numbers."""
        return executed_notebooks(self.plan)

    def frames(self) -> dict[str, pd.DataFrame]:
        """Return the frames that are written: those with rows, and those that every study has."""
        frames = {name: getattr(self, name) for name in FRAMES}
        return {name: frame for name, frame in frames.items() if len(frame) or name in NEEDED}

    @cached_property
    def per_query(self) -> pd.DataFrame:
        """Every measure of every query: :func:`rd_utils.analysis.tables.per_query`."""
        return tables.per_query(self.plan, self.pipeline)

    @cached_property
    def results(self) -> pd.DataFrame:
        """Means over queries."""
        return tables.results(self.per_query)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Means over seeds."""
        return tables.summary(self.results)

    @cached_property
    def macro(self) -> pd.DataFrame:
        """Means over collections."""
        return tables.macro(self.summary)

    @cached_property
    def strategy_spread(self) -> pd.DataFrame:
        """How far the strategies' means lie apart."""
        return tables.strategy_spread(self.results)

    @cached_property
    def learning_rates(self) -> pd.DataFrame:
        """What each search of a learning rate tried."""
        return characteristics.learning_rates(self.plan, self.pipeline)

    @cached_property
    def pairs(self) -> dict[str, Pair]:
        """The pairs of training and test collection, by the test collection's name, or both where the first is not enough.

        >>> frame = pd.DataFrame({"collection": ["a/train", "b/train"], "test_collection": ["a/test", "a/test"]})
        >>> list(Findings(None, None, {"summary": frame}).pairs)
        ['a/test from a/train', 'a/test from b/train']
        """
        pairs = self.summary[["collection", "test_collection"]].drop_duplicates()
        shared = pairs["test_collection"].duplicated(keep=False)
        names = pairs["test_collection"].where(~shared, pairs["test_collection"] + " from " + pairs["collection"])
        columns = zip(pairs["collection"], pairs["test_collection"], strict=True)
        return {name: Pair(collection=train, test_collection=test) for name, (train, test) in zip(names, columns, strict=True)}


class Findings(Results):
    """A study's frames, under the names of :data:`FRAMES`, and what is said of them in sentences."""

    PILOT = 200  # training queries that advice rests on

    # --- contrasts ----------------------------------------------------------------------------------------------------

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Contrasts of cells with each other and with the baselines."""
        return contrasts.differences(self.per_query, self.settings)

    @cached_property
    def seed_against_seed(self) -> pd.DataFrame:
        """How often a test calls a recipe different from itself."""
        return contrasts.seed_against_seed(self.per_query, self.settings)

    @cached_property
    def matrices(self) -> pd.DataFrame:
        """Every pair of strategies, everything else equal."""
        return contrasts.matrices(self.per_query, self.settings)

    def matrix_parts(self) -> list[tuple[str, pd.DataFrame]]:
        """Return the rows of every matrix, with what it is of."""
        if self.matrices.empty:
            return []
        keys = [*PLACE, *(name for name in DIMENSIONS if name != "strategy")]
        varied = [name for name in keys if self.matrices[name].nunique(dropna=False) > 1]
        parts = [part for _, part in self.matrices.groupby(keys, sort=False, dropna=False)]
        texts = [[as_setting(part[name].iloc[0]) for name in varied] for part in parts]
        return [(" ".join(filter(None, words)) or "all", part) for words, part in zip(texts, parts, strict=True)]

    @cached_property
    def across(self) -> pd.DataFrame:
        """Contrasts over collections."""
        return contrasts.across(self.differences, self.settings.level)

    @cached_property
    def variance(self) -> pd.DataFrame:
        """The shares of every factorial of strategies and target entropies."""
        return factorial.factorials(self.per_query, self.settings)

    @cached_property
    def surfaces(self) -> pd.DataFrame:
        """The means behind them; none where there is no factorial."""
        found = factorial.surfaces(self.per_query, self.settings)
        return found if len(self.variance) else found[:0]

    # --- groups and students ------------------------------------------------------------------------------------------

    @cached_property
    def descriptions(self) -> pd.DataFrame:
        """Diameters and entropies of training groups."""
        return characteristics.descriptions(self.plan, self.pipeline)

    @cached_property
    def entropies(self) -> pd.DataFrame:
        """Mean entropies of every teacher over every strategy's groups."""
        return characteristics.group_entropies(self.plan, self.pipeline)

    @cached_property
    def examples(self) -> pd.DataFrame:
        """Single groups to look at."""
        return characteristics.example_groups(self.plan, self.pipeline, queries=EXAMPLES)

    @cached_property
    def _probed(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        return characteristics.behaviours(self.plan, self.pipeline)

    @cached_property
    def behaviours(self) -> pd.DataFrame:
        """What students are like before and after training."""
        return self._probed[0]

    @cached_property
    def calibration(self) -> pd.DataFrame:
        """How their pair probabilities agree with the teacher's."""
        return self._probed[1]

    @cached_property
    def by_query(self) -> pd.DataFrame:
        """What teacher and student make of every test query's candidates."""
        return characteristics.by_query(self.plan, self.pipeline)

    @cached_property
    def relations(self) -> pd.DataFrame:
        """Correlations of that with effectiveness."""
        return characteristics.relations(self.by_query, self.settings.level)

    @cached_property
    def history(self) -> pd.DataFrame:
        """Training losses by step, on the first collection, of each cell's first seed."""
        history = characteristics.histories(self.plan, self.pipeline)
        return history[(history["collection"] == self.plan.labels[0]) & (history["seed"] == history["seed"].min())]

    # --- cost and advice ----------------------------------------------------------------------------------------------

    @cached_property
    def cells(self) -> pd.DataFrame:
        """What every cell and seed cost."""
        return costs.costs(self.plan, self.pipeline)

    @cached_property
    def points(self) -> pd.DataFrame:
        """Effectiveness beside cost, and what lies on the frontier."""
        return costs.points(self.summary, self.cells, self.measure)

    @cached_property
    def prices(self) -> pd.DataFrame:
        """What the last hundredth costs."""
        return costs.prices(self.points)

    @cached_property
    def walk(self) -> pd.DataFrame:
        """What each gain along the frontier costs."""
        return costs.walk(self.points)

    @cached_property
    def options(self) -> pd.DataFrame:
        """What was known of each cell before training, on a pilot, beside its value and cost."""
        pilot = characteristics.descriptions(self.plan, self.pipeline, pilot=self.PILOT)
        return tables.options(self.results, pilot, self.cells, self.measure)

    @cached_property
    def _advised(self) -> tuple[pd.DataFrame, list[str]]:
        return advice.check(self.options, tables.FEATURES, self.settings.baseline_strategy)

    @cached_property
    def regrets(self) -> pd.DataFrame:
        """What each rule of choosing lacks to the best choice."""
        return self._advised[0]

    @cached_property
    def advice(self) -> list[str]:
        """What the advice comes to, in sentences."""
        return self._advised[1]

    @cached_property
    def warnings(self) -> list[str]:
        """What a reader must know before any number."""
        counted = tables.groups_counted(self.plan, self.pipeline)
        return questions.after(self.plan, self.differences, self.seed_against_seed, counted)
