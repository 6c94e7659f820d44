"""Which strategy, and which temperature or target entropy, should a student be trained with? Advice from what is known before training.

An option is one choice (a strategy, a target entropy) that stands open in a context (a training and test collection, a first stage, a loss,
an architecture). Its features are measured on its groups before anything is trained: entropies, diameters, the log of the density ratio,
the share of the retrieved documents that they hold, on a pilot of queries whose size belongs beside every table. An
:class:`rd_utils.companions.adviser.Adviser` learns, from contexts in which every option was trained, by how much an option beats the mean
of its context; :func:`leave_one_out` asks whether that helps in contexts, or with strategies, that it has not seen; :func:`regret_summary`
and :func:`verdict` say so in numbers and in a sentence.

The table ``options`` has one row an option: context columns (no value missing), choice columns (missing where a choice does not apply, as a
target entropy under LCE), numeric features, ``value`` (the measure, averaged over seeds) and ``cost`` (CPU seconds).

:func:`leave_one_out` holds out each combination of values of ``leave`` in turn. Context columns: the contexts with these values are
advised, and none of them is fitted on. Choice columns: options with these values are not fitted on, but stand for choice, in every context
that offers them; the rest of these contexts is fitted on, so such advice has seen their other options trained. Both together: neither the
contexts nor, elsewhere, the options are fitted on. The penalty is chosen as the advice is asked: inside, contexts that agree in the context
columns of ``leave`` are left out together. Where all that are fitted on agree in them, as they do when one of two collections is held out,
and where ``leave`` names choice columns only, contexts are left out one at a time: an easier question, so that the penalty may be too
small.

How to read a regret, which is the value of the best option in hindsight minus the value of the option that a rule chooses:

- Hindsight's best is chosen on the same test queries and seeds that it is scored on. Its value is therefore too high, and every regret
  an upper bound. In the difference of two rules' regrets it cancels.
- Contexts that share a collection are not independent. Intervals resample the held-out units whole; where units share collections, as
  they do when a loss, an architecture or a strategy is left out, the intervals are too narrow still.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from rd_utils.analysis.tables import Row, records
from rd_utils.companions.adviser import (
    CONTEXT,
    OPTION,
    REASONS,
    ROUNDING,
    AdviceError,
    Adviser,
    Option,
    Roles,
    centred,
    checked,
    fit_checked,
    name_of,
    relative_features,
    same_as,
    where_of,
)

RULES = {"advice": "advice", "baseline": "always-", "random": "random", "others": "best on the others"}
FEW_UNITS = 6  # n units all point one way by chance with probability 2 ** (1 - n), above 0.05 below 6: nothing is decided there
QUARTERS = ("lowest", "second", "third", "highest")

_CELL = ("collection", "test_collection", "first_stage", "cell")  # what a row of a study's options is of


def fit(
    options: pd.DataFrame,
    *,
    context: Sequence[str],
    features: Sequence[str],
    interact: Sequence[str] = ("loss",),
    choices: Sequence[str] = ("strategy",),
    groups: Sequence[str] | None = None,
) -> Adviser:
    """Learn which features of an option go with a value above the mean of its context.

    The target is ``value`` minus its mean over the options of the context, so that easy and hard contexts count alike. A feature x enters
    as ``z = (x - mean) / sd`` over the options of the context (0 where they do not differ); one whose name ends in ``entropy`` also as
    ``z ** 2``, so that a moderate entropy, moderate among the options at hand, can be best. A value that is NaN or infinite enters as the
    median z of the rows that were fitted on, and beside it an indicator of not being finite. Every term is centred within the context and
    stands once for all contexts and once for each level of each column of ``interact``; a level that was not fitted on, such as a new
    loss, has the common terms only. Coefficients are by ridge regression; the penalty is the one of ``PENALTIES`` with the lowest mean
    squared error over contexts left out one at a time, or over ``groups`` of them: advice on a new collection needs the penalty that does
    best on collections left out whole, and the same collection on another first stage would give away what it costs to be wrong. No name
    of an option is a feature: options that were never fitted on can be advised, and two options with equal features are equal.

    Args:
        options: one row an option (see the module); at least two options a context and two contexts.
        context: columns that say where a choice is made.
        features: numeric columns, measured before training; give the logarithm of a density ratio.
        interact: columns of ``context`` by whose values the features may differ in what they are worth.
        choices: columns that are chosen.
        groups: columns of ``context``; contexts that agree in them are left out together when the penalty is chosen. None: each alone.

    Returns:
        An :class:`Adviser`.

    Raises:
        AdviceError: a column is missing or has two roles, a value is not finite, an option stands twice, a context has one option, there
            are fewer than two contexts or groups, or a feature is finite in no row.

    A value that rises with the entropy in two contexts of different levels; the adviser has never seen the strategy "new":

    >>> rows = [(c, s, e, level + e / 10, 1.0) for c, level in (("a", 0.2), ("b", 0.7)) for s, e in (("x", 0.1), ("y", 0.3), ("z", 0.5))]
    >>> seen = pd.DataFrame(rows, columns=["collection", "strategy", "positive_entropy", "value", "cost"])
    >>> adviser = fit(seen, context=["collection"], features=["positive_entropy"], interact=[])
    >>> new = pd.DataFrame({"collection": "c", "strategy": ["x", "y", "new"], "positive_entropy": [0.1, 0.3, 0.5]})
    >>> adviser.recommend(new)["option"].tolist(), adviser.predict(new).round(2).tolist()
    (['new'], [-0.02, 0.0, 0.02])
    """
    roles = Roles(context, features, interact, choices)
    table = checked(options, roles, outcomes=("value",))
    if groups is not None:
        _check_groups(table, groups, context)
    return fit_checked(table, roles, groups=groups or context)


def _check_groups(table: pd.DataFrame, groups: Sequence[str], context: Sequence[str]) -> None:
    if isinstance(groups, str) or not len(groups) or not set(groups) <= set(context):
        raise AdviceError(f"groups is {groups!r}; expected columns of context, {list(context)}, or None for each context alone")
    if len(table.drop_duplicates(list(groups))) < 2:
        raise AdviceError(
            f"all contexts agree in {', '.join(groups)}, and the penalty is chosen on a group that is left out; expected at least 2 "
            "groups: group by fewer columns, or give None"
        )


# --- does it help? ----------------------------------------------------------------------------------------------------------------


def leave_one_out(
    options: pd.DataFrame,
    *,
    leave: Sequence[str],
    context: Sequence[str],
    features: Sequence[str],
    interact: Sequence[str] = ("loss",),
    baseline: Option,
    seed: int,
    choices: Sequence[str] = ("strategy",),
) -> pd.DataFrame:
    """Advise where the adviser has not looked, and compare with hindsight, one option always, a random option, and the others' best.

    Args:
        options: one row an option (see the module).
        leave: columns of ``context`` or ``choices``, such as ``("collection",)``, ``("loss", "architecture")``, ``("strategy",)``.
        context, features, interact, choices: as for :func:`fit`.
        baseline: the option that is always there, such as ``{"strategy": "bm25"}``; where several options of a context have these values,
            the mean over them.
        seed: of the draw among options whose predictions tie; nothing else is random.

    Returns:
        One row a held-out unit and context, sorted: ``held_out``, the context's columns, ``n_options``, ``n_contexts_fitted``; the names
        ``best`` (in hindsight), ``advised``, ``baseline``, ``others`` (of the options seen in fitting, the one with the highest mean
        advantage over its contexts; empty, and the mean over all options, where this context offers none that was seen), ``because``,
        ``predicted_advantage``; ``best_value``, ``advised_value``, ``baseline_value``, ``others_value``, ``mean_value``;
        ``regret_advice``, ``regret_baseline``, ``regret_random`` (expected: the mean over options), ``regret_others``, all at least 0;
        ``best_cost``, ``advised_cost``, ``baseline_cost``, ``mean_cost``.

    Raises:
        AdviceError: as :func:`fit`; and if the baseline is no option of a context, or fewer than two contexts with a choice remain to fit
            on.
    """
    roles = Roles(context, features, interact, choices)
    table = checked(options, roles, outcomes=("value", "cost"))
    _check_asked(table, roles, leave, baseline)
    rng = np.random.default_rng(seed)
    units = table.groupby(list(leave), sort=False, dropna=False)
    return pd.DataFrame([row for _, held in units for row in _advised(table, held, roles, leave, baseline, rng)])


def _check_asked(table: pd.DataFrame, roles: Roles, leave: Sequence[str], baseline: Option) -> None:
    """Refuse what cannot be left out, and a baseline that a context does not offer."""
    for name, given, allowed in (("leave", leave, [*roles.context, *roles.choices]), ("baseline", baseline, roles.choices)):
        if isinstance(given, str) or not len(given):
            raise AdviceError(f"{name} is {given!r}; expected at least one of the columns {list(allowed)}")
        if unknown := [column for column in given if column not in allowed]:
            raise AdviceError(f"{name} names {unknown[0]!r}; expected columns of {list(allowed)}")
    always = same_as(table, baseline)
    for _, rows in table.groupby(CONTEXT, sort=True):
        if not always[rows.index].any():
            raise AdviceError(
                f"the baseline {name_of(baseline)!r} is no option of the context {where_of(rows, roles.context)}, which offers "
                f"{', '.join(rows[OPTION])}; train it there, choose another baseline, or leave this context out"
            )


def _advised(
    table: pd.DataFrame, held: pd.DataFrame, roles: Roles, leave: Sequence[str], baseline: Option, rng: np.random.Generator
) -> Iterator[Row]:
    """Yield what each rule comes to in every context of a unit that is held out."""
    values: Row = {name: held[name].iat[0] for name in leave}
    seen = np.ones(len(table), dtype=bool)
    for columns in (roles.context, roles.choices):
        if part := {name: value for name, value in values.items() if name in columns}:
            seen &= ~same_as(table, part)
    fitted = table[seen]
    fitted = fitted[fitted.groupby(CONTEXT)[OPTION].transform("size") > 1]  # one option alone is its own mean and teaches nothing
    shared = [name for name in leave if name in roles.context]
    groups = shared if shared and len(fitted.drop_duplicates(shared)) > 1 else roles.context
    adviser = fit_checked(fitted, roles, groups=groups, where=f"without {_unit(values)} there are ")
    advantage = pd.Series(centred(fitted["value"], fitted)).groupby(fitted[OPTION].to_numpy(), sort=True).mean().round(12)
    asked = table[table[CONTEXT].isin(held[CONTEXT])].reset_index(drop=True)
    advised = {row[CONTEXT]: row for row in records(adviser.chosen(asked, rng))}
    for code, offered in asked.groupby(CONTEXT, sort=True):
        yield (
            {"held_out": _unit(values)}
            | {column: offered[column].iat[0] for column in roles.context}
            | {"n_options": len(offered), "n_contexts_fitted": adviser.n_contexts}
            | _outcome(offered, advised[code], same_as(offered, baseline), name_of(baseline), advantage)
        )


def _outcome(offered: pd.DataFrame, advised: Row, always: np.ndarray, baseline: str, advantage: pd.Series) -> Row:
    """Return what each rule chooses in one context, and its regret."""
    value, cost = (offered.set_index(OPTION)[name] for name in ("value", "cost"))
    known = advantage[advantage.index.isin(value.index)]
    others = str(known.idxmax()) if len(known) else ""
    names = {"best": str(value.idxmax()), "advised": advised["option"], "baseline": baseline, "others": others}
    values = {
        "best": value.max(),
        "advised": value[advised["option"]],
        "baseline": value[always].mean(),
        "others": value[others] if len(known) else value.mean(),
        "mean": value.mean(),
    }
    costs = {"best": cost[names["best"]], "advised": cost[names["advised"]], "baseline": cost[always].mean(), "mean": cost.mean()}
    regrets = {"advice": "advised", "baseline": "baseline", "random": "mean", "others": "others"}
    return (
        names
        | {"because": advised["because"], "predicted_advantage": advised["predicted_advantage"]}
        | {f"{rule}_value": float(number) for rule, number in values.items()}
        | {f"regret_{rule}": max(0.0, float(values["best"] - values[chosen])) for rule, chosen in regrets.items()}
        | {f"{rule}_cost": float(number) for rule, number in costs.items()}
    )


def regret_summary(table: pd.DataFrame, *, seed: int, n_resamples: int = 2000, level: float = 0.95) -> pd.DataFrame:
    """Average the regret of every rule over contexts, with bootstrap intervals that resample the held-out units whole.

    The interval is the expanded percentile interval (Hesterberg, 2015, What teachers should know about the bootstrap, The American
    Statistician 69): for n units it takes the quantiles ``Phi(+-sqrt(n / (n - 1)) t)``, t the ``(1 + level) / 2`` quantile of Student's
    distribution with n - 1 degrees of freedom, since plain quantiles are too narrow for few units. Below 6 units it is too narrow still.

    Args:
        table: of :func:`leave_one_out`.
        seed: of the resampling, the same resamples for every rule.
        n_resamples: how often the units are drawn.
        level: of the intervals.

    Returns:
        A row each for ``advice``, ``always-`` the baseline, ``random`` and ``best on the others``, and ``advice - always-`` the baseline,
        the paired difference of their regrets, which is negative where the advice is better. Columns: ``rule``, ``n_contexts``,
        ``n_held_out``, ``regret`` (mean over contexts), ``low``, ``high``, ``level``, and shares of contexts: ``share_best`` (the rule
        lost nothing to hindsight; for ``random``: all options are equal), ``share_better`` and ``share_worse`` than the baseline. The
        last row has the advice's shares.

    Raises:
        AdviceError: a column is missing, a regret is not finite, there are several baselines, fewer than two held-out units, or a setting
            is out of its range.
    """
    columns = {rule: f"regret_{rule}" for rule in RULES}
    always = RULES["baseline"] + _baseline_of(table, list(columns.values()))
    if not 0 < level < 1 or n_resamples < 1:
        raise AdviceError(f"level is {level}, n_resamples {n_resamples}; expected 0 < level < 1 and n_resamples >= 1")
    units = table.groupby("held_out", sort=True).indices
    if len(units) < 2:
        raise AdviceError(f"{len(units)} held-out units; expected at least 2, since a spread over units cannot be known from fewer")
    named = RULES | {"baseline": always}
    by_rule = {named[rule]: table[column].to_numpy(dtype=float) for rule, column in columns.items()}
    by_rule[f"advice - {always}"] = by_rule["advice"] - by_rule[always]
    drawn = np.random.default_rng(seed).integers(len(units), size=(n_resamples, len(units)))
    sizes = np.array([len(places) for places in units.values()])
    half = stats.norm.sf(np.sqrt(len(units) / (len(units) - 1)) * stats.t.ppf((1 + level) / 2, len(units) - 1))
    rows = []
    for rule, regret in by_rule.items():
        sums = np.array([np.sort(regret[places]).sum() for places in units.values()])  # sorted: the order of rows does not matter
        means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
        low, high = np.quantile(means, [half, 1 - half])
        own = regret if rule in named.values() else by_rule["advice"]
        rows.append(
            {"rule": rule, "n_contexts": len(table), "n_held_out": len(units)}
            | {"regret": sums.sum() / sizes.sum(), "low": low, "high": high, "level": level}
            | {"share_best": (own <= 1e-12).mean()}
            | {"share_better": (own < by_rule[always] - 1e-12).mean(), "share_worse": (own > by_rule[always] + 1e-12).mean()}
        )
    return pd.DataFrame(rows)


def _baseline_of(table: pd.DataFrame, columns: list[str]) -> str:
    """Return the one baseline of a table whose regrets are all there."""
    if absent := [name for name in ("held_out", "baseline", *columns) if name not in table.columns]:
        raise AdviceError(f"the table has no column {absent[0]!r}; give what leave_one_out returns, found {list(table.columns)}")
    regrets = table[columns].to_numpy(dtype=float)
    if not np.isfinite(regrets).all():
        row, column = np.argwhere(~np.isfinite(regrets))[0]
        raise AdviceError(f"{columns[column]} is {regrets[row, column]} in row {row}; expected finite regrets")
    baselines = sorted(table["baseline"].unique())
    if len(baselines) > 1:
        raise AdviceError(f"the table has {len(baselines)} baselines, {', '.join(baselines)}; summarise them one by one")
    return baselines[0]


def verdict(summary: pd.DataFrame) -> str:
    """Say in one sentence whether the advice is better than the baseline: only where the interval of the difference leaves out 0.

    With fewer than ``FEW_UNITS`` held-out units no interval is trusted, and the sentence says that it cannot be decided.

    Args:
        summary: of :func:`regret_summary`.

    Raises:
        AdviceError: the summary lacks the difference.

    >>> row = {"rule": "advice - always-bm25", "n_contexts": 24, "n_held_out": 8, "regret": -0.0123, "low": -0.02, "high": -0.004}
    >>> print(verdict(pd.DataFrame([row | {"level": 0.95}])))
    The advice is better than always-bm25 (mean regret lower by 0.0123, 95 % interval 0.0040 to 0.0200; 24 contexts in 8 held-out units).
    >>> print(verdict(pd.DataFrame([row | {"level": 0.95, "n_held_out": 3}])))  # doctest: +NORMALIZE_WHITESPACE
    With 3 held-out units it cannot be decided whether the advice is better than always-bm25 (mean regret lower by 0.0123;
    24 contexts, too few units for an interval).
    """
    found = summary[summary["rule"].str.startswith("advice - ")] if "rule" in summary.columns else summary[:0]
    if len(found) != 1:
        raise AdviceError("the summary has no row 'advice - always-...'; give what regret_summary returns")
    row = found.iloc[0]
    sign = -1 if row["regret"] <= 0 else 1
    low, high = sorted((sign * row["low"], sign * row["high"]))
    size = f"mean regret {'lower' if sign < 0 else 'higher'} by {abs(row['regret']):.4f}"
    interval = f"{100 * row['level']:g} % interval {low:z.4f} to {high:z.4f}"
    contexts, units = _counted(row["n_contexts"], "context"), f"{row['n_held_out']} held-out units"
    always = row["rule"].removeprefix("advice - ")
    if row["n_held_out"] < FEW_UNITS:
        few = f"{size}; {contexts}, too few units for an interval"
        return f"With {units} it cannot be decided whether the advice is better than {always} ({few})."
    word = "better than" if row["high"] < 0 else "worse than" if row["low"] > 0 else "not shown to be better than"
    return f"The advice is {word} {always} ({size}, {interval}; {contexts} in {units})."


# --- a rule of thumb --------------------------------------------------------------------------------------------------------------


def pool(tables: Mapping[str, tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    """Put the options of several studies into one table.

    A cell that two studies share enters once, if they agree in all that is known of it: the same name may stand for another strategy in
    another file. Only the cost may differ, since a study charges a cell with all of its own evaluations; the first study's is kept.

    Args:
        tables: study -> the measure of its values, and its table of :func:`rd_utils.analysis.tables.options`.

    Returns:
        The rows of all tables; ``attrs["left_out"]`` names the cells that any of them left out.

    Raises:
        AdviceError: there is no table, a column is missing, the measures differ, or a cell stands in two studies, or twice in one, with
            other features or values.

    >>> row = {"collection": "c/train", "test_collection": "c/test", "first_stage": "full", "cell": "lce bm25", "value": 0.5, "cost": 1.0}
    >>> one, two = pd.DataFrame([row]), pd.DataFrame([row | {"cost": 2.0}, row | {"cell": "kl bm25"}])
    >>> pool({"one": ("nDCG@10", one), "two": ("nDCG@10", two)})[["cell", "cost"]].values.tolist()
    [['lce bm25', 1.0], ['kl bm25', 1.0]]
    """
    if not tables:
        raise AdviceError("there is no table to pool; give the options of at least one study")
    _check_poolable(tables)
    filled = {study: options for study, (_, options) in tables.items() if len(options)}
    pooled = pd.concat(filled.values(), ignore_index=True) if filled else next(iter(tables.values()))[1].copy()
    studies = [study for study, options in filled.items() for _ in range(len(options))]
    places: dict[tuple[object, ...], int] = {}
    rows, repeated = records(pooled), []
    for place, cell in enumerate(pooled[list(_CELL)].itertuples(index=False, name=None) if filled else ()):
        before = places.setdefault(cell, place)
        if before == place:
            continue
        for name in pooled.columns:
            one, two = rows[before][name], rows[place][name]
            if name != "cost" and not _agree(one, two):
                where = ", ".join(map(str, cell[:-1]))
                raise AdviceError(
                    f"the cell {cell[-1]!r} of {where} has the {name} {one} in study {studies[before]!r} and {two} in study "
                    f"{studies[place]!r}; name what differs, or leave one of the studies out"
                )
        repeated.append(place)
    pooled = pooled.drop(index=repeated).reset_index(drop=True)
    pooled.attrs = {"left_out": sorted({cell for _, options in tables.values() for cell in options.attrs.get("left_out", ())})}
    return pooled


def _check_poolable(tables: Mapping[str, tuple[str, pd.DataFrame]]) -> None:
    """Refuse studies of several measures, and options that lack a column."""
    first, *others = [(study, measure) for study, (measure, _) in tables.items()]
    for study, measure in others:
        if measure != first[1]:
            raise AdviceError(f"study {first[0]!r} measures {first[1]}, {study!r} {measure}; pool studies whose measure is the same")
    for study, (_, options) in tables.items():
        if absent := [name for name in (*_CELL, "value") if len(options) and name not in options.columns]:
            raise AdviceError(f"the options of study {study!r} have no column {absent[0]!r}; found {list(options.columns)}")


def check(options: pd.DataFrame, features: Sequence[str], baseline: str, *, seed: int = 0) -> tuple[pd.DataFrame, list[str]]:
    """Ask of a study's own cells whether advice would have helped: leave out collections, and losses with architectures.

    Contexts are the columns collection, test_collection, first_stage, loss, architecture and teacher; what is chosen is the strategy, with
    the temperature and the target entropy. The baseline is always ``bm25`` where the study has it.

    Args:
        options: of :func:`rd_utils.analysis.tables.options` or :func:`pool`.
        features: columns with what is known before training; one that is missing or the same everywhere is left out.
        baseline: the strategy that is always there in a study without ``bm25``.
        seed: of ties and of the resampling.

    Returns:
        The rows of :func:`regret_summary` but for the difference, with ``left_out`` (``collection``, or ``loss and architecture``), and
        sentences: one a way of leaving out, with its verdict, or why there can be none; then, where there are any, how many contexts are
        left out, for want of a choice or of the baseline, and which cells, for want of a description.

    Raises:
        AdviceError: as :func:`leave_one_out`, where a value or a cost is not finite, a context is not named, or an option stands twice.
    """
    context = ["collection", "test_collection", "first_stage", "loss", "architecture", "teacher"]
    undescribed = _undescribed(options.attrs.get("left_out", ()))
    if options.empty:
        return pd.DataFrame(), [
            "No groups were described, so there is nothing to rest advice on: name a `reference` encoder.",
            *undescribed,
        ]
    sizes = options.groupby(context, sort=False, dropna=False)["value"].transform("size")
    several = options[sizes > 1]
    always = "bm25" if "bm25" in set(several["strategy"]) else baseline
    known = (several["strategy"] == always).groupby([several[name] for name in context], dropna=False).transform("any").astype(bool)
    offered = several[known]
    parts, sentences = [], []
    for left_out, leave in (("collection", ["collection"]), ("loss and architecture", ["loss", "architecture"])):
        summary, sentence = _left_out(offered, leave, context, features, always, seed)
        sentences.append(f"Leaving out {left_out}: {sentence}")
        if summary is not None:
            parts.append(summary.iloc[:-1].assign(left_out=left_out))
    lacking = len(several[~known].drop_duplicates(context))
    sentences += _dropped(int((sizes == 1).sum()), lacking, always) + undescribed
    return (pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()), sentences


def _left_out(
    offered: pd.DataFrame, leave: list[str], context: list[str], features: Sequence[str], always: str, seed: int
) -> tuple[pd.DataFrame | None, str]:
    """Return the summary of one way of leaving out and its verdict, or None and why there is none."""
    varying = [name for name in features if name in offered and offered[name].nunique() > 1]
    units = records(offered.drop_duplicates(leave)[leave])
    if len(units) < 2:
        return None, "there is no other to learn from."
    if not varying:
        return None, "no feature differs between the options."
    used, blind = list(varying), []
    for unit in units:
        rest = offered[~same_as(offered, unit)]
        n_contexts = len(rest.drop_duplicates(context))
        if n_contexts < 2:
            return None, f"without {_unit(unit)} there is {_counted(n_contexts, 'context')} to learn from, and it takes 2."
        for name in [name for name in used if not np.isfinite(rest[name].to_numpy(dtype=float)).any()]:
            used.remove(name)
            blind.append(f" The feature {name} is left out: without {_unit(unit)} it is finite nowhere.")
    if not used:
        return None, "no feature can be learnt from." + "".join(blind)
    choices = ["strategy", "temperature", "target_entropy"]
    table = leave_one_out(offered, leave=leave, context=context, features=used, baseline={"strategy": always}, seed=seed, choices=choices)
    summary = regret_summary(table, seed=seed)
    inside = " What is left to learn from is one unit, so the penalty is chosen inside it." if len(units) == 2 else ""
    return summary, verdict(summary) + "".join(blind) + inside


def _dropped(alone: int, lacking: int, always: str) -> list[str]:
    """Say how many contexts have one option only, and how many lack the baseline; nothing where there are none.

    >>> _dropped(2, 1, "bm25"), _dropped(0, 1, "bm25"), _dropped(0, 0, "bm25")
    (['2 contexts have no choice and 1 lacks bm25; they are left out.'], ['1 context lacks bm25; it is left out.'], [])
    """
    said = []
    for number, one, more in ((alone, "has no choice", "have no choice"), (lacking, f"lacks {always}", f"lack {always}")):
        if number:
            said.append(f"{number if said else _counted(number, 'context')} {one if number == 1 else more}")
    return [" and ".join(said) + f"; {'it is' if alone + lacking == 1 else 'they are'} left out."] if said else []


def _undescribed(cells: Iterable[str]) -> list[str]:
    """Say which cells have no description; nothing where all have one."""
    names = list(cells)
    if not names:
        return []
    shown = ", ".join(map(str, names[:REASONS])) + (", ..." if len(names) > REASONS else "")
    if len(names) == 1:
        return [f"1 cell has no description of its groups; it is left out: {shown}."]
    return [f"{len(names)} cells have no description of their groups; they are left out: {shown}."]


def quartile_table(options: pd.DataFrame, feature: str, context: Sequence[str], *, choices: Sequence[str] = ("strategy",)) -> pd.DataFrame:
    """Average the advantage over the context's mean by the quarter of its context in which an option's feature lies.

    Of n options of a context with a finite value, the one of rank r (1 the lowest, ties their mean rank) is in the quarter
    ``1 + floor(4 (r - 1/2) / n)``. It describes the options at hand; whether it holds elsewhere is what :func:`leave_one_out` asks.

    Args:
        options: one row an option (see the module).
        feature: a numeric column.
        context: columns that say where a choice is made.
        choices: columns that are chosen.

    Returns:
        A row each, where there are such options, for ``lowest``, ``second``, ``third``, ``highest``, ``not finite`` and ``all equal``
        (of contexts whose finite values do not differ): ``quarter``, ``n_options``, ``n_contexts``, ``feature_mean`` (NaN where not
        finite), ``advantage`` (mean of value minus the context's mean, in units of the measure).

    Raises:
        AdviceError: as :func:`fit`.

    >>> rows = [("a", "w", 1, 0.1), ("a", "x", 2, 0.4), ("a", "y", 3, 0.3), ("a", "z", 4, 0.2)]
    >>> table = quartile_table(pd.DataFrame(rows, columns=["collection", "strategy", "diameter", "value"]), "diameter", ["collection"])
    >>> table[["quarter", "advantage"]].round(2).values.tolist()
    [['lowest', -0.15], ['second', 0.15], ['third', 0.05], ['highest', -0.05]]
    """
    table = checked(options, Roles(context, [feature], (), choices), outcomes=("value",))
    relative = relative_features(table, [feature])[feature]
    finite = relative.groupby(table[CONTEXT])
    position = 4 * (finite.rank() - 0.5) / finite.transform("count")
    quarter = pd.Series(["not finite" if np.isnan(place) else QUARTERS[int(place)] for place in position], index=table.index)
    quarter = quarter.where((quarter == "not finite") | (finite.transform("max") > finite.transform("min")), "all equal")
    measured = table[feature].astype(float)
    frame = pd.DataFrame(
        {
            "quarter": pd.Categorical(quarter, [*QUARTERS, "not finite", "all equal"]),
            CONTEXT: table[CONTEXT],
            "feature": measured.where(np.isfinite(measured)),
            "advantage": centred(table["value"], table),
        }
    )
    grouped = frame.groupby("quarter", observed=True, sort=True)
    means = grouped.agg(
        n_options=("advantage", "size"), n_contexts=(CONTEXT, "nunique"), feature_mean=("feature", "mean"), advantage=("advantage", "mean")
    ).reset_index()
    return means.astype({"quarter": str})


def _agree(one: str | float, two: str | float) -> bool:
    """Tell whether two values are the same, numbers but for rounding; a missing one is the same as a missing one."""
    if pd.isna(one) or pd.isna(two):
        return bool(pd.isna(one) and pd.isna(two))
    if isinstance(one, str) or isinstance(two, str):
        return one == two
    return bool(np.isclose(float(one), float(two), rtol=ROUNDING, atol=0.0))


def _unit(values: Option) -> str:
    return ", ".join(f"{column}={name_of({column: value}, bare=True)}" for column, value in values.items())


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
