"""Checkpoints: read as sentence-transformers reads them, or refused by name; tiny random models with large weights."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, Router, Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, StaticEmbedding
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers import models as token_models
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    MPNetConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
    RobertaConfig,
    T5Config,
)

from rd_utils import models
from rd_utils.models import checkpoints
from rd_utils.models.checkpoints import CheckpointError
from rd_utils.models.tokens import TokenTable, count_unknown, tokenize
from rd_utils.study import graph, params
from rd_utils.training.augmentation import augment_texts
from rd_utils.training.groups import GroupTable
from rd_utils.training.loop import train

TEXTS = ["a red kite", "the kite rises in the wind over the hill", "", "wind", "hill " * 70]
ASKED = ["where is the kite", "wind", "kite " * 50, ""]
SPECIAL = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.fixture(autouse=True)
def nothing_said_before() -> None:
    checkpoints._SAID.clear()


def subwords(template: bool = True, **options: Any) -> PreTrainedTokenizerFast:
    """Byte-level pieces, which keep the space before a word."""
    engine = Tokenizer(token_models.BPE())
    engine.pre_tokenizer, engine.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=[*SPECIAL.values()], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    engine.train_from_iterator([*TEXTS, *ASKED, "find: kite", "note: wind"] * 2, trainer)
    if template:
        engine.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=engine, model_input_names=names, **SPECIAL, **options)


def spread(network: torch.nn.Module) -> torch.nn.Module:
    """Give a network weights so large that other tokens have clearly other outputs."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim > 1:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    return network.eval()


def bert_config(**options: Any) -> BertConfig:
    return BertConfig(vocab_size=340, max_position_embeddings=40, pad_token_id=1, **NO_DROPOUT, **SIZES | options)


CONFIGS: dict[str, Callable[..., Any]] = {
    "bert": bert_config,
    "roberta": lambda **o: RobertaConfig(
        vocab_size=340, max_position_embeddings=42, type_vocab_size=2, pad_token_id=1, **NO_DROPOUT, **SIZES | o
    ),
    "mpnet": lambda **o: MPNetConfig(vocab_size=340, max_position_embeddings=42, pad_token_id=1, **NO_DROPOUT, **SIZES | o),
    "qwen3": lambda **o: Qwen3Config(
        vocab_size=340, num_key_value_heads=2, head_dim=8, max_position_embeddings=64, pad_token_id=1, **SIZES | o
    ),
    "t5": lambda **o: T5Config(vocab_size=340, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, pad_token_id=1, **o),
}


def stored(folder: Path, network: torch.nn.Module, tokenizer: PreTrainedTokenizerFast | None = None) -> Path:
    network.save_pretrained(folder)
    (tokenizer or subwords()).save_pretrained(folder)
    return folder


def encoder(folder: Path, family: str = "bert", tokenizer: PreTrainedTokenizerFast | None = None, dtype: Any = torch.float32) -> Path:
    network = spread(AutoModel.from_config(CONFIGS[family]())).to(dtype)
    return stored(folder, network, tokenizer)


def classifier(folder: Path, family: str = "bert", labels: int = 1, tokenizer: PreTrainedTokenizerFast | None = None) -> Path:
    return stored(folder, spread(AutoModelForSequenceClassification.from_config(CONFIGS[family](num_labels=labels))), tokenizer)


def sentence_model(folder: Path, *behind: Any, base: Path | None = None, pooling: Any = "mean", **options: Any) -> Path:
    """Save a sentence-transformers model: an encoder, a pooling and what stands behind it."""
    first = Transformer(str(base or encoder(folder / "base")), max_seq_length=options.pop("max_seq_length", 36))
    first.document_length = options.pop("document_length", None)
    pool = Pooling(32, pooling_mode=pooling, include_prompt=options.pop("include_prompt", True))
    SentenceTransformer(modules=[first, pool, *behind], device="cpu", **options).save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def built(folder: Path, **options: Any) -> models.BiStudent:
    return models.build(params.BiEncoder(model=str(folder), **{"max_length": 36, "max_query_length": 36} | options), seed=0)


def assert_encodes_as_its_library(student: models.BiStudent, model: SentenceTransformer) -> None:
    for kind, encode, texts in (("query", model.encode_query, ASKED), ("document", model.encode_document, TEXTS)):
        theirs = encode(texts)
        assert kind == "query" or np.abs(theirs[0] - theirs[1]).max() > 0.05  # a long prompt leaves no room for the query
        np.testing.assert_allclose(
            student.encode(tokenize(texts, student.tokenizer), kind=kind), theirs, rtol=0, atol=1e-5 * np.abs(theirs).max()
        )


PROMPTS = {"query": "find: ", "document": "note: "}
LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "prompts": lambda folder: sentence_model(folder, prompts=PROMPTS),
    "prompt that pooling leaves out": lambda folder: sentence_model(folder, prompts=PROMPTS, include_prompt=False),
    "prompt longer than the limit": lambda folder: sentence_model(folder, prompts={"query": "find the kite: " * 9}),
    "prompt without a space": lambda folder: sentence_model(folder, prompts={"query": "re"}),
    "default prompt": lambda folder: sentence_model(folder, prompts={"other": "note: "}, default_prompt_name="other"),
    "truncation": lambda folder: sentence_model(folder, truncate_dim=5),
    "last token, left padding": lambda folder: sentence_model(
        folder, base=encoder(folder / "qwen", "qwen3", subwords(template=False, padding_side="left")), pooling="lasttoken"
    ),
    "max and first token": lambda folder: sentence_model(folder, pooling=("cls", "max")),
    "weighted mean": lambda folder: sentence_model(folder, base=encoder(folder / "mpnet", "mpnet"), pooling="weightedmean"),
    "dense and unit": lambda folder: sentence_model(folder, Dense(32, 7), Normalize()),
    "own document limit": lambda folder: sentence_model(folder, document_length=9),
    "text cut in front": lambda folder: sentence_model(folder, base=encoder(folder / "left", tokenizer=subwords(truncation_side="left"))),
    "encoder of T5": lambda folder: sentence_model(folder, base=encoder(folder / "t5", "t5")),
    "half precision": lambda folder: sentence_model(folder, Dense(32, 7), base=encoder(folder / "half", dtype=torch.bfloat16)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_vectors_are_those_of_the_library_before_training_and_those_of_what_is_saved_after_it(layout, tmp_path) -> None:
    folder = LAYOUTS[layout](tmp_path)
    student = built(folder)
    assert {weight.dtype for weight in student.parameters()} == {torch.float32}
    reference = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32}).float()
    reference[0].query_length = 36
    assert_encodes_as_its_library(student, reference)
    tables = tokenize(ASKED, student.tokenizer), tokenize(TEXTS, student.tokenizer)
    before = student.encode(tables[1], kind="document")
    groups = GroupTable(np.array([0, 1]), np.array([[0, 1, 2], [3, 4, 1]]))
    train(
        student,
        *tables,
        groups,
        loss="lce",
        temperature=1.0,
        training=params.Training(documents=24, queries_per_batch=2, learning_rate=1e-3),
        seed=0,
    )
    assert np.abs(student.encode(tables[1], kind="document") - before).max() > 1e-3
    student.save(tmp_path / "student")
    assert_encodes_as_its_library(student, SentenceTransformer(str(tmp_path / "student"), device="cpu"))
    assert_encodes_as_its_library(models.load(tmp_path / "student"), SentenceTransformer(str(tmp_path / "student"), device="cpu"))


def test_a_cosine_of_truncated_vectors_is_normalised_after_the_truncation(tmp_path) -> None:
    folder = sentence_model(tmp_path, truncate_dim=5)
    student = built(folder, similarity="cosine")
    model = SentenceTransformer(str(folder), device="cpu", similarity_fn_name="cosine")
    tables = tokenize(ASKED, student.tokenizer), tokenize(TEXTS, student.tokenizer)
    rows = np.repeat(np.arange(len(ASKED)), len(TEXTS)), np.tile(np.arange(len(TEXTS)), len(ASKED))
    expected = model.similarity(model.encode_query(ASKED), model.encode_document(TEXTS)).numpy().reshape(-1)
    np.testing.assert_allclose(student.score_pairs(*tables, *rows), expected, atol=1e-5)
    student.save(tmp_path / "student")
    assert_encodes_as_its_library(student, SentenceTransformer(str(tmp_path / "student"), device="cpu"))
    assert student.encode(tables[1], kind="document").shape == (len(TEXTS), 5)


def test_a_static_model_reads_its_prompt_and_its_tokenizers_limit(tmp_path) -> None:
    engine = subwords().backend_tokenizer
    engine.enable_truncation(6)
    module = StaticEmbedding(engine, embedding_weights=torch.randn(340, 8, generator=torch.Generator().manual_seed(0)).half())
    SentenceTransformer(modules=[module], device="cpu", prompts={"query": "find: "}).save(str(tmp_path), create_model_card=False)
    student = built(tmp_path)
    assert_encodes_as_its_library(student, SentenceTransformer(str(tmp_path), device="cpu").float())


def test_a_model_reads_no_more_tokens_than_its_library_gives_it_and_that_is_said(tmp_path, caplog) -> None:
    """40 positions are the encoder's, 36 tokens the folder's own limit."""
    folder = sentence_model(tmp_path)
    with caplog.at_level(logging.WARNING, "rd_utils"):
        student = built(folder, max_length=256)
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder}: its settings compare vectors by cosine; scores here are by dot, as the study says",
        f"{folder}: max_length is 256, but it reads at most 36 tokens, where texts are cut; set max_length to 36",
    ]
    assert_encodes_as_its_library(student, SentenceTransformer(str(folder), device="cpu"))
    assert built(tmp_path / "base", pooling="cls", max_length=256).model.max_seq_length == 40
    assert built(encoder(tmp_path / "roberta", "roberta"), pooling="cls", max_length=256).model.max_seq_length == 40


# --- cross-encoders ---------------------------------------------------------------------------------------------------------------

PAIRS = np.array([(query, doc) for query in range(len(ASKED)) for doc in range(len(TEXTS))])
CROSSES: dict[str, Callable[[Path], Path]] = {
    "one label": classifier,
    "two labels": lambda folder: classifier(folder, labels=2),
    "roberta": lambda folder: classifier(folder, "roberta"),
    "mpnet, two labels": lambda folder: classifier(folder, "mpnet", labels=2),
    "text cut in front": lambda folder: classifier(folder, tokenizer=subwords(truncation_side="left")),
    "a head on a decoder": lambda folder: classifier(folder, "qwen3", tokenizer=subwords(template=False)),
    "default prompt": lambda folder: prompted(folder),
}


def prompted(folder: Path) -> Path:
    model = CrossEncoder(str(classifier(folder / "plain")), device="cpu", prompts={"rank": "find: "}, default_prompt_name="rank")
    model.save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def predicted(folder: Path, limit: int | None = None) -> np.ndarray:
    model = CrossEncoder(str(folder), device="cpu", activation_fn=torch.nn.Identity())
    model.max_seq_length = limit or model.max_seq_length
    scores = model.predict([(ASKED[query], TEXTS[doc]) for query, doc in PAIRS], convert_to_tensor=True)
    return scores.numpy() if scores.ndim == 1 else torch.log_softmax(scores, dim=1)[:, 1].numpy()


def scored(student: models.CrossStudent) -> np.ndarray:
    return student.score_pairs(tokenize(ASKED, student.tokenizer), tokenize(TEXTS, student.tokenizer), *PAIRS.T)


@pytest.mark.parametrize("layout", CROSSES)
def test_scores_are_those_of_predict_however_long_the_pairs_and_saved_students_score_alike(layout, tmp_path) -> None:
    folder = CROSSES[layout](tmp_path / "cross")
    teacher = models.load_scorer(str(folder), max_length=24, max_query_length=8)
    expected = predicted(folder, 24)
    assert expected.std() > 0.05
    bound = 1e-5 * max(np.abs(expected).max(), 1.0)
    np.testing.assert_allclose(scored(teacher), expected, rtol=0, atol=bound)
    student = models.build(params.CrossEncoder(model=str(folder), labels=checkpoints.labels(str(folder)), max_length=24), seed=0)
    tables = tokenize(ASKED, student.tokenizer), tokenize(TEXTS, student.tokenizer)
    groups = GroupTable(np.array([0, 1]), np.array([[0, 1, 2], [3, 4, 1]]))
    train(
        student,
        *tables,
        groups,
        loss="lce",
        temperature=1.0,
        training=params.Training(documents=24, queries_per_batch=2, learning_rate=1e-3),
        seed=0,
    )
    student.save(tmp_path / "student")
    ours = scored(student)
    assert np.abs(ours - expected).max() > 1e-3
    np.testing.assert_allclose(ours, predicted(tmp_path / "student"), rtol=0, atol=bound)
    np.testing.assert_allclose(ours, scored(models.load(tmp_path / "student")), rtol=0, atol=bound)


def test_a_new_head_of_a_student_is_drawn_from_the_seed_and_said(tmp_path, caplog) -> None:
    folder = encoder(tmp_path)
    with caplog.at_level(logging.WARNING, "rd_utils"):
        models.build(params.CrossEncoder(model=str(folder), max_length=24), seed=0)
    assert f"{folder}: its file has no head for scores: classifier.bias, classifier.weight are drawn from the seed" in caplog.messages


def test_weights_of_another_task_are_left_out_and_that_is_said(tmp_path, caplog) -> None:
    with caplog.at_level(logging.WARNING, "rd_utils"):
        built(classifier(tmp_path), pooling="cls")
    assert f"{tmp_path}: 2 weights of its file are another task's and are left out, the first is classifier.bias" in caplog.messages


# --- prompts in token tables ------------------------------------------------------------------------------------------------------


def test_a_table_knows_its_prompt_where_it_ends_and_keeps_both_on_disk(tmp_path) -> None:
    tokenizer = subwords()
    table = tokenize(["kite", "", "wind over"], tokenizer, prompt="find: ")
    whole = [tokenizer.encode(f"find: {text}", add_special_tokens=False) for text in ("kite", "", "wind over")]
    assert [table.row(row).tolist() for row in range(3)] == whole
    alone = [len(tokenizer.encode(f" {text}", add_special_tokens=False)) for text in ("kite", "wind over")]  # with the prompt's space
    assert table.text_lengths().tolist() == [alone[0], 0, alone[1]]
    table.save(tmp_path)
    again = TokenTable.load(tmp_path)
    assert again.prompt == "find: " and again.prompt_lengths.tolist() == table.prompt_lengths.tolist()
    tokenize(["kite"], tokenizer).save(tmp_path / "plain")
    assert sorted(path.name for path in (tmp_path / "plain").iterdir()) == ["ids.npy", "offsets.npy"]


def test_a_table_with_another_prompt_is_refused_where_its_texts_are_gone(tmp_path) -> None:
    student = built(sentence_model(tmp_path, prompts=PROMPTS))
    table = tokenize(iter(TEXTS), student.tokenizer)
    with pytest.raises(ValueError, match=r"with the prompt '', but this model reads a query with the prompt 'find: '; tokenise them"):
        student.encode(table, kind="query")
    read = student.encode(tokenize(iter(TEXTS), student.tokenizer, prompt="find: "), kind="query")
    np.testing.assert_array_equal(read, student.encode(tokenize(TEXTS, student.tokenizer), kind="query"))


def test_augmentation_changes_the_text_and_not_the_prompt() -> None:
    tokenizer = subwords()
    table = tokenize(["kite in the wind", "hill over the hill"], tokenizer, prompt="find: ")
    starts = np.array([token.startswith("Ġ") for token in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))])
    change = params.Augmentation(query_dropout=0.9, document_span=0.3)
    for changed in augment_texts(table, table, change, starts=starts, neighbours=None, seed=0, epoch=0):
        assert changed.prompt == "find: " and (changed.lengths() < table.lengths()).all() and (changed.text_lengths() > 0).all()
        for row, length in enumerate(table.prompt_lengths):
            assert changed.row(row)[:length].tolist() == table.row(row)[:length].tolist()


def test_the_store_tokenises_with_the_prompts_of_the_model_that_reads(tmp_path) -> None:
    collection = params.EmbeddedCollection()
    folder = sentence_model(tmp_path, prompts=PROMPTS)
    whole, encoder_alone = params.BiEncoder(model=str(folder)), params.BiEncoder(model=str(folder), pooling="mean")
    assert graph.tokenizer_of(whole, collection) == params.ModelTokenizer(
        model=str(folder), query_prompt="find: ", document_prompt="note: "
    )
    for part in (encoder_alone, params.CrossEncoder(model=str(folder))):
        assert graph.tokenizer_of(part, collection).model_dump() == {"kind": "model", "model": str(folder)}
    teacher = params.LoadedTeacher(model=str(prompted(tmp_path / "cross")))
    assert graph.tokenizer_of(teacher, collection).query_prompt == "find: "


@pytest.mark.parametrize("lower", [False, True])
def test_the_tokenizer_of_the_tables_is_the_students_own(lower, tmp_path) -> None:
    folder = sentence_model(tmp_path)
    path = folder / "sentence_bert_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_lower_case": lower}))
    for part in (
        params.BiEncoder(model=str(folder)),
        params.BiEncoder(model=str(folder), pooling="cls"),
        params.CrossEncoder(model=str(folder)),
    ):
        student = models.build(part, seed=0)
        ids = [tokenize(["Red KITE"], tokenizer).ids.tolist() for tokenizer in (student.tokenizer, models.tokenizer_of(part))]
        assert ids[0] == ids[1]
        assert (ids[0] == tokenize(["red kite"], student.tokenizer).ids.tolist()) is lower


def test_unknown_tokens_are_counted() -> None:
    engine = Tokenizer(token_models.WordLevel({"<unk>": 0, "kite": 1}, unk_token="<unk>"))
    engine.pre_tokenizer = pre_tokenizers.Whitespace()
    assert count_unknown(tokenize(["kite wind hill", "kite"], engine), engine) == 2
    assert count_unknown(tokenize(TEXTS, subwords()), subwords()) == 0


# --- refused ----------------------------------------------------------------------------------------------------------------------


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def without(part: str) -> Callable[[Path], None]:
    return lambda folder: change_weights(folder, lambda weights: {name: w for name, w in weights.items() if part not in name})


def infinite(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    weights["embeddings.LayerNorm.bias"][3] = float("inf")
    return weights


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"embeddings": Path("anything")}, folder / "pytorch_model.bin")


def without_files(*patterns: str) -> Callable[[Path], None]:
    return lambda folder: [path.unlink() for pattern in patterns for path in folder.glob(pattern)]


def prefixed(folder: Path) -> None:
    change_weights(folder, lambda weights: {f"module.{name}": w for name, w in weights.items()})


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "some/base"}')


SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a layer missing": (without("layer.1"), "lacks 16 weights of its encoder, the first is encoder.layer.1."),
    "a prefix": (prefixed, r"the first is embeddings.LayerNorm.bias \(its file has module.embeddings"),
    "a layer too many": (lambda f: change_json(f / "config.json", num_hidden_layers=1), "no place for, the first is encoder.layer.1"),
    "another family": (lambda f: change_json(f / "config.json", model_type="distilbert"), "lacks .* weights of its encoder"),
    "another shape": (lambda f: change_json(f / "config.json", vocab_size=300), r"word_embeddings.weight has the shape \(340, 32\)"),
    "not finite": (lambda f: change_weights(f, infinite), "1 of the 32 numbers of its weight .*LayerNorm.bias are not finite"),
    "no weights": (without_files("model.safetensors"), "its own library cannot load it"),
    "cut weights": (lambda f: (f / "model.safetensors").write_bytes(b"\x20"), "model.safetensors is damaged"),
    "a pickle": (pickled, "pickled .* not opened"),
    "no tokenizer": (without_files("tokenizer*", "vocab*"), "has no tokenizer"),
    "no padding token": (lambda f: change_json(f / "tokenizer_config.json", pad_token=None), "no padding token"),
    "a larger tokenizer": (lambda f: add_token(f), "tokens up to number"),
    "code of its own": (lambda f: change_json(f / "config.json", auto_map={"AutoModel": "code.Model"}), "auto_map"),
    "quantised": (lambda f: change_json(f / "config.json", quantization_config={"bits": 4}), "quantised"),
    "an adapter": (adapter, "LoRA adapter.*merge_and_unload"),
    "broken settings": (lambda f: (f / "config.json").write_text("{"), "config.json cannot be read"),
}


def add_token(folder: Path) -> None:
    tokenizer = subwords()
    tokenizer.add_tokens([f"new{number}" for number in range(50)])
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize("fault", SPOILT)
def test_a_spoilt_folder_is_refused_by_name(fault, tmp_path) -> None:
    spoil, words = SPOILT[fault]
    spoil(encoder(tmp_path))
    with pytest.raises(CheckpointError, match=words) as caught:
        built(tmp_path, pooling="mean")
    assert str(caught.value).startswith(str(tmp_path)) and "; " in str(caught.value)


FAMILIES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "sparse": (lambda f: change_json(f / "config_sentence_transformers.json", model_type="SparseEncoder"), "a sparse encoder .SPLADE"),
    "multi-vector": (lambda f: change_json(f / "config_sentence_transformers.json", model_type="MultiVectorEncoder"), "ColBERT"),
    "cross-encoder": (lambda f: change_json(f / "config_sentence_transformers.json", model_type="CrossEncoder"), "it is a cross-encoder"),
    "foreign module": (lambda f: rename_module(f, "their.code.Module"), "its module their.code.Module is none of sentence-transformers"),
    "distance": (lambda f: change_json(f / "config_sentence_transformers.json", similarity_fn_name="euclidean"), "compared by euclidean"),
    "tokenizer settings": (
        lambda f: change_json(f / "sentence_bert_config.json", processing_kwargs={"text": {"max_length": 4}}),
        "processing_kwargs",
    ),
    "no pooling's settings": (lambda f: (f / "1_Pooling" / "config.json").unlink(), "1_Pooling/config.json is missing"),
    "no dense weights": (lambda f: (f / "2_Dense" / "model.safetensors").unlink(), "2_Dense holds no weights"),
}


def rename_module(folder: Path, name: str) -> None:
    path = folder / "modules.json"
    parts = json.loads(path.read_text())
    parts[-1]["type"] = name
    path.write_text(json.dumps(parts))


@pytest.mark.parametrize("fault", FAMILIES)
def test_a_sentence_model_that_is_not_served_is_refused_by_name(fault, tmp_path) -> None:
    folder = sentence_model(tmp_path, Dense(32, 7))
    spoil, words = FAMILIES[fault]
    spoil(folder)
    with pytest.raises(CheckpointError, match=words) as caught:
        built(folder)
    assert str(caught.value).startswith(str(folder)) and "; " in str(caught.value)


def test_a_model_with_two_encoders_is_refused(tmp_path) -> None:
    sides = [[Transformer(str(encoder(tmp_path / side))), Pooling(32)] for side in ("query", "document")]
    SentenceTransformer(modules=[Router.for_query_document(*sides)], device="cpu").save(str(tmp_path / "model"), create_model_card=False)
    with pytest.raises(CheckpointError, match="Router with two encoders"):
        built(tmp_path / "model")


def test_left_padding_that_moves_positions_is_refused(tmp_path) -> None:
    """BERT counts positions from the padding on, so that its own library gives a text other vectors beside longer ones."""
    with pytest.raises(CheckpointError, match="the embeddings of a query differ from those of its own library .* padding_side is left"):
        built(encoder(tmp_path / "bi", tokenizer=subwords(padding_side="left")), pooling="mean")
    with pytest.raises(CheckpointError, match="the scores of pairs differ from those of its own library .* padding_side is left"):
        models.load_scorer(str(classifier(tmp_path / "cross", "mpnet", tokenizer=subwords(padding_side="left"))))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (encoder, "is no trained cross-encoder: its architecture is BertModel, without a classification head"),
        (lambda f: classifier(f, labels=3), "its head has 3 outputs, but one or two are served"),
        (lambda f: classifier(f, "t5"), "an encoder with a decoder"),
        (lambda f: change_json(encoder(f, "qwen3") / "config.json", architectures=["Qwen3ForCausalLM"]), "a causal language model"),
        (lambda f: without("classifier")(classifier(f)), "lacks 2 weights of its head, the first is classifier.bias"),
        (lambda f: without("pooler")(classifier(f)), "lacks 2 weights of its head, the first is bert.pooler"),
    ],
    ids=["no head", "three labels", "decoder", "causal", "lost head", "lost pooler"],
)
def test_what_is_no_teacher_is_refused_by_name(make, words, tmp_path) -> None:
    make(tmp_path)
    with pytest.raises(CheckpointError, match=words) as caught:
        models.load_scorer(str(tmp_path))
    assert str(tmp_path) in str(caught.value) and "; " in str(caught.value)


def test_labels_that_a_trained_head_does_not_have_are_refused(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"its head has 2 outputs .*but labels is 1; .* or set labels to 2"):
        models.build(params.CrossEncoder(model=str(classifier(tmp_path, labels=2))), seed=0)


def test_all_checkpoints_of_a_study_are_refused_at_once(tmp_path) -> None:
    sound, spoilt = encoder(tmp_path / "sound"), encoder(tmp_path / "spoilt")
    without("layer.1")(spoilt)
    parts = [
        params.BiEncoder(model=str(sound), pooling="cls"),
        params.BiEncoder(model=str(spoilt), pooling="cls"),
        params.LoadedTeacher(model=str(sound)),
        params.Oracle(),
        params.StaticBi(),
    ]
    first, second = models.refusals(parts)
    assert first.startswith(f"{spoilt}: its file lacks 16 weights") and second.startswith(f"{sound} is no trained cross-encoder")


# --- saved students ---------------------------------------------------------------------------------------------------------------


def saved_student(folder: Path) -> Path:
    built(encoder(folder / "base"), pooling="mean").save(folder / "student")
    return folder / "student"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without("layer.0"), "lacks 16 weights of its encoder"),
        (without_files("tokenizer*"), "has no tokenizer"),
        (lambda f: (f / "architecture.json").write_text('{"kind": "other"}'), "architecture.json describes no student"),
        (lambda f: change_weights(f, infinite), "are not finite"),
    ],
    ids=["layer", "tokenizer", "architecture", "infinite"],
)
def test_a_saved_student_that_is_not_whole_is_refused(spoil, words, tmp_path) -> None:
    folder = saved_student(tmp_path)
    spoil(folder)
    with pytest.raises(CheckpointError, match=words) as caught:
        models.load(folder)
    assert str(folder) in str(caught.value)


def test_no_code_of_a_folder_runs_for_what_calls_itself_an_interaction_cross_encoder(tmp_path) -> None:
    folder, trap = saved_student(tmp_path), tmp_path / "ran"
    (folder / "architecture.json").write_text(params.InteractionCross().model_dump_json())
    (folder / "code.py").write_text(f"open({str(trap)!r}, 'w')\nclass Model: pass\n")
    change_json(folder / "config.json", auto_map={"AutoModel": "code.Model", "AutoModelForSequenceClassification": "code.Model"})
    with pytest.raises(CheckpointError, match="architecture.json says interaction_cross, but its modules are"):
        models.load(folder)
    rename_module(folder, "code.Model")
    with pytest.raises(CheckpointError):
        models.load(folder)
    assert not trap.exists()


def test_a_folder_that_moved_is_named(tmp_path) -> None:
    shutil.move(encoder(tmp_path / "here"), tmp_path / "there")
    with pytest.raises(CheckpointError, match="no such folder"):
        built(tmp_path / "here", pooling="mean")
