"""Contrasts by hand, tests against what they are named after, and a verdict for every way in which verdicts can fall."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from studies_on_disk import ROOT

from rd_utils.companions import claims
from rd_utils.companions.claims import CLAIMS, Claim, Contrast, Term
from rd_utils.study.plan import load_plan

TOY = Contrast(
    "mined less random, under KL less under LCE",
    (
        Term(1, {"strategy": ("bm25", "dense"), "loss": "kl", "target_entropy": 0.4}), Term(-1, {"strategy": "random", "loss": "kl"}),
        Term(-1, {"strategy": ("bm25", "dense"), "loss": "lce"}), Term(1, {"strategy": "random", "loss": "lce"}),
    ),
    "above",
)  # fmt: skip
TOY_CLAIM = Claim(1, "toy", "Toys differ.", "1", (TOY,), "all")
EFFECTS = {
    ("bm25", "lce"): 0.10,
    ("dense", "lce"): 0.20,
    ("random", "lce"): 0.05,
    ("bm25", "kl"): 0.30,
    ("dense", "kl"): 0.40,
    ("random", "kl"): 0.07,
}


def values(
    study: str, shift: float = 0.0, architecture: str = "bi", stage: str = "full", seeds: int = 3, queries: int = 30
) -> pd.DataFrame:
    """Values that are a query's, plus a cell's, plus a little noise: the toy's contrast is 0.23 and a shift."""
    rng = np.random.default_rng([int.from_bytes(study.encode(), "little") % 2**32, seeds])
    of_query = rng.uniform(size=queries)
    rows = []
    for (strategy, loss), effect in EFFECTS.items():
        more = shift if (strategy, loss) == ("random", "lce") else 0.0
        for seed, query in itertools.product(range(seeds), range(queries)):
            value = of_query[query] + effect + more + rng.normal(scale=0.002)
            rows.append([f"{architecture}-{strategy}-{loss}", strategy, loss, 0.4 if loss == "kl" else np.nan, seed, f"q{query}", value])
    table = pd.DataFrame(rows, columns=["cell", "strategy", "loss", "target_entropy", "seed", "query_id", "value"])
    about = {"study": study, "system": "student", "architecture": architecture, "first_stage": stage, "augmentation": "none", "cut": "all"}
    return table.assign(**about, teacher="", collection=study, test_collection=f"{study}/test")


def found_in(effects: dict[str, float], architectures: tuple[str, ...] = ("bi",), claim: Claim = TOY_CLAIM) -> pd.DataFrame:
    """Estimates of one contrast, as if they had been measured: a collection each."""
    rows = [
        [claim.number, contrast.name, study, study, study, architecture, claims.FIRST_STAGE[architecture], effect, 1e-6, 100, 3]
        for study, effect in effects.items()
        for architecture in architectures
        for contrast in claim.contrasts
    ]
    names = ["claim", "contrast", "study", "collection", "test_collection", "architecture", "first_stage"]
    return pd.DataFrame(rows, columns=[*names, "estimate", "variance", "n_queries", "n_seeds"])


def expecting(expects: claims.Expects, holds: str = "all") -> Claim:
    return dataclasses.replace(TOY_CLAIM, contrasts=(dataclasses.replace(TOY, expects=expects),), holds=holds)


def test_an_estimate_is_the_weighted_sum_of_cell_means():
    found = claims.estimates(values("one"), [TOY_CLAIM])
    assert found["estimate"].item() == pytest.approx((0.35 - 0.07) - (0.15 - 0.05), abs=0.002)
    assert (found["n_queries"].item(), found["n_seeds"].item()) == (30, 3)
    assert 0 < found["variance"].item() < 1e-6


def test_a_contrast_of_which_a_cell_is_missing_has_no_estimate():
    table = values("one")
    assert claims.estimates(table[table["cell"] != "bi-dense-kl"], [TOY_CLAIM]).empty


def test_two_cells_where_one_is_meant_are_refused():
    twice = pd.concat([values("one"), values("one").query("cell == 'bi-bm25-kl'").assign(cell="bi-bm25-kl-again")])
    with pytest.raises(ValueError, match="meets 2 cells"):
        claims.estimates(twice, [TOY_CLAIM])


def test_a_value_that_is_missing_or_stands_twice_is_refused():
    table = values("one")
    with pytest.raises(ValueError, match="one: bi-bm25-lce lacks a query of seed 0"):
        claims.estimates(table.drop(index=table[table["cell"] == "bi-bm25-lce"].index[0]), [TOY_CLAIM])
    with pytest.raises(ValueError, match="has query 'q0' of seed 0 twice"):
        claims.estimates(pd.concat([table, table.iloc[[0]]]), [TOY_CLAIM])


def test_cells_of_other_seeds_are_refused():
    table = values("one")
    with pytest.raises(ValueError, match="has the seeds"):
        claims.estimates(table[~((table["cell"] == "bi-dense-lce") & (table["seed"] == 2))], [TOY_CLAIM])


@pytest.mark.parametrize(
    ("expects", "effects", "verdict"),
    [
        ("above", (0.03, 0.031, 0.029), "confirmed"),
        ("above", (0.001, 0.002, 0.003), "refuted"),  # there, perhaps, and surely too small to matter
        ("above", (0.05, -0.03, 0.02), "undecided"),
        ("zero", (0.001, -0.001, 0.0), "confirmed"),
        ("zero", (0.03, 0.031, 0.029), "refuted"),
        ("zero", (0.02, -0.02, 0.0), "undecided"),
        ("not below", (0.0, 0.001, -0.001), "confirmed"),
        ("not below", (-0.03, -0.031, -0.029), "refuted"),
        ("not below", (-0.03, 0.0, 0.01), "undecided"),
        ("away", (-0.03, -0.031, -0.029), "confirmed"),
        ("away", (0.001, -0.001, 0.0), "refuted"),
        ("away", (0.03, -0.03, 0.01), "undecided"),
    ],
)
def test_verdicts_of_a_contrast(expects, effects, verdict):
    claim = expecting(expects)
    found = claims.combine(found_in(dict(zip("abc", effects, strict=True)), claim=claim), claims=[claim])
    assert found["verdict"].item() == verdict


def test_the_margin_moves_a_verdict():
    table = found_in({"a": 0.014, "b": 0.015, "c": 0.016})
    assert claims.combine(table, margin=0.01, claims=[TOY_CLAIM])["verdict"].item() == "confirmed"
    assert claims.combine(table, margin=0.03, claims=[TOY_CLAIM])["verdict"].item() == "refuted"


def test_holm_is_over_all_contrasts_and_architectures():
    table = found_in({"a": 0.01, "b": 0.03, "c": 0.05, "d": 0.02})
    alone = claims.combine(table, claims=[TOY_CLAIM])["p_confirm"].item()
    both = pd.concat([table, found_in({"a": 0.0, "b": 0.01, "c": -0.01, "d": 0.0}, ("cross",))])
    corrected = claims.combine(both, claims=[TOY_CLAIM]).set_index("architecture")["p_confirm"]
    assert corrected["bi"] == pytest.approx(2 * alone)


def test_the_first_stage_of_an_architecture_decides_and_others_do_not_count():
    table = pd.concat([found_in({"a": 0.03, "b": 0.031}), found_in({"a": -9.0, "b": -9.1}).assign(first_stage="bm25@100")])
    assert claims.combine(table, claims=[TOY_CLAIM])["estimate"].item() == pytest.approx(0.0305)


def test_an_estimate_by_itself_is_judged_by_its_own_queries_and_uncorrected():
    estimates = found_in({"sure": 0.03, "none": 0.0, "open": 0.02}).assign(variance=[1e-4 / 9, 1e-6, 1e-3])
    alone = claims.alone(estimates, margin=0.01, claims=(TOY_CLAIM,))
    assert alone["verdict"].tolist() == ["confirmed", "refuted", "undecided"] and "verdict" not in estimates
    limit = float(stats.t.ppf(0.95, 99)) * 0.001  # of an effect with a variance of 1e-6 over 100 queries
    for effect, verdict in ((1.01 * limit, "confirmed"), (0.99 * limit, "undecided")):
        by_itself = claims.alone(found_in({"a": effect}), margin=0.001, claims=(TOY_CLAIM,))
        assert by_itself["verdict"].tolist() == [verdict]


def test_a_claim_depends_on_what_its_architectures_or_kinds_of_text_disagree_on():
    up, down = {"a": 0.03, "b": 0.031, "c": 0.029}, {"d": -0.03, "e": -0.031, "f": -0.029}
    kinds = dict.fromkeys("abc", "made") | dict.fromkeys("def", "real")
    assert claims.verdicts(found_in(up), kinds, claims=[TOY_CLAIM])["verdict"].item() == "confirmed"
    apart = pd.concat([found_in(up), found_in({name: -value for name, value in up.items()}, ("cross",))])
    assert claims.verdicts(apart, kinds, claims=[TOY_CLAIM])["verdict"].item() == "depends on the architecture"
    split = claims.verdicts(found_in(up | down), kinds, claims=[TOY_CLAIM])
    assert split["verdict"].item() == "depends on the kind of text"
    assert split["why"].item() == "bi: made confirmed, real refuted"
    assert claims.verdicts(found_in(up | down), dict.fromkeys("abcdef", "one"), claims=[TOY_CLAIM])["verdict"].item() == "undecided"
    worlds = {f"claims_world_{name}": value for name, value in up.items()}
    assert claims.verdicts(found_in(worlds | down), claims=[TOY_CLAIM])["why"].item() == "bi: made confirmed, real refuted"


@pytest.mark.parametrize(("holds", "verdict"), [("all", "refuted"), ("any", "confirmed")])
def test_all_needs_every_contrast_and_any_one(holds, verdict):
    second = dataclasses.replace(TOY, name="another", expects="not below")
    claim = dataclasses.replace(TOY_CLAIM, contrasts=(TOY, second), holds=holds)
    table = found_in({"a": 0.001, "b": 0.0015, "c": 0.0012}, claim=claim)  # too small to be above, surely not below
    assert claims.verdicts(table, claims=[claim])["verdict"].item() == verdict


@pytest.mark.parametrize(
    ("expects", "effects", "leans"),
    [("above", (0.00, 0.02, 0.04), "confirmed"), ("above", (-0.04, -0.02, 0.02), "refuted"), ("zero", (0.00, 0.02, 0.04), "refuted")],
)
def test_as_many_collections_as_the_outlook_asks_for_decide_and_fewer_do_not(expects, effects, leans):
    claim = expecting(expects)
    (row,) = claims.outlook(claims.combine(found_in(dict(zip("abc", effects, strict=True)), claim=claim), claims=[claim])).itertuples()
    assert (row.n, row.leans, row.asks_for) == (3, leans, "other collections")
    assert row.needed > 3

    def decided(collections: int) -> str:
        """Return the verdict of so many collections of the same mean and spread."""
        mean, spread = np.mean(effects), np.std(effects, ddof=1)
        drawn = np.linspace(-1, 1, collections)
        like = mean + drawn / drawn.std(ddof=1) * spread
        table = found_in({f"c{i}": effect for i, effect in enumerate(like)}, claim=claim)
        return claims.combine(table, claims=[claim])["verdict"].iloc[0]

    assert (decided(int(row.needed) - 1), decided(int(row.needed))) == ("undecided", leans)


def test_an_effect_on_the_border_is_decided_by_no_number_of_collections():
    claim = expecting("not below")
    (row,) = claims.outlook(claims.combine(found_in({"a": -0.02, "b": 0.0}, claim=claim), claims=[claim])).itertuples()
    assert row.leans == "undecided" and np.isnan(row.needed)


def test_a_claim_is_told_in_words_with_what_moves_it_and_what_would_decide_it():
    moved = pd.DataFrame([[1, "undecided", "margin 0.005: refuted"], [2, "confirmed", ""]], columns=["claim", "verdict", "moved_by"])
    rows = [
        [1, "a less b", "bi", 3, "refuted", 12, "other collections"],
        [1, "a less c", "cross", 3, "undecided", np.nan, "more queries or seeds"],
    ]
    outlook = pd.DataFrame(rows, columns=["claim", "contrast", "architecture", "n", "leans", "needed", "asks_for"])
    assert claims.in_words(1, moved, outlook) == [
        "Verdict: undecided.",
        "Moved by: margin 0.005: refuted.",
        "Open with 3 collections: a less b, bi: refuted at 12, if its mean and spread stay; asks for other collections.",
        "Open with 3 collections: a less c, cross: at no number in sight; asks for more queries or seeds.",
    ]
    assert claims.in_words(2, moved, outlook)[1].endswith("no other margin that was tried, and no collection left out.")


def test_standing_counts_cells_below_what_was_not_trained():
    table = values("one")
    rows = {"first_stage": ("BM25", "", 0.6), "untrained": ("untrained", "bi", 0.75), "teacher": ("teacher", "", 0.9)}
    base = table[(table["cell"] == "bi-bm25-lce") & (table["seed"] == 0)]
    beside = [base.assign(system=system, cell=cell, architecture=a, value=value) for system, (cell, a, value) in rows.items()]
    found = claims.standing(pd.concat([table, *beside])).iloc[0]
    means = table.groupby("cell")["value"].mean()
    assert found["cells"] == 6
    assert found["below_bm25"] == (means < 0.6).sum()
    assert found["below_untrained"] == (means < 0.75).sum()
    assert found["teacher"] == 0.9


def test_the_claims_grid_has_every_cell_that_the_contrasts_name():
    plan = load_plan(ROOT / "params" / "claims" / "world_additive.yaml")
    rows = []
    for cell in plan.cells:
        fields = {
            name: getattr(cell, name) for name in ("strategy", "teacher", "loss", "architecture", "augmentation", "cut", "target_entropy")
        }
        place = {"collection": "c", "test_collection": "t", "study": "s", "system": "student"}
        stage = claims.FIRST_STAGE[cell.architecture]
        rows += [place | fields | {"cell": cell.name, "first_stage": stage, "seed": seed, "query_id": q, "value": 0.1 * seed + int(q)}
                 for seed in cell.students for q in "12"]  # fmt: skip
    table = pd.DataFrame(rows).fillna({"teacher": "", "target_entropy": np.nan})
    found = claims.estimates(table)
    asked = {(claim.number, contrast.name) for claim in CLAIMS for contrast in claim.contrasts}
    for architecture in ("bi", "cross"):
        here = found[found["architecture"] == architecture]
        assert set(zip(here["claim"], here["contrast"], strict=True)) == asked
