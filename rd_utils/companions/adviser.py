"""An adviser learns, from contexts in which every option was trained, by how much an option beats the mean of its context.

What an option, a context and a feature are says :mod:`rd_utils.companions.advice`, which asks whether the advice helps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import Pipeline

Option = Mapping[str, str | float]  # what is chosen, by column

PENALTIES = (1e-3, 1e-2, 1e-1, 1e0, 1e1, 1e2, 1e3, 1e4)

CONTEXT, OPTION = "_context", "_option"  # columns of a checked table: a context's number, an option's name
_PLACE = "_place"  # and the row as given
ROUNDING = 1e-9  # relative spread below which options do not differ in a feature, seen through float rounding
REASONS = 3


class AdviceError(ValueError):
    """Advice cannot be given or judged on what was given; the message names the first offender."""


@dataclass(frozen=True)
class Roles:
    """Which columns of a table of options say where a choice is made, what is chosen, and what is known of it (see :func:`advice.fit`)."""

    context: Sequence[str]
    features: Sequence[str]
    interact: Sequence[str] = ("loss",)
    choices: Sequence[str] = ("strategy",)

    def check(self) -> None:
        """Refuse a role without columns, and a column with two roles."""
        roles = {"context": self.context, "choices": self.choices, "features": self.features}
        for role, names in (*roles.items(), ("interact", self.interact)):
            if isinstance(names, str):
                raise AdviceError(f"{role} is {names!r}; expected a sequence of column names")
            if not len(names) and role != "interact":
                raise AdviceError(f"{role} is empty; expected at least one column")
        used: dict[str, str] = dict.fromkeys(("value", "cost"), "the outcomes")
        for role, names in roles.items():
            for name in names:
                if name in used:
                    raise AdviceError(f"column {name!r} stands in {role} and in {used[name]}; a column has one role, once")
                used[name] = role
        if unknown := [name for name in self.interact if name not in self.context]:
            raise AdviceError(f"interact names {unknown[0]!r}; expected columns of context, {list(self.context)}")


@dataclass(frozen=True)
class Adviser:
    """What :func:`advice.fit` has learnt; it advises on any table with the same context columns, choice columns and features."""

    model: Pipeline
    roles: Roles
    n_contexts: int

    @property
    def penalty(self) -> float:
        """Return the ridge penalty that predicted left-out contexts best."""
        return float(cast(float, self._ridge.alpha_))

    def predict(self, options: pd.DataFrame) -> pd.Series:
        """Predict by how much each option's value differs from the mean over the options of its context.

        Args:
            options: as :func:`advice.fit`; needs no ``value`` and no ``cost``. All options of a context must be there, since features
                are relative to each other.

        Returns:
            The predicted advantages, in units of the measure, under the index and in the order of ``options``; 0 on average over a context.
        """
        return self.contributions(options).sum(axis=1).rename("predicted_advantage")

    def contributions(self, options: pd.DataFrame) -> pd.DataFrame:
        """Split each predicted advantage over the features, all terms of a feature together.

        Returns:
            One row an option, under the index and in the order of ``options``, one column a feature; a row's sum is its prediction.
        """
        table = checked(options, self.roles)
        parts = self._contributions(table)
        given = np.empty_like(parts)
        given[table[_PLACE].to_numpy()] = parts
        return pd.DataFrame(given, index=options.index, columns=list(self.roles.features))

    def recommend(self, options: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
        """Choose the option with the highest predicted advantage in every context.

        Args:
            options: as for :meth:`predict`.
            seed: of the draw among options that tie, for which the order of names is no reason.

        Returns:
            One row a context, sorted: the context's columns, the chosen option's, ``option`` (its name), ``n_options``,
            ``predicted_advantage`` over the context's mean, and ``because``: the features with the largest contributions, in units of the
            measure, such as ``positive_entropy +0.0120, diameter_q99 -0.0031``.
        """
        table = checked(options, self.roles)
        return self.chosen(table, np.random.default_rng(seed)).drop(columns=[CONTEXT])

    def _contributions(self, table: pd.DataFrame) -> np.ndarray:
        design = cast(_Design, self.model[0])
        terms = design.transform(table) * self._ridge.coef_
        return terms @ np.eye(len(self.roles.features))[design.feature_of_column_]

    @property
    def _ridge(self) -> RidgeCV:
        return cast(RidgeCV, self.model[-1])

    def chosen(self, table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        """Return :meth:`recommend` of a checked table, with the number of each context."""
        parts = self._contributions(table)
        predicted = parts.sum(axis=1)
        rows = []
        for code, places in table.groupby(CONTEXT, sort=True).indices.items():
            best = np.flatnonzero(predicted[places] >= predicted[places].max() - 1e-12)
            chosen = int(np.asarray(places)[best[0] if len(best) == 1 else rng.choice(best)])
            because = self._because(parts[chosen], table.iloc[places])
            about = {"n_options": len(places), "predicted_advantage": predicted[chosen], "because": because}
            rows.append({CONTEXT: code, "option": table[OPTION].iat[chosen]} | about | {_PLACE: chosen})
        made = pd.DataFrame(rows)
        named = table[[*self.roles.context, *self.roles.choices]].iloc[made[_PLACE]].reset_index(drop=True)
        return pd.concat([named, made.drop(columns=[_PLACE])], axis=1)

    def _because(self, contributions: np.ndarray, options: pd.DataFrame) -> str:
        order = np.argsort(-np.abs(contributions), kind="stable")[:REASONS]
        told = [(self.roles.features[place], contributions[place]) for place in order.tolist()]
        shown = [f"{name} {value:+.4f}" for name, value in told if np.round(value, 4)]
        if shown:
            return ", ".join(shown)
        differ = (options[list(self.roles.features)].nunique(dropna=False) > 1).any()
        return "features differ, but every contribution rounds to 0" if differ else "no feature tells the options apart"


def fit_checked(table: pd.DataFrame, roles: Roles, *, groups: Sequence[str], where: str = "") -> Adviser:
    """Fit on a checked table; ``where`` begins what is said of too few contexts."""
    n_contexts = table[CONTEXT].nunique()
    if n_contexts < 2:
        raise AdviceError(
            f"{where}{n_contexts} contexts with a choice to fit on; expected at least 2, since the penalty is chosen on a context that is "
            "left out: train the options in more contexts (collections, losses, architectures), or leave out less at a time"
        )
    codes = table.groupby(list(groups), sort=True).ngroup().to_numpy()
    splits = list(LeaveOneGroupOut().split(codes, groups=codes))
    ridge = RidgeCV(list(PENALTIES), fit_intercept=False, cv=splits, scoring="neg_mean_squared_error")
    model = Pipeline([("design", _Design(tuple(roles.features), tuple(roles.interact))), ("ridge", ridge)])
    model.fit(table, centred(table["value"], table))
    return Adviser(model, roles, n_contexts)


class _Design(TransformerMixin, BaseEstimator):
    """Turn a checked table into the terms of the regression; only the medians of what is not finite, and the levels, are learnt."""

    def __init__(self, features: tuple[str, ...], interact: tuple[str, ...]) -> None:
        self.features = features
        self.interact = interact

    def fit(self, table: pd.DataFrame, _target: object = None) -> _Design:
        relative = relative_features(table, self.features)
        unknown = [name for name, never in relative.isna().all().items() if never]
        if unknown:
            raise AdviceError(f"feature {unknown[0]!r} is finite in none of the {len(table)} rows to fit on; leave it out of features")
        self.medians_ = relative.median()
        self.levels_ = [(name, level) for name in self.interact for level in sorted(table[name].unique(), key=str)]
        terms = [place for place, name in enumerate(self.features) for _ in range(3 if name.endswith("entropy") else 2)]
        self.feature_of_column_ = np.tile(terms, 1 + len(self.levels_))
        return self

    def transform(self, table: pd.DataFrame) -> np.ndarray:
        relative = relative_features(table, self.features)
        filled = relative.fillna(self.medians_)
        terms = []
        for name in self.features:
            terms.append(filled[name])
            if name.endswith("entropy"):
                terms.append(filled[name] ** 2)
            terms.append(relative[name].isna().astype(float))
        common = centred(pd.concat(terms, axis=1, keys=range(len(terms))), table)
        blocks = [common * (table[name] == level).to_numpy(dtype=float)[:, None] for name, level in self.levels_]
        return np.hstack([common, *blocks])


def relative_features(table: pd.DataFrame, features: Sequence[str]) -> pd.DataFrame:
    """Standardise features over the finite options of each context; NaN where a value is not finite."""
    values = table[list(features)].astype(float)
    values = values.where(np.isfinite(values))
    groups = values.groupby(table[CONTEXT])
    mean, spread = groups.transform("mean"), groups.transform("std", ddof=0)
    differ = spread > ROUNDING * np.maximum(groups.transform("max").abs(), groups.transform("min").abs())
    return ((values - mean) / spread.where(differ, 1.0)).where(differ | values.isna(), 0.0)


def centred(values: pd.Series | pd.DataFrame, table: pd.DataFrame) -> np.ndarray:
    """Return values minus their mean over the options of each context."""
    return (values - values.groupby(table[CONTEXT]).transform("mean")).to_numpy(dtype=float)


# --- the table --------------------------------------------------------------------------------------------------------------------


def checked(options: pd.DataFrame, roles: Roles, outcomes: Sequence[str] = ()) -> pd.DataFrame:
    """Return the options sorted by context and choice, with their contexts' numbers, their names, and their places in the table given."""
    roles.check()
    _check_values(options, roles, outcomes)
    context, choices = list(roles.context), list(roles.choices)
    table = options[[*context, *choices, *roles.features, *outcomes]].reset_index(drop=True)
    table[_PLACE] = np.arange(len(table))
    table[OPTION] = [name_of(dict(zip(choices, row, strict=True))) for row in table[choices].itertuples(index=False)]
    table = table.sort_values([*context, *choices], key=lambda column: column.astype(str), kind="stable").reset_index(drop=True)
    table[CONTEXT] = table.groupby(context, sort=False).ngroup()
    twice = table.duplicated([CONTEXT, OPTION])
    if twice.any():
        first = table[twice].iloc[[0]]
        raise AdviceError(
            f"{int(twice.sum())} options stand twice in a context, the first {first[OPTION].iat[0]!r} in {where_of(first, context)}; "
            "average over seeds, and name in context or choices every column in which rows differ"
        )
    alone = table.groupby(CONTEXT)[OPTION].transform("size") == 1
    if alone.any():
        raise AdviceError(
            f"{int(alone.sum())} contexts have one option, the first {where_of(table[alone], context)}; expected at least 2, since one "
            "leaves no choice: leave these contexts out, or name fewer columns in context"
        )
    return table


def _check_values(options: pd.DataFrame, roles: Roles, outcomes: Sequence[str]) -> None:
    """Refuse options that lack a column or a value."""
    needed = [*roles.context, *roles.choices, *roles.features, *outcomes]
    if absent := [name for name in needed if name not in options.columns]:
        raise AdviceError(f"options has no column {absent[0]!r}; expected {needed}, found {list(options.columns)}")
    if options.empty:
        raise AdviceError("options is empty; expected one row an option of a context")
    for name in (*roles.features, *outcomes):
        if not pd.api.types.is_numeric_dtype(options[name]):
            raise AdviceError(f"column {name!r} has the type {options[name].dtype}; expected numbers")
    for name in roles.context:
        if options[name].isna().any():
            raise AdviceError(
                f"context column {name!r} is missing in {int(options[name].isna().sum())} rows; name what it is there, as 'none'"
            )
    for name in outcomes:
        bad = ~np.isfinite(options[name].to_numpy(dtype=float))
        if bad.any():
            first = options.loc[bad, [*roles.context, *roles.choices]].iloc[0].to_dict()
            raise AdviceError(
                f"{name} is not finite in {int(bad.sum())} rows, the first for {first}; train and evaluate every option first"
            )


def same_as(table: pd.DataFrame, values: Option) -> np.ndarray:
    """Return which rows have all these values; a missing one is the same as a missing one."""
    same = np.ones(len(table), dtype=bool)
    for name, value in values.items():
        same &= (table[name].isna() if pd.isna(value) else table[name] == value).to_numpy(dtype=bool)
    return same


def name_of(values: Option, *, bare: bool = False) -> str:
    """Name an option: words stand alone, numbers behind their column's name, and what is missing does not apply.

    >>> name_of({"strategy": "bm25", "target_entropy": 0.6}), name_of({"strategy": "bm25", "target_entropy": float("nan")})
    ('bm25 target_entropy=0.6', 'bm25')
    """
    parts = []
    for name, value in values.items():
        if not pd.isna(value):
            shown = value if isinstance(value, str) else f"{value:.12g}" if isinstance(value, float) else str(value)
            parts.append(shown if bare or isinstance(value, str) else f"{name}={shown}")
    return " ".join(parts) or "none"


def where_of(rows: pd.DataFrame, context: Sequence[str]) -> str:
    """Name the context of the first row."""
    return ", ".join(f"{name}={rows[name].iat[0]}" for name in context)
