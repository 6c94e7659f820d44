"""The losses: values by hand, oracles (torch, scipy, sentence-transformers), invariants, and the trainers of sentence-transformers."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import expit, log_softmax, rel_entr, softmax

from rd_utils.scoring.entropy import listwise_entropy, pairwise_entropy
from rd_utils.training.losses import (
    LOSSES,
    LossName,
    find_loss,
    group_loss,
    kl,
    lambda_loss,
    lce,
    listnet,
    margin_mse,
    margin_mse_all_pairs,
    ranknet,
    ranknet_thresholded,
)
from rd_utils.training.trainer_losses import BiEncoderGroupLoss, CrossEncoderGroupLoss

DISTILLATION = [name for name in LOSSES if name != "lce"]
ORDERING = ["ranknet_thresholded", "lambda_loss"]  # these only order documents; the others have the teacher as their optimum
MATCHING = [name for name in DISTILLATION if name not in ORDERING]
LN2 = math.log(2)


def random_groups(batch: int = 5, group: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    students = torch.randn(batch, group, generator=generator, dtype=torch.float64)
    return students, 3 * torch.randn(batch, group, generator=generator, dtype=torch.float64)


def gradient(name: str, students: torch.Tensor, teachers: torch.Tensor | None, temperature: float = 1.0, **options) -> torch.Tensor:
    students = students.clone().requires_grad_()
    group_loss(name, students, teachers, temperature, **options).backward()
    return students.grad


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_lce_by_hand():
    # softmax (2, 1, 1)/4 gives the positive 1/2; (1, 3)/4 gives it 1/4; over the batch (ln 2 + ln 4) / 2.
    ln2 = math.log(2)
    assert lce(torch.tensor([[ln2, 0.0, 0.0]], dtype=torch.float64)).item() == pytest.approx(ln2, abs=1e-15)
    batch = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]], dtype=torch.float64)
    assert lce(batch).item() == pytest.approx(1.5 * ln2, abs=1e-15)


def test_ranknet_by_hand():
    # Teacher odds 3, 9, 3 for the pairs (0,1), (0,2), (1,2); the student has odds 2, 2, 1.
    teachers = torch.tensor([[2 * math.log(3), math.log(3), 0.0]], dtype=torch.float64)
    students = torch.tensor([[math.log(2), 0.0, 0.0]], dtype=torch.float64)
    pairs = [
        -0.75 * math.log(2 / 3) - 0.25 * math.log(1 / 3),
        -0.90 * math.log(2 / 3) - 0.10 * math.log(1 / 3),
        math.log(2),
    ]
    assert ranknet(students, teachers, 1.0).item() == pytest.approx(sum(pairs) / 3, abs=1e-14)
    # Temperature 2 makes the teacher's odds sqrt(3), 3, sqrt(3).
    p = math.sqrt(3) / (1 + math.sqrt(3))
    pairs[:2] = [-q * math.log(2 / 3) - (1 - q) * math.log(1 / 3) for q in (p, 0.75)]
    assert ranknet(students, teachers, 2.0).item() == pytest.approx(sum(pairs) / 3, abs=1e-14)


def test_margin_mse_by_hand():
    # Student margins 1 and 3, teacher margins 4 and 2: ((1 - 4)^2 + (3 - 2)^2) / 2 = 5.
    students, teachers = torch.tensor([[2.0, 1.0, -1.0]]), torch.tensor([[0.0, -4.0, -2.0]])
    assert margin_mse(students, teachers, 1.0).item() == 5.0
    # Temperature 2: teacher margins 2 and 1: ((1 - 2)^2 + (3 - 1)^2) / 2 = 2.5.
    assert margin_mse(students, teachers, 2.0).item() == 2.5


def test_kl_by_hand():
    # Teacher (1/2, 1/4, 1/4), student (1/4, 1/2, 1/4): 1/2 ln 2 - 1/4 ln 2 = ln 2 / 4; a second group at 0 halves it.
    ln2 = math.log(2)
    students = torch.tensor([[0.0, ln2, 0.0], [5.0, 5.0, 5.0]], dtype=torch.float64)
    teachers = torch.tensor([[ln2, 0.0, 0.0], [-1.0, -1.0, -1.0]], dtype=torch.float64)
    assert kl(students[:1], teachers[:1], 1.0).item() == pytest.approx(ln2 / 4, abs=1e-15)
    assert kl(students, teachers, 1.0).item() == pytest.approx(ln2 / 8, abs=1e-15)
    # Twice the scores at temperature 2 are the same teacher, and the loss is not multiplied by 4.
    assert kl(students, 2 * teachers, 2.0).item() == pytest.approx(ln2 / 8, abs=1e-15)


def test_ranknet_thresholded_by_hand():
    # The teacher ties documents 0 and 2, so two pairs count: (0, 1), which the student has at odds 1/3, and (1, 2), even.
    students = torch.tensor([[0.0, math.log(3), math.log(3)]], dtype=torch.float64)
    teachers = torch.tensor([[2.0, 1.0, 2.0]], dtype=torch.float64)
    assert ranknet_thresholded(students, teachers).item() == pytest.approx((math.log(4) + LN2) / 2, abs=1e-15)
    # Smoothing 1/2: targets 3/4 and 1/4.
    pairs = [-0.75 * math.log(0.25) - 0.25 * math.log(0.75), LN2]
    assert ranknet_thresholded(students, teachers, smoothing=0.5).item() == pytest.approx(sum(pairs) / 2, abs=1e-15)


def test_margin_mse_all_pairs_by_hand():
    # Student margins (0,1), (0,2), (1,2): 1, 3, 2; teacher: 4, 2, -2: (9 + 1 + 16) / 3.
    students, teachers = torch.tensor([[2.0, 1.0, -1.0]]), torch.tensor([[0.0, -4.0, -2.0]])
    assert margin_mse_all_pairs(students, teachers).item() == pytest.approx(26 / 3, rel=1e-6)
    # Temperature 2 and smoothing 1/2 make them 1, 1/2, -1/2: (0 + 25/4 + 25/4) / 3.
    assert margin_mse_all_pairs(students, teachers, 2.0, smoothing=0.5).item() == pytest.approx(12.5 / 3, rel=1e-6)


def test_listnet_by_hand():
    # Teacher (1/2, 1/4, 1/4), student (1/4, 1/2, 1/4): ln 4 / 2 + ln 2 / 4 + ln 4 / 4.
    students = torch.tensor([[0.0, LN2, 0.0]], dtype=torch.float64)
    teachers = torch.tensor([[LN2, 0.0, 0.0]], dtype=torch.float64)
    assert listnet(students, teachers).item() == pytest.approx(1.75 * LN2, abs=1e-15)


def test_lambda_loss_by_hand():
    # Teacher (1/2, 1/4, 1/4): pairs (0, 1) and (0, 2), gains 1/4 apart; the student ranks 1, 0, 2 with odds 1/3 and 1/1.
    students = torch.tensor([[0.0, math.log(3), 0.0]], dtype=torch.float64)
    teachers = torch.tensor([[LN2, 0.0, 0.0]], dtype=torch.float64)
    second = 1 / math.log2(3)
    ideal = 0.5 + 0.25 * second + 0.25 * 0.5
    pairs = [0.25 / ideal * (1 - second) * 2, 0.25 / ideal * (second - 0.5) * 1]
    assert lambda_loss(students, teachers).item() == pytest.approx(sum(pairs) / 2, abs=1e-15)
    # Smoothing 1/2: (5/12, 7/24, 7/24), gains 1/8 apart.
    ideal = 5 / 12 + 7 / 24 * (second + 0.5)
    pairs = [0.125 / ideal * (1 - second) * 2, 0.125 / ideal * (second - 0.5) * 1]
    assert lambda_loss(students, teachers, smoothing=0.5).item() == pytest.approx(sum(pairs) / 2, abs=1e-15)


@pytest.mark.parametrize("name", ORDERING)
def test_ties_make_no_pair_and_a_group_of_ties_alone_counts_as_zero(name):
    students, teachers = random_groups(batch=2)
    teachers[1] = 7.0
    assert group_loss(name, students[1:], teachers[1:]).item() == 0.0
    assert gradient(name, students[1:], teachers[1:]).abs().max() == 0.0
    both, one = group_loss(name, students, teachers).item(), group_loss(name, students[:1], teachers[:1]).item()
    assert both == pytest.approx(one / 2, abs=1e-15) and one > 0.01


def test_smoothing_by_hand():
    # The student has odds 3: shares 3/4 and 1/4. Smoothing 1/2 makes the label (3/4, 1/4), teacher odds 3 (5/8, 3/8), a margin ln 3 half.
    students = torch.tensor([[math.log(3), 0.0]], dtype=torch.float64)
    entropy = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert lce(students, smoothing=0.5).item() == pytest.approx(entropy, abs=1e-15)
    cross_entropy = -0.625 * math.log(0.75) - 0.375 * math.log(0.25)
    floor = -0.625 * math.log(0.625) - 0.375 * math.log(0.375)
    expected = {
        "ranknet": cross_entropy,
        "listnet": cross_entropy,
        "kl": cross_entropy - floor,
        "ranknet_thresholded": entropy,  # the smallest value that it can take here
        "margin_mse": (0.5 * math.log(3)) ** 2,
        "margin_mse_all_pairs": (0.5 * math.log(3)) ** 2,
    }
    for name, value in expected.items():
        assert group_loss(name, students, students, smoothing=0.5).item() == pytest.approx(value, abs=1e-15), name


def test_hard_weight_by_hand():
    # Margins 0 and 4: 16; two even documents: ln 2; three quarters of the one and a quarter of the other.
    students, teachers = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[4.0, 0.0]])
    assert group_loss("margin_mse", students, teachers, hard_weight=0.25).item() == pytest.approx(12 + 0.25 * LN2, abs=1e-14)


def test_further_negatives_join_the_denominator_of_lce_by_hand():
    # Odds 2 : 1 and one more document of odds 1: shares 1/2, 1/4 and 1/4; the masked one has none.
    students = torch.tensor([[LN2, 0.0]], dtype=torch.float64)
    others = torch.tensor([[0.0, -math.inf]], dtype=torch.float64, requires_grad=True)
    loss = group_loss("lce", students, others=others)
    assert loss.item() == pytest.approx(LN2, abs=1e-15)
    loss.backward()
    assert others.grad.tolist() == [[pytest.approx(0.25, abs=1e-15), 0.0]]
    # Smoothing 1/2 spreads over the group alone: 3/4 on 1/2 and 1/4 on 1/4; the other's pull is its share, as before.
    others.grad = None
    loss = group_loss("lce", students, others=others, smoothing=0.5)
    assert loss.item() == pytest.approx(0.75 * LN2 + 0.25 * 2 * LN2, abs=1e-15)
    loss.backward()
    assert others.grad.tolist() == [[pytest.approx(0.25, abs=1e-15), 0.0]]
    # Under a hard weight the distillation loss does not see them: KL of even documents is 0.
    mixed = group_loss("kl", students, students, hard_weight=0.5, others=others)
    assert mixed.item() == pytest.approx(0.5 * LN2, abs=1e-15)


# --- oracles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_losses_agree_with_torch_written_out_group_by_group(temperature):
    students, teachers = random_groups()
    found = {name: group_loss(name, students, teachers, temperature).item() for name in LOSSES}
    expected = {name: [] for name in LOSSES}
    for f, g in zip(students, teachers / temperature, strict=True):
        expected["lce"].append(F.cross_entropy(f[None], torch.tensor([0])))
        expected["kl"].append(F.kl_div(F.log_softmax(f, 0), F.log_softmax(g, 0), reduction="sum", log_target=True))
        expected["listnet"].append(F.cross_entropy(f[None], g.softmax(0)[None]))
        expected["margin_mse"].append(((f[0] - f[1:] - (g[0] - g[1:])) ** 2).mean())
        pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
        expected["margin_mse_all_pairs"].append(torch.stack([(f[i] - f[j] - (g[i] - g[j])) ** 2 for i, j in pairs]).mean())
        ordered = [(i, j) if g[i] > g[j] else (j, i) for i, j in pairs]
        expected["ranknet_thresholded"].append(torch.stack([F.softplus(f[j] - f[i]) for i, j in ordered]).mean())
        p, rank = g.softmax(0).tolist(), {i: r for r, i in enumerate(f.argsort(descending=True).tolist(), start=1)}
        ideal = sum(gain / math.log2(1 + r) for r, gain in enumerate(sorted(p, reverse=True), start=1))
        swaps = [(p[i] - p[j]) / ideal * abs(1 / math.log2(1 + rank[i]) - 1 / math.log2(1 + rank[j])) for i, j in ordered]
        weighted = [swap * F.softplus(f[j] - f[i]) / LN2 for swap, (i, j) in zip(swaps, ordered, strict=True)]
        expected["lambda_loss"].append(torch.stack(weighted).mean())
        expected["ranknet"].append(
            torch.stack([F.binary_cross_entropy_with_logits(f[i] - f[j], (g[i] - g[j]).sigmoid()) for i, j in pairs]).mean()
        )
    for name in LOSSES:
        assert found[name] == pytest.approx(torch.stack(expected[name]).mean().item(), abs=1e-13), name


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_losses_agree_with_scipy(temperature):
    students, teachers = random_groups()
    f, g = students.numpy(), teachers.numpy() / temperature
    first, second = np.triu_indices(4, k=1)
    p, s = expit(g[:, first] - g[:, second]), expit(f[:, first] - f[:, second])
    expected = {
        "lce": -log_softmax(f, axis=1)[:, 0].mean(),
        "kl": rel_entr(softmax(g, axis=1), softmax(f, axis=1)).sum(axis=1).mean(),
        "ranknet": -(p * np.log(s) + (1 - p) * np.log(1 - s)).mean(),
        "margin_mse": ((f[:, :1] - f[:, 1:] - g[:, :1] + g[:, 1:]) ** 2).mean(),
    }
    for name, value in expected.items():
        assert group_loss(name, students, teachers, temperature).item() == pytest.approx(value, abs=1e-12), name


class GivenScores(torch.nn.Module):
    """What the losses of sentence-transformers need of a cross-encoder, with scores that are given."""

    num_labels, device = 1, torch.device("cpu")

    def __init__(self, scores: torch.Tensor) -> None:
        super().__init__()
        self.scores = scores

    def preprocess(self, pairs: list, prompt: str | None = None, task: str | None = None) -> dict[str, torch.Tensor]:
        return {"rows": torch.arange(len(pairs))}

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"scores": self.scores.reshape(-1, 1)[features["rows"]]}


def library_loss(module: type, students: torch.Tensor, labels: torch.Tensor, **options) -> tuple[float, torch.Tensor]:
    """Return the value of a loss of sentence-transformers and its gradient by the scores."""
    scores = students.clone().requires_grad_()
    texts = [["query"] * len(students), [["document"] * students.shape[1]] * len(students)]
    value = module(GivenScores(scores), mini_batch_size=-1, **options)(texts, list(labels))
    value.backward()
    return value.item(), scores.grad


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_losses_agree_with_those_of_sentence_transformers(temperature):
    from sentence_transformers.cross_encoder import losses as theirs

    students, teachers = random_groups()
    p = F.softmax(teachers / temperature, dim=1)
    oracles = {  # its gains are 2^label - 1, so that labels of log2(1 + p) make them p
        "lambda_loss": (theirs.LambdaLoss, torch.log2(1 + p), {"weighting_scheme": theirs.LambdaRankScheme()}),
        "ranknet_thresholded": (theirs.RankNetLoss, p, {"reduction_log": "natural"}),
        "listnet": (theirs.ListNetLoss, teachers / temperature, {}),
    }
    for name, (module, labels, options) in oracles.items():
        value, expected = library_loss(module, students, labels, **options)
        assert group_loss(name, students, teachers, temperature).item() == pytest.approx(value, rel=1e-5), name
        torch.testing.assert_close(gradient(name, students, teachers, temperature), expected, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("name", list(LOSSES))
def test_gradients_agree_with_finite_differences(name, smoothing):
    students, teachers = random_groups()
    assert torch.autograd.gradcheck(lambda f: group_loss(name, f, teachers, 2.0, smoothing=smoothing), students.requires_grad_())


def test_smoothed_lce_agrees_with_torch():
    students, _ = random_groups()
    expected = F.cross_entropy(students, torch.zeros(5, dtype=torch.long), label_smoothing=0.3).item()
    assert lce(students, smoothing=0.3).item() == pytest.approx(expected, abs=1e-14)


def test_teacher_scores_are_looked_through_unless_they_were_before():
    students, teachers = torch.tensor([[1.0, 0.0]]), torch.tensor([[math.nan, 0.0]])
    with pytest.raises(ValueError, match="not finite"):
        group_loss("margin_mse", students, teachers)
    assert torch.isnan(group_loss("margin_mse", students, teachers, teacher_is_finite=True))


@pytest.mark.parametrize("name", DISTILLATION)
def test_hard_weight_is_a_weighted_mean_with_lce_of_the_same_smoothing(name):
    students, teachers = random_groups()
    others = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = group_loss(name, students, teachers, 2.0, smoothing=0.2, hard_weight=0.3, others=others)
    soft = LOSSES[name].function(students, teachers, 2.0, smoothing=0.2)
    label = torch.tensor([[0.85, 0.05, 0.05, 0.05, 0, 0, 0, 0, 0, 0]], dtype=torch.float64)
    hard = F.cross_entropy(torch.cat([students, others], dim=1), label.repeat(5, 1))
    assert found.item() == pytest.approx(0.7 * soft.item() + 0.3 * hard.item(), abs=1e-13)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_listnet_has_the_gradient_of_kl_and_the_teachers_entropy_more_in_value(smoothing):
    students, teachers = random_groups()
    p = (1 - smoothing) * F.softmax(teachers / 2, dim=1) + smoothing / 4
    floor = torch.special.entr(p).sum(dim=1).mean().item()
    options = {"temperature": 2.0, "smoothing": smoothing}
    assert listnet(students, teachers, **options).item() == pytest.approx(kl(students, teachers, **options).item() + floor, abs=1e-13)
    torch.testing.assert_close(gradient("listnet", students, teachers, **options), gradient("kl", students, teachers, **options))
    assert gradient("kl", students, teachers, **options).abs().max() > 0.01


def test_margin_mse_of_all_pairs_is_a_regression_of_centred_scores():
    students, teachers = random_groups()
    residuals = students - 0.75 * teachers / 2
    expected = 2 * 4 / 3 * residuals.var(dim=1, correction=0).mean().item()
    assert margin_mse_all_pairs(students, teachers, 2.0, smoothing=0.25).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_ranknet_is_divergence_plus_the_teachers_pairwise_entropy(temperature):
    students, teachers = random_groups()
    first, second = np.triu_indices(4, k=1)
    p = expit((teachers.numpy()[:, first] - teachers.numpy()[:, second]) / temperature)
    s = expit(students.numpy()[:, first] - students.numpy()[:, second])
    divergence = (rel_entr(p, s) + rel_entr(1 - p, 1 - s)).mean(axis=1)
    floor = pairwise_entropy(teachers.numpy(), temperature) * math.log(2)  # bits to nats
    loss = torch.stack([ranknet(students[[q]], teachers[[q]], temperature) for q in range(5)]).numpy()
    np.testing.assert_allclose(loss, divergence + floor, rtol=0, atol=1e-12)
    assert ranknet(teachers / temperature, teachers, temperature).item() == pytest.approx(floor.mean(), abs=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_listwise_cross_entropy_is_kl_plus_the_teachers_listwise_entropy(temperature):
    students, teachers = random_groups()
    cross_entropy = F.cross_entropy(students, F.softmax(teachers / temperature, dim=1)).item()
    floor = listwise_entropy(teachers.numpy(), temperature).mean() * math.log(4)  # share of log2(4) bits, in nats
    assert kl(students, teachers, temperature).item() + floor == pytest.approx(cross_entropy, abs=1e-12)


def test_expected_contrastive_gradient_under_the_teachers_labels_is_the_kl_gradient():
    # Draw the "positive" from softmax(teacher): on average LCE then pulls exactly as KL does.
    students, teachers = random_groups(batch=1)
    expected = torch.zeros_like(students)
    for document, p in enumerate(F.softmax(teachers, dim=1)[0]):
        order = [document, *(other for other in range(4) if other != document)]
        pull = gradient("lce", students[:, order], None)
        expected[:, order] += p * pull
    torch.testing.assert_close(gradient("kl", students, teachers), expected, rtol=0, atol=1e-14)


# --- invariants ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(LOSSES))
def test_shift_of_a_group_changes_nothing(name):
    students, teachers = random_groups()
    base = group_loss(name, students, teachers, 2.0)
    shift = torch.arange(5, dtype=torch.float64)[:, None] * 7 - 11
    assert group_loss(name, students + shift, teachers, 2.0).item() == pytest.approx(base.item(), abs=1e-12)
    assert group_loss(name, students, teachers - shift, 2.0).item() == pytest.approx(base.item(), abs=1e-12)


@pytest.mark.parametrize("name", list(LOSSES))
def test_order_of_the_negatives_changes_nothing_and_the_place_of_the_positive_does(name):
    students, teachers = random_groups()
    base = group_loss(name, students, teachers).item()
    negatives = [0, 3, 1, 2]
    assert group_loss(name, students[:, negatives], teachers[:, negatives]).item() == pytest.approx(base, abs=1e-13)
    swapped = group_loss(name, students[:, [1, 0, 2, 3]], teachers[:, [1, 0, 2, 3]]).item()
    if name in ("lce", "margin_mse"):
        assert abs(swapped - base) > 0.01
    else:  # these know no positive
        assert swapped == pytest.approx(base, abs=1e-13)


@pytest.mark.parametrize("name", list(LOSSES))
def test_order_of_the_groups_changes_nothing(name):
    students, teachers = random_groups()
    base = group_loss(name, students, teachers).item()
    assert group_loss(name, students.flip(0), teachers.flip(0)).item() == pytest.approx(base, abs=1e-13)


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_batch_is_the_mean_of_its_groups_ties_and_smoothing_included(name):
    """What makes accumulated micro-batches equal one batch, and every group weigh the same."""
    students, teachers = random_groups()
    teachers[1, 1:] = 0.0
    teachers[3] = 0.0
    options = {"smoothing": 0.2, "hard_weight": 0.0 if name == "lce" else 0.3}
    whole = group_loss(name, students, teachers, 2.0, **options).item()
    parts = [group_loss(name, students[[q]], teachers[[q]], 2.0, **options).item() for q in range(5)]
    assert whole == pytest.approx(np.mean(parts), abs=1e-13)


@pytest.mark.parametrize("name", ORDERING)
def test_losses_that_order_documents_reach_zero_only_in_the_limit(name):
    _, teachers = random_groups()
    values = [group_loss(name, scale * teachers, teachers).item() for scale in (0.5, 1, 4, 16, 64, 512)]
    assert values == sorted(values, reverse=True) and values[0] > 0.01 and values[-1] < 1e-6


def test_lambda_loss_weighs_a_swap_at_the_top_more_than_one_at_the_bottom():
    teachers = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    top = lambda_loss(torch.tensor([[2.0, 3.0, 1.0, 0.0]]), teachers).item()
    bottom = lambda_loss(torch.tensor([[3.0, 2.0, 0.0, 1.0]]), teachers).item()
    none = lambda_loss(torch.tensor([[3.0, 2.0, 1.0, 0.0]]), teachers).item()
    assert top > bottom > none


def test_raising_the_positives_score_lowers_lce():
    pull = gradient("lce", random_groups()[0], None)
    assert (pull[:, 0] < 0).all() and (pull[:, 1:] > 0).all()


@pytest.mark.parametrize("name", DISTILLATION)
def test_a_student_that_separates_less_than_the_teacher_is_pulled_apart(name):
    pull = gradient(name, torch.zeros(1, 3), torch.tensor([[2.0, 0.0, 0.0]]))
    assert pull[0, 0] < 0 < pull[0, 1]


@pytest.mark.parametrize("name", MATCHING)
def test_a_student_that_separates_more_than_the_teacher_is_pulled_together(name):
    pull = gradient(name, torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[2.0, 0.0, 0.0]]))
    assert pull[0, 0] > 0 > pull[0, 1]


@pytest.mark.parametrize("name", ["kl", "listnet", "margin_mse", "margin_mse_all_pairs"])
def test_gradient_is_zero_at_the_smoothed_teacher(name):
    _, teachers = random_groups()
    p = 0.8 * F.softmax(teachers / 2, dim=1) + 0.2 / 4
    optimum = torch.log(p) if name in ("kl", "listnet") else 0.8 * teachers / 2
    assert gradient(name, optimum, teachers, 2.0, smoothing=0.2).abs().max() < 1e-13
    assert gradient(name, optimum, teachers, 2.0).abs().max() > 1e-3


@pytest.mark.parametrize("name", MATCHING)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_gradient_is_zero_where_the_student_is_the_tempered_teacher_up_to_a_shift(name, temperature):
    _, teachers = random_groups()
    shift = torch.tensor([[0.0], [3.0], [-8.0], [0.5], [100.0]], dtype=torch.float64)
    assert gradient(name, teachers / temperature + shift, teachers, temperature).abs().max() < 1e-13
    assert gradient(name, teachers / temperature + teachers, teachers, temperature).abs().max() > 1e-3


@pytest.mark.parametrize("name", list(LOSSES))
def test_gradients_of_a_group_sum_to_zero(name):
    students, teachers = random_groups()
    assert gradient(name, students, teachers).sum(dim=1).abs().max() < 1e-14


@pytest.mark.parametrize("name", list(LOSSES))
def test_extreme_scores_give_finite_losses_and_gradients(name):
    students = torch.tensor([[1000.0, 0.0, -1000.0], [-1000.0, 0.0, 1000.0]])
    teachers = torch.tensor([[0.0, -1e4, -1e4], [-1e4, 0.0, -1e4]])
    assert torch.isfinite(group_loss(name, students, teachers))
    assert torch.isfinite(gradient(name, students, teachers)).all()


@pytest.mark.parametrize("name", list(LOSSES))
def test_arithmetic_is_in_float32_or_wider(name):
    students, teachers = random_groups()
    assert group_loss(name, students, teachers.float()).dtype == torch.float64
    for narrow in (torch.bfloat16, torch.float16):
        low = students.to(narrow)
        found = group_loss(name, low, teachers)
        assert found.dtype == torch.float32
        assert found.item() == pytest.approx(group_loss(name, low.double(), teachers).item(), rel=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = group_loss(name, students.to(torch.bfloat16), teachers)
    assert found.dtype == torch.float32
    low = students.to(torch.bfloat16).double()
    assert found.item() == pytest.approx(group_loss(name, low, teachers).item(), rel=1e-5)


def test_no_gradient_reaches_the_teacher():
    students, teachers = random_groups()
    teachers.requires_grad_()
    for name in DISTILLATION:
        group_loss(name, students.requires_grad_(), teachers).backward()
    assert teachers.grad is None


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DISTILLATION)
def test_erratum_01_a_distillation_loss_without_teacher_is_an_error(name):
    with pytest.raises(ValueError, match=rf"'{name}' distils a teacher, but teacher_scores is None; .* or use 'lce'"):
        group_loss(name, torch.zeros(2, 3))


def test_erratum_01_the_contrastive_loss_is_the_same_with_and_without_a_teacher():
    students, teachers = random_groups()
    assert group_loss("lce", students, teachers, 3.0).item() == group_loss("lce", students).item()


@pytest.mark.parametrize("name", DISTILLATION)
@pytest.mark.parametrize("missing", [math.nan, math.inf, -math.inf])
def test_erratum_07_a_missing_teacher_score_is_an_error(name, missing):
    teachers = torch.zeros(2, 3)
    teachers[1, 2] = missing
    with pytest.raises(ValueError, match=r"1 of 6 teacher_scores .* for document 2 of group 1; a missing score"):
        group_loss(name, torch.zeros(2, 3), teachers)


@pytest.mark.parametrize("name", DISTILLATION)
@pytest.mark.parametrize("shape", [(2, 4), (1, 3), (3, 3), (6,), (2, 1), (2, 3, 1)])
def test_teacher_scores_of_another_shape_are_refused_not_broadcast(name, shape):
    with pytest.raises(ValueError, match=r"teacher_scores has shape .* student_scores \(2, 3\)"):
        group_loss(name, torch.zeros(2, 3), torch.zeros(shape))


@pytest.mark.parametrize("name", list(LOSSES))
def test_student_scores_that_are_no_groups_are_refused(name):
    with pytest.raises(ValueError, match=r"shape \(3,\); expected two dimensions"):
        group_loss(name, torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match=r"a group has 1 document\(s\)"):
        group_loss(name, torch.zeros(3, 1), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="a batch without groups"):
        group_loss(name, torch.zeros(0, 3), torch.zeros(0, 3))


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_that_is_not_positive_is_refused(name, temperature):
    with pytest.raises(ValueError, match="temperature is .*; expected a positive"):
        group_loss(name, torch.zeros(2, 3), torch.zeros(2, 3), temperature)


def test_an_unknown_loss_lists_the_choices_and_the_nearest_one():
    choices = "choose from kl, lambda_loss, lce, listnet, margin_mse, margin_mse_all_pairs, ranknet, ranknet_thresholded"
    with pytest.raises(ValueError, match=rf"{choices}; did you mean 'ranknet'\?"):
        group_loss("rank_net", torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=f"{choices}$"):
        find_loss("hinge")


@pytest.mark.parametrize("share", ["smoothing", "hard_weight"])
@pytest.mark.parametrize("value", [-0.1, 1.0, math.nan])
def test_a_share_out_of_its_range_is_refused(share, value):
    with pytest.raises(ValueError, match=rf"{share} is {value}; expected a share, at least 0 and below 1"):
        group_loss("kl", torch.zeros(2, 3), torch.zeros(2, 3), **{share: value})


def test_hard_weight_and_further_negatives_are_refused_where_they_mean_nothing():
    students, teachers, others = torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 5)
    with pytest.raises(ValueError, match="hard_weight is 0.5, but the loss is 'lce' itself"):
        group_loss("lce", students, hard_weight=0.5)
    for name in DISTILLATION:
        with pytest.raises(ValueError, match=f"others have no teacher scores for the loss '{name}'; use 'lce', or give it a hard_weight"):
            group_loss(name, students, teachers, others=others)
    for shape in ((3, 5), (5,), (2, 3, 1)):
        with pytest.raises(ValueError, match=r"others has shape .*; expected \(2, m\)"):
            group_loss("lce", students, others=torch.zeros(shape))


def test_table_of_losses_is_complete_and_says_what_each_needs():
    assert {name for name, loss in LOSSES.items() if not loss.needs_teacher} == {"lce"}
    assert {name for name, loss in LOSSES.items() if not loss.uses_temperature} == {"lce", "ranknet_thresholded"}
    assert get_args(LossName) == tuple(LOSSES)
    for name, loss in LOSSES.items():
        assert loss.name == name == loss.function.__name__
        assert "(1-e)" in loss.formula
        assert loss.formula and loss.source and "\n" not in loss.formula + loss.source


# --- in the trainers of sentence-transformers ------------------------------------------------------------------------

WORDS = ["tea", "green", "black", "pot", "cup", "leaf", "hot", "iron", "ship", "sea"]
TEXTS = {
    "query": ["green tea", "iron ship", "hot pot", "black leaf"],
    "positive": ["green leaf tea", "ship iron sea sea", "pot hot", "leaf black tea cup"],
    "negative_1": ["black tea", "sea", "cup hot tea", "black ship sea"],
    "negative_2": ["iron pot", "tea cup leaf green hot", "cold sea", "green green cup"],
}
TEACHER_SCORES = [[2.0, 0.5, -1.0], [1.0, 0.0, -3.0], [0.2, 0.7, -0.4], [3.0, -1.0, 1.0]]


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    """Save a BERT of one layer over ten words, without dropout; return its folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny_bert")
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, **special).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(11)
        BertModel(config).save_pretrained(folder)
    return str(folder)


def bi_encoder(folder: str):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    return SentenceTransformer(modules=[Transformer(folder), Pooling(8, "mean")], device="cpu")


def cross_encoder(folder: str, labels: int = 1):
    from sentence_transformers import CrossEncoder

    with torch.random.fork_rng():
        torch.manual_seed(12)
        return CrossEncoder(folder, num_labels=labels, device="cpu")


def loss_and_gradients(model: torch.nn.Module, value: torch.Tensor) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    value.backward()
    return value.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(one: tuple, other: tuple) -> None:
    assert one[0] == pytest.approx(other[0], abs=1e-10)
    assert one[1].keys() == other[1].keys() and len(one[1]) > 5
    for name, found in one[1].items():
        torch.testing.assert_close(found, other[1][name], rtol=0, atol=1e-10)
    assert max(found.abs().max().item() for found in one[1].values()) > 1e-4


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("name", list(LOSSES))
def test_bi_encoder_module_equals_plain_forward_and_group_loss(tiny_bert, name, similarity):
    model = bi_encoder(tiny_bert).double().train()
    teachers = torch.tensor(TEACHER_SCORES, dtype=torch.float64)
    module = BiEncoderGroupLoss(model, name, temperature=2.0, scale=0.5, similarity=similarity)
    found = loss_and_gradients(model, module([model.preprocess(column) for column in TEXTS.values()], teachers))

    query, *documents = (model(model.preprocess(column))["sentence_embedding"] for column in TEXTS.values())
    compare = torch.linalg.vecdot if similarity == "dot" else F.cosine_similarity
    scores = 0.5 * torch.stack([compare(query, document) for document in documents], dim=1)
    assert_same(found, loss_and_gradients(model, group_loss(name, scores, teachers, 2.0)))


@pytest.mark.parametrize("labels", [1, 2])
@pytest.mark.parametrize("name", list(LOSSES))
def test_cross_encoder_module_equals_plain_forward_and_group_loss(tiny_bert, name, labels):
    model = cross_encoder(tiny_bert, labels).double().train()
    teachers = torch.tensor(TEACHER_SCORES, dtype=torch.float64)
    module = CrossEncoderGroupLoss(model, name, temperature=2.0, scale=0.5)
    found = loss_and_gradients(model, module(list(TEXTS.values()), list(teachers)))

    queries, *columns = TEXTS.values()
    outputs = [model(model.preprocess(list(zip(queries, column, strict=True))))["scores"] for column in columns]
    scores = [output[:, 0] if labels == 1 else F.log_softmax(output, dim=1)[:, 1] for output in outputs]
    assert_same(found, loss_and_gradients(model, group_loss(name, 0.5 * torch.stack(scores, 1), teachers, 2.0)))


def train_two_steps(model, module: torch.nn.Module, folder, labels: list | None, cross: bool):
    """Run two steps of two groups each; return the trainer and the labels that reached the loss."""
    datasets = pytest.importorskip("datasets", reason="the trainers of sentence-transformers need it")
    if cross:
        from sentence_transformers import CrossEncoderTrainer as Trainer
        from sentence_transformers import CrossEncoderTrainingArguments as Arguments
    else:
        from sentence_transformers import SentenceTransformerTrainer as Trainer
        from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
    seen = []
    module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    data = datasets.Dataset.from_dict({**TEXTS, **({"label": labels} if labels else {})})
    arguments = Arguments(
        output_dir=str(folder),
        max_steps=2,
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        warmup_steps=0,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=0,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=data, loss=module)
    trainer.train()
    return trainer, seen


@pytest.mark.parametrize("cross", [False, True], ids=["bi_encoder", "cross_encoder"])
@pytest.mark.parametrize("name", ["lce", "kl"])
def test_two_steps_in_the_librarys_trainer(tiny_bert, tmp_path, name, cross):
    model = cross_encoder(tiny_bert) if cross else bi_encoder(tiny_bert)
    module = (CrossEncoderGroupLoss if cross else BiEncoderGroupLoss)(model, name, temperature=2.0)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    labels = TEACHER_SCORES if LOSSES[name].needs_teacher else None
    trainer, seen = train_two_steps(model, module, tmp_path, labels, cross)
    assert trainer.state.global_step == 2
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(logged) == 2 and all(0 < value < 10 for value in logged)
    moved = [key for key, p in model.named_parameters() if not torch.equal(p.detach(), before[key])]
    assert len(moved) > len(before) / 2
    assert len(seen) == 2
    if labels:  # every group's teacher scores reached the loss, whole
        assert sorted(row.tolist() for batch in seen for row in batch) == sorted(torch.tensor(row).tolist() for row in TEACHER_SCORES)
    else:
        assert seen == [None, None]


@pytest.mark.parametrize("cross", [False, True], ids=["bi_encoder", "cross_encoder"])
def test_erratum_01_training_without_the_teachers_column_stops(tiny_bert, tmp_path, cross):
    model = cross_encoder(tiny_bert) if cross else bi_encoder(tiny_bert)
    module = (CrossEncoderGroupLoss if cross else BiEncoderGroupLoss)(model, "kl")
    with pytest.raises(ValueError, match="'kl' distils a teacher, but teacher_scores is None"):
        train_two_steps(model, module, tmp_path, None, cross)


def test_modules_tell_the_model_card_their_settings(tiny_bert):
    bi = BiEncoderGroupLoss(bi_encoder(tiny_bert), "kl", temperature=4.0, scale=20.0, similarity="cosine")
    assert bi.get_config_dict() == {"loss": "kl", "temperature": 4.0, "scale": 20.0, "similarity": "cosine"}
    cross = CrossEncoderGroupLoss(cross_encoder(tiny_bert), "ranknet", temperature=0.5)
    assert cross.get_config_dict() == {"loss": "ranknet", "temperature": 0.5, "scale": 1.0}


def test_modules_refuse_settings_and_columns_that_cannot_be_trained(tiny_bert):
    model = bi_encoder(tiny_bert)
    with pytest.raises(ValueError, match="unknown loss 'KLL'.*did you mean 'kl'"):
        BiEncoderGroupLoss(model, "KLL")
    with pytest.raises(ValueError, match="unknown similarity 'euclidean'; choose from cosine, dot"):
        BiEncoderGroupLoss(model, "kl", similarity="euclidean")
    with pytest.raises(ValueError, match="scale is 0"):
        BiEncoderGroupLoss(model, "kl", scale=0)
    with pytest.raises(ValueError, match="the cross-encoder has 3 outputs"):
        CrossEncoderGroupLoss(cross_encoder(tiny_bert, labels=3), "kl")
    with pytest.raises(ValueError, match="the data set has 2 text columns"):
        BiEncoderGroupLoss(model, "lce")([model.preprocess(TEXTS["query"]), model.preprocess(TEXTS["positive"])])
    with pytest.raises(ValueError, match=r"teacher_scores has shape \(4,\), student_scores \(4, 3\)"):
        CrossEncoderGroupLoss(cross_encoder(tiny_bert), "margin_mse")(list(TEXTS.values()), torch.zeros(4))
