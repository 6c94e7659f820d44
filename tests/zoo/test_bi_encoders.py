"""Bi-encoders of many families and settings: the vectors of ``encode_query`` and ``encode_document``, before and after training.

The library computes in a process of its own that has no other package (:mod:`library`). ``RD_ZOO=all`` (``make zoo``) takes every family
with every setting; by default each family and each setting is taken once.
"""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from animals import FAMILIES, LIMIT, POSITIONS, PROMPTS, QUERY_LIMIT, WORDS, Bi, bi_folder, documents, edit_json, far_apart, queries

from rd_utils import models
from rd_utils.models import GroupBatch
from rd_utils.models.tokens import tokenize
from rd_utils.study import params
from rd_utils.training.groups import GroupTable
from rd_utils.training.loop import train

WHOLE = os.environ.get("RD_ZOO") == "all"
POOLINGS = ("cls", "mean", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens")
LONG_PROMPT = "the quick brown fox jumps over the lazy dog of the air wing: "  # longer than a query may be


# --- settings ---------------------------------------------------------------------------------------------------------------------


def _one_prompt(folder: Path) -> None:
    edit_json(folder / "config_sentence_transformers.json", prompts={"passage": "passage: "}, default_prompt_name="passage")


def _default_and_no_document(folder: Path) -> None:
    edit_json(folder / "config_sentence_transformers.json", prompts={"query": "query: ", "x": "fox: "}, default_prompt_name="x")


def _old_names(folder: Path) -> None:
    """Write the folder as versions 2 to 4 of the library did."""
    modules = json.loads((folder / "modules.json").read_text())
    for module in modules:
        module["type"] = f"sentence_transformers.models.{module['type'].rsplit('.', 1)[-1]}"
    (folder / "modules.json").write_text(json.dumps(modules))
    modes = {"pooling_mode_cls_token": False, "pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": False}
    edit_json(folder / "1_Pooling" / "config.json", embedding_dimension=None, pooling_mode=None, word_embedding_dimension=32, **modes)
    (folder / "config_sentence_transformers.json").unlink()
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 20, "do_lower_case": False}))


def _lower_case(folder: Path) -> None:
    edit_json(folder / "sentence_bert_config.json", do_lower_case=True)


def _cuts_and_pads(folder: Path) -> None:
    """Leave in the tokenizer what sentence-transformers' early models have: truncation and padding that are switched on."""
    engine = json.loads((folder / "tokenizer.json").read_text())
    engine["truncation"] = {"direction": "Right", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
    pad = json.loads((folder / "config.json").read_text())["pad_token_id"]
    engine["padding"] = {"strategy": {"Fixed": 40}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": pad, "pad_type_id": 0}
    word = next(token["content"] for token in engine["added_tokens"] if token["id"] == pad)
    engine["padding"]["pad_token"] = word
    (folder / "tokenizer.json").write_text(json.dumps(engine))


def _own_limits(folder: Path) -> None:
    edit_json(folder / "tokenizer_config.json", model_max_length=18)
    edit_json(folder / "sentence_bert_config.json", query_length=9, document_length=15)


def _shorter(folder: Path) -> None:
    edit_json(folder / "tokenizer_config.json", model_max_length=18)


def _weights(folder: Path, change) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file(change(weights), folder / "model.safetensors", metadata={"format": "pt"})


def _pickled_weights(folder: Path) -> None:
    """Keep the weights in a pickle, as checkpoints of before 2023 do; the library reads tensors from it and nothing else."""
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _no_pooler(folder: Path) -> None:
    """Leave the pooler out, as checkpoints of masked language models do: no sentence vector needs it."""
    _weights(folder, lambda weights: {name: weight for name, weight in weights.items() if "pooler" not in name})


def _more_than_the_encoder(folder: Path) -> None:
    """Add what old and whole checkpoints hold beside an encoder: a language model's head, a buffer of positions."""
    more = {"cls.predictions.bias": torch.zeros(7), "embeddings.position_ids": torch.arange(POSITIONS).unsqueeze(0)}
    _weights(folder, lambda weights: weights | more)


SETTINGS: dict[str, dict] = {
    "plain": {},
    "prompts": {"sentence": (("prompts", PROMPTS),)},
    "prompts not pooled": {"sentence": (("prompts", PROMPTS),), "include_prompt": False},
    "prompts without space": {"sentence": (("prompts", {"query": "fox", "document": "[dog]"}),)},
    "default prompt": {"sentence": (("prompts", PROMPTS | {"x": "fox: "}), ("default_prompt_name", "x"))},
    "default and no document": {"edit": _default_and_no_document},
    "one prompt": {"edit": _one_prompt},
    "prompt above the limit": {"sentence": (("prompts", {"query": LONG_PROMPT, "document": "dog: "}),)},
    "truncated": {"sentence": (("truncate_dim", 8),)},
    "truncated, normalised, prompts": {"sentence": (("truncate_dim", 8), ("prompts", PROMPTS)), "modules": ("Normalize",)},
    "bf16": {"dtype": "bf16"},
    "fp16": {"dtype": "fp16"},
    "bf16, Dense": {"dtype": "bf16", "modules": ("Dense",)},
    "Dense": {"modules": ("Dense",)},
    "Normalize": {"modules": ("Normalize",)},
    "LayerNorm": {"modules": ("LayerNorm",)},
    "Dense, LayerNorm, Normalize": {"modules": ("Dense", "LayerNorm", "Normalize")},
    "cosine": {"similarity": "cosine", "sentence": (("similarity_fn_name", "cosine"),)},
    "cosine, truncated": {"similarity": "cosine", "sentence": (("similarity_fn_name", "cosine"), ("truncate_dim", 8))},
    "lower case": {"edit": _lower_case},
    "tokenizer cuts and pads": {"edit": _cuts_and_pads},
    "padded left": {"tokenizer": (("padding_side", "left"),), "alone": True, "may_refuse": ("its own library", "padding_side")},
    "padded right": {"tokenizer": (("padding_side", "right"),)},
    "cut left": {"tokenizer": (("truncation_side", "left"),), "may_refuse": ("truncation_side",)},
    "cut left, prompts": {
        "tokenizer": (("truncation_side", "left"),),
        "sentence": (("prompts", PROMPTS),),
        "may_refuse": ("truncation_side",),
    },
    "shorter": {"edit": _shorter, "own_limits": True, "may_refuse": ("18",)},
    "own limits": {"edit": _own_limits, "own_limits": True, "may_refuse": ("18", "15", "9")},
    "bare": {"tokenizer": (("framed", False),), "texts": "words"},
    "bare, prompts": {"tokenizer": (("framed", False),), "texts": "words", "sentence": (("prompts", PROMPTS),)},
    "given cls": {"given_pooling": "cls"},
    "given mean": {"given_pooling": "mean"},
    "given mean, bf16": {"given_pooling": "mean", "dtype": "bf16"},
    "two poolings": {"pooling": ("cls", "mean")},
    "three poolings, prompts not pooled": {
        "pooling": ("mean", "lasttoken", "max"),
        "include_prompt": False,
        "sentence": (("prompts", PROMPTS),),
    },
}
FOR_ONE_FAMILY = {  # what concerns one family, or needs its names
    "old names": ("bert", {"edit": _old_names, "pooling": "max"}),
    "no pooler": ("bert", {"edit": _no_pooler}),
    "no pooler, roberta": ("roberta", {"edit": _no_pooler}),
    "more weights": ("bert", {"edit": _more_than_the_encoder}),
    "pickled weights": ("bert", {"edit": _pickled_weights, "may_refuse": ("pytorch_model.bin",)}),
    "chunks": ("bert", {"model": (("chunk_size_feed_forward", 1),)}),
    "decoder": ("bert", {"model": (("is_decoder", True),), "pooling": "lasttoken", "may_refuse": ("decoder",)}),
    "relative positions": ("t5", {"model": (("relative_attention_num_buckets", 6), ("feed_forward_proj", "gated-gelu"))}),
    "sliding window": (
        "qwen3",
        {"model": (("use_sliding_window", True), ("sliding_window", 6), ("max_window_layers", 0)), "pooling": "lasttoken"},
    ),
    "pad is not the first": ("bert", {"tokenizer": (("pad_token", "[MASK]"),)}),
    "more words than rows are used": ("roberta", {"model": (("vocab_size", 600),)}),
}


SAVED = ("plain", "prompts not pooled", "truncated", "bf16", "Dense", "cosine", "own limits", "given mean", "two poolings", "one prompt")
REPEATED = (
    "bf16, Dense",
    "given mean, bf16",
    "bare, prompts",
    "cut left, prompts",
    "truncated, normalised, prompts",
    "LayerNorm",
    "Normalize",
)


def _cases() -> list[Bi]:
    """Return every family with every setting, poolings in turn; in the short form what others do not cover already, families in turn."""
    single = [Bi(family, name, **settings) for name, (family, settings) in FOR_ONE_FAMILY.items()]
    turns = itertools.cycle(POOLINGS)
    if not WHOLE:
        families = itertools.cycle(FAMILIES)
        once = {name: settings for name, settings in SETTINGS.items() if name not in REPEATED}
        return [Bi(next(families), name, **{"pooling": next(turns), **settings}) for name, settings in once.items()] + single
    every = [Bi(family, "plain", pooling=pooling) for family in FAMILIES for pooling in POOLINGS]
    for place, family in enumerate(FAMILIES):
        for name, settings in SETTINGS.items():
            if name not in REPEATED or place % 3 == REPEATED.index(name) % 3:  # of what repeats others a third of the families
                every.append(Bi(family, name, **{"pooling": next(turns), **settings}))
        next(turns)  # so that poolings and settings do not go in step
        every += [Bi(family, "prompts not pooled", pooling, **SETTINGS["prompts not pooled"]) for pooling in POOLINGS]
    return list({case.id: case for case in every + single}.values())


CASES = _cases()


# --- stages -----------------------------------------------------------------------------------------------------------------------


def student_of(case: Bi, folder: Path) -> models.BiStudent:
    limits = {} if case.own_limits else {"max_length": LIMIT, "max_query_length": QUERY_LIMIT}
    given = {"pooling": case.given_pooling} if case.given_pooling else {}
    return models.build(params.BiEncoder(model=str(folder), similarity=case.similarity, **given, **limits), seed=0)


def by_the_library(library, case: Bi, folder: Path, **options) -> dict[str, np.ndarray]:
    """Return the library's vectors of a foreign folder: at the study's limits, in float32, unit vectors for the cosine."""
    limits = None if case.own_limits else (LIMIT, QUERY_LIMIT)
    settings = {"limits": limits, "pooling": case.given_pooling, "float32": True, "batch_size": 1 if case.alone else 32, **options}
    found = library.ask(kind="bi", folder=str(folder), queries=queries(case.texts), documents=documents(case.texts), **settings)
    if case.similarity == "cosine":
        found = {side: vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for side, vectors in found.items()}
    return found


def tables(case: Bi, student: models.BiStudent):
    return tokenize(queries(case.texts), student.tokenizer), tokenize(documents(case.texts), student.tokenizer)


def served(case: Bi, folder: Path, census) -> models.BiStudent | None:
    """Build the student, or count it as refused where that is right too."""
    try:
        return student_of(case, folder)
    except ValueError as error:
        if not any(word in str(error) for word in case.may_refuse) or folder.name not in str(error):
            raise
        census.count("settings refused instead of served")
        return None


def compare(census, stage: str, case: Bi, ours: dict, theirs: dict, problems: list[str]) -> None:
    for side, texts in (("queries", queries(case.texts)), ("documents", documents(case.texts))):
        census.compare(f"bi-encoders, {stage}: {case.id}, {side}", ours[side], theirs[side], texts, problems)


def vectors(case: Bi, student: models.BiStudent) -> dict[str, np.ndarray]:
    asked, docs = tables(case, student)
    return {"queries": student.encode(asked, kind="query"), "documents": student.encode(docs, kind="document")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_bi_encoder_is_what_the_library_has(case, library, census, tmp_path):
    """As it is found, in the scores of training, and after some steps from the folder that it saved."""
    folder = bi_folder(case, tmp_path)
    census.count("bi-encoders: models x settings")
    student = served(case, folder, census)
    if student is None:
        return
    assert {weight.dtype for weight in student.parameters()} == {torch.float32}
    theirs = by_the_library(library, case, folder)
    problems: list[str] = []
    compare(census, "encoding", case, vectors(case, student), theirs, problems)
    compare_scores(census, case, student, theirs, problems)
    if WHOLE or case.setting in SAVED:
        compare_after_training(census, case, student, library, tmp_path / "student", problems)
    assert not problems, "\n".join(problems)


def compare_scores(census, case: Bi, student: models.BiStudent, theirs: dict, problems: list[str]) -> None:
    """Compare what training sees: every query with every document, in units of their lengths where these are above 1."""
    asked, docs = tables(case, student)
    batch = GroupBatch(asked, docs, np.arange(len(asked)), np.tile(np.arange(len(docs)), (len(asked), 1)))
    with torch.no_grad():
        scores = student(batch).numpy()
    unit = np.outer(*(np.maximum(np.linalg.norm(theirs[side], axis=1), 1.0) for side in ("queries", "documents")))
    exact = theirs["queries"].astype(np.float64) @ theirs["documents"].T.astype(np.float64)
    census.compare(f"bi-encoders, scoring: {case.id}", scores / unit, exact / unit, queries(case.texts), problems)


def compare_after_training(census, case: Bi, student: models.BiStudent, library, folder: Path, problems: list[str]) -> None:
    """Train some steps and save; the library is given the folder, and no option."""
    before = {name: weight.detach().clone() for name, weight in student.named_parameters() if weight.requires_grad}
    rng = np.random.default_rng(0)
    asked, docs = tables(case, student)
    groups = GroupTable(rng.integers(0, len(asked), 12), np.stack([rng.permutation(len(docs))[:4] for _ in range(12)]))
    settings = params.Training(documents=48, queries_per_batch=4, learning_rate=2e-3, warmup_share=0.0, schedule="constant")
    train(student, asked, docs, groups, loss="lce", temperature=1.0, training=settings, seed=0)
    moved = {name: float((weight.detach() - before[name]).abs().max()) for name, weight in student.named_parameters() if name in before}
    assert max(moved.values()) > 1e-3, moved
    ours = vectors(case, student)
    student.save(folder)
    texts = {"queries": queries(case.texts), "documents": documents(case.texts), "batch_size": 1 if case.alone else 32}
    theirs = library.ask(kind="bi", folder=str(folder), **texts)
    compare(census, "trained and saved", case, ours, theirs, problems)
    compare(census, "loaded again", case, vectors(case, models.load(folder)), ours, problems)


@pytest.mark.parametrize("family", FAMILIES if WHOLE else ["roberta", "mpnet"])
def test_the_padding_token_in_a_text_is_read_as_the_library_reads_it(family, library, census, made):
    """Whoever writes "[PAD]" into a text writes the token: some families count their positions from what is no padding."""
    case = Bi(family, "plain")
    folder = made(case, bi_folder)
    student, problems = student_of(case, folder), []
    pad = student.tokenizer.pad_token
    texts = [f"fox {pad} dog", f"fox {pad} dog of the air", f"{pad} fox", f"fox{pad}"]
    theirs = library.ask(kind="bi", folder=str(folder), queries=texts, documents=texts, float32=True, limits=(LIMIT, QUERY_LIMIT))
    ours = student.encode(tokenize(texts, student.tokenizer), kind="document")
    census.compare(f"bi-encoders, padding in a text: {family}", ours, theirs["documents"], texts, problems)
    assert not problems, "\n".join(problems)


# --- what makes the comparisons worth something ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES if WHOLE else ["bert"])
def test_the_librarys_own_rounding_is_below_the_bound_and_one_word_is_far_above(family, library, made):
    """Another company in a batch moves a vector by rounding; another last word moves it by a thousand times the bound."""
    case = Bi(family, "plain")
    folder = made(case, bi_folder)
    together, alone = by_the_library(library, case, folder), by_the_library(library, case, folder, batch_size=1)
    for side in ("queries", "documents"):
        assert np.abs(together[side] - alone[side]).max() < 1e-5 * np.abs(alone[side]).max()
    limit = {"queries": [" ".join(["fox", *WORDS[:7], last]) for last in WORDS], "documents": ["fox"]}
    others = library.ask(kind="bi", folder=str(folder), **limit, float32=True)["queries"]
    apart = np.abs(others[:, None] - others[None]).max(axis=2)[~np.eye(len(WORDS), dtype=bool)]
    assert apart.min() > 1e-2 * np.abs(others).max() or apart.min() > 1e-2


def test_the_library_has_no_other_package(library):
    assert library.without["missing"] == "rd_utils"
    assert str(library.folder) == library.without["folder"]


def test_every_word_is_one_token():
    from animals import FRAMES, of_words, tokenizer

    for frame in FRAMES.values():
        words = tokenizer(frame)
        for n in (1, 5, 30):
            assert len(words(of_words(n, 1), add_special_tokens=False)["input_ids"]) == n
    assert far_apart(torch.nn.Linear(3, 3)).weight.std() > 0.1
