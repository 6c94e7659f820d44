"""What a report says in short, against literal rows and sentences."""

from __future__ import annotations

import pandas as pd
from test_charts import make_differences, make_summary
from test_report import NAN, make_against

from rd_utils.report import in_short

MEASURE = "nDCG@10"


def make_cells() -> pd.DataFrame:
    seconds = {"bm25-kl-static": (20, 22), "random-kl-static": (10, 10), "bm25-lce-cross": (200, 220)}
    rows = [(cell, "toy/train", value) for cell, values in seconds.items() for value in values]
    return pd.DataFrame(rows, columns=["cell", "collection", "total_cpu_seconds"])


def make_pair(before: str, after: str, verdict: str, **changes: object) -> pd.DataFrame:
    """Return one contrast of two trained cells."""
    word = verdict.split(",")[0]
    named = {"cell_before": before, "cell_after": after, "verdict": verdict, "fragile": False} | changes
    return make_differences().iloc[[0]].assign(equivalent=word in ("equivalent", "both"), **named)


def test_the_best_cell_stands_beside_its_own_baselines() -> None:
    rows = in_short.beside(make_summary(), make_against(), MEASURE)
    shown = rows[["first_stage", "cell", "mean", "system", "baseline", "baseline_mean", "difference", "verdict"]].round(3)
    assert shown.fillna(-1).to_numpy().tolist() == [
        ["bm25@100", "bm25-lce-cross", 0.61, "first_stage", "BM25", 0.42, 0.19, "different, these students only"],
        ["bm25@100", "bm25-lce-cross", 0.61, "teacher", "teacher oracle", 0.80, -1, ""],  # learnt from none: any teacher
        ["full", "random-kl-static", 0.44, "first_stage", "BM25", 0.42, -1, ""],
    ]
    table = in_short.beside_table(rows)
    assert table.to_dict("records") == [
        {
            "first stage": "bm25@100",
            "best cell": "bm25-lce-cross",
            MEASURE: "0.610 ± 0.014",
            "minus its first stage": "BM25 0.420: +0.190 [+0.170, +0.210] different, these students only",
            "minus its untrained self": "–",
            "minus its teacher": "teacher oracle 0.800",
        },
        {
            "first stage": "full",
            "best cell": "random-kl-static",
            MEASURE: "0.440 ± 0.014",
            "minus its first stage": "BM25 0.420",
            "minus its untrained self": "–",
            "minus its teacher": "–",
        },
    ]


def test_an_untrained_student_and_a_teacher_belong_to_cells_of_their_own() -> None:
    summary = make_summary()
    summary.loc[summary["cell"] == "bm25-kl-static", "mean"] = 0.9
    rows = in_short.beside(summary, make_against(), MEASURE).query("first_stage == 'bm25@100'")
    assert rows["baseline"].tolist() == ["BM25", "untrained static", "teacher oracle"]
    assert rows["difference"].round(2).tolist() == [0.10, 0.21, -0.28]
    other = summary.assign(teacher=summary["teacher"].mask(summary["cell"] == "bm25-kl-static", "another"))
    rows = in_short.beside(other, make_against(), MEASURE).query("first_stage == 'bm25@100'")
    assert rows["system"].tolist() == ["first_stage", "untrained"]


def test_the_best_cell_of_a_study_without_contrasts_or_baselines_is_named_all_the_same() -> None:
    rows = in_short.beside(make_summary().query("system == 'student'"), pd.DataFrame(), MEASURE)
    assert rows[["cell", "system"]].to_numpy().tolist() == [["bm25-lce-cross", ""], ["random-kl-static", ""]]
    assert in_short.beside_table(rows)["minus its first stage"].tolist() == ["–", "–"]


def test_verdicts_are_counted_by_family_and_one_that_is_both_has_its_column() -> None:
    differences = pd.concat([make_differences().assign(fragile=[True, False, False, False]), make_against()], ignore_index=True)
    assert in_short.verdict_counts(differences).to_dict("split")["data"] == [
        ["strategy", 4, 1, 1, 1, 1, 1],
        ["first stage", 2, 2, 0, 0, 0, 0],
        ["untrained", 2, 1, 0, 0, 1, 1],
        ["against teacher", 1, 1, 0, 0, 0, 0],
    ]
    assert in_short.counts_sentence(differences, 0.02) == (
        "Contrasts: 9. Different: 5; equivalent within 0.02: 1; both: 1; undecided: 2. Fragile verdicts: 2. "
        "With one seed, verdicts are of these students only."
    )


def test_the_cheapest_equivalent_cell_comes_from_contrasts_and_matrices() -> None:
    summary, cells, nothing = make_summary(), make_cells(), pd.DataFrame()
    one = make_pair("bm25-kl-static", "bm25-lce-cross", "equivalent, these students only", family="loss")
    other = make_pair("random-kl-static", "bm25-lce-cross", "different", family="strategy")
    found = in_short.cheapest_equivalent(summary, pd.concat([one, other]), nothing, cells, MEASURE)
    columns = ["first_stage", "best", "best_cost", "n_compared", "n_equivalent", "cheapest", "cheapest_cost", "saved"]
    assert found[columns].fillna(-1).round(2).to_numpy().tolist() == [
        ["bm25@100", "bm25-lce-cross", 210.0, 2, 1, "bm25-kl-static", 21.0, 0.9],
        ["full", "random-kl-static", 10.0, 0, 0, "", -1, -1],
    ]
    about = summary.query("cell == 'random-kl-static' and first_stage == 'full'").iloc[[0]]
    matrix = about.assign(system_a="corpus_random", system_b="bm25", verdict="both")
    found = in_short.cheapest_equivalent(summary, pd.DataFrame(), matrix, cells, MEASURE)
    full = ["full", "random-kl-static", 10.0, 1, 1, "bm25-kl-static", 21.0, -1.1]
    assert found[columns].fillna(-1).round(2).to_numpy().tolist()[1] == full


def test_a_baseline_is_no_cheaper_cell() -> None:
    found = in_short.cheapest_equivalent(
        make_summary(), make_against().assign(verdict="equivalent", equivalent=True), pd.DataFrame(), make_cells(), MEASURE
    )
    assert found["n_compared"].tolist() == [0, 0]


def make_found(**changes: object) -> pd.DataFrame:
    row = {"collection": "c", "test_collection": "t", "first_stage": "full", "measure": MEASURE, "best": "a", "best_value": 0.7}
    row |= {"best_cost": 1234.0, "n_compared": 3, "n_equivalent": 2, "cheapest": "b", "cheapest_value": 0.695, "cheapest_cost": 617.0}
    return pd.DataFrame([row | {"saved": 0.5} | changes])


def test_sentences_say_what_the_cheapest_equivalent_saves() -> None:
    assert in_short.cheapest_sentences(make_found()) == [
        "`b` is the cheapest cell that was shown to be equivalent to the best, `a` (0.695 beside 0.700), as 2 of 3 cells that were "
        "compared with it were; it saves 50% of 1,234 CPU seconds a seed."
    ]
    none = make_found(cheapest="", n_equivalent=0, cheapest_value=NAN, cheapest_cost=NAN, saved=NAN)
    assert in_short.cheapest_sentences(pd.concat([none, make_found(first_stage="bm25@100", saved=-0.25)])) == [
        "On full: No cell was shown to be equivalent to the best, `a`, of 3 that were compared with it.",
        "On bm25@100: No cheaper cell than the best, `a` (1,234 CPU seconds a seed), was shown to be equivalent to it; "
        "2 of 3 cells that were compared with it were.",
    ]


def test_many_places_have_one_sentence() -> None:
    places = [make_found(test_collection=f"t{n}", saved=0.1 * n) for n in range(5)]
    assert in_short.cheapest_sentences(pd.concat(places)) == [
        "In 4 of 5 places a cheaper cell was shown to be equivalent to the best; it saves a median 25% of the CPU seconds."
    ]
    assert in_short.cheapest_sentences(pd.concat(places).assign(cheapest="")) == [
        "In none of 5 places a cheaper cell was shown to be equivalent to the best."
    ]
