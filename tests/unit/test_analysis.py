"""A study's tables from hand-made measures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rd_utils import analysis, params

SETTINGS = params.AnalysisSettings(baseline_strategy="corpus_random", equivalence_margin=0.02)


def rows(cell, strategy, loss, values, system="student", seeds=(0,), teacher=""):
    about = {"study": "s", "cell": cell, "system": system, "collection": "c/train", "strategy": strategy, "teacher": teacher, "loss": loss}
    about |= {"architecture": "static", "augmentation": "none", "temperature": 1.0, "test_collection": "c/test", "first_stage": "full"}
    return [
        about | {"seed": seed, "query_id": f"q{i}", "measure": "nDCG@10", "value": value + 0.01 * seed}
        for seed in seeds
        for i, value in enumerate(values)
    ]


def test_results_average_queries_and_summary_averages_seeds():
    table = pd.DataFrame(rows("a", "bm25", "lce", [0.2, 0.4], seeds=(0, 1, 2)))
    results = analysis.results(table)
    assert results["value"].round(6).tolist() == [0.3, 0.31, 0.32]
    assert list(results.columns) == analysis.RESULT_COLUMNS
    (row,) = analysis.summary(results).itertuples()
    assert (round(row.mean, 6), round(row.sd, 6), row.n_seeds) == (0.31, 0.01, 3)


def test_contrasts_differ_in_one_thing_only():
    base = np.linspace(0.1, 0.9, 40)
    generator = np.random.default_rng(0)
    table = pd.DataFrame(
        rows("r-lce", "corpus_random", "lce", base)
        + rows("b-lce", "bm25", "lce", base + 0.1 + 0.01 * generator.standard_normal(40))
        + rows("r-kl", "corpus_random", "kl", base + 0.001 * generator.standard_normal(40), teacher="t")
        + rows("b-kl", "bm25", "kl", base, teacher="t")
        + rows("BM25", "", "", base, system="bm25")
    )
    found = analysis.differences(table, SETTINGS).set_index(["cell_before", "cell_after"])
    assert set(found.index) == {("r-lce", "b-lce"), ("r-kl", "b-kl"), ("r-lce", "r-kl"), ("b-lce", "b-kl")}
    assert found.loc[("r-lce", "b-lce"), "verdict"] == "different"
    assert found.loc[("r-lce", "b-lce"), "difference"] == pytest.approx(0.1, abs=0.005)
    assert found.loc[("r-kl", "b-kl"), "verdict"] == "equivalent"
    assert found.loc[("r-lce", "b-lce"), "contrast"] == "bm25 - corpus_random"
    assert (found["p_holm"] >= found["p_difference"]).all()


def test_cells_with_other_seeds_are_not_compared():
    table = pd.DataFrame(rows("r", "corpus_random", "lce", [0.1, 0.2, 0.3]) + rows("b", "bm25", "lce", [0.1, 0.2, 0.4], seeds=(0, 1)))
    assert analysis.differences(table, SETTINGS).empty
