"""Tiny random models of many families, as sentence-transformers saves them, and texts around their limits.

Weights are drawn large, so that other tokens give clearly other vectors and scores: a token more or less at a limit shows.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import LayerNorm, Normalize, Pooling
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers import models as token_models
from transformers import PreTrainedTokenizerFast

LIMIT, QUERY_LIMIT, POSITIONS = 24, 12, 48  # tokens, special ones included; positions that the models know
WIDTH = 32
WORDS = "query passage fox dog lazy quick brown jumps over wing air flow heat plate wave shock layer speed drag the of a".split()
UNICODE = [
    "Größe naïve café",
    "日本語 の テキスト",
    "Привет мир",
    "مرحبا",
    "fox 🦊 dog 🐶",
    "cafe\u0301 ﬁne",
    "a\u200bb\u00adc",
    "１２３ ①",
]
ODD = ["a", "!", " ", "\t\n", " fox", "fox ", "quick  brown   fox", "QUICK Brown FoX", "fox\ndog", "fox-dog, (the) 'wing'", "a" * 70]


# --- tokenizers -------------------------------------------------------------------------------------------------------------------


@functools.cache
def _engine(kind: str, specials: tuple[str, ...], unknown: str) -> str:
    """Train a tokenizer whose every word of WORDS is one token; return it as JSON."""
    alphabet = sorted(set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:!,.-()'") | set("".join(UNICODE[:3])) - set(" "))
    corpus = [" ".join(WORDS), "query: fox", "passage: dog", *(f"{a} {b}" for a in WORDS for b in WORDS), *UNICODE[:3]]
    if kind == "wordpiece":
        engine = Tokenizer(token_models.WordPiece(unk_token=unknown))
        engine.normalizer, engine.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        engine.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=list(specials), initial_alphabet=alphabet)
    elif kind == "bytes":
        engine = Tokenizer(token_models.BPE())
        engine.pre_tokenizer, engine.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        letters = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=480, special_tokens=list(specials), initial_alphabet=letters)
    else:
        engine = Tokenizer(token_models.Unigram())
        engine.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
        engine.pre_tokenizer, engine.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=list(specials), unk_token=unknown, initial_alphabet=alphabet)
    engine.train_from_iterator(corpus * 3, trainer)
    if kind != "metaspace":
        return engine.to_str()
    trained = json.loads(engine.to_str())  # among so few words whole ones are worth little to the trainer
    worth = {f"▁{word}": -2.0 - 0.01 * place for place, word in enumerate(WORDS)}
    trained["model"]["vocab"] = [[piece, worth.pop(piece, score)] for piece, score in trained["model"]["vocab"]]
    trained["model"]["vocab"] += [list(item) for item in worth.items()]
    return json.dumps(trained)


BERT_NAMES = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
ROBERTA_NAMES = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"} | {
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}
BERT_ORDER = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA_ORDER = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
T5_NAMES = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
QWEN_NAMES = {"eos_token": "<|end|>", "pad_token": "<|end|>"}


@dataclass(frozen=True)
class Frame:
    """How a family's tokenizer cuts words and frames texts."""

    kind: str
    specials: tuple[str, ...]
    names: dict[str, str]
    single: str
    pair: str
    typed: bool = False
    padding_side: str = "right"


FRAMES = {
    "bert": Frame("wordpiece", BERT_ORDER, BERT_NAMES, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", typed=True),
    "distilbert": Frame("wordpiece", BERT_ORDER, BERT_NAMES, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]"),
    "mpnet": Frame("wordpiece", ROBERTA_ORDER, ROBERTA_NAMES, "<s> $A </s>", "<s> $A </s> </s> $B </s>"),
    "roberta": Frame("bytes", ROBERTA_ORDER, ROBERTA_NAMES, "<s> $A </s>", "<s> $A </s> </s> $B </s>"),
    "xlm-roberta": Frame("metaspace", ROBERTA_ORDER, ROBERTA_NAMES, "<s> $A </s>", "<s> $A </s> </s> $B </s>"),
    "modernbert": Frame("bytes", BERT_ORDER, BERT_NAMES, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]"),
    "deberta-v2": Frame("metaspace", BERT_ORDER, BERT_NAMES, "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", typed=True),
    "t5": Frame("metaspace", ("<pad>", "</s>", "<unk>"), T5_NAMES, "$A </s>", "$A </s> $B </s>"),
    "qwen3": Frame("bytes", ("<|end|>", "<|im|>"), QWEN_NAMES, "$A <|end|>", "$A $B <|end|>", padding_side="left"),
}


def tokenizer(frame: Frame, **options: Any) -> PreTrainedTokenizerFast:
    """Return a family's fast tokenizer; ``options`` go to it, and None leaves a special token out."""
    engine = Tokenizer.from_str(_engine(frame.kind, frame.specials, frame.names.get("unk_token", frame.specials[0])))
    engine.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in frame.specials])
    if options.pop("framed", True):
        ids = [(token, engine.token_to_id(token)) for token in frame.specials]
        engine.post_processor = processors.TemplateProcessing(single=frame.single, pair=frame.pair, special_tokens=ids)
    inputs = ["input_ids", *(["token_type_ids"] if frame.typed else []), "attention_mask"]
    settings = {"model_input_names": inputs, "padding_side": frame.padding_side, "model_max_length": POSITIONS, **frame.names, **options}
    return PreTrainedTokenizerFast(tokenizer_object=engine, **{name: value for name, value in settings.items() if value is not None})


# --- families ---------------------------------------------------------------------------------------------------------------------

_COMMON = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


@dataclass(frozen=True)
class Family:
    """Classes of one family, and what its configuration needs beyond the common sizes."""

    frame: str
    prefix: str  # of the classes' names in transformers
    extra: dict[str, Any] = field(default_factory=dict)
    common: dict[str, Any] = field(default_factory=lambda: _COMMON)
    encoder: str = "Model"

    def config(self, vocabulary: PreTrainedTokenizerFast, **options: Any) -> Any:
        """Return a configuration for a tokenizer."""
        known = {"pad_token_id": vocabulary.pad_token_id, "bos_token_id": None, "eos_token_id": vocabulary.eos_token_id}
        settings = {"vocab_size": len(vocabulary), **known, **self.common, **self.extra, **options}
        return getattr(transformers, f"{self.prefix}Config")(**settings)

    def model(self, vocabulary: PreTrainedTokenizerFast, head: str | None = None, seed: int = 1, **options: Any) -> torch.nn.Module:
        """Return the encoder, or with a head (``ForSequenceClassification``) the model that has it, with drawn weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = getattr(transformers, f"{self.prefix}{head or self.encoder}")(self.config(vocabulary, **options))
        return far_apart(model, seed)


_POSITIONS = {"max_position_embeddings": POSITIONS}
_BEHIND_PADDING = {"max_position_embeddings": POSITIONS + 2}
_RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8, "position_biased_input": False}
FAMILIES = {
    "bert": Family("bert", "Bert", _POSITIONS),
    "roberta": Family("roberta", "Roberta", {**_BEHIND_PADDING, "type_vocab_size": 1}),
    "xlm-roberta": Family("xlm-roberta", "XLMRoberta", {**_BEHIND_PADDING, "type_vocab_size": 1}),
    "electra": Family("bert", "Electra", {**_POSITIONS, "embedding_size": 16}),
    "modernbert": Family(
        "modernbert", "ModernBert", {**_POSITIONS, "local_attention": 8, "global_attn_every_n_layers": 2, "classifier_pooling": "mean"}
    ),
    "deberta-v2": Family("deberta-v2", "DebertaV2", {**_POSITIONS, **_RELATIVE, "type_vocab_size": 2}),
    "mpnet": Family("mpnet", "MPNet", _BEHIND_PADDING),
    "distilbert": Family("distilbert", "DistilBert", _POSITIONS, {"dim": WIDTH, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}),
    "t5": Family("t5", "T5", {}, {"d_model": WIDTH, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}, encoder="EncoderModel"),
    "qwen3": Family("qwen3", "Qwen3", {**_POSITIONS, "num_key_value_heads": 2, "head_dim": 8, "tie_word_embeddings": False}),
}
CROSS_FAMILIES = tuple(name for name in FAMILIES if name != "t5")


@torch.no_grad()
def far_apart(model: torch.nn.Module, seed: int = 1, spread: float = 0.25) -> torch.nn.Module:
    """Draw large weights from a seed, with biases and norms that differ from their usual 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(spread * noise if parameter.ndim > 1 else parameter + 0.1 * noise)
    return model.eval()


# --- cases ------------------------------------------------------------------------------------------------------------------------

PROMPTS = {"query": "query: ", "document": "passage: "}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Bi:
    """One bi-encoder of the zoo: a family and what its folder says."""

    family: str
    setting: str
    pooling: str | tuple[str, ...] = "mean"
    modules: tuple[str, ...] = ()
    include_prompt: bool = True
    tokenizer: tuple[tuple[str, Any], ...] = ()
    model: tuple[tuple[str, Any], ...] = ()
    dtype: str = "fp32"
    sentence: tuple[tuple[str, Any], ...] = ()  # options of SentenceTransformer
    edit: Callable[[Path], None] | None = None  # changes the folder afterwards
    given_pooling: str | None = None  # of the architecture, over a plain encoder's folder
    similarity: str = "dot"
    own_limits: bool = False  # the folder's limits count, the architecture's are above them
    texts: str = "all"
    alone: bool = False  # what the library makes of a text depends on the padding of its batch: the text alone is what counts
    may_refuse: tuple[str, ...] = ()  # words, one of which a refusal's message has where refusing is right too

    @property
    def id(self) -> str:
        """Return a readable name."""
        pooling = self.pooling if isinstance(self.pooling, str) else "+".join(self.pooling)
        return f"{self.family}-{self.given_pooling or pooling}-{self.setting}".replace(" ", "_")


@dataclass(frozen=True)
class Cross:
    """One cross-encoder of the zoo."""

    family: str
    setting: str
    labels: int = 1
    tokenizer: tuple[tuple[str, Any], ...] = ()
    model: tuple[tuple[str, Any], ...] = ()
    dtype: str = "fp32"
    cross: tuple[tuple[str, Any], ...] = ()  # options of CrossEncoder, whose save() then writes the folder
    edit: Callable[[Path], None] | None = None
    query_limit: int | None = None  # None: no other than the pair's
    own_limits: bool = False
    texts: str = "all"
    alone: bool = False
    may_refuse: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Return a readable name."""
        return f"{self.family}-{self.labels}-{self.setting}".replace(" ", "_")


def encoder_folder(family: str, folder: Path, *, head: str | None = None, dtype: str = "fp32", cut: Any = None, **model: Any) -> Path:
    """Save a family's encoder (or a model with a head) and its tokenizer; ``cut`` are options of the tokenizer."""
    own = FAMILIES[family]
    words = tokenizer(FRAMES[own.frame], **(cut or {}))
    own.model(words, head, **model).to(DTYPES.get(dtype, torch.float32)).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def bi_folder(case: Bi, folder: Path) -> Path:
    """Save a bi-encoder of sentence-transformers, or with ``given_pooling`` the plain encoder."""
    encoder = encoder_folder(case.family, folder / "encoder", dtype=case.dtype, cut=dict(case.tokenizer), **dict(case.model))
    if case.given_pooling:
        if case.edit:
            case.edit(encoder)
        return encoder
    transformer = Transformer(str(encoder), max_seq_length=None)
    width = transformer.get_embedding_dimension()
    modules: list[torch.nn.Module] = [transformer, Pooling(width, pooling_mode=case.pooling, include_prompt=case.include_prompt)]
    for name in case.modules:
        width = modules[-1].get_embedding_dimension() if hasattr(modules[-1], "get_embedding_dimension") else width
        module = {"Dense": lambda: Dense(width, 20), "LayerNorm": lambda: LayerNorm(width), "Normalize": Normalize}[name]()  # noqa: B023
        modules.append(far_apart(module, seed=len(modules)))
    model = SentenceTransformer(modules=modules, device="cpu", **dict(case.sentence))
    if case.dtype != "fp32":
        model = model.to(DTYPES[case.dtype])
    model.save(str(folder / "model"), create_model_card=False)
    if case.edit:
        case.edit(folder / "model")
    return folder / "model"


def cross_folder(case: Cross, folder: Path) -> Path:
    """Save a cross-encoder as transformers does, or as sentence-transformers does where the case has options of its class."""
    model = {"num_labels": case.labels, **dict(case.model)}
    cut = {"pad_token": "<|im|>"} if case.family == "qwen3" else {}  # its head looks for the last token that is no padding
    cut |= dict(case.tokenizer)
    plain = encoder_folder(case.family, folder / "plain", head="ForSequenceClassification", dtype=case.dtype, cut=cut, **model)
    if case.cross:
        CrossEncoder(str(plain), device="cpu", **dict(case.cross)).save(str(folder / "model"), create_model_card=False)
        plain = folder / "model"
    if case.edit:
        case.edit(plain)
    return plain


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON object in place, or make it; None deletes one."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known |= changes
    path.write_text(json.dumps({key: value for key, value in known.items() if value is not None}), encoding="utf-8")


# --- texts ------------------------------------------------------------------------------------------------------------------------


def of_words(n: int, seed: int) -> str:
    """Return a text of n words, each of which is one token of every tokenizer here."""
    return " ".join(np.random.default_rng([seed, n]).choice(WORDS, n).tolist())


def texts(limit: int, seed: int, kind: str = "all") -> list[str]:
    """Return texts of every number of words up to some above a limit, far longer ones, empty, odd and foreign ones."""
    around = [of_words(n, seed) for n in [*range(1, limit + 4), 3 * limit, 20 * limit]]
    if kind == "words":
        return around
    return ["", *around, *ODD, *UNICODE, *([] if kind == "plain" else ["fox [SEP] dog", "<s> fox </s>"])]


def queries(kind: str = "all") -> list[str]:
    """Return texts around a query's limit."""
    return texts(QUERY_LIMIT, 1, kind)


def documents(kind: str = "all") -> list[str]:
    """Return texts around a document's limit."""
    return texts(LIMIT, 2, kind)


def pair_texts(kind: str = "all") -> tuple[list[str], list[str]]:
    """Return queries and documents whose pairs lie around a limit in every way: one side long, the other, both, none, empty."""
    lengths = [1, LIMIT // 2 - 2, LIMIT // 2 - 1, LIMIT // 2, LIMIT // 2 + 1, LIMIT - 4, 3 * LIMIT]
    odd = [] if kind == "words" else ["", "a", " ", "QUICK 日本語 の  FoX 🦊 "]
    return [of_words(n, 3) for n in lengths] + odd, [of_words(n, 4) for n in lengths] + odd
