"""Rules of choosing a recipe: each on a case in which its choice is known, and what it loses there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from studies_on_disk import put_results

from rd_utils.companions import recipes
from rd_utils.companions.recipes import CONTEXT, OPTION, Evidence

OPTIONS = [("bm25", "kl", 0.4), ("bm25", "lce", 0.0), ("dense", "kl", 0.4), ("dense", "lce", 0.0)]


def known(values: dict[str, list[float]], features: dict[str, list[float]], pilots: dict[str, list[float]], architecture="bi") -> Evidence:
    """Evidence of one architecture: by study its options' values, its features, the pilot's values of KL and LCE."""
    index = pd.MultiIndex.from_tuples([(study, architecture) for study in values], names=CONTEXT)
    table = pd.DataFrame(list(values.values()), index=index, columns=pd.MultiIndex.from_tuples(OPTIONS, names=OPTION))
    measured = pd.DataFrame(list(pilots.values()), index=index, columns=["kl", "lce"])
    return Evidence(table, pd.DataFrame(features, index=["x", "y"]).T, measured)


# dense kl is best where x is high, bm25 lce where it is low; the pilot knows the loss
CASE = known(
    {f"claims_{name}": row for name, row in {
        "a": [0.1, 0.4, 0.2, 0.3], "b": [0.1, 0.41, 0.2, 0.3], "c": [0.1, 0.4, 0.2, 0.31],
        "d": [0.3, 0.1, 0.5, 0.2], "e": [0.3, 0.1, 0.52, 0.2],
    }.items()},
    {"claims_a": [0.0, 1.0], "claims_b": [0.1, 1.0], "claims_c": [0.05, 1.0], "claims_d": [5.0, 1.0], "claims_e": [5.1, 1.0]},
    {"claims_a": [0.1, 0.4], "claims_b": [0.1, 0.4], "claims_c": [0.1, 0.4], "claims_d": [0.6, 0.2], "claims_e": [0.6, 0.2]},
)  # fmt: skip


def chosen(rule: str, study: str) -> tuple:
    context = (f"claims_{study}", "bi")
    others = CASE.of(CASE.values.index[CASE.values.index != context])
    return recipes.RULES[rule](others, CASE, context)


def test_always_bm25_and_best_elsewhere_ask_nothing_of_the_collection():
    assert {chosen("always BM25, LCE", study) for study in "abcde"} == {("bm25", "lce", 0.0)}
    assert chosen("best elsewhere", "a") == ("dense", "kl", 0.4)  # 0.15, 0.15, 0.2 and 0.2 above the mean of b to e
    assert chosen("best elsewhere", "e") == ("bm25", "lce", 0.0)


def test_a_pilot_knows_the_loss_and_takes_the_strategy_from_elsewhere():
    assert chosen("pilot on validation", "b") == ("dense", "lce", 0.0)  # of LCE's -0.01 and, for BM25, -0.02 over a, c, d, e
    assert chosen("pilot on validation", "d") == ("dense", "kl", 0.4)


@pytest.mark.parametrize("rule", ["nearest collection", "predicted from features"])
def test_rules_that_know_the_collection_choose_its_best(rule):
    assert chosen(rule, "b") == ("bm25", "lce", 0.0)
    assert chosen(rule, "d") == ("dense", "kl", 0.4)


def test_regret_is_what_hindsight_has_more_and_nothing_of_the_context_is_learnt():
    table = recipes.regrets(CASE).query("left_out == 'collection'").set_index(["rule", "study"])["regret"]
    assert table["always BM25, LCE", "claims_d"] == pytest.approx(0.4)
    assert table["nearest collection", "claims_a"] == pytest.approx(0.0)
    seen = []

    def spy(others, _, context):
        seen.append(context not in others.values.index)
        return OPTIONS[0]

    recipes.regrets(CASE, {"best elsewhere": spy})
    assert seen and all(seen)


def test_an_architecture_that_is_left_out_is_chosen_for_from_the_others():
    other = known({"claims_a": [0.9, 0.1, 0.1, 0.1]}, {"claims_a": [0.0, 1.0]}, {"claims_a": [0.1, 0.4]}, "cross")
    both = Evidence(pd.concat([CASE.values, other.values]), CASE.features, pd.concat([CASE.pilots, other.pilots]))
    table = recipes.regrets(both)
    assert set(table["left_out"]) == {"collection", "architecture"}  # all text is of one kind, so none can be left out
    cross = table[(table["left_out"] == "architecture") & (table["architecture"] == "cross") & (table["rule"] == "always BM25, LCE")]
    assert cross["regret"].item() == pytest.approx(0.8)


def test_one_context_alone_is_refused():
    with pytest.raises(ValueError, match="needs others to learn from"):
        recipes.regrets(CASE.of(CASE.values.index[:1]))


def summed(gains: dict[str, tuple[float, float]]) -> pd.DataFrame:
    """A summary of rules by their gain over best elsewhere and the lower end of its interval."""
    rows = [[rule, "collection", 8, 0.05 - gain, 0.01, 0.09, gain, low, 0.1] for rule, (gain, low) in gains.items()]
    return pd.DataFrame(rows, columns=["rule", "left_out", "n", "regret", "low", "high", "gain", "gain_low", "gain_high"])


def test_the_summary_pairs_gains_by_collection():
    found = recipes.regret_summary(recipes.regrets(CASE).query("left_out == 'collection'")).set_index("rule")
    assert found.loc["best elsewhere", ["gain", "gain_low", "gain_high"]].tolist() == [0.0, 0.0, 0.0]
    assert found.loc["nearest collection", "regret"] == pytest.approx(0.0)
    assert found.loc["nearest collection", "gain"] == pytest.approx(found.loc["best elsewhere", "regret"])


def test_an_interval_of_a_gain_holds_for_all_rules_at_once():
    rng = np.random.default_rng(0)
    rows = [
        [rule, "collection", f"s{number}", "bi", 0.1 + shift + rng.normal(scale=0.01)]
        for rule, shift in (("best elsewhere", 0.0), ("pilot on validation", -0.02), ("nearest collection", 0.0))
        for number in range(12)
    ]
    found = recipes.regret_summary(pd.DataFrame(rows, columns=["rule", "left_out", "study", "architecture", "regret"])).set_index("rule")
    assert (found["low"] < found["regret"]).all() and (found["regret"] < found["high"]).all()
    assert found.loc["best elsewhere", ["gain_low", "gain_high"]].tolist() == [0.0, 0.0]
    gains = pd.DataFrame(rows, columns=["rule", "left_out", "study", "architecture", "regret"]).pivot(
        index="study", columns="rule", values="regret"
    )
    gain = gains["best elsewhere"] - gains["pilot on validation"]
    half = 2.24 * gain.std(ddof=0) / np.sqrt(12)  # normal at 1 - 0.05 / 2
    assert found.loc["pilot on validation", "gain_low"] == pytest.approx(gain.mean() - half, abs=0.002)


def test_a_rule_that_is_not_shown_to_lose_less_does_not_win():
    assert recipes.winner(summed({"best elsewhere": (0, 0), "pilot on validation": (0.03, -0.001)})) == "best elsewhere"
    won = summed({"best elsewhere": (0, 0), "pilot on validation": (0.03, 0.01), "nearest collection": (0.02, 0.015)})
    assert recipes.winner(won) == "pilot on validation"
    assert recipes.winner(won.assign(n=5)) == "best elsewhere"  # too few collections to show anything


def test_the_advice_names_recipes_and_what_they_lose():
    lost = {"always BM25, LCE": (-0.01, -0.02), "best elsewhere": (0, 0), "pilot on validation": (0.03, -0.01)}
    first, second = recipes.advice(CASE, summed(lost))
    assert first == "Take `dense, kl at 0.4 bits` (bi)."
    assert (
        second.startswith("On 8 collections, each left out in turn, that loses 0.050 [0.010, 0.090] nDCG@10") and "no other rule" in second
    )
    first, second = recipes.advice(CASE, summed(lost | {"pilot on validation": (0.03, 0.01)}))
    assert "(bi: `dense, kl at 0.4 bits`, `bm25, lce`)" in first and "loses 0.020" in second and "elsewhere loses 0.050" in second
    assert "09 finds it" in recipes.advice(CASE, summed(lost | {"nearest collection": (0.03, 0.01)}))[0]
    assert "regression" in recipes.advice(CASE, summed(lost | {"predicted from features": (0.03, 0.01)}))[0]
    assert recipes.advice(CASE, summed(lost | {"always BM25, LCE": (0.03, 0.01)}))[0].endswith("Take `bm25, lce` (bi).")


def test_evidence_is_read_from_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params").mkdir()
    plain = {
        "teacher": "unfloored",
        "system": "student",
        "architecture": "bi",
        "first_stage": "full",
        "augmentation": "none",
        "cut": "all",
        "loss": "kl",
        "target_entropy": 0.4,
    }
    rows = [
        {"strategy": "bm25", "mean": 0.3},
        {"strategy": "diameter_10", "mean": 0.9},
        {"strategy": "bm25", "mean": 0.8, "first_stage": "bm25@100"},
    ]
    rates = [{"architecture": "bi", "loss": "kl", "nDCG@10": value, "chosen": value > 0.2} for value in (0.1, 0.25)]
    about = {"study": "claims_a", "measure": "nDCG@10", "prospects": {"documents": 100.0, "overlap": 0.5}}
    tables = {"means": pd.DataFrame([plain | row for row in rows]), "learning_rates": pd.DataFrame(rates)}
    put_results(tmp_path / "results", about, tables)
    found = recipes.evidence("results")
    assert found.values.loc[("claims_a", "bi"), ("bm25", "kl", 0.4)] == 0.3 and found.values.shape == (1, 1)
    assert found.features.loc["claims_a"].to_dict() == {"documents": pytest.approx(np.log(100)), "overlap": 0.5}
    assert found.pilots.loc[("claims_a", "bi"), "kl"] == 0.25
