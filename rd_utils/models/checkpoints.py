"""Checkpoints: what a folder or a hub name holds, and whether it can be served.

A checkpoint is served exactly as its own library, sentence-transformers, serves it, or refused by name before anything is computed.
:func:`check` reads the settings of a folder and refuses the families that are not served; what was loaded is looked at by
:mod:`rd_utils.models.loaded`. Code that comes with a checkpoint never runs.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypedDict, cast

from rd_utils.store import resolve_path
from rd_utils.workflow.progress import LOGGER

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

    from rd_utils.models.architectures import BiEncoder, CrossEncoder
    from rd_utils.models.tokens import AnyTokenizer
    from rd_utils.scoring.teacher_kinds import LoadedTeacher

FromCheckpoint: TypeAlias = "BiEncoder | CrossEncoder | LoadedTeacher"

_SETTINGS, _MODULES, _CONFIG = "config_sentence_transformers.json", "modules.json", "config.json"
_OWN = "sentence_transformers."
_FAMILIES = {
    "SparseEncoder": "a sparse encoder (SPLADE)",
    "MultiVectorEncoder": "a multi-vector encoder (ColBERT)",
    "ColBERT": "a multi-vector encoder (ColBERT)",
}
_SPARSE = ("SpladePooling", "MLMTransformer", "SparseAutoEncoder", "SparseStaticEmbedding")
_MULTI_VECTOR = ("MultiVectorMask", "TokenPooling")
_TOKENIZER_FILES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "spm.model", "sentencepiece.bpe.model", "sentencepiece.model",
    "tokenizer.model", "tokenizer.tiktoken", "tekken.json", "bpe.codes",
)  # fmt: skip
_ENCODERS = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "mpnet", "deberta-v2", "modernbert")  # the usual ones
_FILE = "or score its pairs with its own library and name the file (teacher kind: file)"


class CheckpointError(ValueError):
    """A checkpoint cannot be served as asked; the message names it and the remedy."""


class Settings(TypedDict, total=False):
    """What sentence-transformers saves about a whole model, as far as it matters here."""

    model_type: str
    prompts: dict[str, str | None] | None
    default_prompt_name: str | None
    similarity_fn_name: str | None
    truncate_dim: int | None


class Module(TypedDict):
    """One module of a model of sentence-transformers: its class, and its folder within the checkpoint."""

    type: str
    path: str


class Config(TypedDict, total=False):
    """The configuration of a transformers model, as far as it matters here."""

    model_type: str
    architectures: list[str] | None
    is_decoder: bool
    is_encoder_decoder: bool
    id2label: dict[str, str]
    num_labels: int


# --- reading ----------------------------------------------------------------------------------------------------------------------


def find(model: str, name: str) -> Path | None:
    """Return a file of a checkpoint, None where it has no such file.

    Args:
        model: A folder, ``package:NAME/FOLDER``, or a hub name, whose small files are downloaded where that is possible.
        name: The file, relative to the checkpoint.
    """
    folder = resolve_path(model)
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    return _find_on_hub(model, name)


@functools.cache
def _find_on_hub(model: str, name: str) -> Path | None:
    from sentence_transformers.util import load_file_path

    try:
        found = load_file_path(model, name)
        return Path(found) if found else None
    except (OSError, ValueError):  # no such file, no such model, no network: loading says which
        return None


def read(model: str, name: str) -> object:
    """Return the content of a checkpoint's JSON file, None where it has no such file.

    Raises:
        CheckpointError: When the file holds no JSON.
    """
    path = find(model, name)
    if path is None:
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise CheckpointError(f"{model}: {name} cannot be read ({first_line(error)}); copy the checkpoint again") from None


def _read_object(model: str, name: str) -> dict[str, object]:
    found = read(model, name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        name = name.rsplit("/", 1)[-1]
        raise CheckpointError(f"{model}: {name} holds {type(found).__name__}, expected an object; copy the checkpoint again")
    return found


def settings(model: str) -> Settings:
    """Return what sentence-transformers saved about the whole model; empty where it saved nothing."""
    return cast(Settings, _read_object(model, _SETTINGS))


def modules(model: str) -> list[Module]:
    """Return the modules of a sentence-transformers model; empty where the checkpoint is none."""
    found = read(model, _MODULES)
    if found is None:
        return []
    if not isinstance(found, list) or not found or not all(isinstance(part, dict) and {"type", "path"} <= part.keys() for part in found):
        raise CheckpointError(f"{model}: {_MODULES} lists no modules with a type and a path; copy the checkpoint again")
    return found


def family(model: str) -> str:
    """Return the class of sentence-transformers that a checkpoint was saved by; empty where it was saved by none."""
    return settings(model).get("model_type", "SentenceTransformer") if modules(model) else ""


def _first(model: str) -> str:
    """Return the folder of the first module within the checkpoint, with a slash behind it where it has one of its own."""
    parts = modules(model)
    inner = parts[0]["path"] if parts else ""
    return f"{inner.rstrip('/')}/" if inner else ""


def config(model: str) -> Config:
    """Return the configuration of a checkpoint's encoder; empty where it has none, as static embeddings have."""
    return cast(Config, _read_object(model, f"{_first(model)}{_CONFIG}"))


def transformer_settings(model: str) -> dict[str, object]:
    """Return what the first module of a sentence-transformers model was saved with, by the names of today; empty where it was not saved."""
    parts = modules(model)
    if not parts or _name(parts[0]) != "Transformer":
        return {}
    from sentence_transformers.base.modules import Transformer

    read(model, f"{_first(model)}sentence_bert_config.json")  # so that a broken one is named
    return Transformer.load_config(str(_path(model)), subfolder=parts[0]["path"])


def prompts(part: FromCheckpoint) -> tuple[str, str]:
    """Return what a model's own library puts before queries and before documents.

    ``encode_query`` and ``encode_document`` put the prompts named query and document; a cross-encoder's ``predict`` puts the default prompt
    before the query. Both are empty where the checkpoint names none, or another class than its own reads it.

    Args:
        part: A bi-encoder, a cross-encoder or a loaded teacher of :mod:`rd_utils.study.params`.
    """
    reads = "SentenceTransformer" if part.kind == "bi_encoder" else "CrossEncoder"
    if family(part.model) != reads or getattr(part, "pooling", "checkpoint") != "checkpoint":
        return "", ""
    found = settings(part.model)
    texts = found.get("prompts") or {}
    if part.kind == "bi_encoder":
        return texts.get("query") or "", texts.get("document") or ""
    return texts.get(cast(str, found.get("default_prompt_name"))) or "", ""


def tokenizer(model: str) -> AnyTokenizer:
    """Return the tokenizer of a checkpoint, as its own library makes it: of transformers, or of tokenizers where the model is static."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    parts = modules(model)
    if parts and _name(parts[0]) == "StaticEmbedding":
        return Tokenizer.from_file(str(find(model, f"{_first(model)}tokenizer.json")))
    own = transformer_settings(model)
    options = ({"subfolder": parts[0]["path"]} if parts else {}) | cast("dict[str, object]", own.get("processor_kwargs", {}))
    made = AutoTokenizer.from_pretrained(str(_path(model)), trust_remote_code=False, **options)
    if own.get("do_lower_case"):
        lower_case(made)
    return made


def lower_case(made: PreTrainedTokenizerBase) -> None:
    """Make a fast tokenizer lower the case of what it reads, where it does not."""
    from tokenizers.normalizers import Lowercase
    from tokenizers.normalizers import Sequence as Normalizers

    engine = cast("Tokenizer", made.backend_tokenizer)
    before = [] if engine.normalizer is None else [engine.normalizer]
    if not any(isinstance(part, Lowercase) for found in before for part in (found if isinstance(found, Normalizers) else (found,))):
        engine.normalizer = Normalizers([Lowercase(), *before])


def _path(model: str) -> Path | str:
    folder = resolve_path(model)
    return folder if folder.is_dir() else model


def _name(module: Module) -> str:
    return str(module["type"]).rsplit(".", 1)[-1]


# --- what can be served -----------------------------------------------------------------------------------------------------------


def check(part: FromCheckpoint) -> None:
    """Refuse a checkpoint that cannot be served as what it is named for; only small files are read.

    Args:
        part: A bi-encoder, a cross-encoder or a loaded teacher of :mod:`rd_utils.study.params`.

    Raises:
        CheckpointError: With the name of the checkpoint, what it is, and what to do.
    """
    model = part.model
    folder = resolve_path(model)
    if not folder.is_dir() and (model.startswith(("/", ".", "~")) or model.count("/") > 1):
        raise CheckpointError(f"{model}: no such folder; give an existing folder, package:NAME/FOLDER, or a hub name")
    _check_parts(model)
    if folder.is_dir() and not modules(model) and find(model, _CONFIG) is None:
        raise CheckpointError(f"{model}: there is no model in it: {_CONFIG} and {_MODULES} are missing; name the folder that holds them")
    _check_family(model)
    _check_code(model)
    if "quantization_config" in config(model):
        raise CheckpointError(f"{model}: its weights are quantised, which cannot be trained; name the checkpoint that they were made from")
    if folder.is_dir():
        check_files(model)
    if part.kind == "bi_encoder":
        _check_bi_encoder(part)
    else:
        _check_cross_encoder(part)
    processing = _read_object(model, f"{_first(model)}sentence_bert_config.json").get("processing_kwargs")
    if processing:
        names = ", ".join(sorted(cast("dict[str, object]", processing)))
        raise CheckpointError(
            f"{model}: its tokenizer is called with settings of its own (processing_kwargs: {names}), which are "
            "not served; delete them from sentence_bert_config.json, or name another checkpoint"
        )


def _check_parts(model: str) -> None:
    if find(model, "adapter_config.json") is None and find(model, f"{_first(model)}adapter_config.json") is None:
        return
    raise CheckpointError(
        f"{model}: it holds a LoRA adapter, not a model; merge it into its base with peft (merge_and_unload, then save_pretrained) and "
        "name that folder"
    )


def _check_family(model: str) -> None:
    names = [_name(part) for part in modules(model)]
    found = family(model)
    is_colbert = "HF_ColBERT" in (config(model).get("architectures") or []) or find(model, "artifact.metadata") is not None
    kind = _FAMILIES.get(found) or ("a multi-vector encoder (ColBERT)" if is_colbert or set(names) & {*_MULTI_VECTOR} else None)
    kind = kind or ("a sparse encoder (SPLADE)" if set(names) & {*_SPARSE} else None)
    if kind is None and found not in ("", "SentenceTransformer", "CrossEncoder"):
        kind = f"a model of the family {found}"
    if kind is not None:
        raise CheckpointError(f"{model}: it is {kind}, a family that is not served; name a dense bi-encoder or a cross-encoder")
    if "Router" in names:
        raise CheckpointError(
            f"{model}: it is a Router with two encoders, one for queries and one for documents, which is not served; name a model whose "
            "queries and documents share an encoder"
        )
    if "Asym" in names:
        raise CheckpointError(f"{model}: it has two encoders (Asym), which is not served; name a model that encodes every text alike")
    foreign = [part["type"] for part in modules(model) if not str(part["type"]).startswith(_OWN)]
    if foreign:
        raise CheckpointError(
            f"{model}: its module {foreign[0]} is none of sentence-transformers, so that code of others would run; name a checkpoint made "
            "of the library's own modules"
        )
    if names and names[0] not in ("Transformer", "StaticEmbedding"):
        raise CheckpointError(f"{model}: its first module is {names[0]}, which is not served; name a model that begins with a Transformer")


def _check_code(model: str) -> None:
    for name in (_CONFIG, "tokenizer_config.json"):
        found = read(model, f"{_first(model)}{name}")
        if isinstance(found, dict) and found.get("auto_map"):
            raise CheckpointError(
                f"{model}: {name} names code of its own (auto_map), which is not run; name a checkpoint of a family that transformers has, "
                "or delete auto_map if transformers' own class is meant"
            )


def check_files(model: str) -> None:
    """Refuse a folder in which a file that its modules need is missing or damaged, the tokenizer's among them.

    Raises:
        CheckpointError: Naming the file.
    """
    from tokenizers import Tokenizer
    from transformers.modeling_utils import load_state_dict

    folder = resolve_path(model)
    inner = folder / _first(model)
    if not any((inner / name).is_file() for name in _TOKENIZER_FILES):
        raise CheckpointError(
            f"{model}: it has no tokenizer (no {_TOKENIZER_FILES[0]}, {_TOKENIZER_FILES[1]} or the like), so that every word would be "
            "unknown; save its tokenizer beside it (tokenizer.save_pretrained)"
        )
    for name in ("tokenizer_config.json", "sentence_bert_config.json"):
        read(model, f"{_first(model)}{name}")
    places = dict.fromkeys([_first(model).rstrip("/"), *(part["path"] for part in modules(model))])
    for part in modules(model)[1:]:
        _check_module(model, _name(part), part["path"])
    for path in [path for place in places for path in sorted((folder / place).glob("*.safetensors"))]:
        try:
            load_state_dict(str(path), map_location="meta")  # names and shapes alone
        except Exception as error:  # the library's own class is another package's
            raise CheckpointError(
                f"{model}: {path.relative_to(folder)} is damaged ({first_line(error)}); copy the checkpoint again"
            ) from None
    if (inner / "tokenizer.json").is_file():
        try:
            Tokenizer.from_file(str(inner / "tokenizer.json"))
        except Exception as error:  # the library raises nothing narrower
            raise CheckpointError(f"{model}: tokenizer.json is damaged ({first_line(error)}); copy the checkpoint again") from None


def _check_module(model: str, kind: str, place: str) -> None:
    """Refuse a module behind the first one whose configuration or weights are missing."""
    needed = [_CONFIG] if kind in ("Pooling", "Dense", "LayerNorm", "Dropout", "WeightedLayerPooling") else []
    for name in needed:
        if not read(model, f"{place}/{name}"):
            raise CheckpointError(f"{model}: {place}/{name} is missing or empty; copy the checkpoint again")
    weights = ("model.safetensors", "pytorch_model.bin")
    if kind in ("Dense", "LayerNorm", "WeightedLayerPooling") and not any(find(model, f"{place}/{name}") for name in weights):
        raise CheckpointError(f"{model}: {place} holds no weights ({' or '.join(weights)}); copy the checkpoint again")


def _check_bi_encoder(part: BiEncoder) -> None:
    model = part.model
    if part.pooling != "checkpoint":
        _say_what_pooling_leaves_out(part)
        return
    if not modules(model):
        raise CheckpointError(f"{model} is no sentence-transformers model, so it names no pooling; set pooling to cls or mean")
    if family(model) == "CrossEncoder":
        raise CheckpointError(f"{model}: it is a cross-encoder, without a pooling; make it a cross_encoder, or set pooling to cls or mean")
    similarity = settings(model).get("similarity_fn_name")
    if similarity not in (None, "cosine", "dot"):
        raise CheckpointError(
            f"{model}: its vectors are compared by {similarity}, which is not served; name a model that is compared by dot or cosine"
        )
    names = [_name(module) for module in modules(model)]
    if similarity is not None and similarity != part.similarity and "Normalize" not in names:
        say(model, f"its settings compare vectors by {similarity}; scores here are by {part.similarity}, as the study says")


def _say_what_pooling_leaves_out(part: BiEncoder) -> None:
    left = [_name(module) for module in modules(part.model)[1:] if _name(module) != "Pooling"]
    left += [f"the prompt {name}" for name, text in (settings(part.model).get("prompts") or {}).items() if text]
    left += ["truncate_dim"] if settings(part.model).get("truncate_dim") else []
    if left:
        say(part.model, f"pooling is {part.pooling}, so its own {', '.join(left)} are left out; pooling: checkpoint takes the model whole")


def _check_cross_encoder(part: CrossEncoder | LoadedTeacher) -> None:
    model, own = part.model, config(part.model)
    names = own.get("architectures") or []
    kind = own.get("model_type")
    has_head = any(name.endswith("ForSequenceClassification") for name in names)
    by_words = any(_name(module) in ("LogitScore", "CausalScoreHead") for module in modules(model))
    if by_words or any(name.endswith("ForCausalLM") for name in names) or (not has_head and _is_decoder(own)):
        raise CheckpointError(
            f"{model}: it is a causal language model ({', '.join(names) or kind}), which scores a pair by the word that it would say next; "
            f"such rerankers are not served; name a cross-encoder with a head for scores, {_FILE}"
        )
    if own.get("is_encoder_decoder") or _has_decoder(own):
        raise CheckpointError(
            f"{model}: it is an encoder with a decoder ({', '.join(names) or kind}), which is not served as a cross-encoder; name one "
            f"with an encoder alone below its head, {_FILE}"
        )
    is_trained = has_head or (family(model) == "CrossEncoder" and len(modules(model)) > 1)
    if part.kind == "loaded" and own and not is_trained:
        raise CheckpointError(
            f"{model} is no trained cross-encoder: its architecture is {', '.join(names) or 'not named'}, without a classification head, "
            "so its scores would be random; name a cross-encoder, or train one (teacher kind: trained)"
        )
    outputs = labels(model) if is_trained and {"id2label", "num_labels"} & own.keys() else None  # else their shapes tell
    wanted = (1, 2) if part.kind == "loaded" else (part.labels,)
    if outputs is not None and outputs not in wanted:
        served = "one or two are served" if part.kind == "loaded" else f"labels is {part.labels}"
        raise CheckpointError(
            f"{model}: its head has {outputs} outputs, but {served}; name a checkpoint whose head fits"
            + (f", or set labels to {outputs}" if part.kind != "loaded" and outputs in (1, 2) else "")
        )


def _is_decoder(own: Config) -> bool:
    """Tell whether a configuration is of a model that reads from left to right."""
    if own.get("is_decoder"):
        return True
    if own.get("model_type") in _ENCODERS:
        return False
    from transformers.models.auto import modeling_auto

    names = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return own.get("model_type") in names and own.get("model_type") not in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES


def _has_decoder(own: Config) -> bool:
    if own.get("model_type") in _ENCODERS:
        return False
    from transformers.models.auto import modeling_auto

    return own.get("model_type") in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES


def labels(model: str) -> int:
    """Return how many outputs the head of a trained cross-encoder has."""
    from transformers import PretrainedConfig

    for module in modules(model)[::-1]:
        own = _read_object(model, f"{module['path']}/{_CONFIG}") if module["path"] else {}
        if _name(module) == "Dense" and own.get("module_output_name") == "scores":
            return cast(int, own["out_features"])
    of_head = {name: value for name, value in config(model).items() if name in ("id2label", "num_labels")}
    return cast(int, PretrainedConfig.from_dict(of_head).num_labels)


def say(model: str, what: str) -> None:
    """Log what is done to a checkpoint, once."""
    if (model, what) not in _SAID:
        _SAID.add((model, what))
        LOGGER.warning("%s: %s", model, what)


_SAID: set[tuple[str, str]] = set()


def first_line(error: BaseException) -> str:
    """Return what an error says on one line, of no more than 300 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]} ..."
