"""From scores to runs, and from runs to measures per query.

Runs are ranked by (-score, doc_id). Measures come from ir_measures; because its backends break ties by an order of their own, they are
given the rank instead of the score. Queries without a single qrel are unjudged: they are counted, never averaged in. A judged query for
which a run has nothing counts 0.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rd_utils.data.runs import DECIMALS, Run, tie_order
from rd_utils.mining.retrieval import rerank
from rd_utils.study.bounds import check_measure, shown
from rd_utils.study.explain import nearest

if TYPE_CHECKING:
    from ir_measures import Measure

MEASURE_EXAMPLES = ("nDCG@10", "AP", "AP(rel=2)", "RR@10", "R@100", "P@10", "Judged@10", "Success@10")


class EvaluationError(ValueError):
    """A run or a measure cannot be used; the message names the offender."""


def parse_measures(names: tuple[str, ...]) -> list[Measure]:
    """Return ir_measures' measures of these names.

    Raises:
        EvaluationError: a name that ir_measures does not know, with the nearest known one; one that is written otherwise, or named twice.
    """
    import ir_measures

    parsed = []
    for name in names:
        try:
            check_measure(name)  # a cutoff of 0 would end the process
            measure = ir_measures.parse_measure(name)
            str(measure)  # fails where a setting is none of the measure's
        except (NameError, SyntaxError, KeyError, TypeError) as error:
            raise EvaluationError(f"unknown measure {shown(name)}{_near(name)}") from error
        except ValueError as error:
            raise EvaluationError(f"{error}{nearest(name, MEASURE_EXAMPLES)}") from error
        if str(measure) != name:
            raise EvaluationError(f"the measure {name!r} is written {str(measure)!r}; use that name")
        off = next((key for key in _SHARES & measure.params.keys() if not 0 <= measure.params[key] <= 1), None)
        if off is not None:
            raise EvaluationError(f"the measure {name!r} has {off} {measure.params[off]}; expected a number from 0 to 1")
        if measure in parsed:
            raise EvaluationError(f"the measure {name!r} is named twice; name it once")
        parsed.append(measure)
    return parsed


def _near(name: str) -> str:
    """Return a clause with the name that a measure goes by in another case, or the nearest example."""
    import ir_measures

    start = re.split(r"[(@]", name)[0]
    own = next((m.NAME for key, m in ir_measures.measures.registry.items() if key.casefold() == start.casefold()), None)
    return f"; did you mean {own + name[len(start) :]!r}?" if own and own != start else nearest(name, MEASURE_EXAMPLES)


_SHARES = {"p", "alpha", "recall"}  # settings of measures


def try_measures(names: tuple[str, ...]) -> list[Measure]:
    """Compute measures on two queries, so that one that cannot be computed is known before anything is made; return ir_measures' own.

    Raises:
        EvaluationError: a measure is unknown, lacks a setting or what computes it, or is no number.
    """
    import ir_measures

    qrels = {"q1": {"d1": 1, "d2": 0}, "2": {"d3": 2}}
    run = {"q1": {"d1": 2.0, "d4": 1.0}, "2": {"d3": 1.0, "d1": 0.5}}
    parsed = parse_measures(names)
    for name, measure in zip(names, parsed, strict=True):
        try:
            tools = [key for key, tool in ir_measures.providers.registry.items() if tool.is_available() and tool.supports(measure)]
            if tools == ["gdeval"]:
                raise ValueError("gdeval, which computes it, reads numbers alone as ids of queries")
            values = [float(found.value) for found in ir_measures.iter_calc([measure], qrels, run)]
        except Exception as error:  # whatever the tools behind ir_measures raise
            why = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise EvaluationError(f"the measure {name!r} cannot be computed: {why}; choose another, such as nDCG@10") from error
        if not np.isfinite(values).all():
            raise EvaluationError(f"the measure {name!r} is no number on two queries: {values}; choose another, such as nDCG@10")
    return parsed


def rank(run: Run, scores: np.ndarray, query_ids: pd.Series, doc_ids: pd.Series, ties: np.ndarray) -> pd.DataFrame:
    """Order a run's lists by scores, by ids: queries in sorted order, documents by (-score, doc_id), scores rounded to 5 decimals.

    Args:
        run: a list a query; its own scores play no part.
        scores: (n_pairs,) the scores that rank.
        query_ids: the ids of the queries.
        doc_ids: the ids of the documents.
        ties: (n_docs,) as :func:`rd_utils.data.runs.tie_order` gives it.

    Returns:
        Frame query_id, doc_id, score.

    Raises:
        EvaluationError: a score is no finite number.
    """
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        query_id, doc_id = query_ids.iloc[run.rows()[bad[0]]], doc_ids.iloc[run.docs[bad[0]]]
        raise EvaluationError(
            f"score of query {query_id!r}, document {doc_id!r} is {scores[bad[0]]}: the model is broken, or its precision too low; try fp32"
        )
    return rerank(run, scores, None, ties).take(np.argsort(tie_order(query_ids))).frame(query_ids, doc_ids)


def write_run(run: pd.DataFrame, path: Path, tag: str) -> None:
    """Write a run in TREC format: query_id Q0 doc_id rank score tag.

    Within a query scores fall strictly, also as the float32 that trec_eval reads, so that tools which sort by score see this very ranking:
    a score that does not fall is written as the next float32 below the one before.
    """
    for column in ("query_id", "doc_id"):
        spaced = run[column][run[column].str.contains(r"\s")]
        if len(spaced):
            raise EvaluationError(
                f"the {column} {spaced.iloc[0]!r} holds white space, which the TREC format cannot say; rename it in the collection"
            )
    ranks = run.groupby("query_id", sort=False).cumcount() + 1
    columns = (run["query_id"].tolist(), run["doc_id"].tolist(), ranks.tolist(), run["score"].tolist())
    below = math.inf
    with path.open("w", encoding="utf-8") as stream:
        for query_id, doc_id, place, score in zip(*columns, strict=True):
            said, read = f"{score:.{DECIMALS}f}", np.float32(score)
            if place > 1 and read >= below:
                read = np.nextafter(below, np.float32(-math.inf))
                said = f"{read:.9g}"
            below = read
            stream.write(f"{query_id} Q0 {doc_id} {place} {said} {tag}\n")


def measure_run(run: pd.DataFrame, qrels: pd.DataFrame, measures: tuple[str, ...]) -> tuple[pd.DataFrame, dict[str, int]]:
    """Compute measures per judged query.

    Args:
        run: as :func:`rank` gives it.
        qrels: query_id, doc_id, relevance.
        measures: names as ir_measures writes them.

    Returns:
        Frame query_id, measure, value, sorted, one row a judged query and measure; and the counts of judged queries, of unjudged queries
        in the run, and of judged queries that the run has nothing for.
    """
    import ir_measures

    parsed = parse_measures(measures)
    judged = sorted(qrels["query_id"].unique())
    in_run = set(run["query_id"].unique())
    counts = {
        "queries_judged": len(judged),
        "queries_unjudged": len(in_run - set(judged)),
        "queries_without_result": len(set(judged) - in_run),
    }
    by_rank: dict[str, dict[str, float]] = {query_id: {} for query_id in judged if query_id in in_run}
    for query_id, doc_id in zip(run["query_id"].tolist(), run["doc_id"].tolist(), strict=True):
        if query_id in by_rank:  # the order of the run is the ranking, whatever the scores
            by_rank[query_id][doc_id] = -float(len(by_rank[query_id]))
    known: dict[str, dict[str, int]] = {}
    for query_id, doc_id, relevance in zip(*(qrels[name].tolist() for name in ("query_id", "doc_id", "relevance")), strict=True):
        known.setdefault(query_id, {})[doc_id] = relevance
    values = {(query_id, name): 0.0 for query_id in judged for name in measures}
    for result in ir_measures.iter_calc(parsed, known, by_rank):
        values[(result.query_id, str(result.measure))] = float(result.value)
    rows = [(query_id, name, value) for (query_id, name), value in sorted(values.items())]
    return pd.DataFrame(rows, columns=["query_id", "measure", "value"]), counts
