"""Two runs with measures by hand, two cells of a study whose values and seconds the test says, and what is refused."""

from __future__ import annotations

import functools
import gzip
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats as scipy_stats

from rd_utils.analysis import compare, compare_runs, comparison
from rd_utils.scoring.teachers import PairScores
from rd_utils.store import Store, StoreError, upstream, write_manifest
from rd_utils.study import params, plan
from rd_utils.study.params import ParameterError
from tests import commands

ROOT = Path(__file__).resolve().parents[3]
KL, LCE = "static-bm25-oracle-kl", "static-bm25-lce"


asked = functools.partial(commands.asked, compare)
record = functools.partial(commands.recorded, compare)


def table(text: str, column: str) -> list[str]:
    """Return the cells of a column of the printed tables, by its name."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if column in re.split(r"\s{2,}", line))
    names = re.split(r"\s{2,}", lines[start])
    return [re.split(r"\s{2,}", row)[names.index(column)] for row in lines[start + 1 : lines.index("", start)]]


# --- two runs -----------------------------------------------------------------------------------------------------------------

# One relevant document a query, r. Reciprocal ranks: A 1/2, 1/2, 1 and nothing for q4; B 1, 1/2, 1/2, 1.
QRELS = "q1 0 r 1\nq1 0 x 0\nq2 0 r 1\nq3 0 r 2\nq4 0 r 1\n"
RUN_A = "q1 Q0 x 1 2.0 a\nq1 Q0 r 2 1.0 a\nq2 Q0 x 1 2.0 a\nq2 Q0 r 2 1.0 a\nq3 Q0 r 1 2.0 a\n"
RUN_B = "q1 Q0 r 1 2.0 b\nq2 Q0 x 1 9.0 b\nq2 Q0 r 2 1.0 b\nq3 Q0 x 1 2.0 b\nq3 Q0 r 2 1.0 b\nq4 Q0 r 1 2.0 b\nq9 Q0 r 1 1.0 b\n"
DELTA = [0.5, 0.0, -0.5, 1.0]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in (("a.trec", RUN_A), ("b.trec", RUN_B), ("qrels", QRELS)):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_two_runs_by_hand(runs):
    found = record("a.trec", "b.trec", "--qrels", "qrels", "--measure", "RR@10")
    (row,) = found["comparisons"]
    assert (row["n_queries"], row["mean_a"], row["mean_b"], row["difference"]) == (4, 0.5, 0.75, 0.25)
    half = 3.182446305 * (1.25 / 3) ** 0.5 / 2  # t(0.975, 3) * sd / sqrt(4); the squared deviations sum to 1.25
    assert (row["low"], row["high"]) == pytest.approx((0.25 - half, 0.25 + half))
    assert row["p_difference"] == pytest.approx(scipy_stats.ttest_1samp(DELTA, 0).pvalue)
    upper = scipy_stats.ttest_1samp(DELTA, 0.02, alternative="less").pvalue
    strict = scipy_stats.ttest_1samp(DELTA, 0.01, alternative="less").pvalue
    assert (row["p_equivalence"], row["p_equivalence_strict"]) == pytest.approx((upper, strict))
    assert row["p_randomisation"] == pytest.approx(0.75, abs=0.03)  # 6 of the 8 signings of 0.5, 0.5 and 1 sum to 1 or more
    assert (row["low_queries"], row["high_queries"], row["p_queries"]) == (row["low"], row["high"], row["p_difference"])
    assert row["verdict"] == "undecided" and row["n_seeds"] is None and row["collection"] is None
    assert found["costs"] == [] and found["settings"] == {"margin": 0.02, "alpha": 0.05, "level": 0.95, "seed": 0, "strict_margin": 0.01}


def test_the_text_of_two_runs_begins_with_the_answer_and_counts_what_is_missing(runs):
    text = asked("a.trec", "b.trec", "--qrels", "qrels", "--measure", "RR@10")
    found = record("a.trec", "b.trec", "--qrels", "qrels", "--measure", "RR@10")
    assert text.splitlines()[0] == found["answer"]
    assert found["answer"].startswith(
        "B is higher by 0.250 RR@10 [-0.777, 1.277]: undecided, neither a difference nor equivalence at 0.02 is shown (p 0.495, TOST p 0.7"
    )
    assert "qrels: qrels; 4 judged queries" in text
    assert "A lacks 1 of the judged queries, which count 0; its 0 unjudged queries are left out" in text
    assert "B lacks 0 of the judged queries, which count 0; its 1 unjudged queries are left out" in text
    assert "p-values are of this comparison alone: a single comparison is its own family, so they are not corrected" in text
    assert table(text, "B - A") == ["+0.2500"] and table(text, "over queries") == ["[-0.7771, 1.2771]"]
    assert table(text, "p") == ["0.495"]
    (needed,) = table(text, "queries needed")
    assert int(needed.replace(",", "")) == found["comparisons"][0]["queries_needed"]
    assert "seed" not in text.split("\n\n")[2] and "CPU" not in text


def test_swapping_the_runs_turns_the_sign_round_and_nothing_else(runs):
    forth, back = (
        record(*pair, "--qrels", "qrels", "--measure", "RR@10")["comparisons"][0] for pair in (("a.trec", "b.trec"), ("b.trec", "a.trec"))
    )
    assert (back["difference"], back["low"], back["high"]) == pytest.approx((-0.25, -forth["high"], -forth["low"]))
    for name in ("p_difference", "p_equivalence", "smallest_margin", "queries_needed"):
        assert back[name] == pytest.approx(forth[name])


def test_every_measure_asked_has_a_line_and_no_p_value_is_corrected(runs):
    text = asked("a.trec", "b.trec", "--qrels", "qrels", "--measure", "RR@10", "--measure", "P@1")
    lines = text.splitlines()
    assert lines[0] == "2 comparisons of B with A: 2 undecided (equivalence at 0.02)"
    assert lines[1].startswith("  RR@10: B is higher by 0.250 RR@10 [") and lines[2].startswith("  P@1: B is higher by 0.250 P@1 [")
    assert "each p-value is of its own comparison alone: none is corrected for the 2 comparisons shown" in text
    assert table(text, "B - A") == ["+0.2500", "+0.2500"]  # P@1 of A: 0, 0, 1, 0; of B: 1, 0, 0, 1


def test_equal_scores_are_ranked_by_doc_id_and_scores_are_not_rounded(runs):
    (runs / "a.trec").write_text("".join(f"{q} Q0 z 1 1.0 a\n{q} Q0 r 2 1.0 a\n" for q in ("q1", "q2", "q3", "q4")))
    (runs / "b.trec").write_text("".join(f"{q} Q0 s 2 1.0000001 a\n{q} Q0 r 1 1.0000002 a\n" for q in ("q1", "q2", "q3", "q4")))
    (row,) = record("a.trec", "b.trec", "--qrels", "qrels", "--measure", "RR@10")["comparisons"]
    assert (row["mean_a"], row["mean_b"]) == (1.0, 1.0)
    assert (row["verdict"], row["smallest_margin"], row["queries_needed"]) == ("equivalent", 0.0, 2)


def test_the_options_reach_the_tests(runs):
    options = ("a.trec", "b.trec", "--qrels", "qrels", "--measure", "RR@10")
    (row,) = record(*options, "--margin", "0.9", "--alpha", "0.2", "--level", "0.5")["comparisons"]
    assert row["verdict"] == "equivalent" and row["high"] < 0.6
    assert record(*options, "--alpha", "0.499")["comparisons"][0]["verdict"] == "different"  # p is 0.495
    assert record(*options, "--seed", "1") == record(*options, "--seed", "1")
    other, usual = (record(*options, "--seed", seed)["comparisons"][0]["p_randomisation"] for seed in "10")
    assert other != usual


def test_a_t_test_and_a_randomisation_test_that_disagree_are_noted(runs):
    options = ("a.trec", "b.trec", "--qrels", "qrels", "--measure", "RR@10")
    assert "disagree" in asked(*options, "--alpha", "0.499") and "disagree" not in asked(*options)


def test_runs_and_qrels_may_be_compressed(runs):
    plain = record("a.trec", "b.trec", "--qrels", "qrels", "--measure", "RR@10")["comparisons"][0]
    for name in ("a.trec", "qrels"):
        (runs / f"{name}.gz").write_bytes(gzip.compress((runs / name).read_bytes()))
    packed = record("a.trec.gz", "b.trec", "--qrels", "qrels.gz", "--measure", "RR@10")["comparisons"][0]
    assert packed == plain | {"test_collection": "qrels.gz"}


def test_qrels_by_their_id(runs, monkeypatch):
    from rd_utils.data import collections

    asked_for = []

    def read_queries(collection):
        asked_for.append(collection.id)
        return None, compare_runs.read_qrels("qrels")

    monkeypatch.setattr(collections, "read_queries", read_queries)
    (row,) = record("a.trec", "b.trec", "--qrels", "some/id", "--measure", "RR@10")["comparisons"]
    assert asked_for == ["some/id"] and row["difference"] == 0.25 and row["test_collection"] == "some/id"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.trec", "b.trec"), "--qrels is missing: name a TREC qrels file or an ir_datasets id .*, or --study for two cells"),
        (("a.trec", "b.trec", "--qrels", "qrels", "--study", "s.yaml"), "--study and --qrels exclude each other"),
        (("a.trec", "b.trec", "--qrels", "qrels", "--base", "scifact"), "--base scifact: only a study has a base"),
        (("nothing", "b.trec", "--qrels", "qrels"), "there is no run nothing; name a file of lines .*, or --study FILE for cells"),
        (("a.trec", "./a.trec", "--qrels", "qrels"), "A and B are one file, a.trec; name two runs"),
        (("a.trec", "b.trec", "--qrels", "vaswanni"), "there is no such file, and as an id: .*did you mean 'vaswani'"),
        (("a.trec", "qrels", "--qrels", "qrels"), "qrels: 5 lines are wrong; expected lines of six .*\n  line 1: .* has 4 fields"),
        (("a.trec", "b.trec", "--qrels", "a.trec"), "a.trec line 1: .* has 6 fields and is not the header; expected the header"),
        (("a.trec", "b.trec", "--qrels", "qrels", "--measure", "nDGC@10"), "--measure: unknown measure 'nDGC@10'; did you mean 'nDCG@10'"),
        (("a.trec", "b.trec", "--qrels", "qrels", "--measure", "INSQ"), "--measure: the measure 'INSQ' cannot be computed: .*max_rel"),
        (("a.trec", "b.trec", "--qrels", "qrels", "--margin", "0"), "--margin is 0.0; expected a number above 0 and below 1$"),
        (("a.trec", "b.trec", "--qrels", "qrels", "--margin", "nan"), "--margin is nan; expected a number above 0 and below 1$"),
        (("a.trec", "b.trec", "--qrels", "qrels", "--margin", "1"), "--margin is 1.0; expected a number above 0 and below 1$"),
        (("a.trec", "b.trec", "--qrels", "qrels", "--margin", "1e308"), "--margin is 1e.308; expected a number above 0 and below 1$"),
        (("a.trec", "b.trec", "--qrels", "qrels", "--seed", str(2**63)), "--seed is 9223372036854775808; expected .* below 2..63$"),
        (("a.trec", "b.trec", "--qrels", "qrels", "--alpha", "0.5"), "--alpha is 0.5; expected a number above 0 and below 0.5$"),
        (("a.trec", "b.trec", "--qrels", "qrels", "--level", "95"), "--level is 95.0; expected a number above 0 and below 1$"),
        (("a.trec", "b.trec", "--qrels", "qrels", "--seed", "-1"), "--seed is -1; expected a whole number, 0 or above and below"),
    ],
)
def test_what_two_runs_are_refused_for(runs, arguments, message):
    with pytest.raises(ParameterError, match=message):
        asked(*arguments)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("qrels", "", "qrels: holds no judgement; expected .*lines of four fields"),
        ("qrels", "q1 0 r 1\n\nq2 0 r yes\n", "qrels line 3: the grade 'yes' is no whole number; expected one such as 0 or 1"),
        ("qrels", "q1 0 r 1\nq1 0 r 0\n", r"qrels line 2: judges query 'q1', document 'r' again, after line 1 \(another grade"),
        ("qrels", "q1 0 r 1\n", "RR@10: 1 queries; expected at least 2"),
        ("qrels", "t1 0 r 1\nt2 0 r 1\n", "the run a.trec has no query of the qrels qrels: its first query is 'q1', theirs 't1'"),
        ("b.trec", "\n\n", "the run b.trec is empty"),
        ("b.trec", "", "the run b.trec is empty"),
        ("b.trec", "q1 Q0 r 1 2.0 b\nq1 Q0 r 2 1.0 b\n", "b.trec line 2: scores query 'q1', document 'r' again, after line 1"),
        ("b.trec", "q1 Q0 r 1 nan b\n", "b.trec line 1: the score 'nan' of query 'q1', document 'r' is no finite number"),
    ],
)
def test_files_that_are_refused(runs, name, text, message):
    (runs / name).write_text(text)
    with pytest.raises(ParameterError, match=message):
        asked("a.trec", "b.trec", "--qrels", "qrels", "--measure", "RR@10")


@pytest.mark.parametrize(("name", "option"), [("a.gz", "run"), ("qrels.gz", "qrels")])
def test_a_file_that_is_not_what_its_name_says_is_refused(runs, name, option):
    (runs / name).write_text("no gzip")
    arguments = ("a.gz", "b.trec", "--qrels", "qrels") if option == "run" else ("a.trec", "b.trec", "--qrels", "qrels.gz")
    with pytest.raises(ParameterError, match=f"{name} line 1: 'no gzip' has 2 fields"):
        asked(*arguments)


def test_files_of_three_kinds_are_refused_at_once(runs):
    (runs / "a.trec").write_text("q1 Q0 r 1 high a\n")
    (runs / "b.trec").write_bytes(b"q1 Q0 r\xe9 1 2.0 b\n")
    (runs / "qrels").write_text("q1 0 r 1.5\n")
    with pytest.raises(ParameterError) as error:
        asked("a.trec", "b.trec", "--qrels", "qrels")
    message = str(error.value)
    assert "a.trec line 1: the score 'high'" in message and "b.trec line 1: byte 8 (0xe9) is not UTF-8" in message
    assert "qrels line 1: 'q1 0 r 1.5' does not end with a whole number" in message


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_marks_packing_and_the_form_of_qrels_change_nothing(runs, mark, pack):
    """A byte order mark was once part of the first query's id, which then counted as judged for nobody."""
    expected = record("a.trec", "b.trec", "--qrels", "qrels", "--measure", "RR@10")
    beir = "query-id\tcorpus-id\tscore\n" + "".join("\t".join(line.split()[::2]) + f"\t{line.split()[3]}\n" for line in QRELS.splitlines())
    for text in (QRELS, beir):
        for name, content in (("a.trec", RUN_A), ("b.trec", RUN_B), ("qrels", text)):
            (runs / name).write_bytes(pack(mark + content.replace("\n", "\r\n").encode()))
        assert record("a.trec", "b.trec", "--qrels", "qrels", "--measure", "RR@10") == expected


@pytest.mark.parametrize("grades", [(0, 0, 0), (-1, -2, 0)])
def test_qrels_without_a_positive_are_refused(runs, grades):
    (runs / "qrels").write_text("".join(f"q{i} 0 r {grade}\n" for i, grade in enumerate(grades, start=1)))
    with pytest.raises(ParameterError, match="--qrels qrels: no query has a positive, the highest grade is 0, so every measure is 0"):
        asked("a.trec", "b.trec", "--qrels", "qrels", "--measure", "RR@10")


def test_a_measure_to_which_nothing_is_relevant_is_refused(runs):
    message = r"--measure AP\(rel=3\): no document has a grade of 3 or more, the highest is 2, so it is 0 for every query; lower rel"
    with pytest.raises(ParameterError, match=message):
        asked("a.trec", "b.trec", "--qrels", "qrels", "--measure", "RR@10", "--measure", "AP(rel=3)")
    assert len(record("a.trec", "b.trec", "--qrels", "qrels", "--measure", "AP(rel=2)")["comparisons"]) == 1


def test_a_run_of_unknown_documents_is_refused(runs):
    (runs / "b.trec").write_text("".join(f"q{i} Q0 doc{i} 1 1.0 b\n" for i in range(1, 5)))
    with pytest.raises(ParameterError, match="the run b.trec has no document of the qrels qrels: its first document is 'doc1', theirs 'r'"):
        asked("a.trec", "b.trec", "--qrels", "qrels", "--measure", "RR@10")


def test_how_much_of_a_run_is_judged_is_said(runs):
    (runs / "b.trec").write_text(
        "".join(f"q{i} Q0 doc{i} 1 1.0 b\nq{i} Q0 r{i // 4} 2 0.5 b\n" for i in range(1, 10)).replace("r1 2", "r 2", 1)
    )
    text = asked("a.trec", "b.trec", "--qrels", "qrels", "--measure", "RR@10")
    assert "of A's 3 queries 3 are judged (100%); of the 2 documents that these list, 2 are judged for any query (100%)" in text
    assert (
        "of B's 9 queries 4 are judged (44%); of the 6 documents that these list, 1 are judged for any query (17%), and 1 queries" in text
    )
    assert "little of B is judged; if its ids are not those of the qrels, name" in text and "little of A" not in text


def test_ranks_that_contradict_scores_are_counted(runs):
    (runs / "a.trec").write_text("q1 Q0 r 2 2.0 a\nq1 Q0 x 1 1.0 a\nq2 Q0 r 1 2.0 a\nq2 Q0 x 2 1.0 a\n")
    text = asked("a.trec", "b.trec", "--qrels", "qrels", "--measure", "RR@10")
    assert "the ranks in the file of A contradict its scores in 1 queries; scores decide" in text and "file of B" not in text
    assert record("a.trec", "b.trec", "--qrels", "qrels", "--measure", "RR@10")["comparisons"][0]["mean_a"] == 0.5  # 1, 1, 0, 0


def test_a_provider_that_cannot_take_the_ids_is_an_error_of_the_measure(runs):
    with pytest.raises(ParameterError, match="--measure: the measure 'ERR@10' cannot be computed: .* reads numbers alone"):
        asked("a.trec", "b.trec", "--qrels", "qrels", "--measure", "ERR@10")


# --- in words -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("difference", "low", "high", "verdict", "expected"),
    [
        (0.021, 0.01, 0.032, "different", "B is higher by 0.021 AP [0.010, 0.032]: different, equivalence at 0.02 not shown"),
        (-0.021, -0.032, -0.01, "different", "B is lower by 0.021 AP, B - A [-0.032, -0.010]: different, equivalence at 0.02 not shown"),
        (0.004, -0.001, 0.009, "equivalent", "B is higher by 0.004 AP [-0.001, 0.009]: equivalent at 0.02, no difference shown"),
        (0.006, 0.001, 0.011, "both", "B is higher by 0.006 AP [0.001, 0.011]: different, and yet equivalent at 0.02"),
        (-0.0004, -0.0004, 0.0, "both", "B and A are less than 0.0005 apart in AP, B - A [0.000, 0.000]: different, and yet equivalent"),
        (0.0, -0.1, 0.1, "undecided", "B and A are equal in AP, B - A [-0.100, 0.100]: undecided, neither a difference nor equivalence"),
    ],
)
def test_an_answer_is_a_plain_sentence(difference, low, high, verdict, expected):
    numbers = dict.fromkeys(comparison.Comparison._fields, 0.0) | {"measure": "AP", "verdict": verdict, "p_equivalence": 0.25}
    row = comparison.Comparison(**numbers | {"difference": difference, "low": low, "high": high})
    found = comparison.sentence(row, comparison.Settings(0.02, 0.05, 0.95, 0))
    assert found.startswith(expected) and found.endswith("(p < 0.001, TOST p 0.250)")


def test_values_of_other_queries_or_with_gaps_are_refused():
    queries = pd.MultiIndex.from_product([["t"], ["q1", "q2", "q3"]], names=["test_collection", "query_id"])
    values = pd.DataFrame({0: [0.1, 0.2, 0.3], 1: [0.2, 0.2, 0.5]}, index=queries)
    settings = comparison.Settings(0.02, 0.05, 0.95, 0)
    with pytest.raises(ParameterError, match="AP: the systems were not evaluated on the same queries: 1 only in a, 0 only in b"):
        comparison.compare_values(values, values.iloc[:2], settings, measure="AP")
    gap = values.copy()
    gap.iloc[1, 1] = np.nan  # not averaged over the seed that is left
    with pytest.raises(ParameterError, match="AP: b has 1 missing values"):
        comparison.compare_values(values, gap, settings, measure="AP")


# --- two cells ----------------------------------------------------------------------------------------------------------------

SECONDS = {"docs": 1, "queries": 2, "lexicon": 4, "tokens": 8, "candidates": 16, "groups": 32, "scores": 64, "student": 1024}
SECONDS |= {"evaluation": 4096, "index": 0}
GAIN = {KL: (0.1, 0.3)}  # over LCE on BM25, with seed 0 and with seed 1, for every query alike


@pytest.fixture
def study(tmp_path, outputs):
    return written(tmp_path)


def written(tmp_path, **changes) -> Path:
    values = yaml.safe_load((ROOT / "params" / "smallest.yaml").read_text()) | changes
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "study.yaml"


def put(spec, values=None) -> None:
    """Put an artefact into the store as if it had been made in the CPU seconds of its stage."""
    store = Store()
    with store.draft(spec) as draft:
        if spec.stage == "student":
            draft.counts |= {"documents_seen": 10, "tokens_seen": 100}
        if spec.stage == "scores":
            draft.scoring.append({"teacher": "oracle", "pairs": 100, "scored": 50, "wall_seconds": 0.0, "cpu_seconds": 64.0})
        if values is not None:
            values.to_parquet(draft.folder / "per_query.parquet", index=False)
    manifest = store.manifest(spec)
    manifest["cost"] |= {"wall_seconds": 0.0, "cpu_seconds": float(SECONDS[spec.stage])}
    write_manifest(store.folder(spec), manifest)


def finish(study: Path, *names: str, stages: tuple[str, ...] = tuple(SECONDS)) -> plan.Plan:
    """Put cells into the store: a value is 0.30 to 0.41 by query, 0.1 more with the first stage full, and the cell's gain more."""
    this, store = plan.load_plan(study), Store()
    pairs = PairScores(store.root / "pairs" / "oracle", n_docs=1)
    if not len(pairs):
        pairs.add(np.arange(50), np.zeros(50), seconds=(0.0, 64.0))
    for cell in this.cells:
        for place, student in enumerate(cell.students.values()) if cell.name in names else ():
            for spec in [*upstream(student).values(), student]:
                if not store.has(spec) and spec.stage in stages:
                    put(spec)
            for spec in this.evaluations(params.StudentSystem(student=student), cell.collection) if "evaluation" in stages else ():
                values = 0.3 + np.arange(12) / 100 + 0.1 * (spec.first_stage.kind == "full") + GAIN.get(cell.name, (0.0, 0.0, 0.0))[place]
                frame = pd.DataFrame({"query_id": [f"q{n}" for n in range(12)], "value": values})
                put(spec, values=pd.concat([frame.assign(measure=measure) for measure in spec.measures]))
    return this


def test_two_cells_by_hand(study):
    finish(study, LCE, KL)
    found = record(LCE, KL, "--study", study)
    stages = [row["first_stage"] for row in found["comparisons"]]
    assert stages == ["bm25@100", "full"]
    for row, mean in zip(found["comparisons"], (0.355, 0.455), strict=True):
        assert (row["mean_a"], row["mean_b"], row["difference"]) == pytest.approx((mean, mean + 0.2, 0.2))
        assert (row["low_queries"], row["high_queries"]) == pytest.approx((0.2, 0.2))  # over queries, which all say the same
        half = 12.706204736 * 0.1  # t(0.975, 1) * sd / sqrt(2): over seeds, which say 0.1 and 0.3
        assert (row["low"], row["high"]) == pytest.approx((0.2 - half, 0.2 + half))
        assert (row["n_queries"], row["n_seeds"], row["verdict"]) == (12, 2, "undecided")
        seeds = scipy_stats.ttest_1samp([0.1, 0.3], 0)
        assert (row["p_difference"], row["p_queries"]) == (pytest.approx(seeds.pvalue), 0.0)
        assert row["p_equivalence"] == pytest.approx(scipy_stats.t.sf((0.02 - 0.2) / 0.1, 1))
        assert row["p_randomisation"] == pytest.approx(2 / 2**12, abs=0.002)  # all signs plus or all minus
        assert row["smallest_margin"] == pytest.approx(0.2 + 0.1 * scipy_stats.t.isf(0.05, 1))
        assert row["collection"].startswith("embedded") and row["collection"].endswith("train")
        assert row["test_collection"].endswith("test") and row["measure"] == "nDCG@10"


def rank_by_hand(this: plan.Plan, name: str, gain: float) -> None:
    """Put a baseline's evaluations into the store: the values of LCE, and a gain."""
    for row in [row for row in this.baselines if row.name == name]:
        for system in row.systems.values():
            for spec in this.evaluations(system, this.labels[row.pair]):
                values = 0.3 + np.arange(12) / 100 + 0.1 * (spec.first_stage.kind == "full") + gain
                frame = pd.DataFrame({"query_id": [f"q{n}" for n in range(12)], "value": values})
                put(spec, values=pd.concat([frame.assign(measure=measure) for measure in spec.measures]))


@pytest.mark.parametrize(
    ("asked_for", "name", "stages"),
    [("bm25", "BM25", 2), ("untrained", "untrained static", 2), ("teacher", "teacher oracle", 1), ("Teacher Cross", "teacher cross", 1)],
)
def test_a_cell_is_compared_with_a_row_that_is_not_trained(study, asked_for, name, stages):
    rank_by_hand(finish(study, KL), name, -0.1)
    found = record(asked_for, KL, "--study", study)
    assert (found["a"], found["b"], found["costs"]) == (name, KL, []) and len(found["comparisons"]) == stages
    for row in found["comparisons"]:  # seed 0 gains 0.2 on every query, seed 1 gains 0.4
        assert row["difference"] == pytest.approx(0.3) and (row["n_seeds"], row["p_queries"]) == (2, 0.0)
        assert row["p_difference"] == pytest.approx(scipy_stats.ttest_1samp([0.2, 0.4], 0).pvalue)
    back = record(KL, asked_for, "--study", study)["comparisons"][0]
    assert back["difference"] == pytest.approx(-0.3)


def test_two_studies_are_compared_where_both_train_on_the_same_collection(study, tmp_path):
    finish(study, LCE)
    (tmp_path / "more").mkdir()
    other = written(tmp_path / "more", name="other")
    finish(other, KL)
    found = record(LCE, KL, "--study", study, "--study", other)
    assert [row["difference"] for row in found["comparisons"]] == pytest.approx([0.2, 0.2]) and len(found["costs"]) == 1
    assert found["about"][0] == f"study: smallest ({study}) and other ({other}); seeds 0, 1"
    elsewhere = {"source": "embedded", "profile": "smallest", "seed": 14}
    pairs = [{"train": elsewhere | {"split": "train"}, "test": [elsewhere | {"split": "test"}]}]
    third = written(tmp_path / "more", name="third", collections=pairs)
    with pytest.raises(ParameterError, match="is trained on embedded-smallest-additive-13/train, .*-additive-14/train"):
        asked(LCE, KL, "--study", study, "--study", third)


def test_costs_are_of_a_seed_and_have_a_ratio(study):
    finish(study, LCE, KL)
    (cost,) = record(LCE, KL, "--study", study)["costs"]
    plain = {"mine": 1 + 2 + 16 + 32, "score": 0, "train": 1024 + 4 + 8 + 8, "evaluate": 2 * 4096}
    taught = plain | {"score": 100 * 64 / 50}  # all 100 pairs, at the 64 s that 50 took
    assert cost["cpu_seconds_a"] == plain | {"total": sum(plain.values())}
    assert cost["cpu_seconds_b"] == taught | {"total": sum(taught.values())}
    assert cost["ratio"] == pytest.approx(9415 / 9287) and cost["n_seeds"] == 2
    text = asked(LCE, KL, "--study", study)
    assert "B costs 9,415.0 CPU seconds a seed against 9,287.0, 1.01 times as much\n" in text
    assert table(text, "score") == ["0.0", "128.0"] and table(text, "total") == ["9,287.0", "9,415.0"]
    assert record(KL, LCE, "--study", study)["costs"][0]["ratio"] == pytest.approx(9287 / 9415)


def test_the_text_of_two_cells(study):
    this = finish(study, LCE, KL)
    text = asked(LCE, KL, "--study", study)
    assert text.splitlines()[:3] == [
        "2 comparisons of B with A, B - A from +0.200 to +0.200 nDCG@10: 2 undecided (equivalence at 0.02)",
        "  bm25@100: B is higher by 0.200 nDCG@10 [-1.071, 1.471]: undecided, neither a difference nor equivalence at 0.02 is shown "
        "(p 0.295, TOST p 0.839)",
        "  full: B is higher by 0.200 nDCG@10 [-1.071, 1.471]: undecided, neither a difference nor equivalence at 0.02 is shown "
        "(p 0.295, TOST p 0.839)",
    ]
    assert f"A: {LCE}\nB: {KL}\n" in text
    assert f"study: smallest ({study}); seeds 0, 1\n" in text
    assert f"trained on: {this.labels[0]}\ntested on: {this.study.collections[0].test[0].label}\n" in text
    assert table(text, "over queries and seeds") == ["[-1.0706, 1.4706]"] * 2 and table(text, "over queries") == ["[0.2000, 0.2000]"] * 2
    assert table(text, "seeds") == ["2", "2"] and table(text, "p over queries") == ["<0.001"] * 2
    assert all(line == line.rstrip() for line in text.splitlines())
    assert len(asked(LCE, KL, "--study", study, "--measure", "AP", "--measure", "RR@10").split("\n  ")) == 1 + 4


def test_an_answer_that_other_seeds_may_not_give_is_noted(study, monkeypatch):
    monkeypatch.setitem(GAIN, KL, (-0.1, 0.3))
    finish(study, LCE, KL)
    text = asked(LCE, KL, "--study", study)
    assert "note: full: these very students differ (p over queries <0.001), but other seeds may not" in text


def test_settings_are_the_studys_own_and_another_margin_is_noted(tmp_path, outputs):
    own = {"measure": "AP", "baseline_strategy": "corpus_random", "equivalence_margin": 0.25, "alpha": 0.1, "level": 0.8}
    study = written(tmp_path, analysis=own)
    finish(study, LCE, KL)
    found = record(LCE, KL, "--study", study)
    assert found["settings"] == {"margin": 0.25, "alpha": 0.1, "level": 0.8, "seed": 0, "strict_margin": 0.01}
    assert {row["measure"] for row in found["comparisons"]} == {"AP"}
    assert {row["verdict"] for row in found["comparisons"]} == {"undecided"} and not any("beforehand" in note for note in found["notes"])
    other = record(LCE, KL, "--study", study, "--margin", "0.9")
    assert {row["verdict"] for row in other["comparisons"]} == {"equivalent"}  # t = (0.9 - 0.2) / 0.1 with 1 degree of freedom
    assert "the study's file fixed the margin 0.25 beforehand; 0.9 was asked for here" in other["notes"]


def test_seeds_and_first_stages_of_one_cell_alone_are_named(tmp_path, outputs):
    grid = {"strategies": ["bm25"], "teachers": ["oracle"], "losses": ["kl"], "architectures": ["static"], "seeds": [0]}
    cross = {"strategies": ["bm25"], "losses": ["lce"], "architectures": ["interaction"], "seeds": [0, 1, 2]}
    study = written(tmp_path, grids=[grid, cross])
    finish(study, KL, "interaction-bm25-lce")
    text = asked(KL, "interaction-bm25-lce", "--study", study)
    start = "B is lower by 0.100 nDCG@10, B - A [-0.100, -0.100]: different, equivalence at 0.02 not shown, these students only"
    assert text.splitlines()[0].startswith(start)  # one comparison is left
    assert "; seeds 0\nleft out: seeds of B alone: 1, 2\nleft out: first stage full, which A alone ranks\n" in text
    assert "note: one seed: how much the difference varies with the seed is not known; verdicts are about these students only" in text
    assert "first stage: bm25@100\n" in text and table(text, "over queries") == ["[-0.1000, -0.1000]"]


def test_every_training_collection_has_its_lines(tmp_path, outputs):
    place = {"source": "embedded", "profile": "smallest"}
    pairs = [{"train": place | {"split": "train", "seed": seed}, "test": [place | {"split": "test", "seed": seed}]} for seed in (13, 14)]
    study = written(tmp_path, collections=pairs)
    this = finish(study, LCE, KL)
    found = record(LCE, KL, "--study", study)
    assert [row["collection"] for row in found["comparisons"]] == [label for label in this.labels for _ in range(2)]
    assert [cost["collection"] for cost in found["costs"]] == this.labels
    text = asked(LCE, KL, "--study", study)
    assert text.startswith("4 comparisons of B with A") and f"1.01 times as much, on {this.labels[1]}\n" in text
    assert len(table(text, "total")) == 4


def test_an_unfinished_cell_is_an_error_that_says_what_makes_it_and_nothing_is_built(study):
    finish(study, LCE)
    finish(study, KL, stages=tuple(stage for stage in SECONDS if stage not in ("student", "evaluation")))
    this = plan.load_plan(study)
    (cell,) = [cell for cell in this.cells if cell.name == KL]
    store = Store()
    before = sorted(store.root.rglob("*"))
    with pytest.raises(StoreError) as refused:
        asked(LCE, KL, "--study", study)
    missing = store.folder(cell.students[0]).name
    assert f"the cell {KL} on {cell.collection} is not finished: the store has no student artefact {missing}, of seed 0" in str(
        refused.value
    )
    assert "(missing in all: 2 student, 4 evaluation); `rd run " in str(refused.value)
    assert str(refused.value).endswith(f"`rd run {study}` makes what is missing")
    assert sorted(store.root.rglob("*")) == before


def test_the_command_that_makes_a_cell_names_the_base(outputs):
    study = ROOT / "params" / "ablations" / "losses.yaml"
    first, second = list(dict.fromkeys(cell.name for cell in plan.load_plan(study, "scifact").cells))[:2]
    with pytest.raises(StoreError, match=f"`rd run {study} --base scifact` makes what is missing"):
        asked(first, second, "--study", study, "--base", "scifact")


def test_a_damaged_artefact_is_named(study):
    this = finish(study, LCE, KL)
    (student, *_) = [cell for cell in this.cells if cell.name == KL][0].students.values()
    spec = this.evaluations(params.StudentSystem(student=student), this.labels[0])[0]
    (Store().folder(spec) / "per_query.parquet").write_bytes(b"")
    with pytest.raises(StoreError, match="per_query.parquet is damaged: it has 0 bytes, not .*; delete the folder .* and run again"):
        asked(LCE, KL, "--study", study)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (LCE, "static-bm25-oracl-kl"),
            "no cell 'static-bm25-oracl-kl'; did you mean 'static-bm25-oracle-kl'.*prints all 6; rows that are not trained: BM25, ",
        ),
        ((LCE, "@@"), "no cell '@@'; one is 'static-corpus_random-lce'; .*prints all 6; rows that are not trained: BM25, "),
        ((LCE, KL, "--study", "a.yaml", "--study", "b.yaml"), "--study is given 3 times; give it once, or twice"),
        ((LCE, LCE), f"A and B are one cell, {LCE}; name two"),
        ((LCE, KL, "--measure", "nDCG@5"), "study smallest has no 'nDCG@5'; did you mean 'nDCG@10'"),
        ((LCE, KL, "--alpha", "0"), "--alpha is 0.0"),
        ((LCE, KL, "--base", "embeded"), "no base 'embeded'; did you mean 'embedded'"),
    ],
)
def test_what_two_cells_are_refused_for(outputs, arguments, message):
    with pytest.raises(ParameterError, match=message):
        asked(*arguments, "--study", ROOT / "params" / "smallest.yaml")


def test_a_study_that_is_not_there_is_an_error(tmp_path, outputs):
    with pytest.raises(ParameterError, match="no study file"):
        asked(LCE, KL, "--study", tmp_path / "stduy.yaml")


def test_cells_without_a_seed_in_common_are_refused(tmp_path, outputs):
    grid = {"strategies": ["bm25"], "teachers": ["oracle"], "losses": ["kl"], "architectures": ["static"], "seeds": [0]}
    study = written(tmp_path, grids=[grid, {**grid, "losses": ["lce"], "teachers": [], "seeds": [1]}], overrides=[])
    with pytest.raises(ParameterError, match=rf"{KL} has the seeds \[0\], {LCE} the seeds \[1\], so they share none"):
        asked(KL, LCE, "--study", study)
