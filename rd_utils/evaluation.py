"""From scores to runs, and from runs to measures per query.

Runs are ranked by (-score, doc_id). Measures come from ir_measures; because its backends break ties by an order of their own, they are
given the rank instead of the score. Queries without a single qrel are unjudged: they are counted, never averaged in. A judged query for
which a run has nothing counts 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from rd_utils.params import nearest
from rd_utils.retrieval import tie_order

SCORE_DECIMALS = 5
MEASURE_EXAMPLES = ("nDCG@10", "AP", "AP(rel=2)", "RR@10", "R@100", "P@10", "Judged@10", "Success@10")


class EvaluationError(ValueError):
    """A run or a measure cannot be used; the message names the offender."""


def parse_measures(names: tuple[str, ...]) -> list[object]:
    """Return ir_measures' measures of these names.

    Raises:
        EvaluationError: a name that ir_measures does not know, with the nearest known one.
    """
    import ir_measures

    parsed = []
    for name in names:
        try:
            measure = ir_measures.parse_measure(name)
        except (NameError, ValueError, SyntaxError) as error:
            raise EvaluationError(f"unknown measure {name!r}{nearest(name, MEASURE_EXAMPLES)}") from error
        if str(measure) != name:
            raise EvaluationError(f"the measure {name!r} is written {str(measure)!r}; use that name")
        parsed.append(measure)
    return parsed


def rank(query_ids: np.ndarray, doc_ids: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
    """Sort scored pairs into a run: queries in sorted order, documents by (-score, doc_id), scores rounded to 5 decimals.

    Raises:
        EvaluationError: a score is no finite number, or a pair stands twice.
    """
    scores = np.round(np.asarray(scores, dtype=np.float64), SCORE_DECIMALS)
    if not np.isfinite(scores).all():
        first = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise EvaluationError(
            f"score of query {str(query_ids[first])!r}, document {str(doc_ids[first])!r} is {scores[first]}: "
            "the model is broken, or its precision too low; try fp32"
        )
    run = pd.DataFrame({"query_id": query_ids, "doc_id": doc_ids, "score": scores + 0.0}).astype({"query_id": "str", "doc_id": "str"})
    twice = run[run.duplicated(["query_id", "doc_id"])]
    if len(twice):
        raise EvaluationError(f"the run lists {tuple(twice.iloc[0][['query_id', 'doc_id']])} twice")
    order = np.lexsort((tie_order(run["doc_id"]), -run["score"].to_numpy(), run["query_id"].to_numpy(dtype=object)))
    return run.iloc[order].reset_index(drop=True)


def write_run(run: pd.DataFrame, path: Path, tag: str) -> None:
    """Write a run in TREC format: query_id Q0 doc_id rank score tag."""
    for column in ("query_id", "doc_id"):
        spaced = run[column][run[column].str.contains(r"\s")]
        if len(spaced):
            raise EvaluationError(
                f"the {column} {spaced.iloc[0]!r} holds white space, which the TREC format cannot say; rename it in the collection"
            )
    ranks = run.groupby("query_id", sort=False).cumcount() + 1
    with path.open("w", encoding="utf-8") as stream:
        for query_id, doc_id, place, score in zip(run["query_id"], run["doc_id"], ranks, run["score"], strict=True):
            stream.write(f"{query_id} Q0 {doc_id} {place} {score:.{SCORE_DECIMALS}f} {tag}\n")


def read_run(path: Path) -> pd.DataFrame:
    """Read a TREC run file as query_id, doc_id, score."""
    names = ["query_id", "q0", "doc_id", "rank", "score", "tag"]
    frame = pd.read_csv(path, sep=r"\s+", names=names, dtype={"query_id": "str", "doc_id": "str", "q0": "str", "tag": "str"})
    if frame[["query_id", "doc_id", "score"]].isna().any(axis=None):
        raise EvaluationError(f"{path} is no TREC run: expected six columns, query_id Q0 doc_id rank score tag")
    return frame[["query_id", "doc_id", "score"]]


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
    by_rank = run.assign(score=-run.groupby("query_id", sort=False).cumcount().astype("float64"))
    values = {(query_id, name): 0.0 for query_id in judged for name in measures}
    for result in ir_measures.iter_calc(parsed, qrels, by_rank[by_rank["query_id"].isin(set(judged))]):
        values[(result.query_id, str(result.measure))] = float(result.value)
    rows = [(query_id, name, value) for (query_id, name), value in sorted(values.items())]
    return pd.DataFrame(rows, columns=["query_id", "measure", "value"]), counts
