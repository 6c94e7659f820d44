"""Tables are checked against literal strings, the files of a chart by what they hold."""

from __future__ import annotations

import json
import re
from pathlib import Path

import altair as alt
import pandas as pd
import pytest
from test_charts import (
    make_across,
    make_descriptions,
    make_differences,
    make_history,
    make_results,
    make_search,
    make_summary,
)

from rd_utils.report import charts, layout, pictures
from rd_utils.report import forms as tables

NAN = float("nan")
IDENTITY = "ab12" * 16


def make_costs() -> pd.DataFrame:
    seconds = {"bm25-kl-static": (20, 22), "random-kl-static": (10, 10), "bm25-lce-cross": (200, 220)}
    return pd.DataFrame(
        [
            {
                "cell": cell,
                "collection": "toy/train",
                "seed": seed,
                "identity": IDENTITY,
                "strategy": cell.split("-")[0],
                "teacher": "",
                "loss": cell.split("-")[1],
                "architecture": cell.split("-")[2],
                "augmentation": "none",
                "cut": "all",
                "temperature": 1.0,
                "target_entropy": NAN,
                "train_wall_seconds": value / 2,
                "train_cpu_seconds": value / 2,
                "total_cpu_seconds": float(value),
                "documents_seen": 16000,
                "tokens_seen": 1234567,
                "peak_memory_mb": 512.0,
                "parameters": "{}",
            }
            for cell, values in seconds.items()
            for seed, value in enumerate(values)
        ]
    )


# --- tables -----------------------------------------------------------------------------------------------------------


def test_main_table_puts_baselines_first_and_writes_means_with_deviations() -> None:
    table = layout.main_table(make_summary())
    assert list(table.columns) == [("bm25@100", "nDCG@10"), ("full", "nDCG@10")]
    assert table.index.name == "cell"
    assert {cell: tuple(row) for cell, row in zip(table.index, table.to_numpy(), strict=True)} == {
        "BM25": ("0.420", "0.420"),
        "untrained static": ("0.310 ± 0.014", "–"),
        "teacher oracle": ("0.800", "–"),
        "bm25-kl-static": ("0.520 ± 0.028", "0.420 ± 0.028"),
        "random-kl-static": ("0.450 ± 0.014", "0.440 ± 0.014"),
        "bm25-lce-cross": ("0.610 ± 0.014", "–"),
    }
    assert list(table.index)[:3] == ["BM25", "untrained static", "teacher oracle"]
    assert table.attrs["n_baselines"] == 3


def test_main_table_follows_the_order_that_is_asked_for() -> None:
    summary = pd.concat([make_summary(), make_summary().assign(measure="RR@10")])
    table = layout.main_table(summary, measures=["RR@10", "nDCG@10"], first_stages=["full"], rows=("cell", "n_seeds"), digits=1)
    assert list(table.columns) == [("full", "RR@10"), ("full", "nDCG@10")]
    assert list(table.index) == [("BM25", "1"), ("bm25-kl-static", "2"), ("random-kl-static", "2")]


def test_main_table_refuses_a_repeated_row_and_an_unknown_measure() -> None:
    with pytest.raises(ValueError, match="9 row.*repeat .*'bm25-kl-static', 'bm25@100', 'nDCG@10'"):
        layout.main_table(pd.concat([make_summary(), make_summary()]))
    with pytest.raises(ValueError, match="no measure 'AP'"):
        layout.main_table(make_summary(), measures=["AP"])


def test_a_table_of_several_training_collections_asks_for_one() -> None:
    results = pd.concat([make_results(), make_results().assign(collection="other/train", test_collection="other/test", value=0.1)])
    summary = make_summary(results)
    table = layout.main_table(summary, test_collection="other/test")
    assert set(table[("full", "nDCG@10")]) - {"–"} == {"0.100", "0.100 ± 0.000"}
    shared = summary.assign(test_collection="toy/test")
    with pytest.raises(ValueError, match=r"2 values of collection: \['toy/train', 'other/train'\]; pass collection="):
        layout.main_table(shared)
    assert layout.main_table(shared, collection="toy/train").equals(layout.main_table(make_summary()))


def test_main_table_in_bold_leaves_baselines_out() -> None:
    written = tables.render(layout.main_table(make_summary()), "markdown", highlight=True)
    assert re.findall(r"\*\*(.+?)\*\*", written) == ["0.440 ± 0.014", "0.610 ± 0.014"]  # not the teacher's 0.800


def test_differences_table_writes_intervals_and_small_p_values() -> None:
    table = layout.differences_table(make_differences())
    assert table.iloc[0].to_dict() == {
        "first_stage": "bm25@100",
        "architecture": "static",
        "contrast": "bm25 - corpus_random",
        "verdict": "different",
        "difference [interval]": "+0.070 [+0.040, +0.100]",
        "p (Holm)": "< 0.001",
        "p equivalence": "0.200",
        "smallest margin, uncorrected": "0.100",
        "verdict (these students)": "different",
        "seeds": "2",
        "queries": "50",
    }


def test_differences_table_shows_what_verdicts_rest_on_and_says_what_is_not_corrected() -> None:
    more = {"p_equivalence_holm": 0.6, "queries_needed": [1200.0, NAN, 40.0, 7.0], "seed_share": [0.124, NAN, 1.0, 0.0]}
    more |= {"fragile": [True, False, True, False], "seeds_needed": [5.0, float("inf"), NAN, 2.0], "n_seeds": 3, "seeds_pooled": 7}
    more |= {"low_queries": 0.01, "high_queries": 0.15, "p_queries_holm": 0.0001, "verdict_queries": "both"}
    more |= {"cell_before": "static-random", "cell_after": "static-bm25"}
    table = layout.differences_table(make_differences().assign(**more))
    shown = [
        "first_stage", "architecture", "contrast", "verdict", "difference [interval]", "p (Holm)", "p equivalence (Holm)",
        "smallest margin, uncorrected",
    ]  # fmt: skip
    assert list(table.columns) == [*shown, *layout.DETAILS]
    assert set(table["p equivalence (Holm)"]) == {"0.600"}  # not the raw 0.200
    assert table["verdict"].tolist() == ["different, fragile", "equivalent", "both, fragile", "undecided"]
    assert table["queries needed, uncorrected"].tolist() == ["1,200", "–", "40", "7"]
    assert table["seeds needed, uncorrected"].tolist() == ["5", "–", "–", "2"]
    assert table["seed share"].tolist() == ["12%", "–", "100%", "0%"]
    assert table.loc[0, list(layout.DETAILS)].drop(["queries needed, uncorrected", "seeds needed, uncorrected", "seed share"]).tolist() == [
        "[+0.010, +0.150]", "< 0.001", "both", "3", "50", "7", "static-bm25", "static-random",
    ]  # fmt: skip


def make_against() -> pd.DataFrame:
    """Two cells against BM25, their untrained selves and, one of them, a teacher."""
    rows = [
        ("first stage", "BM25", "bm25-kl-static", 0.52, 0.42, "different"),
        ("first stage", "BM25", "bm25-lce-cross", 0.61, 0.42, "different, these students only"),
        ("untrained", "untrained static", "bm25-kl-static", 0.52, 0.31, "different"),
        ("untrained", "untrained cross", "bm25-lce-cross", 0.61, 0.60, "undecided"),
        ("against teacher", "teacher oracle", "bm25-kl-static", 0.52, 0.80, "different"),
    ]
    frame = make_differences().iloc[[0] * len(rows)].reset_index(drop=True)
    names = ["family", "cell_before", "cell_after", "mean_b", "mean_a", "verdict"]
    frame = frame.assign(**{name: [row[place] for row in rows] for place, name in enumerate(names)})
    difference = frame["mean_b"] - frame["mean_a"]
    return frame.assign(difference=difference, low=difference - 0.02, high=difference + 0.02, fragile=[False, False, True, False, False])


def test_baselines_table_puts_every_cell_beside_what_was_not_trained() -> None:
    mixed = pd.concat([make_differences(), make_against()], ignore_index=True)
    table = layout.baselines_table(mixed)
    assert table.to_dict("records") == [
        {
            "cell": "bm25-kl-static",
            "nDCG@10": "0.520",
            "minus BM25": "+0.100 [+0.080, +0.120] different",
            "minus its untrained self": "+0.210 [+0.190, +0.230] different, fragile",
            "minus teacher oracle": "-0.280 [-0.300, -0.260] different",
        },
        {
            "cell": "bm25-lce-cross",
            "nDCG@10": "0.610",
            "minus BM25": "+0.190 [+0.170, +0.210] different, these students only",
            "minus its untrained self": "+0.010 [-0.010, +0.030] undecided",
            "minus teacher oracle": "–",
        },
    ]
    with pytest.raises(ValueError, match="differences of the baselines has no rows"):
        layout.baselines_table(make_differences().assign(cell_before="a", cell_after="b", mean_b=0.5))
    with pytest.raises(ValueError, match="'bm25-kl-static' stands against 'BM25' twice"):
        layout.baselines_table(pd.concat([make_against(), make_against()]))


def test_a_cell_with_two_first_stages_has_a_column_for_each() -> None:
    other = make_against().iloc[[0]].assign(cell_before="dense", difference=0.0, low=-0.01, high=0.01, verdict="equivalent")
    table = layout.baselines_table(pd.concat([make_against(), other], ignore_index=True))
    assert list(table.columns)[2:4] == ["minus BM25", "minus dense"]
    assert table["minus dense"].tolist() == ["+0.000 [-0.010, +0.010] equivalent", "–"]


def test_a_matrix_of_one_seed_has_the_signs_of_its_verdicts() -> None:
    row = {"system_a": "bm25", "system_b": "dense", "difference": -0.011, "letters_a": "a", "letters_b": "a"}
    table = layout.matrix_table(pd.DataFrame([row | {"verdict": "both, these students only"}]))
    assert table.loc["dense", "bm25"] == "-0.011 =*"


def test_differences_table_says_what_the_contrast_does_not() -> None:
    loss = make_differences().iloc[[0, 1]].assign(family="loss", contrast="kl - lce", strategy=["bm25", "dense"])
    noise = make_differences().iloc[[2]].assign(family="augmentation", contrast="noise - none", augmentation="noise", target_entropy=0.3)
    table = layout.differences_table(pd.concat([loss, noise], ignore_index=True))
    assert table.loc[:, "family":"contrast"].to_dict("records") == [
        {"family": "loss", "strategy": "bm25", "target_entropy": "", "contrast": "kl - lce"},
        {"family": "loss", "strategy": "dense", "target_entropy": "", "contrast": "kl - lce"},
        {"family": "augmentation", "strategy": "bm25", "target_entropy": "0.3", "contrast": "noise - none"},
    ]


def test_tables_name_the_training_collection_only_where_the_test_collection_does_not_tell_it() -> None:
    here, there = make_differences(), make_differences().assign(collection="other/train")
    table = layout.differences_table(pd.concat([here, there.assign(test_collection="other/test")], ignore_index=True))
    assert table["test_collection"].tolist() == ["toy/test"] * 4 + ["other/test"] * 4 and "collection" not in table.columns
    shared = layout.differences_table(pd.concat([here, there], ignore_index=True))
    assert shared["collection"].tolist() == ["toy/train"] * 4 + ["other/train"] * 4 and "test_collection" not in shared.columns


def test_across_table_writes_intervals_and_in_how_many_collections_they_hold() -> None:
    table = layout.across_table(make_across())
    assert table.iloc[0].to_dict() == {
        "first_stage": "bm25@100",
        "contrast": "bm25 - corpus_random",
        "mean difference [interval]": "+0.020 [+0.008, +0.032]",
        "SD": "0.005",
        "positive in": "3 of 3",
        "different in": "2 of 3",
        "equivalent in": "1 of 3",
    }
    assert table.iloc[2][["mean difference [interval]", "SD", "positive in"]].tolist() == ["-0.010", "–", "0 of 1"]


def test_search_table_has_a_column_a_rate_and_marks_the_one_that_was_taken() -> None:
    table = layout.search_table(make_search(), "nDCG@10")
    assert list(table.columns) == ["architecture", "loss", "0.003", "0.01", "0.03"]
    assert table.to_numpy().tolist() == [
        ["static", "lce", "0.510", "0.550 *", "0.400"],
        ["static", "kl", "0.500", "0.520", "0.560 *"],
    ]
    twice = pd.concat([make_search(), make_search().assign(search="other")])
    assert sorted(layout.search_table(twice, "nDCG@10")["search"]) == ["klklklkl", "lcelcelcelce", "other", "other"]


def test_description_table_leaves_out_what_all_rows_share() -> None:
    table = layout.description_table(make_descriptions())
    assert list(table.columns) == [
        "strategy", "augmentation", "state", "diameter q99, mean", "pairwise entropy", "density ratio", "coverage",
    ]  # fmt: skip
    assert table.iloc[3].tolist() == ["bm25", "spans", "after", 0.5, 0.4, 2.5, 0.25]
    solved = make_descriptions().assign(target_entropy=[0.2, 0.2, 0.5, 0.5], solved_temperature=3.0)
    assert layout.description_table(solved)[["target_entropy", "temperature solved for"]].iloc[2].tolist() == ["0.5", 3.0]


def test_variance_table_has_a_row_a_factorial_and_a_column_a_source() -> None:
    about = {"collection": "c", "test_collection": "t", "first_stage": "full", "measure": "AP", "teacher": "oracle"}
    sources = (
        ("strategy", 0.5, 0.0001),
        ("target_entropy", 0.25, 0.04),
        ("interaction", 0.15, 0.5),
        ("seeds", 0.08, NAN),
        ("residual", 0.02, NAN),
    )
    rows = [about | {"loss": loss, "source": source, "share": share, "p": p} for loss in ("kl", "ranknet") for source, share, p in sources]
    table = layout.variance_table(pd.DataFrame(rows))
    assert list(table.columns) == ["loss", "strategy", "target_entropy", "interaction", "seeds", "residual"]
    assert table.iloc[0].tolist() == ["kl", "50.0% (p < 0.001)", "25.0% (p = 0.040)", "15.0% (p = 0.500)", "8.0%", "2.0%"]


def test_variance_table_shows_the_corrected_p_value_where_there_is_one() -> None:
    about = {"collection": "c", "test_collection": "t", "first_stage": "full", "measure": "AP", "loss": "kl", "low": 0.1, "high": 0.9}
    values = (("strategy", 0.0001, 0.0006), ("target_entropy", 0.04, 0.12), ("interaction", 0.5, NAN), ("residual", NAN, NAN))
    rows = [about | {"source": source, "share": 0.25, "p": p, "p_holm": holm} for source, p, holm in values]
    assert layout.variance_table(pd.DataFrame(rows)).iloc[0].tolist()[1:] == [
        "25.0% [10.0%, 90.0%] (Holm p < 0.001)",
        "25.0% [10.0%, 90.0%] (Holm p = 0.120)",
        "25.0% [10.0%, 90.0%] (p = 0.500)",
        "25.0% [10.0%, 90.0%]",
    ]


def test_spread_table_names_the_strategies_at_the_ends() -> None:
    about = {"collection": "c", "test_collection": "t", "first_stage": "full", "teacher": "", "architecture": "static", "n_strategies": 3}
    rows = [
        about | {"measure": measure, "loss": loss, "lowest": "corpus_random", "highest": "bm25", "spread": 0.03, "sd": 0.01}
        for measure in ("AP", "nDCG@10")
        for loss in ("lce", "kl")
    ]
    table = layout.spread_table(pd.DataFrame(rows), "AP")
    assert table.to_dict("records") == [
        {"loss": loss, "lowest": "corpus_random", "highest": "bm25", "spread": 0.03, "SD": 0.01} for loss in ("lce", "kl")
    ]


def test_cells_table_traces_each_seed_to_its_manifest_by_a_relative_path() -> None:
    table = layout.cells_table(make_costs(), manifest="../store/student/{identity}/manifest.json")
    assert len(table) == 6
    assert list(table.columns)[-2:] == ["identity", "manifest"]
    assert table.loc[0, "manifest"] == f"../store/student/{IDENTITY}/manifest.json"
    for manifest, message in (("/store/{identity}", "not a relative path"), ("student/manifest.json", "must hold")):
        with pytest.raises(ValueError, match=message):
            layout.cells_table(make_costs(), manifest=manifest)


# --- files ------------------------------------------------------------------------------------------------------------


def test_save_chart_writes_json_svg_and_png_and_the_same_bytes_again(tmp_path: Path) -> None:
    files = pictures.save_chart(charts.learning_chart(make_history()), tmp_path / "charts" / "cost.v1")
    assert [path.name for path in files] == ["cost.v1.json", "cost.v1.svg", "cost.v1.png"]
    assert json.loads(files.json.read_text(encoding="utf-8"))["$schema"].endswith(f"vega-lite/{alt.SCHEMA_VERSION}.json")
    assert files.svg.read_text(encoding="utf-8").startswith("<svg")
    assert files.png.read_bytes().startswith(b"\x89PNG\r\n")
    before = [path.read_bytes() for path in files]
    again = pictures.save_chart(charts.learning_chart(make_history()), tmp_path / "charts" / "cost.v1")
    assert [path.read_bytes() for path in again] == before
