"""Files of other programs as sides of a comparison, several seeds a side, and what is refused."""

from __future__ import annotations

import functools
import json

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy import stats as scipy_stats

from rd_utils.analysis import compare, verdicts
from rd_utils.data import per_query
from rd_utils.study.params import ParameterError
from tests import commands

asked = functools.partial(commands.asked, compare)
record = functools.partial(commands.recorded, compare)

A, B = [0.1, 0.5, 0.3, 0.7, 0.2, 0.9], [0.2, 0.5, 0.4, 0.9, 0.1, 1.0]
MARGIN = 0.05


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def results(values: dict[str, list[float]], measure: str = "nDCG@10") -> pd.DataFrame:
    """Return results as pt.Experiment(perquery=True) does."""
    rows = [(name, str(number), measure, value) for name, own in values.items() for number, value in enumerate(own)]
    return pd.DataFrame(rows, columns=["name", "qid", "measure", "value"])


WRITTEN = {
    "index.csv": lambda frame, path: frame.to_csv(path),
    "plain.csv": lambda frame, path: frame.to_csv(path, index=False),
    "tabs.tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "columns.json": lambda frame, path: frame.to_json(path),
    "records.json": lambda frame, path: frame.to_json(path, orient="records"),
    "lists.json": lambda frame, path: path.write_text(json.dumps(frame.to_dict(orient="list"))),
    "lines.jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    "packed.csv.gz": lambda frame, path: frame.to_csv(path, index=False),
    "without_an_ending": lambda frame, path: frame.to_csv(path, index=False),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_results_of_pyterrier_are_compared_in_every_form_as_scipy_and_pingouin_do(folder, name):
    WRITTEN[name](results({"first": A, "second one": B}), folder / name)
    (row,) = record(f"{name}#first", f"{name}#second one", "--margin", MARGIN)["comparisons"]
    assert (row["n_queries"], row["n_seeds"], row["test_collection"]) == (6, None, "as measured")
    assert (row["mean_a"], row["mean_b"]) == pytest.approx((np.mean(A), np.mean(B)))
    test = scipy_stats.ttest_rel(B, A)
    assert row["p_difference"] == pytest.approx(test.pvalue)
    assert (row["low"], row["high"]) == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert row["p_equivalence"] == pytest.approx(pingouin.tost(B, A, bound=MARGIN, paired=True)["pval"].iloc[0])


def test_measures_of_trec_eval_go_by_their_names_of_today_and_one_alone_needs_no_option(folder):
    results({"x": A}, "map").to_csv("x.csv")
    results({"y": B}, "AP").to_csv("y.csv")
    found = record("x.csv", "y.csv")
    assert found["comparisons"][0]["measure"] == "AP" and found["comparisons"][0]["difference"] == pytest.approx(np.mean(B) - np.mean(A))


QRELS = "".join(f"q{n} 0 r 1\n" for n in range(4))
RANKS = {"a": [1, 2, 2, 4], "b": [1, 1, 2, 2]}


def run_of(ranks: list[int]) -> dict[str, dict[str, float]]:
    """Return scores by which the one relevant document of each query has a rank of four."""
    return {f"q{n}": {"r": 5.5 - rank} | {f"x{place}": 4.0 - place for place in range(4)} for n, rank in enumerate(ranks)}


def test_predictions_of_mteb_are_runs_and_stand_beside_runs_and_results(folder):
    """RR@10 of A: 1, 1/2, 1/2, 1/4, of B: 1, 1, 1/2, 1/2."""
    (folder / "qrels").write_text(QRELS)
    meta = {"mteb_model_meta": {"model_name": "m", "revision": "1"}}
    (folder / "a.json").write_text(json.dumps(meta | {"default": {"test": run_of(RANKS["a"])}}))
    (folder / "b.json").write_text(json.dumps(meta | {"en": {"dev": run_of([4] * 4), "test": run_of(RANKS["b"])}}))
    found = record("a.json", "b.json#en/test", "--qrels", "qrels", "--measure", "RR@10")
    (row,) = found["comparisons"]
    assert (row["mean_a"], row["mean_b"], row["n_queries"]) == (0.5625, 0.75, 4)
    assert row["p_difference"] == pytest.approx(scipy_stats.ttest_rel([1, 1, 0.5, 0.5], [1, 0.5, 0.5, 0.25]).pvalue)
    lines = [f"{q} Q0 {doc} 0 {score} t" for q, docs in run_of(RANKS["a"]).items() for doc, score in docs.items()]
    (folder / "a.run").write_text("\n".join(lines))
    assert record("a.run", "b.json#en/test", "--qrels", "qrels", "--measure", "RR@10")["comparisons"] == [row]
    measured = [("b", f"q{n}", "RR@10", 1 / rank) for n, rank in enumerate(RANKS["b"])]
    pd.DataFrame(measured, columns=["name", "qid", "measure", "value"]).to_csv("b.csv", index=False)
    assert record("a.run", "b.csv", "--qrels", "qrels", "--measure", "RR@10")["comparisons"] == [row]


# --- seeds --------------------------------------------------------------------------------------------------------------------


def seeded(folder, name: str, shifts: list[float]) -> None:
    """Write a system whose seeds shift all queries alike, a file a seed, the tenth after the second by number."""
    for seed, shift in enumerate(shifts):
        results({name: [value + shift for value in A]}).to_csv(folder / f"{name}{seed + 9}.csv", index=False)


def test_as_many_seeds_are_paired_in_the_order_of_their_numbers(folder):
    seeded(folder, "x", [0.0, 0.1, 0.3])
    seeded(folder, "y", [0.1, 0.3, 0.4])
    found = record("x*.csv", "y9.csv,y10.csv,y11.csv")
    (row,) = found["comparisons"]
    expected = scipy_stats.ttest_rel([0.1, 0.3, 0.4], [0.0, 0.1, 0.3])  # queries say nothing of the difference: a t test over seeds
    assert (row["n_seeds"], row["n_queries"], row["p_queries"]) == (3, 6, 0.0)
    assert row["p_difference"] == pytest.approx(expected.pvalue)
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert "seeds of A: x9.csv, x10.csv, x11.csv" in found["about"] and any("stands beside the first" in line for line in found["about"])


def test_different_numbers_of_seeds_have_nothing_in_common(folder):
    seeded(folder, "x", [0.0, 0.1, 0.3, 0.1])
    seeded(folder, "y", [0.4, 0.35])
    found = record("x*.csv", "y*.csv", "--margin", "0.4")
    (row,) = found["comparisons"]
    test = scipy_stats.ttest_ind([0.4, 0.35], [0.0, 0.1, 0.3, 0.1])
    assert row["p_difference"] == pytest.approx(test.pvalue, abs=1e-6) and row["n_seeds"] == 6
    assert (row["low"], row["high"]) == pytest.approx(tuple(test.confidence_interval(0.95)), abs=1e-6)
    tost = pingouin.tost([0.4, 0.35], [0.0, 0.1, 0.3, 0.1], bound=0.4, paired=False, correction=False)["pval"].iloc[0]
    assert row["p_equivalence"] == pytest.approx(tost, abs=1e-6)
    assert any("nothing in common" in line for line in found["about"])
    assert "over queries and seeds" in asked("x*.csv", "y*.csv")


def test_seeds_apart_without_effect_leave_the_paired_test_over_queries(folder):
    seeded(folder, "x", [0.0, 0.0])
    for seed in range(3):
        results({"y": B}).to_csv(folder / f"y{seed}.csv", index=False)
    (row,) = record("x*.csv", "y*.csv")["comparisons"]
    assert row["p_difference"] == pytest.approx(scipy_stats.ttest_rel(B, A).pvalue)


def test_what_apart_needs_is_what_as_many_seeds_need():
    """Two halves of one layout, once paired and once with their seeds shuffled, are spread alike on average."""
    rng = np.random.default_rng(5)
    n, spreads = 400, []
    queries = pd.MultiIndex.from_product([["t"], [f"q{number}" for number in range(n)]], names=["test_collection", "query_id"])
    for _ in range(60):
        x, y = (rng.normal(0, 0.1, (n, 1)) + rng.normal(0, 0.05, (1, m)) + rng.normal(0, 0.1, (n, m)) for m in (5, 6))
        apart = verdicts.said_of(*verdicts.aligned(frame(x, queries), frame(y, queries), apart=True), 0.95, 0.05, 0.05, None)[0]
        spreads.append((apart.query_sd**2, apart.seed_sd**2, apart.residual_sd**2))
    assert np.mean(spreads, axis=0) == pytest.approx([0.02, 0.005, 0.02], rel=0.15)  # of a difference: twice each system's variance


def frame(values: np.ndarray, queries: pd.MultiIndex) -> pd.DataFrame:
    return pd.DataFrame(values, index=queries)


def test_a_file_without_seeds_stands_beside_every_seed(folder):
    seeded(folder, "x", [0.1, 0.3])
    results({"b": A}).to_csv("b.csv")
    found = record("b.csv", "x*.csv")
    assert found["comparisons"][0]["p_difference"] == pytest.approx(scipy_stats.ttest_1samp([0.1, 0.3], 0).pvalue)
    assert any(line.startswith("A is one file, which stands beside every seed") for line in found["about"])


def test_options_may_stand_between_the_sides(folder):
    results({"first": A, "second": B}).to_csv("two.csv")
    assert record("two.csv#first", "--margin", "0.05", "two.csv#second") == record("two.csv#first", "two.csv#second", "--margin", "0.05")


# --- refused ------------------------------------------------------------------------------------------------------------------

HEAD = "name,qid,measure,value\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD + "s,q1,AP,high\n", r"bad line 2: the column value: 'high' of s, query 'q1' is no finite number"),
        (HEAD + "s,q1,AP,nan\n", "bad line 2: the column value: 'nan'"),
        (HEAD + "s,q1,AP,0.5\ns,q1,AP,0.5\n", r"bad line 3: s, query 'q1', AP again, after line 2; keep one"),
        (HEAD + "s,q1,AP\n", "bad line 2: has 3 fields, the header 4; expected PyTerrier's results"),
        (HEAD + "s,,AP,0.5\n", "bad line 2: the column qid: '' is empty"),
        (HEAD + ",q1,AP,0.5\n", "bad line 2: the column name is empty"),
        (HEAD, "bad: holds no result; expected PyTerrier's results"),
        ("qid,measure,value\nq1,AP,0.5\n", "bad line 1: has no column 'name', its columns are 'qid, measure, value'"),
        ("name,qid,qid,measure,value\n", "bad line 1: has more than one column 'qid'"),
        ('[{"name": "s", "qid": "1", "measure": "AP"}]', "bad: entry 1 has no 'value'"),
        ('[{"name": "s", "qid": "1", "measure": "AP", "value": true}]', "bad entry 1: the column value: True of s, query '1' is no finite"),
        ("[1]", "bad: entry 1 is int"),
        ('{"name": ["s"], "qid": ["1", "2"], "measure": ["AP"], "value": [1]}', "the column 'qid' has 2 rows, 'name' 1"),
        ('{"name": "s", "qid": "1", "measure": "AP", "value": 1}', "the column 'name' is str"),
        ('{"a": {"b": 1}}', "bad: is an object of 'a'; expected PyTerrier's .*; or MTEB's predictions"),
        ('[\n{"name" "s"}]', r"bad line 2: column 9: is no JSON \(Expecting ':' delimiter\)"),
        ('{"name": "s", "name": "t"}', "the entry 'name' stands twice in an object"),
        ('{"d": {"test": {"q1": {"d1": "high"}}}, "mteb_model_meta": {}}', "bad: d > test > q1 > d1: the score 'high' is no finite number"),
        ('{"d": {"test": {"q 1": {"d1": 1.0}}}, "mteb_model_meta": {}}', "bad: d > test > q 1: the query's id holds white space"),
        ('{"d": {"test": []}, "mteb_model_meta": {}}', "bad: d > test: is list, not an object of queries; expected MTEB's predictions"),
        ('{"mteb_model_meta": {}}', "bad: holds no predictions"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_place_and_what_was_expected(folder, content, message):
    (folder / "bad").write_text(content)
    results({"y": B}).to_csv("y.csv")
    with pytest.raises(ParameterError, match=message):
        asked("bad", "y.csv")


def test_a_record_a_line_is_refused_by_its_line(folder):
    (folder / "bad").write_text('{"name": "s", "qid": "1", "measure": "AP", "value": 1}\n{"name": "s", "qid": "2", "value": 1}\n')
    with pytest.raises(per_query.FileError, match="bad line 2: has no column 'measure'"):
        per_query.read(folder / "bad")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("two.csv", "y.csv"), "two.csv holds 2 systems, first, second; name one: two.csv#first"),
        (("two.csv#frist", "y.csv"), "two.csv holds no system 'frist'; did you mean 'first'.*it holds first, second"),
        (("y.csv", "y.csv"), "A and B are one file, y.csv; name two runs"),
        (("two.csv#first,two.csv#first", "y.csv"), "A names a file twice"),
        (("z*.csv", "y.csv"), r"no file fits z\*.csv; name a file of lines"),
        (
            ("y.csv", "two.csv#first", "--qrels", "y.csv"),
            "all that is compared is measured already, so nothing is judged; leave --qrels out",
        ),
        (("y.csv", "two.csv#first", "--measure", "nDGC@10"), "a file of results has no 'nDGC@10'; did you mean 'nDCG@10'"),
        (("y.csv", "other.csv"), "--measure is missing: the files of results share no measure"),
        (("y.csv", "short.csv"), "nDCG@10: the systems were not evaluated on the same queries: 3 only in a"),
        (("y.csv,short.csv", "two.csv#first"), "y.csv and short.csv are not of the same queries: 3 in one alone, the first is '3'"),
        (("y.csv", "a.run"), "--qrels is missing"),
        (("y.csv", "a.run#one", "--qrels", "qrels"), "a.run is a TREC run, one system; leave #one out"),
        (tuple(f"y{n}.csv" for n in range(27)), "27 systems are named; name two to 26"),
    ],
)
def test_sides_that_are_refused(folder, arguments, message):
    results({"first": A, "second": B}).to_csv("two.csv")
    results({"y": B}).to_csv("y.csv")
    results({"y": B[:3]}).to_csv("short.csv")
    results({"y": B}, "P@1").to_csv("other.csv")
    (folder / "qrels").write_text(QRELS)
    (folder / "a.run").write_text("q1 Q0 r 1 1.0 t\n")
    with pytest.raises(ParameterError, match=message):
        asked(*arguments)
