"""What a study is said to be able to show, before it runs and beside its answers."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from studies_on_disk import GRID, planned, put_all

from rd_utils.analysis import contrasts, crossed, questions
from rd_utils.analysis import tables as analysis
from rd_utils.analysis.crossed import Spread
from rd_utils.cost.workload import Sizes
from rd_utils.store import Store
from rd_utils.study import studies
from rd_utils.study.plan import DIMENSIONS, PLACE
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.workflow.progress import untracked

WHOLE = GRID | {"strategies": ["corpus_random", "bm25"]}
TEST = "embedded-smallest-additive-13/test"
SETTINGS = {"measure": "nDCG@10", "baseline_strategy": "corpus_random", "equivalence_margin": 0.02}


def said(tmp_path, *grids, words="", **changes) -> list[str]:
    """Return what is said before a study of these grids runs, where it has these words."""
    this = planned(tmp_path, overrides=[], **({"grids": list(grids)} if grids else {}), **changes)
    return [line for line in questions.before(this) if words in line]


def margins(*lines) -> list[str]:
    return [line for line in lines if "prove a margin" in line]


def test_a_whole_grid_of_two_seeds_is_told_of_its_margin_only(tmp_path, outputs):
    (line,) = said(tmp_path, WHOLE)
    assert line.startswith(f"{TEST}, static: 60 queries and 2 seeds prove a margin of about ")


# --- what a grid cannot compare -----------------------------------------------------------------------------------------------


def test_a_baseline_in_no_grid_is_named_with_what_there_is(tmp_path, outputs):
    assert said(tmp_path, GRID, words="strategies") == [
        "no contrast of strategies: the baseline corpus_random is in no grid, which has bm25; add it, or set analysis.baseline_strategy "
        "to one of them"
    ]


def test_losses_that_distil_are_compared_with_lce_or_with_nothing(tmp_path, outputs):
    without = WHOLE | {"losses": ["kl", "ranknet"]}
    assert said(tmp_path, without, words="lce") == ["no contrast of losses: kl, ranknet are compared with lce, which is in no grid"]
    assert said(tmp_path, WHOLE | {"losses": ["kl"]}, words="lce") == []  # one loss asks nothing of losses
    apart = [WHOLE | {"losses": ["lce"], "teachers": []}, WHOLE | {"losses": ["kl"], "architectures": ["interaction"]}]
    assert said(tmp_path, *apart, words="lce") == [
        "2 of 4 cells have no cell of lce beside them, so their loss is compared with nothing: interaction-corpus_random-oracle-kl, "
        "interaction-bm25-oracle-kl"
    ]


def test_cells_without_the_baseline_strategy_beside_them_are_counted_and_three_are_named(tmp_path, outputs):
    assert said(tmp_path, words="beside them") == [
        "2 of 6 cells have no cell of corpus_random beside them, so their strategy is compared with nothing: interaction-bm25-lce, "
        "interaction-bm25-cross-kl"
    ]
    more = GRID | {"architectures": ["interaction"], "losses": ["lce", "kl", "ranknet", "margin_mse"]}
    (line,) = said(tmp_path, WHOLE, more, words="beside them")
    assert line.startswith("4 of 8 cells have no cell of corpus_random") and line.endswith("interaction-bm25-oracle-ranknet ...")


def test_cells_with_other_seeds_than_their_partner_are_named(tmp_path, outputs):
    grids = [WHOLE | {"losses": ["lce"], "teachers": []}, WHOLE | {"losses": ["kl"], "seeds": [0, 1, 2]}]
    assert said(tmp_path, *grids, words="other seeds") == [
        "2 cells have other seeds than the cell they would be compared with, and are not: static-bm25-oracle-kl, "
        "static-corpus_random-oracle-kl"
    ]
    assert said(tmp_path, WHOLE, words="other seeds") == []


def test_one_seed_is_about_these_students(tmp_path, outputs):
    grids = [WHOLE, WHOLE | {"architectures": ["interaction"], "seeds": [3]}]
    one, *rest = said(tmp_path, *grids, words="these students only")
    assert one == "one seed (interaction): verdicts are about these students only; other seeds may say otherwise"
    (margin,) = rest
    assert margin.startswith(f"{TEST}, interaction: 60 queries and 1 seed prove a margin of about ") and "static" not in margin


# --- margins ------------------------------------------------------------------------------------------------------------------


def test_a_margin_rests_on_the_assumed_spread_until_a_study_was_published(tmp_path, outputs):
    (line,) = said(tmp_path, WHOLE)
    spread = questions.ASSUMED["static_bi"]
    margin, queries = crossed.provable_margin(spread, 60, 2), crossed.queries_needed(spread, 0.02, 2)
    assert line == (
        f"{TEST}, static: 60 queries and 2 seeds prove a margin of about {margin:.3f}, not the 0.02 asked for: that takes {queries:,} "
        "queries; more seeds alone are not enough (assumed spread: 0.15 over queries, 0.002 over seeds, 0.10 both)"
    )
    (wide,) = said(tmp_path, WHOLE, analysis=SETTINGS | {"equivalence_margin": 0.2})
    assert wide.endswith(f"prove a margin of about {margin:.3f} (assumed spread: 0.15 over queries, 0.002 over seeds, 0.10 both)")


def test_three_strategies_pool_their_seeds(tmp_path, outputs):
    third = {"strategies": {"corpus_random": {"kind": "corpus_random"}, "bm25": {"kind": "candidates", "retriever": "bm25", "depth": 100},
             "deep": {"kind": "candidates", "retriever": "bm25", "depth": 200}}}  # fmt: skip
    (line,) = said(tmp_path, WHOLE | {"strategies": ["corpus_random", "bm25", "deep"]}, **third)
    pooled = crossed.provable_margin(questions.ASSUMED["static_bi"], 60, 2, n_pooled=3)
    assert f"of about {pooled:.3f}," in line and pooled < crossed.provable_margin(questions.ASSUMED["static_bi"], 60, 2) - 0.01


def publish(outputs, name, architectures, rows) -> None:
    """Put a finished study's record and table where the next one looks for them."""
    (outputs / name).mkdir(parents=True)
    (outputs / name / "study.json").write_text(json.dumps({"parameters": {"architectures": architectures}}))
    pd.DataFrame(rows).to_parquet(outputs / name / "differences.parquet")


def measured(architecture, query, seed, residual, **changes) -> dict:
    row = {"family": "strategy", "measure": "nDCG@10", "architecture": architecture, "n_seeds": 3}
    return row | {"query_sd": query, "seed_sd": seed, "residual_sd": residual} | changes


def test_a_margin_rests_on_what_earlier_studies_with_this_architecture_measured(tmp_path, outputs):
    dumped = {name: part.model_dump(mode="json") for name, part in planned(tmp_path).study.architectures.items()}
    nan = float("nan")
    others = [
        measured("own", 9.0, 9.0, 9.0, family="loss"),
        measured("own", 9.0, 9.0, 9.0, measure="AP"),
        measured("own", 9.0, nan, nan, n_seeds=1),
        measured("else", 9.0, 9.0, 9.0),
    ]
    known = {"own": dumped["static"], "else": dumped["interaction"] | {"dimension": 8}}
    publish(outputs, "a", known, [measured("own", 0.03, 0.0, 0.04), *others])
    publish(outputs, "b", {"own": dumped["static"]}, [measured("own", 0.01, 0.004, 0.0)])
    publish(outputs, "old", {"own": dumped["static"]}, [{"family": "strategy", "measure": "nDCG@10", "architecture": "own"}])
    (outputs / "cut").mkdir()
    (outputs / "cut" / "study.json").write_text("{")
    this = planned(tmp_path)
    spread, basis = questions.known_spread(this, "static")
    assert basis == "measured" and spread == pytest.approx(((0.0009 / 2 + 0.0001 / 2) ** 0.5, (0.000016 / 2) ** 0.5, (0.0016 / 2) ** 0.5))
    assert questions.known_spread(this, "interaction") == (questions.ASSUMED["interaction_cross"], "assumed")
    (line,) = said(tmp_path, WHOLE)
    assert line.endswith("(measured spread: 0.02 over queries, 0.003 over seeds, 0.03 both)")


def test_the_seeds_that_would_do_are_said_where_seeds_are_what_is_missing(tmp_path, outputs):
    dumped = planned(tmp_path).study.architectures["static"].model_dump(mode="json")
    publish(outputs, "a", {"own": dumped}, [measured("own", 0.02, 0.01, 0.0)])
    (line,) = said(tmp_path, WHOLE)
    enough = crossed.seeds_needed(Spread(0.02, 0.01, 0.0), 0.02, 60)
    assert 2 < enough < 20 and f"not the 0.02 asked for: {enough} seeds would do (measured" in line


def test_an_architecture_nobody_guessed_has_the_spread_of_whatever_else_is_trained(tmp_path, outputs):
    this = planned(tmp_path, architectures={"static": {"kind": "tiny_bert_bi"}, "interaction": {"kind": "interaction_cross"}})
    assert questions.known_spread(this, "static") == (questions.ASSUMED_ELSE, "assumed")


def test_unknown_sizes_say_nothing(tmp_path, outputs, monkeypatch):
    nan = float("nan")
    monkeypatch.setattr(questions, "listed", lambda collection: Sizes(nan, nan, nan))
    assert said(tmp_path, WHOLE) == []
    monkeypatch.setattr(questions, "listed", lambda collection: Sizes(5, 1, 1))
    assert not margins(*said(tmp_path, WHOLE))  # one query has no spread


# --- epochs -------------------------------------------------------------------------------------------------------------------


def test_training_that_goes_round_its_groups_too_often_is_named_once_an_architecture(tmp_path, outputs):
    size = planned(tmp_path).cells[0].students[0].groups.group_size
    documents = 150 * size * 300  # of 300 training queries with one positive each
    training = {"documents": documents, "queries_per_batch": 32, "learning_rate": 0.01}
    assert said(tmp_path, WHOLE, words="epochs", training=training) == [
        "embedded-smallest-additive-13/train, static: 150 epochs over 300 groups; students that see the same few groups so often learn "
        "them by heart: lower training.documents, or train on more queries"
    ]
    assert said(tmp_path, WHOLE, words="epochs", training=training | {"documents": documents * 99 // 150}) == []


def test_a_collection_is_sized_once_however_many_cells_train_on_it(tmp_path, outputs, monkeypatch):
    met = []
    monkeypatch.setattr(questions, "listed", lambda collection: met.append(collection.label) or Sizes(100, 60, 300))
    assert said(tmp_path, WHOLE, words="epochs") == []
    assert sorted(met) == ["embedded-smallest-additive-13/test", "embedded-smallest-additive-13/train"]


def test_groups_are_counted_over_positives_and_draws_and_what_a_cut_leaves(tmp_path, outputs, monkeypatch):
    monkeypatch.setattr(questions, "listed", lambda collection: Sizes(100, 10, 40))
    size = planned(tmp_path).cells[0].students[0].groups.group_size
    grid = WHOLE | {"strategies": ["bm25"], "losses": ["kl"], "cuts": ["upper"]}
    cut = {"cuts": {"upper": {"teacher": "oracle", "part": "upper_half"}}}
    training = {"documents": 200 * size * 20, "queries_per_batch": 32, "learning_rate": 0.01}
    (line,) = said(tmp_path, grid, words="epochs", training=training, **cut)
    assert "200 epochs over 20 groups" in line  # half of 40 positives


# --- after --------------------------------------------------------------------------------------------------------------------


def compared(family, difference, different=True, architecture="static", before="BM25", smallest=0.03, **changes) -> dict:
    place = {"collection": "c/train", "test_collection": "c/test", "first_stage": "full"}
    row = {"family": family, "cell_before": before, "difference": difference, "different": different}
    return place | row | {"architecture": architecture, "smallest_margin": smallest} | changes


AGREED = pd.DataFrame(columns=[*PLACE, "architecture", "test", "n_seeds", "n_comparisons", "n_different", "share"])
NONE = contrasts.differences(
    pd.DataFrame(columns=[*analysis.RESULT_COLUMNS, "query_id"]), studies.AnalysisSettings(baseline_strategy="corpus_random")
)


@pytest.fixture
def finished(tmp_path, outputs):
    """A study whose artefacts are there, and what is said after it, of these tables."""
    this, pipeline = planned(tmp_path, overrides=[], grids=[WHOLE]), Pipeline(Store(), track=untracked)
    put_all(pipeline.store, this)

    def after(differences=NONE, agreed=AGREED) -> list[str]:
        table = pd.DataFrame(differences) if isinstance(differences, list) else differences
        return list(questions.after(this, table, agreed, analysis.groups_counted(this, pipeline)))

    return after


def test_a_study_with_nothing_to_compare_has_nothing_to_be_said(finished):
    assert finished() == []
    assert finished([compared("first stage", 0.1), compared("untrained", 0.2), compared("strategy", 0.01)]) == []


def test_epochs_are_counted_over_the_groups_that_were_made(tmp_path, outputs):
    training = {"documents": 80_000, "queries_per_batch": 32, "learning_rate": 0.01}
    this, pipeline = planned(tmp_path, overrides=[], grids=[WHOLE], training=training), Pipeline(Store(), track=untracked)
    put_all(pipeline.store, this)  # 20 groups
    size = this.cells[0].students[0].groups.group_size
    (line,) = questions.after(this, NONE, AGREED, analysis.groups_counted(this, pipeline))
    assert f"static: {80_000 / size / 20:,.0f} epochs over 20 groups" in line


def test_cells_below_a_baseline_are_counted_and_all_of_them_said_to_be_no_gain(finished):
    below = [compared("first stage", -0.1), compared("first stage", -0.01, different=False)]
    assert finished(below) == [
        "all 2 trained cells lie below BM25 on c/test, full (1 of them by a difference that is shown); the highest mean among them is "
        "no gain"
    ]
    assert finished([*below, compared("first stage", 0.2)]) == [
        "2 of 3 trained cells lie below BM25 on c/test, full (1 of them by a difference that is shown)"
    ]
    own = [compared("untrained", -0.1, before=f"untrained {name}", architecture=name) for name in ("static", "cross")]
    assert finished([*own, compared("untrained", 0.1)]) == [
        "2 of 3 trained cells lie below their untrained selves on c/test, full (2 of them by a difference that is shown)"
    ]


def test_each_retriever_and_place_is_a_sentence_of_its_own(finished):
    table = [compared("first stage", -0.1), compared("first stage", -0.2, before="dense")]
    table += [compared("first stage", -0.2, first_stage="bm25@100"), compared("against teacher", -0.3, before="teacher t")]
    assert [line.partition(" (")[0] for line in finished(table)] == [
        "the trained cell lies below BM25 on c/test, full",
        "the trained cell lies below dense on c/test, full",
        "the trained cell lies below BM25 on c/test, bm25@100",
    ]


def test_a_test_that_calls_a_recipe_different_from_itself_too_often_is_named(finished):
    rows = [("queries only", 84, 26), ("queries and seeds", 40, 6), ("queries only", 100, 10)]
    agreed = pd.DataFrame(
        [["c", "c/test", "full", "cross", test, 3, n, found, found / n] for test, n, found in rows], columns=AGREED.columns
    )
    assert finished(agreed=agreed) == [
        "cross, full: the test over queries only calls one recipe different from itself, seed against seed, in 31% of 84 comparisons; what "
        "it says of these students does not hold for others",
        "cross, full: the test over queries and seeds calls one recipe different from itself, seed against seed, in 15% of 40 "
        "comparisons; read its verdicts with care",
    ]  # 10 of 100 is not above a tenth


def test_a_margin_that_could_not_have_been_proved_is_named(finished):
    wide = [compared("strategy", 0.01, smallest=0.06), compared("loss", -0.01, smallest=0.05), compared("strategy", 0.0, smallest=0.03)]
    narrow = [compared("strategy", 0.5, smallest=0.51, architecture="cross"), compared("untrained", 0.5, smallest=0.9)]
    assert finished([*wide, *narrow]) == [
        "static on c/test, full: even between equal cells these queries and seeds prove margins above 0.040 only (median), not the 0.02 "
        "asked for"
    ]


def test_after_reads_what_analysis_makes(finished):
    """Values of four cells that all lie below BM25, and whose seeds differ by more than queries leave open."""
    table = []
    dimensions = dict.fromkeys(DIMENSIONS, "") | {"augmentation": "none", "cut": "all", "temperature": 1.0, "target_entropy": np.nan}
    for cell, strategy, shift in (("r", "corpus_random", 0.0), ("b", "bm25", 0.05), ("BM25", "", 0.5)):
        system = "first_stage" if cell == "BM25" else "student"
        for seed, moved in ((-1, 0.0),) if cell == "BM25" else ((0, 0.0), (1, 0.1), (2, -0.1)):
            own = dimensions | {"strategy": strategy, "loss": "lce", "architecture": "static"}
            own |= {"study": "s", "cell": cell, "system": system, "seed": seed, "measure": "nDCG@10"}
            own |= {"collection": "c/train", "test_collection": "c/test", "first_stage": "full"}
            table += [own | {"query_id": f"q{n}", "value": value + shift + moved} for n, value in enumerate(np.linspace(0.1, 0.4, 12))]
    settings = studies.AnalysisSettings(baseline_strategy="corpus_random", equivalence_margin=0.02)
    per_query = pd.DataFrame(table)
    lines = finished(contrasts.differences(per_query, settings), contrasts.seed_against_seed(per_query, settings))
    assert lines[0].startswith("all 2 trained cells lie below BM25 on c/test, full (")
    assert "the test over queries only calls one recipe different from itself, seed against seed, in 100% of 6 comparisons" in lines[1]
    assert len(lines) == 2


# --- what it costs ------------------------------------------------------------------------------------------------------------


def test_asking_before_a_study_runs_imports_nothing_heavy():
    """`check` is to answer at once: of scipy it needs the special functions."""
    heavy = {"scipy.stats", "scipy.optimize", "torch", "statsmodels", "altair", "rd_utils.workflow.pipeline", "rd_utils.analysis.tables"}
    code = f"import sys, rd_utils.analysis.questions; print(sorted({heavy!r} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
