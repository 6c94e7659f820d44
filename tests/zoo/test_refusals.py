"""What the suite cannot serve as its own library does is refused by name, before anything is computed; nothing in a folder is executed.

A refusal is a ValueError whose message names the folder, says what is wrong in words, and after a semicolon what to do.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from animals import FAMILIES, FRAMES, Bi, bi_folder, cross_folder, edit_json, encoder_folder, of_words, tokenizer
from animals import Cross as CrossAnimal
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Router, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import BertForMaskedLM, Qwen3ForCausalLM

from rd_utils import models
from rd_utils.models.tokens import tokenize
from rd_utils.study import params

MARKER = "executed.txt"
CODE = f"""
from pathlib import Path
Path(__file__).resolve().with_name({MARKER!r}).write_text("executed")
import os
Path(os.environ["ZOO_MARKER"]).write_text("executed")
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
from torch import nn
class Evil(nn.Module):
    pass
class EvilConfig(BertConfig):
    pass
class EvilModel(BertModel):
    config_class = EvilConfig
class EvilTokenizer(PreTrainedTokenizerFast):
    pass
"""


# --- folders ----------------------------------------------------------------------------------------------------------------------


def sound_bi(folder: Path, family: str = "bert", **settings) -> Path:
    return bi_folder(Bi(family, "sound", **settings), folder)


def sound_cross(folder: Path, family: str = "bert", **settings) -> Path:
    return cross_folder(CrossAnimal(family, "sound", **settings), folder)


def weights_file(folder: Path) -> Path:
    return folder / "model.safetensors"


def change_weights(folder: Path, change: Callable[[dict], dict]) -> Path:
    save_file(change(load_file(weights_file(folder))), weights_file(folder), metadata={"format": "pt"})
    return folder


def router(folder: Path) -> Path:
    sides = [[Transformer(str(encoder_folder("bert", folder / side))), Pooling(32)] for side in ("one", "other")]
    SentenceTransformer(modules=[Router.for_query_document(*sides)], device="cpu").save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def router_by_its_old_name(folder: Path) -> Path:
    path = sound_bi(folder)
    modules = json.loads((path / "modules.json").read_text())
    modules[0] |= {"type": "sentence_transformers.models.Asym"}
    (path / "modules.json").write_text(json.dumps(modules))
    return path


def splade(folder: Path) -> Path:
    from sentence_transformers.sparse_encoder.modules import MLMTransformer, SpladePooling

    words = tokenizer(FRAMES["bert"])
    BertForMaskedLM(FAMILIES["bert"].config(words)).save_pretrained(folder / "plain")
    words.save_pretrained(folder / "plain")
    model = SparseEncoder(modules=[MLMTransformer(str(folder / "plain")), SpladePooling()], device="cpu")
    model.save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def sparse_autoencoder(folder: Path) -> Path:
    from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder

    transformer = Transformer(str(encoder_folder("bert", folder / "plain")))
    model = SparseEncoder(modules=[transformer, Pooling(32), SparseAutoEncoder(32, 64, k=4)], device="cpu")
    model.save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def multi_vector(folder: Path) -> Path:
    from sentence_transformers import MultiVectorEncoder

    MultiVectorEncoder(str(encoder_folder("bert", folder / "plain")), device="cpu").save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def colbert_of_pylate(folder: Path) -> Path:
    """Write what PyLate writes: a Dense of its own, and the name of the family in the configuration."""
    path = sound_bi(folder, modules=("Dense",))
    modules = json.loads((path / "modules.json").read_text())
    modules = [modules[0], modules[2] | {"idx": 1, "type": "pylate.models.Dense.Dense"}]
    (path / "modules.json").write_text(json.dumps(modules))
    edit_json(path / "config_sentence_transformers.json", model_type="ColBERT", similarity_fn_name="MaxSim", query_prefix="[Q] ")
    return path


def tagged_sparse(folder: Path) -> Path:
    path = sound_bi(folder)
    edit_json(path / "config_sentence_transformers.json", model_type="SparseEncoder")
    return path


def colbert_of_stanford(folder: Path) -> Path:
    path = encoder_folder("bert", folder / "model")
    change_weights(
        path, lambda weights: {f"bert.{name}": weight for name, weight in weights.items()} | {"linear.weight": torch.ones(16, 32)}
    )
    edit_json(path / "config.json", architectures=["HF_ColBERT"])
    (path / "artifact.metadata").write_text(json.dumps({"query_maxlen": 32, "doc_maxlen": 180, "dim": 16, "similarity": "cosine"}))
    return path


def causal(folder: Path, **tokens) -> Path:
    words = tokenizer(FRAMES["qwen3"], **tokens)
    Qwen3ForCausalLM(FAMILIES["qwen3"].config(words)).save_pretrained(folder / "model")
    words.save_pretrained(folder / "model")
    return folder / "model"


def logit_score(folder: Path) -> Path:
    """Save a reranker of the library: a causal language model, asked for "yes"."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder.modules import LogitScore

    transformer = Transformer(str(causal(folder / "plain")), transformer_task="text-generation")
    CrossEncoder(modules=[transformer, LogitScore(5, 6)], device="cpu").save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def adapter(path: Path) -> Path:
    settings = {
        "peft_type": "LORA",
        "base_model_name_or_path": "bert-base-uncased",
        "r": 4,
        "lora_alpha": 8,
        "task_type": "FEATURE_EXTRACTION",
    }
    (path / "adapter_config.json").write_text(json.dumps(settings | {"target_modules": ["query", "value"], "inference_mode": True}))
    layer = "base_model.model.encoder.layer.0.attention.self.query"
    weights = {f"{layer}.lora_A.weight": torch.ones(4, 32), f"{layer}.lora_B.weight": torch.ones(32, 4)}
    save_file(weights, path / "adapter_model.safetensors", metadata={"format": "pt"})
    return path


def bare_adapter(path: Path) -> Path:
    """Leave only the adapter and the tokenizer, as PEFT saves them."""
    weights_file(path).unlink()
    (path / "config.json").unlink()
    return adapter(path)


def without_tokenizer(path: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (path / name).unlink(missing_ok=True)
    return path


def without_padding(path: Path) -> Path:
    without_tokenizer(path)
    tokenizer(FRAMES["bert"], pad_token=None).save_pretrained(path)
    return path


def with_prefix(path: Path) -> Path:
    return change_weights(path, lambda weights: {f"module.{name}": weight for name, weight in weights.items()})


def without_a_layer(path: Path) -> Path:
    return change_weights(path, lambda weights: {name: weight for name, weight in weights.items() if "layer.1." not in name})


def without_one_bias(path: Path) -> Path:
    return change_weights(path, lambda weights: {name: w for name, w in weights.items() if not name.endswith("layer.0.output.dense.bias")})


def unrelated(path: Path) -> Path:
    return change_weights(path, lambda weights: {"conv.weight": torch.ones(3, 3), "conv.bias": torch.ones(3)})


def of_another_shape(path: Path) -> Path:
    return change_weights(path, lambda weights: {n: w[:-4].clone() if "word_embeddings" in n else w for n, w in weights.items()})


def of_another_family(family: str) -> Callable[[Path], Path]:
    def change(path: Path) -> Path:
        words = tokenizer(FRAMES[FAMILIES[family].frame])
        settings = json.loads(FAMILIES[family].config(words).to_json_string())
        old = json.loads((path / "config.json").read_text())
        kept = {name: old[name] for name in ("architectures", "id2label", "label2id") if name in old}
        (path / "config.json").write_text(json.dumps(settings | kept))
        return path

    return change


def not_finite(value: float, where: str) -> Callable[[Path], Path]:
    def spoilt(weights: dict) -> dict:
        name = next(name for name in weights if where in name)
        weights[name].view(-1)[-1] = value
        return weights

    return lambda path: change_weights(path, spoilt)


def cut(path: Path) -> Path:
    content = weights_file(path).read_bytes()
    weights_file(path).write_bytes(content[: len(content) // 2])
    return path


def scrambled(path: Path) -> Path:
    content = weights_file(path).read_bytes()
    weights_file(path).write_bytes(content[:4] + b"\xff\xfe\x00{{{" + content[11:])
    return path


def emptied(path: Path) -> Path:
    weights_file(path).write_bytes(b"")
    return path


def missing(path: Path) -> Path:
    weights_file(path).unlink()
    return path


class _Payload:
    """Writes the marker when it is unpickled."""

    def __reduce__(self):
        return (exec, ("import os, pathlib; pathlib.Path(os.environ['ZOO_MARKER']).write_text('executed')",))


def pickled(path: Path) -> Path:
    """Put a pickle in the place of the weights, that runs code for whoever loads it."""
    weights_file(path).unlink()
    torch.save({"embeddings.word_embeddings.weight": _Payload()}, path / "pytorch_model.bin")
    return path


def pickled_module(path: Path) -> Path:
    target = path / "2_Dense"
    (target / "model.safetensors").unlink()
    torch.save({"linear.weight": _Payload()}, target / "pytorch_model.bin")
    return path


def remote_model(path: Path) -> Path:
    (path / "evil.py").write_text(CODE)
    edit_json(path / "config.json", auto_map={"AutoConfig": "evil.EvilConfig", "AutoModel": "evil.EvilModel"}, model_type="evil")
    return path


def remote_model_of_a_known_family(path: Path) -> Path:
    (path / "evil.py").write_text(CODE)
    names = ("AutoModel", "AutoModelForSequenceClassification")
    edit_json(path / "config.json", auto_map={name: "evil.EvilModel" for name in names} | {"AutoConfig": "evil.EvilConfig"})
    return path


def remote_module(path: Path) -> Path:
    (path / "evil.py").write_text(CODE)
    modules = json.loads((path / "modules.json").read_text())
    modules[1]["type"] = "evil.Evil"
    (path / "modules.json").write_text(json.dumps(modules))
    return path


def remote_tokenizer(path: Path) -> Path:
    (path / "evil.py").write_text(CODE)
    edit_json(path / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.EvilTokenizer", "evil.EvilTokenizer"]})
    edit_json(path / "tokenizer_config.json", tokenizer_class="EvilTokenizer")
    return path


def broken(name: str, content: str = "{") -> Callable[[Path], Path]:
    def change(path: Path) -> Path:
        assert (path / name).exists(), sorted(path.iterdir())
        (path / name).write_text(content)
        return path

    return change


def without(name: str) -> Callable[[Path], Path]:
    def change(path: Path) -> Path:
        target = path / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        return path

    return change


def similarity(name: str) -> Callable[[Path], Path]:
    def change(path: Path) -> Path:
        edit_json(path / "config_sentence_transformers.json", similarity_fn_name=name)
        return path

    return change


def a_layer_too_few_in_the_configuration(path: Path) -> Path:
    edit_json(path / "config.json", num_hidden_layers=1)
    return path


# --- what is refused --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Refusal:
    """A folder that is refused, and words one of which the message says about it."""

    make: Callable[[Path], Path]
    words: tuple[str, ...]
    pooling: str = "checkpoint"
    similarity: str = "dot"


def bi(change: Callable[[Path], Path], *words: str, **settings) -> Refusal:
    return Refusal(lambda folder: change(sound_bi(folder, **settings)), words)


def plain(change: Callable[[Path], Path], *words: str, family: str = "bert") -> Refusal:
    return Refusal(lambda folder: change(encoder_folder(family, folder / "model")), words, pooling="mean")


def cross(change: Callable[[Path], Path], *words: str, **settings) -> Refusal:
    return Refusal(lambda folder: change(sound_cross(folder, **settings)), words)


LACKING = ("layer.1", "missing", "lack", "without")
REFUSED_BI: dict[str, Refusal] = {
    "router": Refusal(router, ("Router", "two encoders")),
    "router, mean": Refusal(router, ("Router", "two encoders"), pooling="mean"),
    "router by its old name": Refusal(router_by_its_old_name, ("Asym", "Router")),
    "splade": Refusal(splade, ("SPLADE", "sparse", "Sparse", "Splade")),
    "splade, mean": Refusal(splade, ("SPLADE", "sparse", "Sparse", "Splade"), pooling="mean"),
    "sparse autoencoder": Refusal(sparse_autoencoder, ("sparse", "Sparse")),
    "sparse by its configuration": Refusal(tagged_sparse, ("sparse", "Sparse")),
    "multi-vector": Refusal(multi_vector, ("multi-vector", "MultiVector", "ColBERT", "late interaction")),
    "multi-vector, mean": Refusal(multi_vector, ("multi-vector", "MultiVector", "ColBERT", "late interaction"), pooling="mean"),
    "ColBERT of PyLate": Refusal(colbert_of_pylate, ("ColBERT", "multi-vector", "pylate", "MultiVector")),
    "ColBERT of PyLate, cls": Refusal(colbert_of_pylate, ("ColBERT", "multi-vector", "pylate", "MultiVector"), pooling="cls"),
    "ColBERT of Stanford, mean": Refusal(colbert_of_stanford, ("ColBERT", "multi-vector", "linear.weight"), pooling="mean"),
    "adapter": bi(adapter, "adapter", "LoRA", "PEFT"),
    "adapter alone": bi(bare_adapter, "adapter", "LoRA", "PEFT"),
    "adapter, mean": plain(adapter, "adapter", "LoRA", "PEFT"),
    "adapter alone, mean": plain(bare_adapter, "adapter", "LoRA", "PEFT"),
    "no padding token": bi(without_padding, "pad"),
    "no padding token, mean": plain(without_padding, "pad"),
    "no tokenizer": bi(without_tokenizer, "tokenizer"),
    "no tokenizer, mean": plain(without_tokenizer, "tokenizer"),
    "no tokenizer, roberta": plain(without_tokenizer, "tokenizer", family="roberta"),
    "no tokenizer, deberta": plain(without_tokenizer, "tokenizer", family="deberta-v2"),
    "prefix": bi(with_prefix, "module."),
    "prefix, mean": plain(with_prefix, "module."),
    "layer missing": bi(without_a_layer, "layer.1"),
    "layer missing, electra": plain(without_a_layer, "layer.1", family="electra"),
    "layer missing, mpnet": plain(without_a_layer, "layer.1", family="mpnet"),
    "bias missing": bi(without_one_bias, "layer.0.output.dense.bias"),
    "unrelated": bi(unrelated, "embeddings", "weights"),
    "other shape": bi(of_another_shape, "word_embeddings", "shape"),
    "other family, distilbert": bi(of_another_family("distilbert"), "distilbert", "weights", "missing"),
    "other family, roberta": bi(of_another_family("roberta"), "roberta", "shape", "word_embeddings", "position_embeddings", "missing"),
    "other family, modernbert": plain(of_another_family("modernbert"), "modernbert", "weights", "missing"),
    "other family, t5": plain(of_another_family("t5"), "t5", "weights", "missing"),
    "NaN": bi(not_finite(float("nan"), "layer.1.output.dense.weight"), "finite", "NaN"),
    "infinite": bi(not_finite(float("inf"), "word_embeddings"), "finite", "inf"),
    "NaN in a bias, mean": plain(not_finite(float("nan"), "LayerNorm.bias"), "finite", "NaN"),
    "NaN in half precision": bi(not_finite(float("nan"), "layer.0.output.dense.weight"), "finite", "NaN", dtype="bf16"),
    "NaN in a Dense": Refusal(
        lambda folder: (lambda path: (not_finite(float("nan"), "linear")(path / "2_Dense"), path)[1])(sound_bi(folder, modules=("Dense",))),
        ("finite", "NaN"),
    ),
    "Dense without weights": bi(without("2_Dense/model.safetensors"), "2_Dense", modules=("Dense",)),
    "Dense without its folder": bi(without("2_Dense"), "2_Dense", modules=("Dense",)),
    "no pooling's configuration": bi(without("1_Pooling/config.json"), "1_Pooling"),
    "cut": bi(cut, "model.safetensors"),
    "scrambled": bi(scrambled, "model.safetensors"),
    "emptied": bi(emptied, "model.safetensors"),
    "cut, mean": plain(cut, "model.safetensors"),
    "no weights": bi(missing, "weights", "model.safetensors"),
    "pickle": bi(pickled, "pickle", "pytorch_model.bin", "safetensors"),
    "pickle, mean": plain(pickled, "pickle", "pytorch_model.bin", "safetensors"),
    "pickle of a module": bi(pickled_module, "pickle", "pytorch_model.bin", "safetensors", "2_Dense", modules=("Dense",)),
    "remote model": bi(remote_model, "auto_map", "code", "evil"),
    "remote model, mean": plain(remote_model, "auto_map", "code", "evil"),
    "remote module": bi(remote_module, "evil.Evil", "code"),
    "broken modules.json": bi(broken("modules.json"), "modules.json"),
    "modules.json is no list": bi(broken("modules.json", '{"a": 1}'), "modules.json"),
    "modules.json is empty": bi(broken("modules.json", "[]"), "modules.json"),
    "broken config.json": bi(broken("config.json"), "config.json"),
    "config.json is a list": bi(broken("config.json", "[]"), "config.json"),
    "config.json without family": bi(broken("config.json", "{}"), "config.json", "model_type"),
    "config.json of an unknown family": bi(broken("config.json", '{"model_type": "unheard-of"}'), "unheard-of"),
    "broken tokenizer.json": bi(broken("tokenizer.json"), "tokenizer.json"),
    "broken tokenizer_config.json": bi(broken("tokenizer_config.json"), "tokenizer_config.json"),
    "broken pooling": bi(broken("1_Pooling/config.json"), "1_Pooling"),
    "unknown pooling": bi(broken("1_Pooling/config.json", '{"embedding_dimension": 32, "pooling_mode": "median"}'), "median", "1_Pooling"),
    "broken settings": bi(broken("config_sentence_transformers.json"), "config_sentence_transformers.json"),
    "broken sentence settings": bi(broken("sentence_bert_config.json"), "sentence_bert_config.json"),
    "euclidean": bi(similarity("euclidean"), "euclidean"),
    "manhattan": bi(similarity("manhattan"), "manhattan"),
    "unknown similarity": bi(similarity("angular"), "angular"),
    "no sentence-transformers model": Refusal(lambda folder: encoder_folder("bert", folder / "model"), ("pooling",)),
    "an empty folder": Refusal(
        lambda folder: (folder / "model").mkdir(parents=True) or folder / "model", ("config.json", "modules.json", "pooling")
    ),
    "no folder": Refusal(lambda folder: folder / "nowhere", ("no folder", "not found", "exist", "neither", "hub")),
}
REFUSED_CROSS: dict[str, Refusal] = {
    "causal language model": Refusal(causal, ("causal", "CausalLM")),
    "logits of a language model": Refusal(logit_score, ("LogitScore", "causal", "CausalLM", "modules")),
    "t5": Refusal(lambda folder: encoder_folder("t5", folder / "model", head="ForSequenceClassification", num_labels=1), ("t5", "T5")),
    "three labels": cross(lambda path: path, "3", "three", labels=3),
    "router": Refusal(router, ("Router", "two encoders", "modules", "classification")),
    "bi-encoder": Refusal(sound_bi, ("classification head", "SentenceTransformer", "bi-encoder")),
    "splade": Refusal(splade, ("SPLADE", "sparse", "Sparse", "classification")),
    "multi-vector": Refusal(multi_vector, ("multi-vector", "MultiVector", "ColBERT", "classification")),
    "adapter": cross(adapter, "adapter", "LoRA", "PEFT"),
    "adapter alone": cross(bare_adapter, "adapter", "LoRA", "PEFT"),
    "no padding token": cross(without_padding, "pad"),
    "no tokenizer": cross(without_tokenizer, "tokenizer"),
    "prefix": cross(with_prefix, "module."),
    "layer missing": cross(without_a_layer, "layer.1"),
    "head missing": cross(
        lambda path: change_weights(path, lambda w: {n: v for n, v in w.items() if "classifier" not in n}), "classifier", "head"
    ),
    "pooler missing": cross(lambda path: change_weights(path, lambda w: {n: v for n, v in w.items() if "pooler" not in n}), "pooler"),
    "unrelated": cross(unrelated, "weights", "embeddings", "missing"),
    "other shape": cross(of_another_shape, "word_embeddings", "shape"),
    "other family": cross(of_another_family("electra"), "electra", "weights", "missing", "shape"),
    "NaN": cross(not_finite(float("nan"), "classifier.weight"), "finite", "NaN"),
    "infinite": cross(not_finite(float("-inf"), "classifier.bias"), "finite", "inf"),
    "cut": cross(cut, "model.safetensors"),
    "emptied": cross(emptied, "model.safetensors"),
    "no weights": cross(missing, "weights", "model.safetensors"),
    "pickle": cross(pickled, "pickle", "pytorch_model.bin", "safetensors"),
    "remote model": cross(remote_model, "auto_map", "code", "evil"),
    "broken config.json": cross(broken("config.json"), "config.json"),
    "config.json is a list": cross(broken("config.json", "[]"), "config.json"),
    "broken tokenizer.json": cross(broken("tokenizer.json"), "tokenizer.json"),
}


@pytest.fixture
def marker(tmp_path, monkeypatch) -> Path:
    """A file that code from a folder would write."""
    monkeypatch.setenv("ZOO_MARKER", str(tmp_path / MARKER))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    return tmp_path / MARKER


def refused(load: Callable[[], object], path: Path, words: tuple[str, ...], census) -> str:
    """Return the message of a refusal that names the folder, the fault and a remedy."""
    with pytest.raises(ValueError) as caught:
        load()
    message = str(caught.value)
    assert str(path) in message, f"the folder {path} is not named: {message}"
    said = message.replace(str(path), "")
    assert any(word in said for word in words), f"none of {words} in: {message}"
    assert ";" in said, f"no remedy after a semicolon: {message}"
    assert "\n" not in message.strip(), f"more than one line: {message}"
    census.count("refused by name")
    return message


@pytest.mark.parametrize("name", REFUSED_BI)
def test_a_bi_encoder_is_refused_by_name(name, tmp_path, marker, census):
    case = REFUSED_BI[name]
    path = case.make(tmp_path / "zoo")
    architecture = params.BiEncoder(model=str(path), pooling=case.pooling, similarity=case.similarity)
    refused(lambda: models.build(architecture, seed=0), path, case.words, census)
    assert not marker.exists() and not list(tmp_path.rglob(MARKER))


@pytest.mark.parametrize("name", REFUSED_CROSS)
@pytest.mark.parametrize("use", ["teacher", "student"] if os.environ.get("RD_ZOO") == "all" else ["teacher"])
def test_a_cross_encoder_is_refused_by_name(name, use, tmp_path, marker, census):
    """As a student the same, but for what a student may have new or as asked for: its head."""
    if use == "student" and name in ("head missing", "pooler missing", "bi-encoder", "three labels"):
        pytest.skip("a student's head may be drawn from the seed")
    case = REFUSED_CROSS[name]
    path = case.make(tmp_path / "zoo")
    if use == "teacher":
        refused(lambda: models.load_scorer(str(path)), path, case.words, census)
    else:
        refused(lambda: models.build(params.CrossEncoder(model=str(path)), seed=0), path, case.words, census)
    assert not marker.exists() and not list(tmp_path.rglob(MARKER))


def architecture_file(path: Path, **content) -> Path:
    (path / "architecture.json").write_text(json.dumps(content))
    return path


SAVED: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "an architecture that trusts code": (
        lambda folder: architecture_file(remote_model(sound_cross(folder)), kind="interaction_cross"),
        ("auto_map", "code", "KernelInteraction", "interaction_cross"),
    ),
    "an architecture that trusts a module": (
        lambda folder: architecture_file(remote_module(sound_bi(folder)), kind="interaction_cross"),
        ("evil.Evil", "code", "KernelInteraction", "interaction_cross"),
    ),
    "a broken architecture": (
        lambda folder: broken("architecture.json", "{")(architecture_file(sound_bi(folder))),
        ("architecture.json",),
    ),
    "an unknown architecture": (lambda folder: architecture_file(sound_bi(folder), kind="unheard_of"), ("architecture.json", "unheard_of")),
    "a student without a layer": (
        lambda folder: architecture_file(without_a_layer(sound_bi(folder)), kind="bi_encoder", model="m"),
        ("layer.1",),
    ),
    "a student with NaN": (
        lambda folder: architecture_file(not_finite(float("nan"), "query")(sound_cross(folder)), kind="cross_encoder", model="m"),
        ("finite", "NaN"),
    ),
    "a student without a tokenizer": (
        lambda folder: architecture_file(without_tokenizer(sound_cross(folder)), kind="cross_encoder", model="m"),
        ("tokenizer",),
    ),
}


@pytest.mark.parametrize("name", SAVED)
def test_a_saved_student_is_refused_by_name(name, tmp_path, marker, census):
    make, words = SAVED[name]
    path = make(tmp_path / "zoo")
    refused(lambda: models.load(path), path, words, census)
    assert not marker.exists() and not list(tmp_path.rglob(MARKER))


@pytest.mark.parametrize("change", [remote_model_of_a_known_family, remote_tokenizer], ids=["model", "tokenizer"])
def test_code_beside_a_model_of_a_known_family_is_not_executed(change, library, tmp_path, marker, census):
    """The library reads such a folder with its own classes and leaves the code alone; to refuse it is right too."""
    path = change(sound_bi(tmp_path / "zoo"))
    architecture = params.BiEncoder(model=str(path), max_length=24, max_query_length=12)
    texts, problems = [of_words(4, 1), of_words(30, 2)], []
    try:
        student = models.build(architecture, seed=0)
    except ValueError:
        refused(lambda: models.build(architecture, seed=0), path, ("auto_map", "code", "Evil"), census)
    else:
        theirs = library.ask(kind="bi", folder=str(path), queries=texts, documents=texts, limits=(24, 12))
        ours = student.encode(tokenize(texts, student.tokenizer), kind="document")
        census.compare("bi-encoders, encoding: code beside it", ours, theirs["documents"], texts, problems)
    assert not marker.exists() and not list(tmp_path.rglob(MARKER))
    assert not problems, "\n".join(problems)


def test_weights_that_no_layer_takes_are_said_or_refused(tmp_path, census, caplog, recwarn):
    """A layer more than the configuration has: another model than the one that was trained."""
    path = a_layer_too_few_in_the_configuration(sound_bi(tmp_path / "zoo"))
    try:
        models.build(params.BiEncoder(model=str(path)), seed=0)
    except ValueError:
        refused(lambda: models.build(params.BiEncoder(model=str(path)), seed=0), path, ("layer.1",), census)
    else:
        said = " ".join([*(record.getMessage() for record in caplog.records), *(str(warning.message) for warning in recwarn)])
        assert str(path) in said and "layer.1" in said


def test_the_traps_would_write_their_marker(tmp_path, marker):
    """A control: whoever trusts a folder, or unpickles it, runs what is in it."""
    from transformers import AutoModel

    path = remote_model_of_a_known_family(encoder_folder("bert", tmp_path / "model"))
    AutoModel.from_pretrained(path, trust_remote_code=True)
    assert marker.exists()
    marker.unlink()
    torch.load(pickled(encoder_folder("bert", tmp_path / "other")) / "pytorch_model.bin", weights_only=False)
    assert marker.exists()


def test_sound_folders_are_served(tmp_path):
    """A control: what the spoilt folders were before is served, and so the refusals are of what was spoilt."""
    student = models.build(
        params.BiEncoder(model=str(sound_bi(tmp_path / "bi", modules=("Dense",))), max_length=24, max_query_length=12), seed=0
    )
    assert student.encode(tokenize([of_words(4, 1)], student.tokenizer), kind="query").shape == (1, 20)
    scorer = models.load_scorer(str(sound_cross(tmp_path / "cross")), max_length=24, max_query_length=12)
    rows = np.zeros(1, dtype=np.int64)
    words = tokenize([of_words(4, 1)], scorer.tokenizer)
    assert np.isfinite(scorer.score_pairs(words, words, rows, rows)).all()
