"""Theory: identities to rounding, constants by hand, brute force for every bound and law, and the errors."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats as distributions
from scipy.special import entr, expit, softmax

from rd_utils.analysis import locality
from rd_utils.companions import theory
from rd_utils.companions.theory.arrays import TheoryError
from rd_utils.companions.theory.population import Population, Sampler
from rd_utils.data.runs import Run
from rd_utils.mining import sampling
from rd_utils.models.tokens import TokenTable
from rd_utils.report import charts
from rd_utils.scoring import entropy
from rd_utils.store import Store
from rd_utils.study import params
from rd_utils.training import losses
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.workflow.progress import untracked


@pytest.fixture
def scores():
    """40 groups of 6 with teacher scores as spread as an oracle's, and a student's."""
    generator = np.random.default_rng(0)
    return generator.normal(scale=6, size=(40, 6)), generator.normal(scale=2, size=(40, 6))


@pytest.fixture
def population():
    """5 queries, 12 documents in 3 dimensions, the positive in column 0."""
    generator = np.random.default_rng(1)
    queries, docs = generator.normal(size=(5, 3)) * 2, generator.normal(size=(12, 3))
    student = queries @ docs.T
    teacher = 0.5 * student + generator.normal(size=(5, 12))
    allowed = np.ones((5, 12), dtype=bool)
    allowed[:, 0] = False
    return Population(
        teacher[:, :1] - teacher,
        student[:, :1] - student,
        np.linalg.norm(docs - docs[0], axis=1)[None].repeat(5, axis=0),
        np.linalg.norm(queries, axis=1),
        allowed,
    )


# --- the floor ---


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("pairs", ["all", "positive"])
def test_the_ranknet_loss_is_divergence_plus_entropy(scores, temperature, pairs):
    teacher, student = scores
    found = theory.floor.pairwise_decomposition(teacher, student, temperature, pairs=pairs)
    assert found["residual"].abs().max() < 1e-12
    assert (found[["divergence", "entropy"]] >= 0).all(axis=None)
    first, second = np.triu_indices(6, k=1)
    chosen = first == 0 if pairs == "positive" else first >= 0
    p = expit((teacher[:, first] - teacher[:, second]) / temperature)[:, chosen]
    s = expit(student[:, first] - student[:, second])[:, chosen]
    np.testing.assert_allclose(found["loss"], (-p * np.log(s) - (1 - p) * np.log(1 - s)).mean(axis=1), rtol=1e-9)
    np.testing.assert_allclose(found["entropy"], (entr(p) + entr(1 - p)).mean(axis=1), rtol=1e-6, atol=1e-12)
    whole = losses.ranknet(torch.from_numpy(student), torch.from_numpy(teacher), temperature).item()
    if pairs == "all":
        assert found["loss"].mean() == pytest.approx(whole)


def test_the_listwise_loss_is_divergence_plus_entropy(scores):
    teacher, student = scores
    found = theory.floor.listwise_decomposition(teacher, student, 3.0)
    assert found["residual"].abs().max() < 1e-12
    p, s = softmax(teacher / 3, axis=1), softmax(student, axis=1)
    np.testing.assert_allclose(found["divergence"], (p * np.log(p / s)).sum(axis=1))
    np.testing.assert_allclose(found["entropy"], entropy.listwise_entropy(teacher, 3.0) * math.log(6))


def test_a_student_with_the_teachers_scores_pays_the_floor_alone(scores):
    teacher, _ = scores
    for decompose in (theory.floor.pairwise_decomposition, theory.floor.listwise_decomposition):
        found = decompose(teacher, teacher / 2.0, 2.0)
        np.testing.assert_allclose(found["divergence"], 0, atol=1e-12)
        np.testing.assert_allclose(found["loss"], found["entropy"], atol=1e-12)
        assert (decompose(teacher, teacher, 2.0)["divergence"] > 1e-3).all()


def test_the_divergence_is_the_bregman_divergence_of_negative_entropy():
    """phi(p) - phi(s) - phi'(s) (p - s) with phi = -h and phi'(s) = log(s / (1 - s))."""
    a, z = np.random.default_rng(2).normal(scale=3, size=(2, 200))
    p, s = expit(a), expit(z)
    negative = lambda x: -(entr(x) + entr(1 - x))  # noqa: E731
    np.testing.assert_allclose(theory.floor.pair_terms(a, z)[1], negative(p) - negative(s) - z * (p - s), atol=1e-12)


def test_extreme_scores_keep_their_digits():
    loss, divergence, floor = theory.floor.pair_terms([800.0, -800.0, 0.0], [800.0, 800.0, 800.0])
    np.testing.assert_allclose(loss, [0.0, 800.0, 400.0])
    np.testing.assert_allclose(divergence, [0.0, 800.0, 400.0 - math.log(2)])
    np.testing.assert_allclose(floor, [0.0, 0.0, math.log(2)], atol=1e-300)


def test_scores_that_cannot_be_decomposed():
    with pytest.raises(TheoryError, match=r"the first \(nan\) at \(0, 1\)"):
        theory.floor.pairwise_decomposition([[1.0, math.nan]], [[0.0, 0.0]])
    with pytest.raises(TheoryError, match="the same"):
        theory.floor.listwise_decomposition([[1.0, 2.0]], [[0.0, 0.0, 0.0]])
    with pytest.raises(TheoryError, match="temperature is 0"):
        theory.floor.listwise_decomposition([[1.0, 2.0]], [[0.0, 0.0]], 0)
    with pytest.raises(TheoryError, match="pairs is 'some'"):
        theory.floor.pairwise_decomposition([[1.0, 2.0]], [[0.0, 0.0]], pairs="some")


# --- the range ---


@pytest.mark.parametrize("bound", [0.0, 0.3, 2.0, 30.0])
def test_the_range_is_exact_and_as_wide_as_the_bound(bound):
    low, high = theory.deviation.loss_range(bound)
    assert high - low == pytest.approx(bound)
    p, z = np.meshgrid(np.linspace(0, 1, 101), np.linspace(-bound, bound, 401))
    values = np.logaddexp(0, z) - p * z
    assert values.min() == pytest.approx(low, abs=1e-12) and values.max() == pytest.approx(high)
    lowest, highest = theory.deviation.loss_range(bound, p[0])
    np.testing.assert_allclose(highest, values.max(axis=0), atol=1e-12)
    assert (lowest <= values.min(axis=0) + 1e-12).all()
    assert np.abs(lowest - values.min(axis=0)).max() < 0.01  # the grid misses the minimum by half a step


def test_a_range_of_nothing():
    with pytest.raises(TheoryError, match="at least 0"):
        theory.deviation.loss_range(-1.0)
    with pytest.raises(TheoryError, match="probabilities"):
        theory.deviation.loss_range(1.0, 1.5)


def test_no_margin_exceeds_its_geometry_and_one_along_the_query_attains_it():
    generator = np.random.default_rng(3)
    u, x = generator.normal(size=(200, 4)), generator.normal(size=(200, 5, 4))
    x[0, 1:] = x[0, :1] - np.arange(1, 5)[:, None] * u[0]
    found = theory.deviation.margin_bounds(u, x)
    assert (found["largest_margin"] <= found["bound"] + 1e-9).all() and (found["reach"] <= found["diameter"] + 1e-12).all()
    assert found["largest_margin"][0] == pytest.approx(found["bound"][0])
    assert found["largest_margin"][1:].mean() < found["bound"][1:].mean()
    with pytest.raises(TheoryError, match="expected"):
        theory.deviation.margin_bounds(u, x[:3])
    x[7, 2, 1] = np.inf
    with pytest.raises(TheoryError, match=r"group_vectors.*\(7, 2, 1\)"):
        theory.deviation.margin_bounds(u, x)


def test_the_diameter_of_a_collection(monkeypatch):
    x = np.random.default_rng(4).normal(size=(300, 5))
    exact = max(np.linalg.norm(a - b) for a, b in itertools.combinations(x, 2))
    assert theory.deviation.collection_diameter(x) == pytest.approx(exact)
    monkeypatch.setattr(theory.deviation, "_BLOCK_VALUES", 1000)
    assert theory.deviation.collection_diameter(x) == pytest.approx(exact)
    assert exact <= theory.deviation.collection_diameter(x, exact_up_to=10) <= 2 * exact
    with pytest.raises(TheoryError):
        theory.deviation.collection_diameter(np.zeros((0, 3)))


# --- deviations ---


def test_the_constants_by_hand():
    assert theory.deviation.hoeffding(1.0, 50, math.exp(-2)) == pytest.approx(math.sqrt(2 / 100))
    values = [0.0, 2.0, 0.0, 2.0]  # V = 4 / 3
    log_term = math.log(2 / 0.1)
    expected = math.sqrt(2 * (4 / 3) * log_term / 4) + 7 * 2.0 * log_term / (3 * 3)
    assert theory.deviation.empirical_bernstein(values, 2.0, 0.1) == pytest.approx(expected)
    scaled = theory.deviation.empirical_bernstein(np.array(values) / 2, 1.0, 0.1)
    assert theory.deviation.empirical_bernstein(values, 2.0, 0.1) == pytest.approx(2 * scaled)  # the theorem is stated on [0, 1]
    assert theory.deviation.vc_deviation(10, 1000, 0.04) == pytest.approx(math.sqrt((10 * (math.log(200) + 1) + math.log(100)) / 1000))
    assert theory.deviation.vc_deviation(2000, 1000, 0.04) == pytest.approx(math.sqrt((2000 + math.log(100)) / 1000))  # at 2 n = V: V nats
    assert theory.deviation.vc_deviation(10**8, 750_000, 0.05) > 1


def test_variance_pays_off_with_enough_values():
    steady = np.random.default_rng(0).normal(0.5, 0.05, 2000).clip(0, 1)
    assert theory.deviation.empirical_bernstein(steady, 1.0, 0.05) < theory.deviation.hoeffding(1.0, 2000, 0.05)
    assert theory.deviation.empirical_bernstein(steady[:20], 1.0, 0.05) > theory.deviation.hoeffding(1.0, 20, 0.05)


def test_clopper_pearson_inverts_the_binomial():
    for errors, n in ((0, 10), (3, 60), (59, 60)):
        limit = theory.deviation.clopper_pearson(errors, n, 0.05)
        assert distributions.binom.cdf(errors, n, limit) == pytest.approx(0.05, rel=1e-6)
    assert theory.deviation.clopper_pearson(10, 10, 0.05) == 1.0


def test_bounds_fail_no_more_often_than_they_may():
    """Of 2000 samples of 30 from a skewed variable on [0, 1]: at most delta fail, and Clopper-Pearson comes near to delta."""
    generator = np.random.default_rng(5)
    x = generator.beta(0.3, 1.2, size=(2000, 30))  # mean 0.2
    for deviation in (
        lambda row: theory.deviation.hoeffding(1.0, 30, 0.1),
        lambda row: theory.deviation.empirical_bernstein(row, 1.0, 0.1),
    ):
        assert np.mean([0.2 > row.mean() + deviation(row) for row in x]) <= 0.1
    errors = generator.binomial(30, 0.2, size=2000)
    fails = np.mean([0.2 > theory.deviation.clopper_pearson(k, 30, 0.1) for k in errors])
    assert 0.02 < fails <= 0.1 + 3 * math.sqrt(0.09 / 2000)


def test_deviations_refuse_what_they_cannot_bound():
    with pytest.raises(TheoryError, match="more than the width"):
        theory.deviation.empirical_bernstein([0.0, 3.0], 2.0, 0.05)
    with pytest.raises(TheoryError, match="n at least 2"):
        theory.deviation.empirical_bernstein([0.0], 2.0, 0.05)
    with pytest.raises(TheoryError, match="delta 1.5"):
        theory.deviation.hoeffding(1.0, 10, 1.5)
    with pytest.raises(TheoryError, match="width is -1"):
        theory.deviation.hoeffding(-1.0, 10, 0.5)
    with pytest.raises(TheoryError, match="11 errors in 10"):
        theory.deviation.clopper_pearson(11, 10, 0.05)
    with pytest.raises(TheoryError, match="dimension is 0"):
        theory.deviation.vc_deviation(0, 10, 0.05)


def test_the_inverse_of_kl_against_a_grid():
    rates = np.linspace(0.2, 1 - 1e-9, 400_001)
    kl = 0.2 * np.log(0.2 / rates) + 0.8 * np.log(0.8 / (1 - rates))
    for budget in (0.01, 0.3, 2.0):
        assert theory.deviation.kl_inverse(0.2, budget) == pytest.approx(rates[kl <= budget].max(), abs=1e-5)
    assert (
        theory.deviation.kl_inverse(0.2, 0.0) == 0.2
        and theory.deviation.kl_inverse(1.0, 1.0) == 1.0
        and theory.deviation.kl_inverse(0.1, 1e6) == 1.0
    )
    with pytest.raises(TheoryError, match="estimate is 1.2"):
        theory.deviation.kl_inverse(1.2, 0.1)


def test_pac_bayes_by_hand_and_where_it_is_vacuous():
    found = theory.deviation.pac_bayes({0.5: [0.0] * 50, 2.0: [0.1, 0.3]}, 4.0, 400, 0.1)
    assert found["divergence"].tolist() == [8.0, 0.5] and found["estimate"].tolist() == [0.0, 0.2]
    share = 0.1 / 4  # two sigmas, two events each
    empirical = 1 - share ** (1 / 50)  # kl(0 || r) = -log(1 - r)
    assert found["empirical"][0] == pytest.approx(empirical)
    assert found["bound"][0] == pytest.approx(theory.deviation.kl_inverse(empirical, (8 + math.log(2 * 20 / share)) / 400))
    assert (found["bound"] > found["empirical"]).all()
    assert theory.deviation.pac_bayes({0.01: [0.1] * 50}, 100.0, 400, 0.1)["bound"][0] > 0.999
    for arguments, message in (
        (({1.0: [1.5]}, 1.0, 100, 0.05), "not all in"),
        (({1.0: [0.5]}, 1.0, 7, 0.05), "at least 8"),
        (({}, 1.0, 100, 0.05), "one sigma"),
        (({0.0: [0.5]}, 1.0, 100, 0.05), "sigma is 0"),
    ):
        with pytest.raises(TheoryError, match=message):
            theory.deviation.pac_bayes(*arguments)


def test_terms_of_bounds_are_two_a_certificate_and_one_line():
    certificates = [
        theory.deviation.certify_loss([0.4] * 400, 1.0, 0.05, name="much"),
        theory.deviation.certify_loss([0.4] * 5, 1.0, 0.05, name="little"),
    ]
    terms = theory.deviation.bound_terms(certificates)
    assert terms["name"].tolist() == ["much, observed", "much, bound", "little, observed", "little, bound", "all documents alike"]
    assert terms["kind"].tolist() == ["observed", "bound", "observed", "bound", "trivial"]
    assert terms["vacuous"].tolist() == [False, False, False, True, False] and terms["vacuous"].dtype == bool
    np.testing.assert_allclose(terms["value"], [0.4, certificates[0].bound, 0.4, certificates[1].bound, math.log(2)])
    assert charts.bound_chart(terms) is not None
    order = theory.deviation.certify_order([1.0, -1.0], 0.05)
    for wrong, message in (([*certificates, order], r"3 certificates against the trivial risks \[0.5, 0.69"), ([], "0 certificates")):
        with pytest.raises(TheoryError, match=message):
            theory.deviation.bound_terms(wrong)
    with pytest.raises(TheoryError, match="the certificate 'much' occurs twice"):
        theory.deviation.bound_terms([certificates[0], certificates[0]])


def test_certificates_say_when_they_are_vacuous():
    good, bad = theory.deviation.certify_order([1.0] * 90 + [0.0] * 10, 0.05), theory.deviation.certify_order([1.0, -1.0], 0.05)
    assert good.estimate == 0.1 and not good.vacuous and bad.vacuous  # a tie is an error
    assert good.bound == theory.deviation.clopper_pearson(10, 100, 0.05)
    values = np.full(200, 0.4)
    assert theory.deviation.certify_loss(values, 1.0, 0.05).bound == pytest.approx(0.4 + 7 * math.log(40) / (3 * 199))
    assert theory.deviation.certify_loss(values, 1.0, 0.05, method="hoeffding").bound == pytest.approx(0.4 + math.sqrt(math.log(20) / 400))
    assert not theory.deviation.certify_loss(values, 1.0, 0.05).vacuous and theory.deviation.certify_loss(values, 40.0, 0.05).vacuous
    assert (
        theory.deviation.certificate("equal", 0.1, 0.5, 0.5, 10, 0.05).vacuous
        and theory.deviation.certificate("inf", 0.1, math.inf, 0.5, 10, 0.05).vacuous
    )
    with pytest.raises(TheoryError, match="outside"):
        theory.deviation.certify_loss([3.0, 0.3], 1.0, 0.05)
    with pytest.raises(TheoryError, match="bernstein or hoeffding"):
        theory.deviation.certify_loss(values, 1.0, 0.05, method="vc")
    with pytest.raises(TheoryError, match="one pair a query"):
        theory.deviation.certify_order([], 0.05)


# --- a population ---


def samplers():
    """A pool of 4 of the 11 allowed documents, half of it random, corpus-random, and a pool that is too small."""
    pools = [np.array([1, 2, 3, 4])] * 5
    return [
        Sampler("pool", pools, 3, 3),
        Sampler("half", pools, 1, 3),
        Sampler("random", [np.empty(0, dtype=int)] * 5, 0, 3),
        Sampler("short", [np.array([5, 6])] * 5, 3, 3),
    ]


@pytest.mark.parametrize("sampler", samplers(), ids=lambda sampler: sampler.name)
def test_draws_are_distinct_allowed_and_of_the_law(population, sampler):
    law = theory.population.sampler_law(sampler, population.allowed)
    np.testing.assert_allclose(law.sum(axis=1), 1)
    rows = np.repeat(np.arange(5), 4000)
    drawn = theory.population.draw_negatives(sampler, population.allowed, rows, np.random.default_rng(0))
    assert (np.diff(np.sort(drawn, axis=1), axis=1) > 0).all() and (drawn > 0).all()
    counted = np.stack([np.bincount(drawn[rows == row].ravel(), minlength=12) / 12_000 for row in range(5)])
    assert np.abs(counted - law).max() < 5 * math.sqrt(0.25 / 12_000)
    assert (counted[law == 0] == 0).all()


def test_rejection_and_ordering_draw_alike():
    """A large pool repeats rarely and is drawn by rejection: pairs of documents are as likely as the mathematics says."""
    allowed = np.ones((1, 40), dtype=bool)
    sampler = Sampler("x", [np.arange(10)], 2, 5)
    drawn = theory.population.draw_negatives(sampler, allowed, np.zeros(20_000, dtype=int), np.random.default_rng(1))
    assert (np.diff(np.sort(drawn, axis=1), axis=1) > 0).all()
    counted = np.bincount(drawn.ravel(), minlength=40) / drawn.size
    assert np.abs(counted - theory.population.sampler_law(sampler, allowed)[0]).max() < 0.003


def test_the_law_is_that_of_the_samplers_own_inclusion_probabilities():
    """Beside rd_utils.mining.sampling on a toy: the inclusion that it records for each drawn document, and its density ratio."""
    ids = pd.Series([f"d{i:02d}" for i in range(30)])
    qrels = pd.DataFrame({"query_id": ["q"], "doc_id": ["d00"], "relevance": [1]})
    run = Run(np.array([0, 11]), np.arange(11, dtype=np.int32), -np.arange(11.0))
    drawn = sampling.draw_groups(
        ids,
        qrels,
        strategy=params.FromCandidates(depth=10),
        group_size=6,
        shortage=params.CorpusRandom(),
        seed=0,
        random_share=0.4,
        candidates=run,
    ).frame.iloc[0]
    allowed = np.arange(30)[None] > 0
    sampler = theory.held_out.with_share(Sampler("pool", [np.arange(1, 11)], 5, 5), 0.4)
    assert sampler.n_pooled == 3
    law = theory.population.sampler_law(sampler, allowed)
    rows = [int(doc_id[1:]) for doc_id in drawn.doc_ids[1:]]
    np.testing.assert_allclose(law[0, rows] * 5, drawn.inclusion[1:])
    uniform = allowed / allowed.sum()
    assert theory.population.largest_density_ratio(uniform, law) == pytest.approx(drawn.density_ratio)


def test_a_share_of_random_documents_bounds_the_density_ratio(population):
    uniform = population.allowed / population.allowed.sum(axis=1, keepdims=True)
    pool, half, random, _ = (theory.population.sampler_law(sampler, population.allowed) for sampler in samplers())
    assert theory.population.largest_density_ratio(uniform, random) == pytest.approx(1)
    assert theory.population.largest_density_ratio(uniform, pool) == math.inf
    assert 1 < theory.population.largest_density_ratio(uniform, half) <= 1 / (2 / 3)
    risks = {name: theory.population.law_terms(population, law)["loss"].mean() for name, law in (("u", uniform), ("half", half))}
    assert risks["u"] <= theory.population.largest_density_ratio(uniform, half) * risks["half"]
    assert theory.population.largest_density_ratio(uniform, half) == max(locality.density_ratio(uniform[0], row) for row in half)


def test_exact_terms_by_enumerating_all_groups(population):
    """All 165 groups of 3 of the 11 allowed documents, each as likely as the others."""
    loss = theory.floor.pair_terms(population.teacher_margins, population.student_margins)[0]
    every = [loss[:, list(group)].mean(axis=1) for group in itertools.combinations(range(1, 12), 3)]
    terms = theory.population.law_terms(population, theory.population.sampler_law(samplers()[2], population.allowed))
    np.testing.assert_allclose(terms["loss"], np.mean(every, axis=0))
    np.testing.assert_allclose(terms["loss"], terms["divergence"] + terms["entropy"])
    assert ((terms["low"] < terms["loss"]) & (terms["loss"] < terms["high"])).all()
    with pytest.raises(TheoryError, match="rows that sum to 1"):
        theory.population.law_terms(population, population.allowed.astype(float))


def test_simulated_samples_have_the_exact_mean_and_keep_the_bounds(population):
    sampler = samplers()[1]
    risk = theory.population.law_terms(population, theory.population.sampler_law(sampler, population.allowed))["loss"].mean()
    samples = theory.population.simulate(population, sampler, n=80, n_repeats=300, seed=0)
    assert samples.shape == (300, 80)
    assert samples.mean() == pytest.approx(risk, abs=4 * samples.std() / math.sqrt(samples.size))
    np.testing.assert_array_equal(samples, theory.population.simulate(population, sampler, n=80, n_repeats=300, seed=0))
    width = float((population.lipschitz[:, None] * population.distances).max())
    table = theory.population.deviation_table(samples, risk, width, 0.1, [20, 80])
    assert (table[["hoeffding_fails", "bernstein_fails"]] <= 0.1).all(axis=None)
    assert (table["gap"] < table["hoeffding"]).all() and table["gap"][1] < table["gap"][0]
    assert table["hoeffding"][0] == pytest.approx(2 * table["hoeffding"][1])
    too_small = theory.population.deviation_table(
        samples - samples.min(), risk, float(np.ptp(samples)), 0.1, [80]
    )  # a wrong mean is noticed
    assert too_small["gap"][0] != pytest.approx(table["gap"][1])
    with pytest.raises(TheoryError, match="sample size is 81"):
        theory.population.deviation_table(samples, risk, width, 0.1, [81])


def test_samplers_that_do_not_fit(population):
    with pytest.raises(TheoryError, match="not allowed"):
        theory.population.sampler_law(Sampler("x", [np.array([0, 1])] * 5, 2, 2), population.allowed)
    with pytest.raises(TheoryError, match="11 allowed documents for 12"):
        theory.population.sampler_law(Sampler("x", [np.empty(0, dtype=int)] * 5, 0, 12), population.allowed)


# --- labels ---


def test_drawn_labels_have_the_gradient_of_kl_on_average(scores):
    teacher, student = scores
    found = theory.labels.label_noise(teacher, student, 4.0, draws=4000, seed=1)
    assert found["bias"].max() < 1e-12
    np.testing.assert_allclose(found["enumerated"], found["removed"], atol=1e-12)
    p = softmax(teacher / 4, axis=1)
    np.testing.assert_allclose(found["removed"], [np.trace(np.diag(row) - np.outer(row, row)) for row in p])
    assert np.abs(found["sampled"] - found["removed"]).max() < 0.06
    assert (found["removed"] <= found["limit"] + 1e-12).all()


def test_the_limit_is_attained_by_uniform_targets_and_the_reverse_is_wrong():
    flat = theory.labels.label_noise(np.zeros((1, 8)), np.zeros((1, 8)))
    assert flat["removed"][0] == pytest.approx(7 / 8) == flat["limit"][0]
    skewed = theory.labels.label_noise([[3.0, 0.0, 0.0, 0.0]], np.zeros((1, 4)))
    assert skewed["removed"][0] < skewed["limit"][0] - 0.05


def test_the_noise_in_weight_space_by_enumeration_and_by_drawing():
    """A linear student of three weights: the batch's label combinations can all be listed."""
    generator = np.random.default_rng(6)
    features, teacher = generator.normal(size=(2, 3, 3)), generator.normal(size=(2, 3))
    weights = torch.tensor([0.5, -1.0, 0.3], dtype=torch.float64, requires_grad=True)
    scores = torch.from_numpy(features) @ weights
    found = theory.labels.gradient_noise(scores, [weights], teacher, draws=3000, seed=0)
    p, s = softmax(teacher, axis=1), softmax(scores.detach().numpy(), axis=1)
    mean = np.mean([features[b].T @ (s[b] - p[b]) for b in range(2)], axis=0)
    expected = 0.0
    for labels in itertools.product(range(3), repeat=2):
        gradient = np.mean([features[b].T @ (s[b] - np.eye(3)[y]) for b, y in enumerate(labels)], axis=0)
        expected += p[0, labels[0]] * p[1, labels[1]] * ((gradient - mean) ** 2).sum()
    assert found.variance == pytest.approx(expected)
    assert found.distilled == pytest.approx((mean**2).sum())
    assert found.sampled == pytest.approx(expected, rel=0.1)
    assert found.distance**2 < 9 * expected / 3000


def test_with_an_identity_jacobian_it_is_the_noise_in_score_space(scores):
    teacher, student = scores
    weights = torch.from_numpy(student.copy()).requires_grad_()
    found = theory.labels.gradient_noise(weights * 1.0, [weights], teacher, 2.0, draws=2, seed=0)
    by_group = theory.labels.label_noise(teacher, student, 2.0)
    assert found.variance == pytest.approx(by_group["removed"].sum() / 40**2)


def test_no_target_lies_outside_the_limits_of_the_noise():
    """Targets of any shape lie between the two curves; one large and the others equal lie on the lower one."""
    limits = theory.labels.noise_limits(5, points=400)
    assert (limits["low"] <= limits["high"] + 1e-12).all() and limits["entropy"].iloc[-1] == pytest.approx(math.log(5))
    p = np.random.default_rng(7).dirichlet(np.full(5, 0.3), size=3000)
    h, removed = entr(p).sum(axis=1), 1 - (p**2).sum(axis=1)
    assert (removed >= np.interp(h, limits["entropy"], limits["low"]) - 1e-4).all() and (removed <= 1 - np.exp(-h) + 1e-12).all()
    one = np.array([0.8, 0.05, 0.05, 0.05, 0.05])
    assert np.interp(entr(one).sum(), limits["entropy"], limits["low"]) == pytest.approx(1 - (one**2).sum(), abs=1e-4)
    with pytest.raises(TheoryError, match="1 document"):
        theory.labels.noise_limits(1)


# --- shares ---


@pytest.mark.parametrize("bias, uniform", itertools.product([-0.4, -0.1, 0.2, 0.5], [-0.9, -0.15, 0.0, 0.1, 0.2, 0.3, 0.8]))
def test_the_condition_against_a_grid_of_shares(bias, uniform):
    shares = np.linspace(0, 1, 100_001)
    sizes = np.abs((1 - shares) * bias + shares * uniform)
    effect = theory.bias.share_effect(bias, uniform)
    assert effect.can_fall == bool((sizes < abs(bias) - 1e-9).any())
    assert sizes[round(effect.best * 100_000)] == pytest.approx(sizes.min(), abs=1e-4)
    assert abs(effect.at_best) == pytest.approx(sizes.min(), abs=1e-4)
    if effect.can_fall:
        inside = (shares > 1e-6) & (shares < effect.falls_below - 1e-4)
        assert (sizes[inside] < abs(bias)).all() and (sizes[shares > effect.falls_below + 1e-4] >= abs(bias)).all()


def test_no_bias_cannot_fall():
    assert theory.bias.share_effect(0.0, 0.4) == theory.bias.ShareEffect(False, 0.0, 0.0, 0.0)
    with pytest.raises(TheoryError, match="finite"):
        theory.bias.share_effect(math.nan, 0.0)


def test_biases_split_and_a_mixture_lies_between(population):
    laws = {sampler.name: theory.population.sampler_law(sampler, population.allowed) for sampler in samplers()[:3]}
    terms = {name: theory.population.law_terms(population, law) for name, law in laws.items()}
    table = theory.bias.bias_table(terms, "pool", uniform="random").set_index("strategy")
    np.testing.assert_allclose(table["bias"], table["divergence"] + table["entropy"], atol=1e-12)
    assert table["bias"]["pool"] == 0 and not table["can_fall"]["pool"]
    assert 0 < table["bias"]["half"] / table["bias"]["random"] < 1
    sampled = theory.bias.bias_table(terms, "pool", uniform="random", seed=0).set_index("strategy")
    assert (sampled["low"] <= sampled["bias"]).all() and (sampled["bias"] <= sampled["high"]).all()
    with pytest.raises(TheoryError, match="no strategy 'bm25'"):
        theory.bias.bias_table(terms, "bm25", uniform="random")
    with pytest.raises(TheoryError, match="different numbers"):
        theory.bias.bias_table(terms | {"short": terms["pool"][:3]}, "pool", uniform="random")
    ids = [f"q{n}" for n in range(5)]
    named = {name: frame.set_axis(ids) for name, frame in terms.items()}
    np.testing.assert_array_equal(theory.bias.bias_table(named, "pool", uniform="random")["bias"], table["bias"])
    swapped = named | {"half": named["half"].loc[["q0", "q2", "q1", "q3", "q4"]]}
    with pytest.raises(TheoryError, match="the query in row 1 is 'q1' under pool and 'q2' under half"):
        theory.bias.bias_table(swapped, "pool", uniform="random")


# --- from a collection ---


def parameters(model=theory.held_out.BoundsParameters, **changes):
    values = {
        "collection": {"source": "embedded", "profile": "smallest", "split": "train", "max_queries": 40},
        "training_queries": 24,
        "strategies": {"corpus_random": {"kind": "corpus_random"}, "bm25": {"kind": "candidates", "depth": 30}},
        "trained_on": "bm25",
        "group_size": 6,
        "teacher": {"kind": "oracle"},
        "architecture": {"kind": "static_bi", "dimension": 16},
        "training": {"documents": 600, "queries_per_batch": 8, "learning_rate": 0.01},
        "n": [10],
        "sigmas": [0.1],
        "perturbations": 2,
    }
    values = {name: value for name, value in values.items() if name in model.model_fields}
    return params.parse(model, values | changes, "parameters")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return Pipeline(Store(tmp_path_factory.mktemp("store")), track=untracked)


def test_groups_and_population_of_a_trained_student_agree(pipeline):
    own = parameters()
    held_out = theory.held_out.read_groups(pipeline, own, "bm25")
    training = theory.held_out.read_groups(pipeline, own, "bm25", trained=True)
    assert len(held_out.query_ids) == 16 and len(training.query_ids) == 24
    assert set(held_out.query_ids).isdisjoint(training.query_ids)
    assert set(training.query_ids) == set(pipeline.groups(own.student().groups)["query_id"])
    population, (random, bm25) = theory.held_out.read_population(pipeline, own, held_out)
    rows = np.arange(16)[:, None]
    student = held_out.student_scores[:, :1] - held_out.student_scores
    np.testing.assert_allclose(population.student_margins[rows, held_out.doc_rows], student, atol=1e-5)
    np.testing.assert_allclose(
        population.teacher_margins[rows, held_out.doc_rows], held_out.teacher_scores[:, :1] - held_out.teacher_scores, atol=1e-5
    )
    bounds = theory.deviation.margin_bounds(held_out.query_vectors, held_out.group_vectors)
    np.testing.assert_allclose(population.lipschitz, bounds["lipschitz"])
    assert (bounds["largest_margin"] <= bounds["bound"]).all()
    np.testing.assert_allclose(np.take_along_axis(population.distances, held_out.doc_rows, axis=1).max(axis=1), bounds["reach"], atol=1e-5)
    assert not population.allowed[np.arange(16), held_out.doc_rows[:, 0]].any() and population.allowed.sum() == 16 * 1199
    law = theory.population.sampler_law(bm25, population.allowed)
    inclusion = pipeline.groups(own.groups("bm25")).set_index("query_id")["inclusion"].loc[held_out.query_ids]
    np.testing.assert_allclose(law[rows, held_out.doc_rows[:, 1:]] * 5, np.stack(inclusion)[:, 1:])
    assert random.n_pooled == 0
    limit = np.linalg.norm(theory.held_out.document_vectors(pipeline, own), axis=1)
    assert limit.shape == (1200,) and (limit > 0).all()


def test_the_steepness_bounds_queries_that_nobody_has_seen(pipeline):
    """Of a static student by its longest token, which a query of that one token attains; under the cosine by the scale; else assumed."""
    own = parameters()
    held_out = theory.held_out.read_groups(pipeline, own, "bm25")
    found = theory.held_out.steepness(pipeline, own, [held_out])
    student = pipeline.student(own.student())
    longest = int(np.linalg.norm(student.token_vectors(), axis=1).argmax())
    query = student.encode(TokenTable(np.array([longest], dtype=np.int32), np.array([0, 1])), kind="query")
    assert found.known and found.bound == pytest.approx(own.architecture.scale * np.linalg.norm(query), rel=1e-6)
    assert found.bound > np.linalg.norm(held_out.query_vectors, axis=1).max()
    cosine = own.model_copy(update={"architecture": params.BiEncoder(model="m", similarity="cosine", scale=20.0)})
    assert theory.held_out.steepness(None, cosine, []) == theory.held_out.Steepness(20.0, True, "every query has length 1: the scale")
    for architecture in (params.BiEncoder(model="m"), params.TinyBertBi()):
        other = theory.held_out.steepness(None, own.model_copy(update={"architecture": architecture}), [held_out, held_out])
        assert not other.known and other.bound == np.linalg.norm(held_out.query_vectors, axis=1).max()
        assert other.why == "assumed: no query is longer than the longest of the 32 that were read"


def test_a_clipped_student_and_one_pair_a_query(pipeline):
    held_out = theory.held_out.read_groups(pipeline, parameters(), "corpus_random")
    low, high = theory.deviation.loss_range(0.5)
    values = held_out.clipped_losses(1.0, 0.5)
    assert ((values >= low) & (values <= high)).all()
    plain = theory.floor.pairwise_decomposition(held_out.teacher_scores, held_out.student_scores, pairs="positive")["loss"]
    np.testing.assert_allclose(held_out.clipped_losses(1.0, 1e6), plain)
    limits = held_out.locality_limits()
    assert ((limits["low"] <= plain) & (plain <= limits["high"])).all()
    distances = np.linalg.norm(held_out.group_vectors[:, 1:] - held_out.group_vectors[:, :1], axis=2)
    steepness = np.linalg.norm(held_out.query_vectors, axis=1)[:, None]
    np.testing.assert_allclose(limits["high"], np.log1p(np.exp(steepness * distances)).mean(axis=1))
    margins = held_out.one_margin(3)
    assert ((held_out.student_scores[:, :1] - held_out.student_scores[:, 1:]) == margins[:, None]).any(axis=1).all()


def test_perturbed_students_and_the_noise_of_batches(pipeline):
    own = parameters()
    sample = theory.held_out.read_groups(pipeline, own, "bm25", trained=True)
    found, distance, n_weights = theory.held_out.perturbed_losses(pipeline, own, sample, [1e-6, 3.0], 3)
    assert distance > 0 and n_weights == 16 * (n_weights // 16)
    low, high = theory.deviation.loss_range(own.clip)
    exact = (sample.clipped_losses(1.0, own.clip).mean() - low) / (high - low)
    np.testing.assert_allclose(found[1e-6], exact, atol=1e-4)
    assert found[3.0].mean() > exact + 0.01 and len(found[3.0]) == 3
    noise = theory.held_out.batch_noise(pipeline, own, sample, batches=2, groups=4, draws=300)
    np.testing.assert_allclose(noise["sampled"], noise["variance"], rtol=0.25)
    assert (noise["distance"] ** 2 < 9 * noise["variance"] / 300).all()
    with pytest.raises(TheoryError, match="fewer than 9 batches"):
        theory.held_out.batch_noise(pipeline, own, sample, batches=9, groups=4)


def test_the_truth_is_what_each_law_gives_the_population(pipeline):
    own = parameters(random_share=0.4)
    held = theory.held_out.read_held_out(pipeline, own)
    assert list(held) == ["corpus_random", "bm25", "bm25 with 0.4 random"] == [*own.strategies, own.mixed]
    truth = theory.held_out.read_truth(pipeline, own, held)
    assert list(truth.terms) == list(held) and truth.samplers[-1].n_pooled == 3
    for name, terms in truth.terms.items():
        assert terms.index.tolist() == held[name].query_ids.tolist()
        np.testing.assert_allclose(terms.loss, theory.population.law_terms(truth.population, truth.laws[name]).loss)
    lexical = parameters(teacher={"kind": "bm25"}, collection={"source": "ir_datasets", "id": "vaswani", "max_queries": 40})
    assert theory.held_out.read_truth(pipeline, lexical, {}) is None


def test_strategies_whose_law_is_not_a_uniform_pool_have_no_exact_risk(pipeline):
    top = {"corpus_random": {"kind": "corpus_random"}, "bm25": {"kind": "candidates", "depth": 30, "draw": "top"}}
    own = parameters(strategies=top)
    with pytest.raises(TheoryError, match="bm25 does not draw uniformly"):
        theory.held_out.read_population(pipeline, own, theory.held_out.read_groups(pipeline, own, "corpus_random"))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"trained_on": "bm52"}, "did you mean 'bm25'"),
        ({"model": theory.held_out.BiasParameters, "targets": ["dense"]}, "strategies: unknown name 'dense'"),
        ({"strategies": {"bm25": {"kind": "candidates"}}}, "unknown name 'corpus_random'"),
        ({"architecture": {"kind": "interaction_cross"}}, "so a bi-encoder"),
        ({"loss": "lce"}, "ignores the teacher"),
        ({"training_queries": 40}, "leave some to hold out"),
        ({"strategies": {"bm25": {"kind": "candidates"}, "corpus_random": {"kind": "candidates"}}}, "its own kind"),
        ({"clipp": 1.0}, "clip"),
    ],
)
def test_parameters_that_cannot_run(changes, message):
    with pytest.raises(params.ParameterError, match=message):
        parameters(**changes)


def test_held_out_queries_are_cut_and_counted():
    own = parameters(held_out_queries=3)
    ids = [f"q{i:02d}" for i in range(30)]
    training, held_out = theory.held_out.split_queries(own, [*ids, *ids])
    assert training == ids[:24] and held_out == ids[24:27]
    with pytest.raises(TheoryError, match="lower training_queries"):
        theory.held_out.split_queries(own, ids[:25])
    assert own.knows_all
