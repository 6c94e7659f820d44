"""Packed encoders: the plain forward pass's numbers, loss for loss and gradient for gradient, without its padding."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from lexicons import make_lexicon
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraForSequenceClassification,
    ElectraModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaModel,
)

from rd_utils import models
from rd_utils.models import GroupBatch, build, packed
from rd_utils.models.packed import PackedEncoder, can_pack, lay_out, mean_of_tokens
from rd_utils.models.tokens import TokenTable, gather
from rd_utils.processor import Processor
from rd_utils.study import params
from rd_utils.training.losses import LOSSES, group_loss

WORDS = [f"w{i}" for i in range(60)]
SIZES = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 40, "vocab_size": 50}
ENCODERS = {
    "bert": lambda: BertModel(BertConfig(**SIZES), add_pooling_layer=False),
    "electra": lambda: ElectraModel(ElectraConfig(**SIZES, embedding_size=16)),
    "roberta": lambda: RobertaModel(RobertaConfig(**SIZES, pad_token_id=1), add_pooling_layer=False),
}


def texts(n: int = 23, longest: int = 19, seed: int = 0, vocabulary: int = 50) -> TokenTable:
    rng = np.random.default_rng(seed)
    lengths = np.concatenate([[1, longest], rng.integers(2, longest + 1, n - 2)])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return TokenTable(ids=rng.integers(5, vocabulary, offsets[-1]).astype(np.int32), offsets=offsets)


def plain(model: nn.Module, table: TokenTable, types: tuple[np.ndarray, tuple[int, int]] | None = None) -> torch.Tensor:
    """Return the model's own last hidden states, (texts, longest, width), of padded texts."""
    ids, lengths = gather(table, np.arange(len(table)), pad=model.config.pad_token_id)
    features = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy((np.arange(ids.shape[1]) < lengths[:, None]) * 1)}
    if types is not None:
        features["token_type_ids"] = torch.from_numpy(np.where(np.arange(ids.shape[1]) < types[0][:, None], *types[1]))
    return model(**features).last_hidden_state


@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize("multiple", [1, 4, 32])
def test_states_are_those_of_the_model(family, multiple):
    torch.manual_seed(0)
    model, table = ENCODERS[family]().double().eval(), texts()
    stream = lay_out(table, model.config.pad_token_id, multiple=multiple)
    expected = plain(model, table)
    for max_tokens in (None, 16, 100):
        every = PackedEncoder(model)(stream, max_tokens=max_tokens)
        firsts = PackedEncoder(model)(stream, first_only=True, max_tokens=max_tokens)
        for place, text in enumerate(stream.order):
            begin, length = int(stream.firsts[place]), int(table.lengths()[text])
            torch.testing.assert_close(every[begin : begin + length], expected[text, :length], rtol=0, atol=1e-12)
            torch.testing.assert_close(firsts[place], expected[text, 0], rtol=0, atol=1e-12)
        lengths = torch.from_numpy(table.lengths())[:, None, None]
        masked = expected * (torch.arange(expected.shape[1])[None, :, None] < lengths)
        means = masked.sum(1) / lengths[:, 0]
        torch.testing.assert_close(mean_of_tokens(every, stream), means[torch.from_numpy(stream.order)], rtol=0, atol=1e-12)


def test_token_types_follow_where_the_second_text_begins():
    torch.manual_seed(0)
    model, table = ENCODERS["bert"]().double().eval(), texts()
    starts = np.minimum(table.lengths(), np.random.default_rng(1).integers(0, 9, len(table)))
    stream = lay_out(table, 0, types=(starts, (0, 1)))
    firsts = PackedEncoder(model)(stream, first_only=True)
    torch.testing.assert_close(firsts, plain(model, table, (starts, (0, 1)))[:, 0][torch.from_numpy(stream.order)], rtol=0, atol=1e-12)


def attended(stream, width, first_only):
    """Return queries of first tokens with the keys and values of all, or no queries with all three of all."""
    size = {"dtype": torch.float64, "requires_grad": True}
    if first_only:
        return torch.randn(len(stream.firsts), width, **size), torch.randn(len(stream.ids), 2 * width, **size)
    return None, torch.randn(len(stream.ids), 3 * width, **size)


@pytest.mark.parametrize("first_only", [True, False])
def test_fused_attention_is_the_same_attention(first_only):
    torch.manual_seed(0)
    stream = lay_out(texts(), 0)
    queries, states = attended(stream, 24, first_only)
    asked = [states] if queries is None else [queries, states]
    found = []
    for attend in (packed._Attention.apply, packed._fused_attention):
        output = attend(queries, states, 3, stream.blocks, 0.0)
        found.append((output, *torch.autograd.grad((output * torch.arange(24)).sum(), asked)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("first_only", [True, False])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_attention_is_differentiated_with_its_dropout(first_only, rate):
    stream = lay_out(texts(4, 5), 0, multiple=2)
    torch.manual_seed(0)
    queries, states = attended(stream, 4, first_only)

    def attend(states, queries=None):
        torch.manual_seed(1)  # the same weights are dropped at every call
        return packed._Attention.apply(queries, states, 2, stream.blocks, rate)

    assert torch.autograd.gradcheck(attend, (states,) if queries is None else (states, queries))


@pytest.mark.parametrize("instructions, chosen", [("plain", False), ("avx2", False), ("avx512", True), ("amx", True), ("neon", False)])
def test_the_instructions_alone_say_what_multiplies(monkeypatch, instructions, chosen):
    monkeypatch.setattr(packed, "processor", lambda: Processor("somebody", 1, 2, instructions))
    cpu = torch.device("cpu")
    assert packed.by_onednn(cpu, torch.float32) is packed.by_onednn(cpu, torch.bfloat16) is chosen
    assert not packed.by_onednn(torch.device("cuda"), torch.float32) and not packed.by_onednn(cpu, torch.float64)


def test_products_by_onednn_have_the_gradients_of_a_linear_layer():
    torch.manual_seed(0)
    states, weight, bias = torch.randn(70, 24), torch.randn(40, 24), torch.randn(40)
    found = []
    for product in (packed._Linear.apply, torch.nn.functional.linear):
        inputs = [values.clone().requires_grad_() for values in (states, weight, bias)]
        output = product(*inputs)
        found.append((output, *torch.autograd.grad((output * torch.arange(40)).sum(), inputs)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("instructions", ["avx2", "avx512", "amx"])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 0.1)])
def test_tokens_that_fill_a_pass_change_neither_states_nor_gradients(monkeypatch, instructions, dtype, tolerance):
    if dtype == torch.bfloat16 and instructions != "avx2" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("oneDNN multiplies no bf16 without AVX-512, which this processor lacks")
    monkeypatch.setattr(packed, "processor", lambda: Processor("somebody", 1, 2, instructions))
    torch.manual_seed(0)
    model, table = ENCODERS["bert"]().eval(), texts()
    stream = lay_out(table, 0, multiple=1)
    assert packed.filling(len(stream.ids)) > 0
    encoder, parameters = PackedEncoder(model), [*model.parameters()]
    for max_tokens in (None, 100):
        for first_only in (False, True):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                states = encoder(stream, first_only=first_only, max_tokens=max_tokens)
            own = plain(model, table)[torch.from_numpy(stream.order)]
            lengths = torch.from_numpy(table.lengths()[stream.order])
            expected = own[:, 0] if first_only else torch.cat([one[:length] for one, length in zip(own, lengths, strict=True)])
            of_texts = torch.cat([torch.arange(length) + first for length, first in zip(lengths, stream.firsts, strict=True)])
            found = states.float() if first_only else states.float()[of_texts]
            assert len(states) == (len(table) if first_only else len(stream.ids))
            torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
            weights = torch.randn(found.shape)
            of_ours, of_model = (torch.autograd.grad((what * weights).sum(), parameters) for what in (found, expected))
            for one, other in zip(of_ours, of_model, strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=tolerance * max(1.0, float(other.abs().max())))


@pytest.mark.parametrize("small, share", [(packed.SMALL, 1 / 256), (0, 1 / 16)])  # rounded once; rounded at every product
def test_small_blocks_in_bf16_are_attended_in_fp32(monkeypatch, small, share):
    monkeypatch.setattr(packed, "SMALL", small)
    torch.manual_seed(0)
    stream = lay_out(texts(), 0)
    states = torch.randn(len(stream.ids), 72).bfloat16().requires_grad_()
    exact = states.detach().double().requires_grad_()
    outputs = [packed._Attention.apply(None, values, 3, stream.blocks, 0.0) for values in (states, exact)]
    gradients = [
        torch.autograd.grad((output.float() * torch.arange(24)).sum(), values)[0]
        for output, values in zip(outputs, (states, exact), strict=True)
    ]
    for rough, true in ([output.detach() for output in outputs], gradients):
        assert rough.dtype == torch.bfloat16 and float((rough.double() - true).abs().max()) <= float(true.abs().max()) * share
    assert packed._attended_in(states, small) == torch.bfloat16 and packed._attended_in(states, small - 1) == torch.float32
    assert packed._attended_in(exact, small - 1) == torch.float64


@pytest.mark.parametrize("instructions, chosen", [("avx2", False), ("avx512", False), ("avx512_bf16", False), ("amx", True)])
def test_fused_attention_in_bf16_where_it_is_the_faster_one(monkeypatch, instructions, chosen):
    monkeypatch.setattr(packed, "processor", lambda: Processor("somebody", 1, 2, instructions))
    states = torch.zeros(2, 3)
    with torch.no_grad():
        assert packed._is_fused(states, False) and packed._is_fused(states.bfloat16(), False) is chosen
        assert not packed._is_fused(states, True) and not packed._is_fused(states.bfloat16(), True)
    assert not packed._is_fused(states.bfloat16(), False)


def test_a_text_as_long_as_the_position_table_needs_no_position_beyond_it():
    torch.manual_seed(0)
    model = BertModel(BertConfig(**SIZES, max_position_embeddings=19), add_pooling_layer=False).double().eval()
    table = texts(longest=19)
    stream = lay_out(table, 0, multiple=8)
    expected = plain(model, table)[:, 0][torch.from_numpy(stream.order)]
    torch.testing.assert_close(PackedEncoder(model)(stream, first_only=True), expected, rtol=0, atol=1e-12)


def test_which_models_can_be_packed():
    assert all(can_pack(make()) for make in ENCODERS.values())
    assert not can_pack(DistilBertModel(DistilBertConfig(vocab_size=50, dim=24, n_layers=1, n_heads=2, hidden_dim=40)))
    assert not can_pack(BertModel(BertConfig(**SIZES, is_decoder=True)))
    assert not can_pack(BertModel(BertConfig(**SIZES, chunk_size_feed_forward=4)))
    assert not can_pack(nn.Linear(2, 2))


# --- dropout ---


def test_dropout_drops_its_share_and_keeps_the_mean():
    layer = nn.Dropout(0.1).train()
    torch.manual_seed(3)
    out = packed.dropout(torch.ones(1001, 499), layer)
    values, counts = out.unique(return_counts=True)
    n, dropped = out.numel(), 6554 / 65536
    assert values.tolist() == pytest.approx([0, 1 / (1 - dropped)])
    assert abs(float(counts[0]) / n - dropped) < 5 * (dropped * (1 - dropped) / n) ** 0.5
    torch.manual_seed(3)
    assert torch.equal(packed.dropout(torch.ones(1001, 499), layer), out)
    assert not torch.equal(packed.dropout(torch.ones(1001, 499), layer), out)
    x = torch.ones(1001, 499)
    assert packed.dropout(x, layer.eval()) is x


@pytest.mark.parametrize("kind", ["bi", "cross"])
def test_expected_scores_under_dropout_are_those_of_the_plain_path(kind, tmp_path, lexicon):
    """Both paths drop the same share at the same places, so that their mean scores over many draws agree, and their spread."""
    student = students(lexicon)[kind].train()
    for module in student.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.2
    batch = groups(student, n=2, size=3)
    draws = {}
    for path in ("packed", "plain"):
        own = as_plain(student) if path == "plain" else student
        torch.manual_seed(5)
        with torch.no_grad():
            draws[path] = torch.stack([own(batch) for _ in range(500)]).double()
    error = (draws["plain"].var(0) / 500 + draws["packed"].var(0) / 500).sqrt()
    assert float(((draws["plain"].mean(0) - draws["packed"].mean(0)) / error).abs().max()) < 4.5
    assert (draws["packed"].std(0) / draws["plain"].std(0)).log().abs().max() < 0.3


# --- students ---


@pytest.fixture(scope="module")
def lexicon(tmp_path_factory):
    return make_lexicon(tmp_path_factory.mktemp("lexicon"), WORDS, 16)


def students(lexicon) -> dict[str, models.Student]:
    return {
        "bi": build(params.TinyBertBi(dimension=16, feed_forward=16), seed=0, lexicon=lexicon),
        "cross": build(params.TinyBertCross(dimension=16, feed_forward=16), seed=0, lexicon=lexicon),
    }


def as_plain(student: models.Student) -> models.Student:
    """Return a copy that runs its model as it is, on padded texts."""
    twin = copy.deepcopy(student)
    assert twin._packed is not None
    twin._packed = None
    return twin


def groups(student: models.Student, n: int = 4, size: int = 5) -> GroupBatch:
    rng = np.random.default_rng(7)
    vocabulary = len(student.tokenizer)
    queries, docs = texts(6, 7, 1, vocabulary), texts(30, 60, 2, vocabulary)
    doc_rows = np.stack([rng.choice(30, size, replace=False) for _ in range(n)])
    doc_rows[1, 2] = doc_rows[0, 1]  # a document that stands in two groups
    return GroupBatch(queries, docs, rng.integers(6, size=n), doc_rows)


def loss_and_gradients(student: models.Student, batch: GroupBatch, loss: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    student.zero_grad(set_to_none=True)
    teacher = torch.from_numpy(np.random.default_rng(3).normal(size=batch.doc_rows.shape))
    scores = student(batch)
    value = group_loss(loss, scores, teacher.to(scores.dtype) if LOSSES[loss].needs_teacher else None, temperature=1.0)
    value.backward()
    return value.detach(), {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["bi", "cross"])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_gradients_equal_the_plain_path(kind, loss, lexicon):
    student = students(lexicon)[kind].train()
    exact, twin = copy.deepcopy(student).double(), as_plain(student).double()
    batch = groups(student)
    value, gradients = loss_and_gradients(exact, batch, loss)
    expected, of_plain = loss_and_gradients(twin, batch, loss)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)
    assert gradients.keys() == of_plain.keys()
    for name in gradients:
        torch.testing.assert_close(gradients[name], of_plain[name], rtol=1e-10, atol=1e-10)
    # in float32: both paths were off by at most 3e-7 (bi), and by 1.2e-4 (cross, whose scores differ by a hundredth of their size);
    # in bf16 they are off by 4e-3 and .26 at the least
    _, found = loss_and_gradients(student, batch, loss)
    distance = float(torch.cat([(found[name].double() - of_plain[name]).flatten() for name in of_plain]).norm())
    scale = float(torch.cat([gradient.flatten() for gradient in of_plain.values()]).norm())
    assert distance <= {"bi": 1e-5, "cross": 1e-3}[kind] * scale


@pytest.mark.parametrize("head", ["electra", "roberta"])
def test_other_families_heads_are_applied_as_their_own(head):
    torch.manual_seed(0)
    if head == "electra":
        model = ElectraForSequenceClassification(ElectraConfig(**SIZES, embedding_size=16, num_labels=1))
    else:
        model = RobertaForSequenceClassification(RobertaConfig(**SIZES, pad_token_id=1, num_labels=1))
    model, table = model.double().eval(), texts()
    pad = model.config.pad_token_id
    ids, lengths = gather(table, np.arange(len(table)), pad=pad)
    mask = torch.from_numpy((np.arange(ids.shape[1]) < lengths[:, None]) * 1)
    expected = model(input_ids=torch.from_numpy(ids), attention_mask=mask).logits
    stream = lay_out(table, pad)
    firsts = PackedEncoder(model.base_model)(stream, first_only=True)
    outputs = models.cross_students.head(model, firsts)
    torch.testing.assert_close(models.students.in_order(outputs, stream.order), expected, rtol=0, atol=1e-12)


def test_bf16_scores_are_near(lexicon):
    for student in students(lexicon).values():
        batch = groups(student)
        with torch.no_grad():
            exact = student(batch)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                rough = student(batch).float()
        assert float((rough - exact).abs().max()) < 0.05 * float(exact.abs().max())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            student.train()(batch).float().sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)


def test_frozen_weights_give_the_same_states_and_are_let_go():
    torch.manual_seed(0)
    model, table = ENCODERS["bert"]().eval(), texts()
    encoder, stream = PackedEncoder(model), lay_out(table, 0)
    with torch.inference_mode():
        for first_only in (False, True):
            expected = encoder(stream, first_only=first_only)
            with encoder.frozen(torch.float32):
                torch.testing.assert_close(encoder(stream, first_only=first_only), expected, rtol=0, atol=1e-5)  # bf16: 2e-4
            with encoder.frozen(torch.bfloat16), torch.autocast("cpu", dtype=torch.bfloat16):
                assert float((encoder(stream, first_only=first_only).float() - expected).abs().max()) < 0.1
    with torch.no_grad():
        model.encoder.layer[1].output.dense.weight.mul_(2)
    with torch.inference_mode():
        changed = encoder(stream)
        assert not torch.allclose(changed[stream.firsts], expected)
        with encoder.frozen(torch.float32):
            torch.testing.assert_close(encoder(stream), changed, rtol=0, atol=1e-5)


def test_scoring_between_steps_reads_the_weights_of_the_moment(lexicon):
    for student in students(lexicon).values():
        batch = groups(student)
        pairs = np.repeat(batch.query_rows, 5), batch.doc_rows.ravel()
        for _ in range(2):
            with torch.no_grad():
                expected = student(batch).ravel().numpy()
                np.testing.assert_allclose(student.score_pairs(batch.queries, batch.docs, *pairs), expected, rtol=1e-4, atol=1e-5)
                for parameter in student.parameters():
                    parameter.mul_(1.1)
