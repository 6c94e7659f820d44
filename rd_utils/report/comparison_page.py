"""A comparison on one page: the verdict in words, differences against the margin, query by query, what each costs, how it was made."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from rd_utils.analysis import comparison, systems
from rd_utils.analysis.comparison import Result
from rd_utils.analysis.systems import Family, letter
from rd_utils.analysis.tables import records
from rd_utils.analysis.verdicts import verdict_word
from rd_utils.report.charts import forest_chart, matrix_chart, query_differences_chart
from rd_utils.report.drawing import DIMENSIONS
from rd_utils.report.page import Imprint, Point, Section, Short, Table, figure, html_report

PANELS = 6  # of query by query; of more pairs those with the highest system
NAMED = 5  # queries that gain or lose most, in a table
MEANING = {
    "different": "a difference is shown: were the two equal in truth, data such as these would be rare.",
    "equivalent": "equivalence is shown: whatever difference there is, is smaller than the margin.",
    "both": "a difference is shown, and it is smaller than the margin: real, and too small to matter.",
    "undecided": "neither is shown: the data allow no difference, and one above the margin, so they do not decide.",
}
_SETTINGS = dict.fromkeys(DIMENSIONS, "") | {"temperature": 1.0, "target_entropy": math.nan, "augmentation": "none", "cut": "all"}


def write(result: Result | Family, path: Path, command: str = "") -> Path:
    """Write the page of a comparison as one file; the same comparison gives the same bytes.

    Args:
        result: what was compared, with its values (``systems``).
        path: where it goes.
        command: that made it.
    """
    record = systems.as_record(result) if isinstance(result, Family) else comparison.as_record(result)
    names = _names(result)
    pairs = _pairs(result)
    title = " against ".join(names.values()) if len(names) == 2 else f"{len(names)} systems"
    sections = [
        _differences(result, pairs),
        _queries(result, pairs),
        *_cost(result),
        Section("How it was made", _made(result, command), [Table(_settings(result), "What it was made with.")]),
    ]
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:20]
    return html_report(sections, title, path, Imprint(title, digest, kind="Comparison"), short=_short(result, str(record["answer"]), pairs))


def _names(result: Result | Family) -> dict[str, str]:
    return result.names if isinstance(result, Family) else {"A": result.a, "B": result.b}


def _pairs(result: Result | Family) -> pd.DataFrame:
    """Return a row a pair and place, as a study's contrasts have them; systems go by their letters."""
    rows: list[dict[str, Any]] = []
    if isinstance(result, Family):
        for matrix in result.matrices:
            place = dict(zip(("measure", "collection", "test_collection", "first_stage"), matrix.place, strict=True))
            rows += [place | row for row in records(matrix.pairs)]
    else:
        for row in result.comparisons:
            word = verdict_word(row.verdict)
            rows.append(
                row._asdict()
                | {"system_a": "A", "system_b": "B", "p_holm": row.p_difference, "p_equivalence_holm": row.p_equivalence}
                | {"different": word in ("different", "both"), "equivalent": word in ("equivalent", "both"), "verdict_queries": word}
            )
    frame = pd.DataFrame(rows)
    frame["contrast"] = frame["system_b"] + " - " + frame["system_a"]
    frame["place"] = [" · ".join(map(str, place)) for place in zip(*(frame[name].fillna("") for name in _told(frame)), strict=True)]
    frame[["collection", "first_stage"]] = frame[["collection", "first_stage"]].fillna("")
    return frame.assign(family="systems", equivalence_margin=result.settings.margin, **_SETTINGS)


def _told(frame: pd.DataFrame) -> list[str]:
    """Return what tells places apart; the measure always."""
    names = ("collection", "test_collection", "first_stage")
    return ["measure", *(name for name in names if frame[name].nunique(dropna=False) > 1)]


# --- parts ------------------------------------------------------------------------------------------------------------------------


def _short(result: Result | Family, answer: str, pairs: pd.DataFrame) -> Short:
    names = _names(result)
    which = ", ".join(f"{key} is `{name}`" for key, name in names.items())
    asked = "Does B differ from A, or are they equivalent?" if len(names) == 2 else "Which differ, and which are equivalent?"
    verdicts = [Point(f"{word.capitalize()}: {MEANING[word]}") for word in dict.fromkeys(map(verdict_word, pairs["verdict"]))]
    points = [Point(f"{answer}.", ["differences"])]
    points = [*points, *verdicts] if len(verdicts) > 1 else [*verdicts, *points]
    if isinstance(result, Family):
        many = result.matrices if len(result.matrices) > 1 else []
        points += [Point(f"{systems.label_of(matrix, many)}: {systems.sentence(matrix, result)}.") for matrix in many]
    elif len(result.comparisons) > 1:
        rows = result.comparisons
        points += [Point(f"{comparison.label_of(row, rows)}{comparison.sentence(row, result.settings)}.") for row in rows]
    if isinstance(result, Family):
        for matrix in result.matrices:
            groups = "; ".join(", ".join(members) for members in matrix.groups.values())
            points.append(Point(f"Groups whose members are all equivalent to each other in {matrix.place[0]}: {groups or 'none'}."))
    else:
        several, trained = len(result.costs) > 1, result.comparisons[0].n_seeds is not None
        points += [Point(f"{comparison.cost_sentence(cost, several, trained)}.", ["cost"]) for cost in result.costs]
    return Short(f"{asked} {which}.", points)


def _differences(result: Result | Family, pairs: pd.DataFrame) -> Section:
    settings, blocks = result.settings, []
    for (measure, collection, test), part in pairs.groupby(["measure", "collection", "test_collection"], sort=False):
        name = " ".join(str(part) for part in ("differences", measure, collection, test) if part)
        caption = f"Differences in {measure} with intervals at level {settings.level:g}; the band is the equivalence margin"
        blocks.append(figure(name, forest_chart(part), caption))
    if isinstance(result, Family):
        for matrix in result.matrices:
            turned = matrix.pairs.assign(difference=-matrix.pairs["difference"])  # the chart's row minus its column
            caption = "Row minus column; letters mark groups whose members are all equivalent to each other"
            label = " ".join(str(part) for part in matrix.place if part is not None)
            blocks.append(figure(f"matrix {label}", matrix_chart(turned, matrix.letters), caption))
            means = {
                "system": list(matrix.means),
                "name": [result.names[key] for key in matrix.means],
                matrix.place[0]: [*matrix.means.values()],
            }
            means |= {"seeds": [*matrix.n_seeds.values()], "group": [matrix.letters[key] for key in matrix.means]}
            blocks.append(Table(pd.DataFrame(means), f"Means over {matrix.n_queries:,} queries and seeds, {label}.", digits=4))
    shown = pairs[[*_told(pairs), "contrast", "verdict"]].assign(
        **{
            "difference [interval]": [f"{row.difference:+.4f} [{row.low:+.4f}, {row.high:+.4f}]" for row in pairs.itertuples(index=False)],
            "p": [comparison.p_text(value) for value in pairs["p_holm"]],
            "p equivalence": [comparison.p_text(value) for value in pairs["p_equivalence_holm"]],
            "smallest margin": [f"{value:.4f}" for value in pairs["smallest_margin"]],
            "queries": pairs["n_queries"],
            "seeds": [1 if pd.isna(value) else int(value) for value in pairs["n_seeds"]],
        }
    )
    corrected = ", corrected by Holm's method over the pairs of a place" if isinstance(result, Family) else ""
    blocks.append(
        Table(shown.reset_index(drop=True), f"Every pair; p-values of difference and of equivalence at {settings.margin:g}{corrected}.")
    )
    words = [
        "Whether two systems differ and whether they are equivalent are two questions with a test each, in which queries are random, and "
        "seeds where there are several. An interval within the band speaks for equivalence, one without 0 for a difference.",
        "The smallest margin is the one within which these data could just have shown equivalence.",
    ]
    return Section("Differences", words, blocks, name="differences")


def _queries(result: Result | Family, pairs: pd.DataFrame) -> Section:
    values = {letter(number): system.values for number, system in enumerate(result.systems)}
    chosen = pairs
    if len(pairs) > PANELS:
        top = {place: max(values, key=lambda key, at=place: float(values[key][at].to_numpy().mean())) for place in values["A"]}
        best = pd.Series([top[_place(row)] for row in records(pairs)], index=pairs.index)
        chosen = pairs[(pairs["system_a"] == best) | (pairs["system_b"] == best)].head(PANELS)
    frames, extremes = [], []
    for row in records(chosen):
        a, b = (values[row[key]][_place(row)].mean(axis=1) for key in ("system_a", "system_b"))
        delta = (b - a.reindex(b.index)).sort_values(kind="stable")
        panel = f"{row['contrast']} · {row['place']}"
        frames.append(pd.DataFrame({"panel": panel, "query_id": delta.index.get_level_values(1), "difference": delta.to_numpy()}))
        ends = pd.concat([delta.iloc[:NAMED], delta.iloc[max(NAMED, len(delta) - NAMED) :]])[::-1]
        own = {"query": ends.index.get_level_values(1), row["system_a"]: a.reindex(ends.index), row["system_b"]: b.reindex(ends.index)}
        extremes.append(Table(pd.DataFrame(own | {row["contrast"]: ends}).reset_index(drop=True),
                              f"The queries with the largest differences, {panel}."))  # fmt: skip
    every = pd.concat(frames, ignore_index=True)
    chart = query_differences_chart(every, equivalence_margin=result.settings.margin)
    caption = "Every query's difference, averaged over seeds, from lowest to highest; the line is the mean, the band the equivalence margin"
    left = f" Of {len(pairs)} pairs those with the highest system are drawn." if len(chosen) < len(pairs) else ""
    words = [f"A mean can hide queries that gain and lose much.{left}"]
    return Section("Query by query", words, [figure("queries", chart, caption), *extremes])


def _place(row: dict[str, Any]) -> tuple[str, str | None, str, str | None]:
    return row["measure"], row["collection"] or None, row["test_collection"], row["first_stage"] or None


def _cost(result: Result | Family) -> list[Section]:
    """Return what each system costs, where that is known."""
    if not result.costs:
        return []
    if isinstance(result, Family):
        every = [(cost.collection, list(zip(result.names, cost.cpu_seconds, strict=True))) for cost in result.costs]
    else:
        every = [(cost.collection, [("A", cost.cpu_seconds_a), ("B", cost.cpu_seconds_b)]) for cost in result.costs]
    names = _names(result)
    rows = [{"collection": place, "system": key, "name": names[key]} | parts for place, costs in every for key, parts in costs]
    return [Section("Cost", ["CPU seconds by part, a seed's mean."], [Table(pd.DataFrame(rows), "CPU seconds.", digits=1)], name="cost")]


def _made(result: Result | Family, command: str) -> list[str]:
    lines = [f"Made by `{command}`."] if command else []
    return [
        *lines,
        *(f"{key}: `{name}`" for key, name in _names(result).items()),
        *result.about,
        *(f"Note: {note}." for note in result.notes),
    ]


def _settings(result: Result | Family) -> pd.DataFrame:
    settings = result.settings
    named = {"equivalence margin": settings.margin, "alpha": settings.alpha, "level of intervals": settings.level, "seed": settings.seed}
    return pd.DataFrame({"setting": list(named), "value": [f"{value:g}" for value in named.values()]})
