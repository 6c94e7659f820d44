"""Which strategy, loss and entropy for a collection on which nothing was trained: rules of choosing, and what each loses to hindsight.

A *context* is a collection and an architecture, an *option* a strategy, a loss and (of a distilled one) a target entropy, all of which the
claims' grid has trained. A rule sees every option's value in other contexts, and of the context itself only what is known before training
(:mod:`rd_utils.analysis.prospects`), or a pilot: the validation values of the losses with BM25's negatives, which the search for learning
rates gives, at its cost. Its *regret* is what the best option of the context has more than the rule's, on test queries.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rd_utils.companions.claims import task, where_read

Option = tuple[str, str, float]
OPTION = ["strategy", "loss", "target_entropy"]
CONTEXT = ["study", "architecture"]
COUNTS = ("documents", "training_queries", "positives", "document_words", "query_words")  # features that are compared as logarithms
BM25 = ("bm25", "lce")  # strategy and loss of the baseline that asks nothing
_FEW = 3  # contexts from which nothing can be regressed
PENALTIES = (1.0, 10.0, 100.0, 1000.0)


@dataclass(frozen=True)
class Evidence:
    """What rules choose from.

    Attributes:
        values: nDCG@10 by context (rows, ``study`` and ``architecture``) and option (columns); NaN where an option was not trained.
        features: By study: what is known of its collection beforehand, counts as logarithms.
        pilots: By context: the validation value of each loss with BM25's negatives.
    """

    values: pd.DataFrame
    features: pd.DataFrame
    pilots: pd.DataFrame

    def of(self, contexts: pd.Index) -> Evidence:
        """Return the same of some contexts."""
        return Evidence(self.values.loc[contexts], self.features, self.pilots)


def evidence(folders: Sequence[Path]) -> Evidence:
    """Read folders of results (:mod:`rd_utils.exchange.results`): the options without augmentation, all learnt by one rule of cells."""
    means, features, pilots = [], {}, []
    for folder in folders:
        about = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        table = pd.read_parquet(folder / "means.parquet")
        plain = (table["system"] == "student") & (table["augmentation"] == "none") & (table["cut"] == "all")
        dialled = table["strategy"].str.startswith("diameter")
        means.append(where_read(table[plain & ~dialled]).assign(study=about["study"]))
        known = {name: np.log(value) if name in COUNTS else value for name, value in about["prospects"].items()}
        features[about["study"]] = known
        rates = pd.read_parquet(folder / "learning_rates.parquet")
        chosen = rates[rates["chosen"]].assign(study=about["study"])
        pilots.append(chosen.rename(columns={about["measure"]: "value"})[["study", "architecture", "loss", "value"]])
    every = pd.concat(means, ignore_index=True).astype({"mean": "float64"})
    dialled = every["teacher"] == "unfloored"  # else the entropy is the grid's own, and no choice
    every["target_entropy"] = np.where(dialled, every["target_entropy"].round(3), 0.0)
    values = every.groupby([*CONTEXT, *OPTION])["mean"].mean().unstack(OPTION)
    pilot = pd.concat(pilots, ignore_index=True).groupby([*CONTEXT, "loss"])["value"].max().unstack("loss")
    return Evidence(values, pd.DataFrame(features).T, pilot)


# --- rules ------------------------------------------------------------------------------------------------------------------------

Rule = Callable[[Evidence, Evidence, tuple[str, str]], Option]  # what other contexts show, what is known of this one, its name: the option


def _advantages(values: pd.DataFrame) -> pd.DataFrame:
    return values.sub(values.mean(axis=1), axis=0)


def _best(values: pd.DataFrame, among: Callable[[Option], bool] = lambda option: True) -> Option:
    """Return the option with the highest mean advantage."""
    advantage = _advantages(values).mean()
    allowed = [cast("Option", option) for option in advantage.index if among(cast("Option", option))]
    return max(allowed, key=lambda option: float(cast("Any", advantage[option])))


def always_bm25(others: Evidence, known: Evidence, context: tuple[str, str]) -> Option:
    """BM25's negatives under LCE, whatever the collection."""
    return next(cast("Option", option) for option in others.values.columns if cast("Option", option)[:2] == BM25)


def best_elsewhere(others: Evidence, known: Evidence, context: tuple[str, str]) -> Option:
    """The option with the highest mean advantage over all other contexts."""
    return _best(others.values)


def nearest(others: Evidence, known: Evidence, context: tuple[str, str]) -> Option:
    """The best option of the collection whose features are nearest, each standardised."""
    table = others.features.loc[others.values.index.get_level_values("study").unique()]
    spread = table.std(ddof=0).replace(0.0, 1.0)
    distance = (((table - known.features.loc[context[0]]) / spread) ** 2).sum(axis=1)
    studies = others.values.index.get_level_values("study")
    return _best(others.values[studies == distance.idxmin()])


def pilot(others: Evidence, known: Evidence, context: tuple[str, str]) -> Option:
    """The loss that is best on validation queries with BM25's negatives; then the strategy that goes best with it elsewhere."""
    measured = known.pilots.loc[[context]].iloc[0]
    return _best(others.values, lambda option: option[1] == measured.idxmax())


def predicted(others: Evidence, known: Evidence, context: tuple[str, str]) -> Option:
    """The option with the highest advantage by a ridge regression of every option's advantage on the features; of few, best elsewhere."""
    if len(others.values) < _FEW:
        return _best(others.values)
    advantage = _advantages(others.values).dropna(axis=1)
    design = others.features.loc[advantage.index.get_level_values("study")].to_numpy()
    model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(design, advantage.to_numpy())
    found = model.predict(known.features.loc[[context[0]]].to_numpy())[0]
    return cast("Option", advantage.columns[int(np.argmax(found))])


RULES: dict[str, Rule] = {
    "always BM25, LCE": always_bm25,
    "best elsewhere": best_elsewhere,
    "nearest collection": nearest,
    "pilot on validation": pilot,
    "predicted from features": predicted,
}
LEFT_OUT: dict[str, Callable[[tuple[str, str]], str]] = {
    "collection": lambda context: context[0],
    "kind of text": lambda context: task(context[0]),
    "architecture": lambda context: context[1],
}
"""What is left out together, by the name of what is left out."""


def regrets(known: Evidence, rules: Mapping[str, Rule] = RULES) -> pd.DataFrame:
    """Return what each rule's choice loses in every context, with its collection, its kind of text, or its architecture left out.

    An architecture is chosen for from the same architecture elsewhere, but where it is what is left out.

    Returns:
        One row a rule, what was left out and context: ``rule, left_out, study, architecture, strategy, loss, target_entropy, regret``.

    Raises:
        ValueError: Nothing is left to learn from.
    """
    contexts = cast("list[tuple[str, str]]", list(known.values.index))
    place = {cast("Option", option): number for number, option in enumerate(known.values.columns)}
    rows = []
    for name, group in LEFT_OUT.items():
        for context, here in zip(contexts, known.values.to_numpy(dtype=float), strict=True):
            others = [other for other in contexts if group(other) != group(context)]
            if name != "architecture":
                others = [other for other in others if other[1] == context[1]]
            if not others:
                continue
            learnt = known.of(pd.MultiIndex.from_tuples(others, names=CONTEXT))
            for rule, choose in rules.items():
                option = choose(learnt, known, context)
                rows.append([rule, name, *context, *option, np.nanmax(here) - here[place[option]]])
    if not rows:
        raise ValueError("there is one collection of one architecture; regret needs others to learn from")
    return pd.DataFrame(rows, columns=["rule", "left_out", *CONTEXT, *OPTION, "regret"])


def regret_summary(regrets: pd.DataFrame, *, seed: int = 0, n_resamples: int = 2000, level: float = 0.95) -> pd.DataFrame:
    """Return each rule's mean regret over collections, with a bootstrap interval over collections, and its gain over *best elsewhere*.

    Returns:
        One row a rule and what was left out: ``rule, left_out, n, regret, low, high, gain, gain_low, gain_high`` (the gain is what best
        elsewhere loses more, paired by collection).
    """
    rng, rows = np.random.default_rng(seed), []
    for left_out, part in regrets.groupby("left_out", sort=False):
        means = part.groupby(["study", "rule"])["regret"].mean().unstack("rule")
        draws = rng.integers(0, len(means), (n_resamples, len(means)))
        tails = [(1 - level) / 2, (1 + level) / 2]
        for rule in part["rule"].unique():
            own, gain = means[rule].to_numpy(), (means["best elsewhere"] - means[rule]).to_numpy()
            low, high = np.quantile(own[draws].mean(axis=1), tails)
            gain_low, gain_high = np.quantile(gain[draws].mean(axis=1), tails)
            rows.append([rule, left_out, len(means), own.mean(), low, high, gain.mean(), gain_low, gain_high])
    return pd.DataFrame(rows, columns=["rule", "left_out", "n", "regret", "low", "high", "gain", "gain_low", "gain_high"])
