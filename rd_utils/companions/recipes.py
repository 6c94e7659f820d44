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
from typing import Any, cast

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rd_utils.companions.advice import FEW_UNITS
from rd_utils.companions.claims import task, where_read
from rd_utils.exchange.results import found
from rd_utils.store import shipped

Option = tuple[str, str, float]
OPTION = ["strategy", "loss", "target_entropy"]
CONTEXT = ["study", "architecture"]
COUNTS = ("documents", "training_queries", "positives", "document_words", "query_words")  # features that are compared as logarithms
BM25 = ("bm25", "lce")  # strategy and loss of the baseline that asks nothing
_FEW = 3  # contexts from which nothing can be regressed
SHIPPED = "docs/results/recipes.json"
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


def evidence(pattern: str, leave_out: Sequence[str] = ()) -> Evidence:
    """Read folders of results: the options without augmentation, all learnt by one rule of cells.

    Args:
        pattern: as in :func:`rd_utils.exchange.results.found`.
        leave_out: as there.
    """
    means, features, pilots = [], {}, []
    for results in found(pattern, leave_out):
        about, table = results.about, results.table("means")
        plain = (table["system"] == "student") & (table["augmentation"] == "none") & (table["cut"] == "all")
        dialled = table["strategy"].str.startswith("diameter")
        means.append(where_read(table[plain & ~dialled]).assign(study=results.study))
        known = {name: np.log(value) if name in COUNTS else value for name, value in about["prospects"].items()}
        features[results.study] = known
        rates = results.table("learning_rates")
        chosen = rates[rates["chosen"]].assign(study=results.study)
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
    return _best(others.values, _of_loss(str(measured.idxmax())))


def predicted(others: Evidence, known: Evidence, context: tuple[str, str]) -> Option:
    """The option with the highest advantage by a ridge regression of every option's advantage on the features; of few, best elsewhere."""
    if len(others.values) < _FEW:
        return _best(others.values)
    advantage = _advantages(others.values).dropna(axis=1)
    design = others.features.loc[advantage.index.get_level_values("study")].to_numpy()
    model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(design, advantage.to_numpy())
    found = model.predict(known.features.loc[[context[0]]].to_numpy())[0]
    return cast("Option", advantage.columns[int(np.argmax(found))])


ALWAYS_BM25, BEST_ELSEWHERE, NEAREST, PILOT = "always BM25, LCE", "best elsewhere", "nearest collection", "pilot on validation"
RULES: dict[str, Rule] = {
    ALWAYS_BM25: always_bm25,
    BEST_ELSEWHERE: best_elsewhere,
    NEAREST: nearest,
    PILOT: pilot,
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


def regret_summary(regrets: pd.DataFrame, *, seed: int = 0, n_resamples: int = 10_000, level: float = 0.95) -> pd.DataFrame:
    """Return each rule's mean regret over collections, with a bootstrap interval over collections, and its gain over *best elsewhere*.

    The gain is what best elsewhere loses more, paired by collection; its interval is at a level that holds for all rules at once
    (Bonferroni's).

    Returns:
        One row a rule and what was left out: ``rule, left_out, n, regret, low, high, gain, gain_low, gain_high``.
    """
    rng, rows = np.random.default_rng(seed), []
    others = max(1, regrets["rule"].nunique() - 1)
    for left_out, part in regrets.groupby("left_out", sort=False):
        means = part.groupby(["study", "rule"])["regret"].mean().unstack("rule")
        draws = rng.integers(0, len(means), (n_resamples, len(means)))

        def interval(values: np.ndarray, alpha: float, draws: np.ndarray = draws) -> tuple[float, float]:
            low, high = np.quantile(values[draws].mean(axis=1), [alpha / 2, 1 - alpha / 2])
            return float(low), float(high)

        for rule in part["rule"].unique():
            own, gain = means[rule].to_numpy(), (means[BEST_ELSEWHERE] - means[rule]).to_numpy()
            each = [own.mean(), *interval(own, 1 - level), gain.mean(), *interval(gain, (1 - level) / others)]
            rows.append([rule, left_out, len(means), *each])
    return pd.DataFrame(rows, columns=["rule", "left_out", "n", "regret", "low", "high", "gain", "gain_low", "gain_high"])


# --- the advice that ships --------------------------------------------------------------------------------------------------------


def winner(summary: pd.DataFrame) -> str:
    """Return the rule to go by: of those shown to lose less than best elsewhere the one that gains most, else best elsewhere.

    Of fewer than :data:`rd_utils.companions.advice.FEW_UNITS` collections nothing is shown.

    Args:
        summary: of :func:`regret_summary`; the collections that were left out one by one decide.
    """
    shown = summary[(summary["left_out"] == "collection") & (summary["gain_low"] > 0) & (summary["n"] >= FEW_UNITS)]
    return str(shown.sort_values("gain", ascending=False)["rule"].iloc[0]) if len(shown) else BEST_ELSEWHERE


def advice(known: Evidence, summary: pd.DataFrame) -> list[str]:
    """Return what to do on a collection on which nothing was trained, in sentences, with the regret of doing it.

    Args:
        known: All evidence.
        summary: of :func:`regret_summary`, of the same.
    """
    rule = winner(summary)
    rows = {str(row["rule"]): row for row in summary[summary["left_out"] == "collection"].to_dict("records")}
    collections = f"On {rows[rule]['n']} collections, each left out in turn"
    lost = f"{collections}, that loses {_lost(rows[rule])} nDCG@10 to the best recipe in hindsight"
    beside = f"always BM25's negatives under LCE loses {_lost(rows[ALWAYS_BM25])}"
    if rule == BEST_ELSEWHERE:
        return [f"{_to_do(rule, known)}.", f"{lost}; {beside}; no other rule was shown to lose less."]
    return [f"{_to_do(rule, known)}.", f"{lost}; what was best elsewhere loses {_lost(rows[BEST_ELSEWHERE])}, {beside}."]


def _lost(row: Mapping[Any, Any]) -> str:
    return f"{row['regret']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _to_do(rule: str, known: Evidence) -> str:
    if rule in (BEST_ELSEWHERE, ALWAYS_BM25):
        chosen = {name: RULES[rule](known.of(at), known, cast("Any", at[0])) for name, at in _architectures(known).items()}
        return "Take " + ", ".join(f"`{_named(option)}` ({name})" for name, option in chosen.items())
    if rule == PILOT:
        each = []
        for name, at in _architectures(known).items():
            best = [_named(_best(known.of(at).values, _of_loss(str(loss)))) for loss in known.pilots.columns]
            each.append(f"{name}: " + ", ".join(f"`{option}`" for option in best))
        start = (
            "Train every loss on BM25's negatives, keep the one that is best on validation queries, and take the negatives that go with it"
        )
        return f"{start} ({'; '.join(each)})"
    if rule == NEAREST:
        return "Take what was best on the collection that is most like yours; 09 finds it"
    return "Take what a regression on what is known of the collection predicts; 09 computes it"


def _architectures(known: Evidence) -> dict[str, pd.Index]:
    names = known.values.index.get_level_values("architecture")
    return {str(name): known.values.index[names == name] for name in dict.fromkeys(names)}


def _of_loss(loss: str) -> Callable[[Option], bool]:
    return lambda option: option[1] == loss


def _named(option: Option) -> str:
    strategy, loss, entropy = option
    return f"{strategy}, {loss}" + (f" at {entropy:g} bits" if entropy else "")


def shipped_advice() -> list[str]:
    """Return the sentences of :func:`advice` on the committed results, as ``python -m docs.tables`` wrote them; nothing where none ship."""
    path = shipped(SHIPPED)
    return json.loads(path.read_text(encoding="utf-8"))["advice"] if path.is_file() else []
