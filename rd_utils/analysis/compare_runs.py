"""Two TREC runs compared on the qrels that judge them."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rd_utils.analysis.comparison import Result, asked_settings, by_query_and_seed, compare_values, notes_on
from rd_utils.study.bounds import shown
from rd_utils.study.params import ParameterError

if TYPE_CHECKING:
    import pandas as pd
    from ir_measures import Measure

DEFAULTS, MEASURES = {"margin": 0.02, "alpha": 0.05, "level": 0.95}, ("nDCG@10",)  # of runs; a study has its own


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


def _read_run(name: str) -> tuple[pd.DataFrame, int]:
    """Read a TREC run, ranked by (query_id, -score, doc_id), and count the queries whose ranks in the file say another order."""
    import numpy as np

    from rd_utils.data import reading, trec
    from rd_utils.data.runs import tie_order

    path = Path(name).expanduser()
    if not reading.is_file(path):
        raise ParameterError(
            f"there is no run {shown(name)[1:-1]}; name a file of lines query_id Q0 doc_id rank score tag, or --study FILE for cells"
        )
    pairs = trec.run(path, ParameterError).frame
    if pairs.empty:
        raise ParameterError(f"the run {name} is empty; {trec.RUN_FORM}")
    order = np.lexsort((tie_order(pairs["doc_id"]), -pairs["score"].to_numpy(), pairs["query_id"].to_numpy(dtype=object)))
    pairs = pairs.iloc[order].reset_index(drop=True)
    ranks, scores, queries = (pairs[column].to_numpy() for column in ("rank", "score", "query_id"))
    contradicts = (ranks[1:] < ranks[:-1]) & (scores[1:] < scores[:-1]) & (queries[1:] == queries[:-1])
    return pairs, len(set(queries[1:][contradicts]))


def compare_runs(options: argparse.Namespace) -> Result:
    """Compare the two runs that the options name.

    Raises:
        ParameterError: a file or a measure is not what it should be.
    """
    settings, measures = asked_settings(options, DEFAULTS), tuple(dict.fromkeys(options.measure or MEASURES))
    (first, second), about = measured_runs((options.a, options.b), options.qrels, measures)
    comparisons = [compare_values(first[measure], second[measure], settings, measure=measure) for measure in measures]
    return Result(options.a, options.b, settings, about, comparisons, [], notes_on(comparisons, settings))


def measured_runs(paths: tuple[str, str], judged_by: str, measures: tuple[str, ...]) -> tuple[list[dict[str, pd.DataFrame]], list[str]]:
    """Measure two runs.

    Returns:
        For each of them the values by measure, (n_queries, 1), indexed by ``(test_collection, query_id)``; and what the qrels know of them.

    Raises:
        ParameterError: a file or a measure is not what it should be.
    """
    from rd_utils.evaluation.measures import EvaluationError, try_measures

    try:
        parsed = try_measures(measures)
    except EvaluationError as error:
        raise ParameterError(f"--measure: {error}") from None
    if paths[0] == paths[1] or Path(paths[0]).resolve() == Path(paths[1]).resolve():
        raise ParameterError(f"A and B are one file, {paths[0]}; name two runs")
    read, qrels = _read_all(paths, judged_by)
    _check_relevance(qrels, judged_by, parsed)
    about, values = [f"qrels: {judged_by}; {qrels['query_id'].nunique()} judged queries"], []
    for name, path, (pairs, contradicted) in zip("AB", paths, read, strict=True):
        table, counts = _measured(path, pairs, qrels, measures, judged_by)
        table = table.assign(test_collection=judged_by)
        values.append({measure: by_query_and_seed(table, measure) for measure in measures})
        about += _said_of_run(name, counts, _judged(pairs, qrels), contradicted)
    return values, about


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


def _read_all(paths: tuple[str, str], judged_by: str) -> tuple[list[tuple[pd.DataFrame, int]], pd.DataFrame]:
    """Read two runs and their qrels; what is wrong with any of the three files is said at once."""
    found, problems = [], []
    for read, name in ((_read_run, paths[0]), (_read_run, paths[1]), (read_qrels, judged_by)):
        try:
            found.append(read(name))
        except ParameterError as error:
            problems.append(str(error))
    if problems:
        raise ParameterError("\n".join(problems))
    return found[:2], found[2]


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
