"""What files say of systems: runs on the qrels that judge them, and results query by query that others measured.

A side is a file, or several, one a seed: ``a1.run,a2.run`` or ``'a*.run'``. What a file is, its content says (see
:mod:`rd_utils.data.per_query`): a TREC run, PyTerrier's results, of which ``FILE#NAME`` is one system, or MTEB's predictions, of which
``FILE#SUBSET/SPLIT`` is one part.
"""

from __future__ import annotations

import argparse
import glob
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rd_utils.analysis.comparison import Result, asked_settings, by_query_and_seed
from rd_utils.analysis.systems import Family, Values, between, letter
from rd_utils.study.bounds import shown
from rd_utils.study.params import ParameterError, nearest

if TYPE_CHECKING:
    import pandas as pd
    from ir_measures import Measure

    from rd_utils.data.per_query import Contents

MEASURED = "as measured"  # the test collection of files of results, which name none
DEFAULTS, MEASURES = {"margin": 0.02, "alpha": 0.05, "level": 0.95}, ("nDCG@10",)  # of files; a study has its own


class Source(NamedTuple):
    """One seed of a side: a file, and which part of it, ``""`` where it has only one."""

    text: str
    path: Path
    part: str


def read_qrels(name: str) -> pd.DataFrame:
    """Read a file of qrels (see :func:`rd_utils.data.trec.qrels`), or the qrels of an ir_datasets id.

    Returns:
        Frame query_id, doc_id (str), relevance (int64).

    Raises:
        ParameterError: there is neither such a file nor such an id, or the file holds something else; the message names the first lines.
    """
    from rd_utils.data import reading, trec

    path = Path(name).expanduser()
    return trec.qrels(path, ParameterError).frame if reading.is_file(path) else _qrels_of_id(name)


def _qrels_of_id(name: str) -> pd.DataFrame:
    from rd_utils.data.collections import CollectionError, read_queries
    from rd_utils.study.params import IrDatasetsCollection, parse

    collection = parse(IrDatasetsCollection, {"id": name}, "--qrels")
    try:
        return read_queries(collection)[1]
    except CollectionError as error:
        raise ParameterError(f"--qrels {name}: there is no such file, and as an id: {error}") from None


# --- sides ------------------------------------------------------------------------------------------------------------------------


def sources(side: str) -> list[Source]:
    """Return the files of a side: the file of that name; else what commas part, each a file, ``FILE#PART``, or a pattern with ``*``.

    Files of a pattern come in the order of their names, numbers in them by size.

    Raises:
        ParameterError: there is no such file, or none that a pattern fits.
    """
    from rd_utils.data import reading

    found: list[Source] = []
    for text in [side] if reading.is_file(Path(side).expanduser()) else side.split(","):
        whole = Path(text).expanduser()
        if reading.is_file(whole):
            found.append(Source(text, whole, ""))
            continue
        name, _, part = text.partition("#")
        path = Path(name).expanduser()
        if reading.is_file(path):
            found.append(Source(text, path, part))
        elif glob.has_magic(name) and (fitting := [Path(each) for each in glob.glob(str(path)) if reading.is_file(Path(each))]):
            found += [Source(f"{each}{'#' if part else ''}{part}", each, part) for each in sorted(fitting, key=_by_number)]
        else:
            what = "no file fits" if glob.has_magic(name) else "there is no run"
            raise ParameterError(
                f"{what} {shown(text)[1:-1]}; name a file of lines query_id Q0 doc_id rank score tag, PyTerrier's results or MTEB's "
                "predictions, or --study FILE for cells"
            )
    return found


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Return what orders names with numbers in them: seed 2 before seed 10.

    >>> sorted([Path("s10"), Path("s2")], key=_by_number)[0].name
    's2'
    """
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", str(path))]


def _all_sources(sides: Sequence[str]) -> list[list[Source]]:
    """Return the files of all sides, of which none may stand twice."""
    found, problems = [], []
    for side in sides:
        try:
            found.append(sources(side))
        except ParameterError as error:
            problems.append(str(error))
    if problems:
        raise ParameterError("\n".join(problems))
    where: dict[tuple[Path, str], tuple[str, str]] = {}
    for number, side in enumerate(found):
        for source in side:
            first, text = where.setdefault((source.path.resolve(), source.part), (letter(number), source.text))
            if first != letter(number):
                raise ParameterError(f"{first} and {letter(number)} are one file, {text}; name two runs")
        if len({(source.path.resolve(), source.part) for source in side}) < len(side):
            raise ParameterError(f"{letter(number)} names a file twice, {sides[number]}; name each seed once")
    return found


def compare_runs(options: argparse.Namespace) -> Result | Family:
    """Compare the files that the options name.

    Raises:
        ParameterError: a file or a measure is not what it should be.
    """
    settings = asked_settings(options, DEFAULTS)
    sides = _all_sources(options.sides)
    values, about = measured_sides(sides, options.qrels, tuple(dict.fromkeys(options.measure or ())))
    systems = [
        Values(name, {(measure, None, str(frame.index[0][0]), None): frame for measure, frame in found.items()})
        for name, found in zip(options.sides, values, strict=True)
    ]
    return between(systems, settings, [*about, *_said_of_seeds(sides)])


def _said_of_seeds(sides: Sequence[Sequence[Source]]) -> list[str]:
    """Say what is a seed of which side, and what is taken to belong together."""
    counts = [len(side) for side in sides]
    if max(counts) == 1:
        return []
    lines = [f"seeds of {letter(n)}: {', '.join(each.text for each in side)}" for n, side in enumerate(sides) if len(side) > 1]
    several = {count for count in counts if count > 1}
    if len(several) > 1:
        lines.append("sides with different numbers of seeds: their seeds are taken to have nothing in common")
    elif counts.count(max(counts)) > 1:
        lines.append("sides with as many seeds: the first of one stands beside the first of the other, and so on")
    lines += [f"{letter(n)} is one file, which stands beside every seed: what a seed of its own would shift is not known"
              for n, count in enumerate(counts) if count == 1]  # fmt: skip
    return lines


def measured_runs(paths: tuple[str, str], judged_by: str, measures: tuple[str, ...]) -> tuple[list[dict[str, pd.DataFrame]], list[str]]:
    """Measure two runs, or read what is measured of them; see :func:`measured_sides`."""
    return measured_sides(_all_sources(paths), judged_by, measures)


def measured_sides(
    sides: Sequence[Sequence[Source]], judged_by: str | None, asked: tuple[str, ...]
) -> tuple[list[dict[str, pd.DataFrame]], list[str]]:
    """Measure runs, and read what was measured.

    Args:
        sides: each the files of its seeds.
        judged_by: a file of qrels or an ir_datasets id; None where no side is a run.
        asked: the measures asked for; none: nDCG@10, or the only one that files of results have.

    Returns:
        For each side the values by measure, (n_queries, n_seeds), indexed by ``(test_collection, query_id)``; and what the qrels know of
        runs.

    Raises:
        ParameterError: a file or a measure is not what it should be.
    """
    from rd_utils.evaluation.measures import EvaluationError, try_measures

    contents, pairs, qrels = _read_all(sides, judged_by)
    runs = bool(pairs)
    if not runs and judged_by is not None:
        raise ParameterError(f"--qrels {judged_by}: all that is compared is measured already, so nothing is judged; leave --qrels out")
    known = [_measures_of(found.results, source) for side, own in zip(contents, sides, strict=True)
             for found, source in zip(side, own, strict=True) if found.kind == "results"]  # fmt: skip
    measures = _chosen(asked, known)
    parsed: list[Measure] = []
    if runs:
        try:
            parsed = try_measures(measures)
        except EvaluationError as error:
            raise ParameterError(f"--measure: {error}") from None
    label = judged_by or MEASURED
    about = []
    if qrels is not None and judged_by is not None:
        _check_relevance(qrels, judged_by, parsed)
        about.append(f"qrels: {judged_by}; {qrels['query_id'].nunique()} judged queries")
    values = []
    for number, (side, found_of_side) in enumerate(zip(sides, contents, strict=True)):
        columns = []
        for source, found in zip(side, found_of_side, strict=True):
            if found.kind == "results":
                table = _results_of(found.results, source)
            else:
                assert qrels is not None and judged_by is not None
                read, contradicted = pairs[source]
                table, counts = _measured(source.text, read, qrels, measures, judged_by)
                lines = _said_of_run(letter(number), counts, _judged(read, qrels), contradicted)
                about += lines if len(side) == 1 else [f"{source.text}: {line}" for line in lines[2:] or lines[:1]]
            columns.append(table.assign(test_collection=label))
        values.append({measure: _beside(columns, measure, side) for measure in measures})
    return values, about


def _beside(tables: list[pd.DataFrame], measure: str, side: Sequence[Source]) -> pd.DataFrame:
    """Return one measure of a side, a column a seed."""
    import pandas as pd

    frames = [by_query_and_seed(table, measure)["value"] for table in tables]
    for frame, source in zip(frames[1:], side[1:], strict=True):
        if alone := sorted(set(frames[0].index) ^ set(frame.index)):
            first = f"{len(alone)} in one alone, the first is {alone[0][1]!r}"
            raise ParameterError(f"{side[0].text} and {source.text} are not of the same queries: {first}")
    return pd.concat(frames, axis=1, keys=range(len(frames)))


Read = tuple["pd.DataFrame", int]  # a run's pairs, ranked, and how many queries have ranks that contradict their scores


def _read_all(
    sides: Sequence[Sequence[Source]], judged_by: str | None
) -> tuple[list[list[Contents]], dict[Source, Read], pd.DataFrame | None]:
    """Read all files, each once, and the qrels; what is wrong with any of them is said at once.

    Returns:
        What each file is; of runs and predictions the pairs; and the qrels, None where there is nothing to judge.
    """
    from rd_utils.data import per_query

    read: dict[Path, Contents] = {}
    pairs: dict[Source, Read] = {}
    problems: dict[str, None] = {}
    qrels = None
    for source in [source for side in sides for source in side]:
        try:
            if source.path not in read:
                read[source.path] = per_query.read(source.path, ParameterError)
            if read[source.path].kind != "results":
                pairs[source] = _read_run(source) if read[source.path].kind == "run" else _predicted(source, read[source.path])
        except ParameterError as error:
            problems[str(error)] = None
    if judged_by is not None and (pairs or problems):
        try:
            qrels = read_qrels(judged_by)
        except ParameterError as error:
            problems[str(error)] = None
    if pairs and judged_by is None:
        problems = {
            "--qrels is missing: name a TREC qrels file or an ir_datasets id to judge two runs by, or --study for two cells": None
        } | problems
    if problems:
        raise ParameterError("\n".join(problems))
    return [[read[source.path] for source in side] for side in sides], pairs, qrels


def _read_run(source: Source) -> Read:
    """Read a TREC run, ranked by (query_id, -score, doc_id), and count the queries whose ranks in the file say another order."""
    from rd_utils.data import trec

    if source.part:
        raise ParameterError(f"{source.text}: {source.path} is a TREC run, one system; leave #{source.part} out")
    pairs = trec.run(source.path, ParameterError).frame
    if pairs.empty:
        raise ParameterError(f"the run {source.text} is empty; {trec.RUN_FORM}")
    pairs = _ranked(pairs)
    ranks, scores, queries = (pairs[column].to_numpy() for column in ("rank", "score", "query_id"))
    contradicts = (ranks[1:] < ranks[:-1]) & (scores[1:] < scores[:-1]) & (queries[1:] == queries[:-1])
    return pairs, len(set(queries[1:][contradicts]))


def _predicted(source: Source, contents: Contents) -> Read:
    """Return the part of MTEB's predictions that a source names, as a run."""
    import pandas as pd

    parts = contents.predictions
    if not source.part and len(parts) > 1:
        raise ParameterError(f"{source.text} holds {len(parts)} parts, {', '.join(parts)}; name one: {source.path}#{next(iter(parts))}")
    name = source.part or next(iter(parts))
    if name not in parts:
        raise ParameterError(f"{source.path} holds no part {name!r}{nearest(name, parts)}; it holds {', '.join(parts)}, each SUBSET/SPLIT")
    rows = [(query, doc, score) for query, docs in parts[name].items() for doc, score in docs.items()]
    return _ranked(pd.DataFrame(rows, columns=["query_id", "doc_id", "score"])), 0


def _ranked(pairs: pd.DataFrame) -> pd.DataFrame:
    import numpy as np

    from rd_utils.data.runs import tie_order

    order = np.lexsort((tie_order(pairs["doc_id"]), -pairs["score"].to_numpy(), pairs["query_id"].to_numpy(dtype=object)))
    return pairs.iloc[order].reset_index(drop=True)


# --- runs and what judges them -----------------------------------------------------------------------------------------------------


def _measured(
    path: str, pairs: pd.DataFrame, qrels: pd.DataFrame, measures: tuple[str, ...], judged_by: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return a run's values per judged query and the counts of queries, as :func:`rd_utils.evaluation.measures.measure_run`."""
    from rd_utils.evaluation.measures import measure_run

    if not qrels["query_id"].isin(set(pairs["query_id"])).any():
        own, theirs = (str(frame["query_id"].iloc[0]) for frame in (pairs, qrels))
        raise ParameterError(
            f"the run {path} has no query of the qrels {judged_by}: its first query is {own!r}, theirs {theirs!r}; "
            "name the qrels of the run's own collection"
        )
    if not _judged(pairs, qrels).documents_judged:
        own, theirs = (str(frame["doc_id"].iloc[0]) for frame in (pairs, qrels))
        raise ParameterError(
            f"the run {path} has no document of the qrels {judged_by}: its first document is {own!r}, theirs {theirs!r}; name the qrels "
            "of the run's own collection"
        )
    try:
        return measure_run(pairs, qrels, measures)
    except (ValueError, AssertionError, ArithmeticError, OSError, subprocess.SubprocessError) as error:
        # what ir_measures raises for a parameter or provider that is missing, or for ids that a provider cannot take
        raise ParameterError(f"--measure: one of {', '.join(measures)} cannot be computed: {error}") from error


class Judged(NamedTuple):
    """How much of a run its qrels know; documents are those in the lists of judged queries, each counted once."""

    queries: int
    queries_judged: int
    queries_with_judged: int
    documents: int
    documents_judged: int


def _judged(pairs: pd.DataFrame, qrels: pd.DataFrame) -> Judged:
    asked = pairs[pairs["query_id"].isin(set(qrels["query_id"]))]
    documents = asked["doc_id"].drop_duplicates()
    found = asked.merge(qrels, on=["query_id", "doc_id"])
    return Judged(
        pairs["query_id"].nunique(),
        asked["query_id"].nunique(),
        found["query_id"].nunique(),
        len(documents),
        int(documents.isin(set(qrels["doc_id"])).sum()),
    )


def _said_of_run(name: str, counts: dict[str, int], judged: Judged, contradicted: int) -> list[str]:
    """Return in words what of a run the qrels know, and what of the qrels the run has."""
    lines = [
        f"{name} lacks {counts['queries_without_result']} of the judged queries, which count 0; "
        f"its {counts['queries_unjudged']} unjudged queries are left out",
        f"of {name}'s {judged.queries} queries {judged.queries_judged} are judged ({judged.queries_judged / judged.queries:.0%}); of the "
        f"{judged.documents} documents that these list, {judged.documents_judged} are judged for any query "
        f"({judged.documents_judged / judged.documents:.0%}), and {judged.queries_with_judged} queries list one that is judged for them",
    ]
    if 2 * judged.queries_judged < judged.queries or 2 * judged.queries_with_judged < judged.queries_judged:
        lines.append(f"little of {name} is judged; if its ids are not those of the qrels, name the qrels of its own collection")
    if contradicted:
        lines.append(f"the ranks in the file of {name} contradict its scores in {contradicted} queries; scores decide, as in trec_eval")
    return lines


def _check_relevance(qrels: pd.DataFrame, judged_by: str, measures: Sequence[Measure]) -> None:
    """Refuse qrels in which nothing is relevant to a measure: it would be 0 for every query and system."""
    highest = int(qrels["relevance"].max())
    if highest <= 0:
        raise ParameterError(
            f"--qrels {judged_by}: no query has a positive, the highest grade is {highest}, so every measure is 0; name qrels with grades "
            "above 0"
        )
    for measure in measures:
        level = measure.params.get("rel", 1)
        if highest < level:
            raise ParameterError(
                f"--measure {measure}: no document has a grade of {level} or more, the highest is {highest}, so it is 0 for every query; "
                "lower rel, or name other qrels"
            )


# --- results ----------------------------------------------------------------------------------------------------------------------


def _chosen(asked: tuple[str, ...], known: Sequence[Iterable[str]]) -> tuple[str, ...]:
    """Return the measures to compare, which every file of results has."""
    common = [name for name in (known[0] if known else ()) if all(name in names for names in known)]
    if known and not asked and MEASURES[0] not in common:
        if len(common) != 1:
            has = f"the files of results share {', '.join(common)}" if common else "the files of results share no measure"
            raise ParameterError(f"--measure is missing: {has}; name one that all have")
        return (common[0],)
    for name in asked:
        for names in known:
            if name not in names:
                raise ParameterError(f"--measure: a file of results has no {name!r}{nearest(name, list(names))}; it has {', '.join(names)}")
    return asked or MEASURES


def _measures_of(results: pd.DataFrame, source: Source) -> list[str]:
    return list(dict.fromkeys(map(_canonical, _results_of(results, source)["measure"].unique())))


def _canonical(name: str) -> str:
    """Return a measure as ir_measures writes it, where it is one of trec_eval's; any other name as it stands.

    >>> _canonical("ndcg_cut_10"), _canonical("nDCG@10"), _canonical("mine")
    ('nDCG@10', 'nDCG@10', 'mine')
    """
    import ir_measures

    try:
        known = ir_measures.parse_trec_measure(name)
    except (ValueError, NameError, KeyError):
        return name
    return str(known[0]) if len(known) == 1 else name


def _results_of(results: pd.DataFrame, source: Source) -> pd.DataFrame:
    """Return the results of the system that a source names: query_id, measure, value."""
    names = list(dict.fromkeys(results["name"]))
    if not source.part and len(names) > 1:
        raise ParameterError(f"{source.text} holds {len(names)} systems, {', '.join(names[:10])}; name one: {source.path}#{names[0]}")
    if source.part and source.part not in names:
        near = nearest(source.part, names)
        raise ParameterError(f"{source.path} holds no system {source.part!r}{near}; it holds {', '.join(names[:10])}")
    own = results[results["name"] == (source.part or names[0])]
    written = {name: _canonical(name) for name in own["measure"].unique()}
    return own[["query_id", "measure", "value"]].assign(measure=own["measure"].map(written))
