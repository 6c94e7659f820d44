"""The published rules: values by hand, statsmodels and networkx as oracles, and what each rule gets wrong beside ours."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import networkx
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist
from statsmodels.stats.weightstats import ttost_ind

from rd_utils.analysis import contrasts, locality, stats, verdicts
from rd_utils.analysis.tables import DIMENSIONS
from rd_utils.companions import published
from rd_utils.report import drawing
from rd_utils.scoring import entropy

SETTINGS = SimpleNamespace(measure="nDCG@10", equivalence_margin=0.02, alpha=0.05, level=0.95)


# --- entropy ---


def test_erratum_2_group_entropy_by_hand():
    """Masses 1/4 and 3/4 of the scores -1 and -3: the better document has the smaller one."""
    by_hand = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert published.group_entropy([-1.0, -3.0]) == pytest.approx(by_hand)
    mixed = -(4 / 3 * math.log(4 / 3) + 2 / 3 * math.log(2 / 3))  # the mass -1 is dropped
    np.testing.assert_allclose(published.group_entropy([[4.0, 2.0, -3.0], [1.0, -1.0, 0.0]]), [mixed, 0.0])


def test_erratum_2_a_sure_teacher_looks_flat_and_the_range_is_left():
    """In groups of 16: nearly ln 16 for a peaked one, ln 16 for a flat one, and more than that for mixed signs."""
    flat = np.full(16, math.log(1 / 16))
    peaked = np.array([10.0, *np.linspace(1, -1, 15)])
    peaked -= np.log(np.exp(peaked).sum())
    assert published.group_entropy(flat) == pytest.approx(math.log(16))
    assert published.group_entropy(peaked) > 0.95 * math.log(16)
    assert entropy.listwise_entropy(peaked[None])[0] < 0.02
    assert published.group_entropy(np.array([*np.ones(15), -2.0])) > math.log(16)
    assert published.group_entropy(peaked - 100) != pytest.approx(published.group_entropy(peaked), abs=1e-3)  # not shift-invariant


def test_erratum_14_run_entropy_shifts_only_where_all_scores_are_at_most_0():
    shifted = published.run_entropy([-1.0, -2.0, -3.0])  # 2, 1 and 0 of 3
    assert shifted == pytest.approx(math.log2(3) - 2 / 3, abs=1e-4)
    assert published.run_entropy([0.0, -1.0, -2.0]) == pytest.approx(shifted)
    assert published.run_entropy([3.0, 1.0]) == pytest.approx(2 - 0.75 * math.log2(3))
    np.testing.assert_array_equal(np.isnan(published.run_entropy([[2.0, 1.0, -1.0], [1.0, 0.5, 0.0]])), [True, True])
    assert published.run_entropy([-1.0, -3.0], lowest=2.0) == pytest.approx(-(2 / 3 * math.log2(2 / 3) + 1 / 3 * math.log2(1 / 3)))
    with pytest.raises(ValueError, match="lowest is 0"):
        published.run_entropy([-1.0, -2.0], lowest=0)


def test_erratum_4_each_published_cut_keeps_three_quarters_and_they_overlap():
    values = np.random.default_rng(0).permutation(100) / 100
    upper, lower = (published.entropy_cut(values, part) for part in ("upper_quartile", "lower_quartile"))
    assert (upper.sum(), lower.sum(), (upper & lower).sum()) == (75, 75, 50)
    assert not (upper & entropy.cut(values, "quarter_4")).any()  # not one query of the quarter that it is named after
    assert not (lower & entropy.cut(values, "quarter_1")).any()
    with pytest.raises(ValueError, match="unknown part 'quarter_1'; expected upper_quartile or lower_quartile"):
        published.entropy_cut(values, "quarter_1")


# --- negatives ---


def test_erratum_17_the_positive_is_drawn_as_its_own_negative_as_often_as_it_says():
    doc_ids = [f"d{place}" for place in range(30)]
    options = {"positive": "d3", "keep": 20, "n_negatives": 3}
    draws = [published.teacher_negatives(doc_ids, -np.arange(30.0), seed=seed, **options) for seed in range(2000)]
    assert {draw.probability_of_positive for draw in draws} == {0.15}
    share = np.mean(["d3" in draw.doc_ids for draw in draws])
    assert abs(share - 0.15) < 4 * math.sqrt(0.15 * 0.85 / 2000)
    assert all(len(set(draw.doc_ids)) == 3 for draw in draws)
    assert {doc_id for draw in draws for doc_id in draw.doc_ids} == set(doc_ids[:20])
    assert published.teacher_negatives(doc_ids, -np.arange(30.0), seed=7, **options) == draws[7]


def test_a_positive_below_the_cut_is_never_drawn_and_ties_go_by_doc_id():
    drawn = published.teacher_negatives(["c", "b", "a"], [1.0, 1.0, 1.0], positive="c", keep=2, n_negatives=2, seed=0)
    assert (sorted(drawn.doc_ids), drawn.probability_of_positive) == (["a", "b"], 0.0)


@pytest.mark.parametrize(
    ("doc_ids", "scores", "keep", "n_negatives", "message"),
    [
        (["a", "b"], [1.0, 2.0, 3.0], 2, 1, "for 2 doc_ids"),
        (["a", "a"], [1.0, 2.0], 2, 1, "stands twice"),
        (["a", "b"], [1.0, 2.0], 3, 1, "keep 3, and there are 2 documents"),
        (["a", "b"], [1.0, 2.0], 1, 2, "n_negatives is 2, keep 1"),
        (["a", "b"], [1.0, np.nan], 2, 1, "not finite"),
    ],
)
def test_teacher_negatives_refuses(doc_ids, scores, keep, n_negatives, message):
    with pytest.raises(ValueError, match=message):
        published.teacher_negatives(doc_ids, scores, positive="a", keep=keep, n_negatives=n_negatives, seed=0)


# --- locality ---


def test_erratum_28_the_diameter_normalises_each_dimension_across_the_group():
    group = np.random.default_rng(0).normal(size=(5, 4))
    scaled = group / np.sqrt((group**2).sum(axis=0))
    assert published.diameter(group, 1.0) == pytest.approx(pdist(scaled).max())
    np.testing.assert_allclose(published.diameter(np.stack([group, group * 3])), np.quantile(pdist(scaled), [0.99, 0.99]))
    longer = group * np.array([[10.0], [1], [1], [1], [1]])
    ours = [locality.diameters(part, np.arange(5)[None], distance="euclidean")["diameter"][0] for part in (group, longer)]
    assert ours[0] == pytest.approx(ours[1])
    assert published.diameter(longer, 1.0) != pytest.approx(published.diameter(group, 1.0), abs=0.01)


@pytest.mark.parametrize(
    ("vectors", "alpha", "message"),
    [
        ([[1.0, 0.0], [1.0, 0.0]], 0.99, "dimension 1 is 0 in every document"),
        ([[1.0, np.inf], [1.0, 0.0]], 0.99, "expected finite numbers"),
        ([[1.0, 2.0]], 0.99, "2 documents or more"),
        ([[1.0], [2.0]], 0.0, "alpha is 0.0"),
    ],
)
def test_diameter_refuses(vectors, alpha, message):
    with pytest.raises(ValueError, match=message):
        published.diameter(vectors, alpha)


def test_erratum_35_the_density_ratio_follows_the_teacher_and_falls_below_1():
    assert published.density_ratio([-2.0, -2.0]) == pytest.approx(1.0)
    assert published.density_ratio([-1.0, -3.0]) == pytest.approx(2.0)  # (1/2) / (1/4)
    assert published.density_ratio([-1.0, -3.0], [0.0, 1.0]) == pytest.approx(4 / 3)
    surer = [published.density_ratio([math.log(p), math.log(1 - p)]) for p in (0.5, 0.7, 0.9, 0.99)]
    assert surer == sorted(surer) and surer[-1] > 100
    assert published.density_ratio([3.0, 2.0, -0.5]) == pytest.approx(0.75)
    assert published.density_ratio([-1.0, 0.0]) == math.inf
    with pytest.raises(ValueError, match="sum to 0"):
        published.density_ratio([1.0, -1.0])
    with pytest.raises(ValueError, match="over the same documents"):
        published.density_ratio([1.0, 2.0], [0.5, 0.25, 0.25])


# --- equivalence ---


def test_equivalence_agrees_with_statsmodels():
    generator = np.random.default_rng(0)
    before, after = generator.normal(size=(3, 4, 12)), generator.normal(0.3, 2.0, size=(3, 4, 9))
    for share, alpha in ((0.001, 0.1), (0.5, 0.3)):
        found = published.equivalence(before, after, margin_share=share, alpha=alpha)
        assert found.joined.shape == (3, 4)
        for place in np.ndindex(3, 4):
            margin = share * abs(after[place].mean() - before[place].mean())
            larger, lower, upper = ttost_ind(after[place], before[place], -margin, margin)
            assert (found.p_lower[place], found.p_upper[place]) == (pytest.approx(lower[1]), pytest.approx(upper[1]))
            assert max(found.p_lower[place], found.p_upper[place]) == pytest.approx(larger)
            assert found.joined[place] == (lower[1] > alpha and upper[1] > alpha)
    assert 0 < published.equivalence(before, after, alpha=0.3).joined.sum() < 12


def test_equivalence_broadcasts_and_takes_any_axis():
    generator = np.random.default_rng(1)
    before, after = generator.normal(size=(5, 20)), generator.normal(size=20)
    whole = published.equivalence(before, after)
    for row in range(5):
        np.testing.assert_allclose(published.equivalence(before[row], after)[:2], [whole.p_lower[row], whole.p_upper[row]])
    np.testing.assert_allclose(published.equivalence(before.T, np.tile(after[:, None], 5), axis=0), whole)


def test_erratum_37_the_larger_p_value_is_never_below_a_half():
    generator = np.random.default_rng(0)
    before = generator.normal(size=(400, 40))
    found = published.equivalence(before, before + generator.normal(0, 0.01, size=(400, 40)))
    assert np.maximum(found.p_lower, found.p_upper).min() >= 0.5
    same = published.equivalence(before, before)
    np.testing.assert_array_equal([same.p_lower, same.p_upper], np.full((2, 400), 0.5))  # no difference, so no margin


def test_erratum_38_the_surer_the_equivalence_the_less_is_joined():
    np.testing.assert_array_equal(published.joined([1e-10, 0.05, 0.11, 0.48], [1e-10, 0.6, 0.89, 0.48]), [False, False, True, True])
    assert not published.joined(0.1, 0.9) and published.joined(0.1, 0.9, alpha=0.05)


def test_erratum_39_values_of_the_same_queries_count_as_independent():
    """Every query gains 0.2, and the pairing that shows it is not used: any order of the second system's values gives the same."""
    before = np.array([0.1, 0.3, 0.5, 0.7])
    found = [published.equivalence(before, before[list(order)] + 0.2) for order in itertools.permutations(range(4))]
    assert all(each.joined for each in found)
    np.testing.assert_allclose([each.p_lower for each in found], found[0].p_lower)


def test_constant_samples_have_limits_or_no_test():
    apart, equal = published.equivalence([0.1] * 3, [0.2] * 3), published.equivalence([0.1] * 3, [0.1] * 3)
    assert (apart.p_lower, apart.p_upper, bool(apart.joined)) == (0.0, 1.0, False)
    assert math.isnan(equal.p_lower) and math.isnan(equal.p_upper) and not equal.joined


@pytest.mark.parametrize(
    ("before", "after", "settings", "message"),
    [
        ([0.1], [0.1, 0.2], {}, "before has shape"),
        ([0.1, 0.2], [0.1, np.nan], {}, "1 of 2 after are not finite, the first at .1,."),
        ([0.1, 0.2], [0.1, 0.2], {"alpha": 1.0}, "alpha 1.0"),
        ([0.1, 0.2], [0.1, 0.2], {"margin_share": -1.0}, "margin_share is -1.0"),
    ],
)
def test_equivalence_refuses(before, after, settings, message):
    with pytest.raises(ValueError, match=message):
        published.equivalence(before, after, **settings)


def test_erratum_41_components_agree_with_networkx_and_chain_what_cliques_keep_apart():
    generator = np.random.default_rng(0)
    systems = [f"s{place}" for place in range(40)]
    edges = [tuple(generator.choice(systems, size=2, replace=False)) for _ in range(22)]
    graph = networkx.Graph()
    graph.add_nodes_from(systems)
    graph.add_edges_from(edges)
    letters = published.joined_components(systems, edges)
    assert list(letters) == systems
    components = [component for component in networkx.connected_components(graph) if len(component) > 1]
    together = {frozenset(name for name in systems if letters[name] == letter) for letter in set(letters.values()) - {""}}
    assert together == {frozenset(component) for component in components} and len(together) > 2
    assert sorted(set(letters.values()) - {""})[0] == letters[next(name for name in systems if letters[name])] == "a"
    chain = [("A", "B"), ("B", "C")]
    assert published.joined_components("ABC", chain) == {"A": "a", "B": "a", "C": "a"}
    assert stats.cliques(list("ABC"), chain) == {"A": "a", "B": "ab", "C": "b"}
    assert published.joined_components(["A"], []) == {"A": ""}


def test_components_name_more_than_26_groups_and_refuse_strangers():
    names = [f"{place}" for place in range(54)]
    letters = published.joined_components(names, zip(names[::2], names[1::2], strict=True))
    assert list(dict.fromkeys(letters.values())) == [*"abcdefghijklmnopqrstuvwxyz", "aa"]
    with pytest.raises(ValueError, match="index is -1"):
        stats.letter(-1)
    with pytest.raises(ValueError, match="an edge names 'D'"):
        published.joined_components(["A", "B"], [("A", "D")])
    with pytest.raises(ValueError, match="stands twice"):
        published.joined_components(["A", "A"], [])


# --- tables of results ---


def test_erratum_40_the_last_collection_wins():
    rows = [("a", "2", 0.25), ("a", "1", 0.5), ("b", "1", 1.0), ("c", "1", 0.75)]
    frame = pd.DataFrame(rows, columns=["test_collection", "query_id", "value"])
    kept = published.pooled_by_query_id(frame)
    assert list(kept.items()) == [("2", 0.25), ("1", 0.75)]
    assert published.pooled_by_query_id(frame[::-1]).to_dict() == {"1": 0.5, "2": 0.25}
    with pytest.raises(ValueError, match="no column 'value'"):
        published.pooled_by_query_id(frame[["query_id"]])


def test_erratum_42_a_hyphen_in_the_name_moves_the_parts():
    assert published.split_of("nfcorpus-LCE-upper_quartile-x") == "upper_quartile"
    assert published.split_of("climate-fever-LCE-upper_quartile") == "LCE"
    with pytest.raises(ValueError, match="'a-b' has 2 parts"):
        published.split_of("a-b")


# --- on a study's values ---


def values_of(n: int = 60) -> pd.DataFrame:
    """Five systems: B is A but for a hair, C is better by 0.015 everywhere, D differs from A at random, E is better by 0.3."""
    generator = np.random.default_rng(0)
    index = pd.MultiIndex.from_product([["toy"], [f"q{place}" for place in range(n)]], names=stats.QUERY_KEYS)
    a = generator.uniform(0, 0.5, size=n)
    noise = generator.normal(size=(3, n))
    noise -= noise.mean(axis=1, keepdims=True)
    columns = {
        "A": a,
        "B": a + 0.001 * noise[0],
        "C": a + 0.015 + 0.001 * noise[1],
        "D": a + 0.5 * noise[2],
        "E": a + 0.3 + 0.001 * noise[0],
    }
    return pd.DataFrame(columns, index=index)


def seeds_of(values: pd.DataFrame, seed_sd: float = 0.0) -> dict[str, pd.DataFrame]:
    """Give every system two seeds, 0.1 apart for all, and what a seed does to one system alone with an SD of ``seed_sd``."""
    own = np.random.default_rng(7).normal(0, seed_sd, size=(len(values.columns), 1)) * [-1, 1]
    return {
        name: pd.DataFrame({0: values[name] - 0.05 + less, 1: values[name] + 0.05 + more})
        for name, (less, more) in zip(values, own, strict=True)
    }


def test_compare_verdicts_sets_both_rules_side_by_side():
    means = values_of()
    values = seeds_of(means)
    table = published.compare_verdicts(values, equivalence_margin=0.02, alpha=0.05)
    pairs = list(zip(table["system_a"], table["system_b"], strict=True))
    assert pairs == list(itertools.combinations("ABCDE", 2))
    by_pair = table.assign(pair=["".join(pair) for pair in pairs]).set_index("pair")
    assert by_pair.loc[["AB", "AC", "AD", "AE"], "verdict"].tolist() == ["equivalent", "both", "undecided", "different"]
    assert by_pair.loc[["AB", "AC", "AD", "AE"], "published_joined"].tolist() == [True, True, True, False]
    np.testing.assert_allclose(by_pair.loc[["AC", "AE"], "difference"], [0.015, 0.3])
    raw = [stats.paired_difference(means[a], means[b], equivalence_margin=0.02).p_equivalence for a, b in pairs]  # seeds do not matter here
    np.testing.assert_allclose(table["p_equivalence_holm"], stats.holm(raw), atol=1e-12)
    assert table["verdict_queries"].tolist() == table["verdict"].tolist() and (table["n_seeds"] == 2).all()
    for row in table.itertuples():
        alone = verdicts.contrast(values[row.system_a], values[row.system_b], equivalence_margin=0.02, alpha=0.05)
        assert (row.smallest_margin, row.queries_needed) == (alone.smallest_margin, alone.queries_needed)
        p_lower, p_upper, together = published.equivalence(means[row.system_a], means[row.system_b])
        assert (row.published_p_lower, row.published_p_upper) == pytest.approx((p_lower, p_upper), rel=1e-9)
        assert row.published_joined == together
    shuffled = {name: frame.sample(frac=1, random_state=place)[[1, 0]] for place, (name, frame) in enumerate(values.items())}
    pd.testing.assert_frame_equal(published.compare_verdicts(shuffled, equivalence_margin=0.02, alpha=0.05), table)


def test_compare_verdicts_keeps_what_other_seeds_may_not_show_apart_from_what_these_show():
    """Seeds that shift a system by an SD of 0.1: E, 0.3 better for these two students, need not be so for others; the mean is untouched."""
    settings = {"equivalence_margin": 0.02, "alpha": 0.05}
    still, moved = (published.compare_verdicts(seeds_of(values_of(), sd), **settings) for sd in (0.0, 0.1))
    assert set(moved["verdict"]) == {"undecided"} != set(still["verdict"])
    assert moved["verdict_queries"].tolist() == still["verdict_queries"].tolist()
    np.testing.assert_allclose(moved["published_p_lower"], still["published_p_lower"])
    one = {name: frame[[0]] for name, frame in seeds_of(values_of()).items()}
    table = published.compare_verdicts(one, **settings)
    assert set(table["verdict"]) <= {f"{word}, these students only" for word in stats.VERDICTS.values()}
    pd.testing.assert_frame_equal(published.cross_table(table), published.cross_table(still))


def test_changes_and_cross_table_count_every_pair_once():
    table = published.compare_verdicts(seeds_of(values_of()), equivalence_margin=0.02, alpha=0.05)
    counts, by_rule = published.changes(table), published.cross_table(table)
    assert by_rule.to_numpy().sum() == counts["pairs"] == 10
    assert counts["stay"] == by_rule.loc["joined", ["equivalent", "both"]].sum() == 3  # AB, AC and BC
    assert counts["vanish"] == by_rule.loc["joined", ["different", "undecided"]].sum()
    assert (counts["vanish_different"], counts["vanish_undecided"]) == tuple(by_rule.loc["joined", ["different", "undecided"]])
    assert counts["appear"] == by_rule.loc["not joined", ["equivalent", "both"]].sum() == 0


def test_an_equivalence_appears_where_many_queries_show_a_small_difference():
    """With values that hardly vary over queries the published rule sees the difference of 0.015, which is within the margin."""
    index = pd.MultiIndex.from_product([["toy"], range(100)], names=stats.QUERY_KEYS)
    a = pd.Series(0.5 + 0.01 * np.sin(np.arange(100)), index)
    values = pd.DataFrame({"A": a, "B": a + 0.015 + 0.001 * np.cos(np.arange(100))})
    table = published.compare_verdicts(seeds_of(values), equivalence_margin=0.02, alpha=0.05)
    assert published.changes(table) == {"pairs": 1, "appear": 1, "vanish": 0, "stay": 0, "vanish_different": 0, "vanish_undecided": 0}


def per_query(strategies: str = "ABCDE", *, stages: tuple[str, ...] = ("full",), losses: tuple[str, ...] = ("lce",)) -> pd.DataFrame:
    """A study's table with two seeds, which lie 0.1 apart, and rows that are no student's or of another measure."""
    values, rows = values_of(), []
    plain = dict.fromkeys(DIMENSIONS, "") | {"augmentation": "none", "cut": "all", "temperature": 1.0, "target_entropy": np.nan}
    for stage, loss, strategy, seed in itertools.product(stages, losses, strategies, (0, 1)):
        cell = plain | {"strategy": strategy, "loss": loss, "architecture": "static", "cell": f"{strategy} {loss}", "seed": seed}
        cell |= {"collection": "toy/train", "test_collection": "toy", "first_stage": stage, "system": "student", "measure": "nDCG@10"}
        rows += [cell | {"query_id": query, "value": value + 0.1 * seed - 0.05} for (_, query), value in values[strategy].items()]
    students = pd.DataFrame(rows)
    other = students.assign(measure="AP", value=0.5)
    baseline = students[students["strategy"] == strategies[0]].assign(system="teacher", cell="teacher", strategy="")
    return pd.concat([students, other, baseline], ignore_index=True)


def test_compare_strategies_averages_over_seeds_and_keeps_blocks_apart():
    table = published.compare_strategies(per_query(stages=("full", "bm25@100"), losses=("lce", "kl")), SETTINGS)
    assert len(table) == 4 * 10 and table.attrs["alone"] == 0
    assert set(table["block"]) == {"lce", "kl"}
    plain = published.compare_verdicts(seeds_of(values_of()), equivalence_margin=0.02, alpha=0.05)
    for _, block in table.groupby(["first_stage", "block"]):
        np.testing.assert_allclose(block["published_p_lower"], plain["published_p_lower"])
        assert (block["strategy_a"] + block["strategy_b"]).tolist() == (plain["system_a"] + plain["system_b"]).tolist()
    for _, family in table.groupby("first_stage"):  # both losses are one family
        np.testing.assert_allclose(family["p_equivalence_holm"], stats.holm(family["p_equivalence"]))
        np.testing.assert_allclose(family["p_holm"], stats.holm(family["p_difference"]))
        assert (family["equivalent"] == (family["p_equivalence_holm"] < 0.05)).all()
        assert (family["different"] == (family["p_holm"] < 0.05)).all()
        assert (family["verdict"] == [stats.VERDICTS[pair] for pair in zip(family["different"], family["equivalent"], strict=True)]).all()


def test_the_family_is_not_that_of_the_analysis_and_a_verdict_may_differ():
    """Five strategies: ten pairs here, four contrasts with A there; between the two corrected p-values of A and B lies an alpha."""
    frame = per_query()
    chosen = frame["strategy"] == "B"
    frame.loc[chosen, "value"] += np.random.default_rng(5).normal(0.04, 0.1, size=chosen.sum())
    there = compared_with("A", frame, alpha=0.05)
    here = published.compare_strategies(frame, SETTINGS).query("strategy_a == 'A'").set_index("strategy_b")
    for name in ("p_difference", "p_equivalence"):
        np.testing.assert_allclose(here[name], there[name])
    assert (here["p_holm"] >= there["p_holm"]).all() and here.loc["B", "p_holm"] > 1.5 * there.loc["B", "p_holm"] > 1e-6
    between = float(np.sqrt(here.loc["B", "p_holm"] * there.loc["B", "p_holm"]))
    strict = SimpleNamespace(**(vars(SETTINGS) | {"alpha": between}))
    here = published.compare_strategies(frame, strict).query("strategy_a == 'A'").set_index("strategy_b")
    assert compared_with("A", frame, alpha=between)["different"]["B"] and not here["different"]["B"]


def compared_with(baseline: str, frame: pd.DataFrame, *, alpha: float) -> pd.DataFrame:
    """Contrasts of the study's analysis with one strategy, indexed by the other."""
    settings = SimpleNamespace(**(vars(SETTINGS) | {"alpha": alpha, "baseline_strategy": baseline, "margins_shown": []}))
    return contrasts.differences(frame, settings).query("family == 'strategy'").set_index("strategy")


def test_cells_without_a_partner_are_counted_and_seeds_must_agree():
    frame = per_query("AB")
    one_seed = frame[(frame["strategy"] != "B") | (frame["seed"] == 0)]
    table = published.compare_strategies(one_seed, SETTINGS)
    assert (len(table), table.attrs["alone"]) == (0, 2)
    assert published.changes(table)["pairs"] == published.cross_table(table).to_numpy().sum() == len(published.letter_groups(table)) == 0
    assert list(table) == list(published.compare_strategies(frame, SETTINGS))
    with pytest.raises(ValueError, match="no pair to draw"):
        published.verdict_chart(table, equivalence_margin=0.02)


def test_letters_of_both_rules():
    letters = published.letter_groups(published.compare_strategies(per_query(), SETTINGS)).set_index("strategy")
    assert letters["published"].tolist() == ["a", "a", "a", "a", ""]
    assert letters["ours"].tolist() == ["a", "a", "a", "", ""]


def test_the_chart_shows_every_pair_with_its_smaller_p_value():
    table = published.compare_strategies(per_query(), SETTINGS)
    spec = drawing.chart_spec(published.verdict_chart(table, equivalence_margin=0.02))
    (rows,) = spec["datasets"].values()
    expected = np.minimum(table["published_p_lower"], table["published_p_upper"])
    np.testing.assert_allclose([row["published_p"] for row in rows], expected)
    assert {row["line"] for row in rows} == {0.1} and {(row["low"], row["high"]) for row in rows} == {(-0.02, 0.02)}
    marks = spec["spec"]["layer"][-1]["encoding"]
    assert marks["color"]["scale"]["domain"] == ["different", "equivalent", "both", "undecided"]
    assert marks["x"]["scale"]["domain"][1] > table["difference"].abs().max()
