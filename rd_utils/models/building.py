"""Students before their first step, from a lexicon or a checkpoint, and as they were saved."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, StaticEmbedding
from sentence_transformers.sparse_encoder.modules import SpladePooling
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertModel, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.bert.modeling_bert import BertPooler

from rd_utils.models import architectures, checkpoints, loaded
from rd_utils.models.architectures import SCRATCH_LENGTH, SCRATCH_QUERY_LENGTH
from rd_utils.models.bi_students import BiStudent
from rd_utils.models.checkpoints import CheckpointError
from rd_utils.models.cross_students import CrossStudent
from rd_utils.models.interaction import KernelInteraction
from rd_utils.models.late_students import LateStudent
from rd_utils.models.packed import layers_of
from rd_utils.models.shared import ARCHITECTURE, FLOAT32, NOISE, SPECIAL, same_tokenizer
from rd_utils.models.sparse_students import SparseStudent
from rd_utils.models.students import Student
from rd_utils.models.tokens import AnyTokenizer
from rd_utils.scoring.teacher_kinds import LoadedTeacher
from rd_utils.store import resolve_path
from rd_utils.study.kinds import Architecture, BiArchitecture, FromScratch, Kind, LateArchitecture, Part, SparseArchitecture

if TYPE_CHECKING:
    from rd_utils.models.checkpoints import FromCheckpoint
    from rd_utils.study.specs import ModelTokenizer


_LEAST_GATE = 1e-3  # of a word of no document, which has no inverse document frequency


def build(architecture: Architecture, *, seed: int, lexicon: Path | None = None) -> Student:
    """Build a student before its first step.

    Args:
        architecture: One of the architectures of :mod:`rd_utils.study.params`.
        seed: Draws what a student from scratch adds to its token vectors, and every head and layer that no checkpoint gives.
        lexicon: Folder with ``tokenizer.json`` and ``vectors.npy`` (V, dimension), for students from scratch.

    Returns:
        The student, in evaluation mode, on the CPU; the global random state is as before.

    Raises:
        ValueError: When a lexicon is missing or does not fit, or a checkpoint cannot be what the architecture asks for.
    """
    with torch.random.fork_rng(devices=[]), loaded.quiet():
        torch.manual_seed(seed)
        student = architecture.build(lexicon)
        if not isinstance(architecture, FromScratch):
            _refuse_what_is_read_otherwise(student.eval())
    return student.eval()


def load(folder: Path) -> Student:
    """Load what :meth:`Student.save` wrote.

    Raises:
        FileNotFoundError: When there is no student in the folder.
        CheckpointError: When the student is not whole, or names code that is not this package's.
    """
    folder = Path(folder)
    if not (folder / ARCHITECTURE).exists():
        raise FileNotFoundError(
            f"no student in {folder}: {ARCHITECTURE} is missing; for a model that this package did not save use build()"
        )
    try:
        architecture = TypeAdapter(Architecture).validate_json((folder / ARCHITECTURE).read_bytes())
    except ValidationError as error:
        raise CheckpointError(
            f"{folder}: {ARCHITECTURE} describes no student ({error.errors()[0]['msg']}); train the student again, or copy it again"
        ) from None
    checkpoints.check_files(str(folder))
    options = {"device": "cpu", "local_files_only": True, "model_kwargs": {"dtype": torch.float32}}
    with torch.random.fork_rng(devices=[]), loaded.loading(str(folder)) as found:
        if isinstance(architecture, architectures.InteractionCross):
            student = CrossStudent(architecture, _load_interaction(folder))
        elif isinstance(architecture, BiArchitecture):
            student = BiStudent(architecture, SentenceTransformer(str(folder), **options))
        elif isinstance(architecture, SparseArchitecture):
            student = SparseStudent(architecture, SparseEncoder(str(folder), **options))
        elif isinstance(architecture, LateArchitecture):
            student = LateStudent(architecture, MultiVectorEncoder(str(folder), **options))
        else:
            student = CrossStudent(architecture, CrossEncoder(str(folder), activation_fn=nn.Identity(), **options))
        found.check(student.model)
        first = student.model[0]
        if isinstance(first, Transformer):
            _check_tokenizer(first, str(folder))
    return student.eval()


def _load_interaction(folder: Path) -> CrossEncoder:
    """Load an interaction cross-encoder; its one module is this package's own class, and no other code that a folder names is run."""
    expected = f"{KernelInteraction.__module__}.{KernelInteraction.__name__}"
    types = [part["type"] for part in checkpoints.modules(str(folder))]
    if types != [expected]:
        raise CheckpointError(
            f"{folder}: {ARCHITECTURE} says interaction_cross, but its modules are {', '.join(map(str, types)) or 'missing'}; expected "
            f"{expected} alone, as this package saves it"
        )
    return CrossEncoder(modules=[KernelInteraction.load(str(folder), local_files_only=True)], device="cpu", activation_fn=nn.Identity())


def load_scorer(model: str, *, max_length: int = 256, max_query_length: int = 64) -> CrossStudent:
    """Load a trained cross-encoder, to score with: a hub name, a folder, or ``package:NAME/FOLDER``.

    Args:
        model: The checkpoint.
        max_length: Most tokens of a pair, special tokens included; one that is too long is cut as ``predict`` cuts it.
        max_query_length: Of no effect: ``predict`` has no limit of the query alone.

    Raises:
        CheckpointError: When the checkpoint has no whole classification head, and so would score at random, or cannot be served.
    """
    checkpoints.check(LoadedTeacher(model=model, max_length=max_length, max_query_length=max_query_length))
    labels = cast(Literal[1, 2], checkpoints.labels(model))
    architecture = architectures.CrossEncoder(model=model, labels=labels, max_length=max_length, max_query_length=max_query_length)
    with torch.random.fork_rng(devices=[]):
        student = cross_encoder(architecture, may_be_new=False)
        _refuse_what_is_read_otherwise(student.eval())
    return student.eval()


def refusals(parts: Iterable[Part]) -> list[str]:
    """Load the checkpoints that lie in folders, and say which cannot be served; models of the hub are left for when they are needed.

    Args:
        parts: Architectures and teachers of :mod:`rd_utils.study.params`; those without a checkpoint are passed over.

    Returns:
        One message for each checkpoint that is refused.
    """
    found = []
    for part in parts:
        if not isinstance(part, (architectures.BiEncoder, architectures.CrossEncoder, LoadedTeacher)):
            continue
        if not resolve_path(part.model).is_dir():
            continue
        try:
            load_scorer(part.model) if isinstance(part, LoadedTeacher) else build(part, seed=0)
        except ValueError as error:
            found.append(str(error))
    return found


def resolve_model(name: str) -> str:
    """Return what sentence-transformers loads: the folder that a name stands for (see :func:`rd_utils.store.resolve_path`), or a hub name.

    Raises:
        StoreError: When a ``package:`` name is malformed, its package is not installed, or has no such folder.
    """
    folder = resolve_path(name)
    return str(folder) if folder.is_dir() else name


def tokenizer_of(architecture: Kind, lexicon: Path | None = None) -> AnyTokenizer:
    """Return the tokenizer whose ids a student of this architecture takes: a fast one of transformers, of tokenizers where it is static.

    Args:
        architecture: An architecture, or what names the tokenizer of a checkpoint.
        lexicon: The lexicon's folder, for students from scratch.
    """
    if isinstance(architecture, FromScratch):
        return scratch_tokenizer(architecture, lexicon)
    return checkpoints.tokenizer(cast("FromCheckpoint | ModelTokenizer", architecture).model)


def scratch_tokenizer(architecture: FromScratch, lexicon: Path | None) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a lexicon's folder, as students from scratch take it."""
    engine = Tokenizer.from_file(str(_lexicon_file(architecture, lexicon, "tokenizer.json")))
    specials = [(token, engine.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    engine.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=specials)
    return PreTrainedTokenizerFast(
        tokenizer_object=engine,
        model_max_length=SCRATCH_LENGTH,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **SPECIAL,
    )


def static_bi(architecture: architectures.StaticBi, lexicon: Path | None) -> BiStudent:
    """Build a student of this architecture from a lexicon."""
    tokenizer, vectors = scratch_tokenizer(architecture, lexicon), _vectors(architecture, lexicon)
    modules: list[nn.Module] = [StaticEmbedding(tokenizer, embedding_weights=_noisy(vectors * architecture.initial_norm))]
    if architecture.similarity == "cosine":
        modules.append(Normalize())
    return BiStudent(architecture, SentenceTransformer(modules=modules, device="cpu", similarity_fn_name=architecture.similarity))


def interaction_cross(architecture: architectures.InteractionCross, lexicon: Path | None) -> CrossStudent:
    """Build a student of this architecture from a lexicon."""
    tokenizer, vectors = scratch_tokenizer(architecture, lexicon), _vectors(architecture, lexicon)
    module = KernelInteraction(tokenizer.backend_tokenizer, _noisy(vectors), architecture.kernels, architecture.hidden)
    if architecture.word_weights != "equal":
        with torch.no_grad():
            module.gate.weight.copy_(vectors.norm(dim=1, keepdim=True).clamp(min=_LEAST_GATE).log())
    return CrossStudent(architecture, CrossEncoder(modules=[module], device="cpu", activation_fn=nn.Identity()))


def tiny_bert_bi(architecture: architectures.TinyBertBi, lexicon: Path | None) -> BiStudent:
    """Build a student of this architecture from a lexicon."""
    tokenizer, vectors = scratch_tokenizer(architecture, lexicon), _vectors(architecture, lexicon)
    bert = BertModel(_bert_config(architecture, tokenizer, heads=architecture.heads))
    _start_from_vectors(bert, vectors * architecture.initial_norm)
    with torch.no_grad():
        bert.embeddings.token_type_embeddings.weight.zero_()
    modules = [_saved_and_read(bert, tokenizer, "feature-extraction"), Pooling(architecture.dimension, pooling_mode="mean")]
    return BiStudent(architecture, SentenceTransformer(modules=modules, device="cpu", similarity_fn_name="dot"))


def tiny_bert_cross(architecture: architectures.TinyBertCross, lexicon: Path | None) -> CrossStudent:
    """Build a student of this architecture from a lexicon."""
    tokenizer, vectors = scratch_tokenizer(architecture, lexicon), _vectors(architecture, lexicon)
    config = _bert_config(architecture, tokenizer, heads=1)
    config.num_labels = 1
    bert = BertForSequenceClassification(config)
    _start_from_vectors(bert.bert, vectors * architecture.initial_norm)
    _start_matching(bert)
    with tempfile.TemporaryDirectory() as folder:
        bert.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        model = CrossEncoder(folder, device="cpu", max_length=SCRATCH_LENGTH, activation_fn=nn.Identity(), local_files_only=True)
    return CrossStudent(architecture, model)


def static_sparse(architecture: architectures.StaticSparse, lexicon: Path | None) -> SparseStudent:
    """Build a student of this architecture from a lexicon."""
    tokenizer, vectors = scratch_tokenizer(architecture, lexicon), _vectors(architecture, lexicon)
    bert = BertForMaskedLM(_wordwise(architecture, tokenizer))
    _start_from_words(bert.bert, vectors * architecture.initial_norm)
    _start_from_likeness(bert)
    transformer = _saved_and_read(bert, tokenizer, "fill-mask")
    return SparseStudent(architecture, SparseEncoder(modules=[transformer, SpladePooling("max")], device="cpu", similarity_fn_name="dot"))


def static_late(architecture: architectures.StaticLate, lexicon: Path | None) -> LateStudent:
    """Build a student of this architecture from a lexicon."""
    tokenizer, vectors = scratch_tokenizer(architecture, lexicon), _vectors(architecture, lexicon)
    bert = BertModel(_wordwise(architecture, tokenizer))
    _start_from_words(bert, vectors)
    transformer = _saved_and_read(bert, tokenizer, "feature-extraction")
    return LateStudent(architecture, _late_model(transformer, architecture.dimension, architecture.projection))


def tiny_bert_sparse(architecture: architectures.TinyBertSparse, lexicon: Path | None) -> SparseStudent:
    """Build a student of this architecture from a lexicon."""
    tokenizer, vectors = scratch_tokenizer(architecture, lexicon), _vectors(architecture, lexicon)
    bert = BertForMaskedLM(_bert_config(architecture, tokenizer, heads=architecture.heads))
    _start_from_vectors(bert.bert, vectors * architecture.initial_norm)
    _start_from_likeness(bert)
    transformer = _saved_and_read(bert, tokenizer, "fill-mask")
    return SparseStudent(architecture, SparseEncoder(modules=[transformer, SpladePooling("max")], device="cpu", similarity_fn_name="dot"))


def tiny_bert_late(architecture: architectures.TinyBertLate, lexicon: Path | None) -> LateStudent:
    """Build a student of this architecture from a lexicon."""
    tokenizer, vectors = scratch_tokenizer(architecture, lexicon), _vectors(architecture, lexicon)
    bert = BertModel(_bert_config(architecture, tokenizer, heads=architecture.heads))
    _start_from_vectors(bert, vectors * architecture.initial_norm)
    transformer = _saved_and_read(bert, tokenizer, "feature-extraction")
    return LateStudent(architecture, _late_model(transformer, architecture.dimension, architecture.projection))


def _late_model(transformer: Transformer, width: int, projection: int) -> MultiVectorEncoder:
    """Return a late-interaction model: an encoder, a projection that begins with the first dimensions, and vectors of length 1."""
    project = Dense(
        width,
        projection,
        bias=False,
        activation_function=nn.Identity(),
        init_weight=torch.eye(projection, width),
        module_input_name="token_embeddings",
    )
    modules = [transformer, project, MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
    return MultiVectorEncoder(modules=modules, device="cpu", similarity_fn_name="maxsim")


def _wordwise(architecture: architectures.StaticSparse | architectures.StaticLate, tokenizer: PreTrainedTokenizerFast) -> BertConfig:
    """Return the configuration of an encoder without layers, which reads each word by itself."""
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=architecture.dimension,
        num_hidden_layers=0,
        num_attention_heads=1,
        intermediate_size=1,
        max_position_embeddings=SCRATCH_LENGTH,
        hidden_act="linear",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=cast(int, tokenizer.pad_token_id),
    )


@torch.no_grad()
def _start_from_words(bert: BertModel, vectors: Tensor) -> None:
    """Set the word embeddings, and leave positions and token types out for good."""
    bert.embeddings.word_embeddings.weight.copy_(_noisy(vectors))
    for table in (bert.embeddings.position_embeddings.weight, bert.embeddings.token_type_embeddings.weight):
        table.zero_()
        table.requires_grad_(False)


_LIKE = 0.7  # the cosine from which on a word that a token is like gets a weight, at first


@torch.no_grad()
def _start_from_likeness(bert: BertForMaskedLM) -> None:
    """Let the head pass a token's state on, so that a word's score there is its length times ``sqrt(d) (cos - 0.7)``."""
    head = bert.cls.predictions
    head.transform.dense.weight.copy_(torch.eye(bert.config.hidden_size))
    head.transform.dense.bias.zero_()
    head.decoder.bias.copy_(-_LIKE * bert.config.hidden_size**0.5 * head.decoder.weight.norm(dim=1))


def _saved_and_read(
    bert: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, task: Literal["fill-mask", "feature-extraction"]
) -> Transformer:
    """Return an encoder as the library reads it from a folder."""
    with tempfile.TemporaryDirectory() as folder:
        bert.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformer = Transformer(folder, transformer_task=task, max_seq_length=SCRATCH_LENGTH, query_length=SCRATCH_QUERY_LENGTH)
    for name, parameter in bert.named_parameters():
        transformer.model.get_parameter(name).requires_grad_(parameter.requires_grad)
    return transformer


def bi_encoder(architecture: architectures.BiEncoder) -> BiStudent:
    """Load a bi-encoder's checkpoint."""
    checkpoints.check(architecture)
    path, name = resolve_model(architecture.model), architecture.model
    with loaded.loading(name) as found:
        if architecture.pooling == "checkpoint":
            model = SentenceTransformer(path, device="cpu", similarity_fn_name=architecture.similarity, model_kwargs=FLOAT32)
        else:
            transformer = _transformer(path, name)
            modules = [transformer, Pooling(transformer.get_embedding_dimension(), pooling_mode=architecture.pooling)]
            model = SentenceTransformer(modules=modules, device="cpu", similarity_fn_name=architecture.similarity)
        model.float()
        found.check(model)
        if not isinstance(model[0], StaticEmbedding):  # which reads texts whole
            first = cast(Transformer, model[0])
            _check_tokenizer(first, name)
            longest = _limit(first, name, architecture.max_length)
            first.query_length = min(architecture.max_query_length, first.query_length or longest, longest)
            if first.document_length is not None:
                first.document_length = min(first.document_length, longest)
        if architecture.similarity == "cosine":  # a dot product of what encode() returns is then the cosine, everywhere
            if model.truncate_dim is not None:
                _truncate_by_a_module(model)
            if not isinstance(model[-1], Normalize):
                model.append(Normalize())
        return BiStudent(architecture, model)


def _truncate_by_a_module(model: SentenceTransformer) -> None:
    """Keep the first dimensions by a module and not after all modules, so that the vectors can be normalised after it.

    The module is a linear layer of the identity's first rows, which is not trained.
    """
    width, kept = _width(model), cast(int, model.get_embedding_dimension())
    cut = Dense(width, kept, bias=False, activation_function=nn.Identity(), init_weight=torch.eye(kept, width)).requires_grad_(False)
    model.truncate_dim = None
    model.append(cut)


def _width(model: SentenceTransformer) -> int:
    """Return the dimension of a model's vectors before they are truncated."""
    with model.truncate_embeddings(None):
        return cast(int, model.get_embedding_dimension())


def _transformer(path: str, name: str) -> Transformer:
    """Load the encoder of a checkpoint without what its own library puts behind it."""
    parts = checkpoints.modules(name)
    if parts:
        return Transformer.load(path, subfolder=parts[0]["path"], model_kwargs=FLOAT32)
    transformer = Transformer(path, model_kwargs=FLOAT32)
    if "message" in transformer.modality_config:
        raise CheckpointError(
            f"{name}: its tokenizer has a chat template, which its own library writes every text into, and which is not served; delete "
            "chat_template from tokenizer_config.json, or name another checkpoint"
        )
    return transformer


def cross_encoder(architecture: architectures.CrossEncoder, *, may_be_new: bool = True) -> CrossStudent:
    """Load a cross-encoder's checkpoint, with a random head where it has none, if that may be."""
    checkpoints.check(architecture)
    path, name = resolve_model(architecture.model), architecture.model
    with loaded.loading(name) as found:
        model = CrossEncoder(path, device="cpu", num_labels=architecture.labels, activation_fn=nn.Identity(), model_kwargs=FLOAT32)
        model.float()
        found.check(model, may_be_new=may_be_new)
        if checkpoints.transformer_settings(name).get("do_lower_case"):
            checkpoints.lower_case(model.tokenizer)
        first = cast(Transformer, model[0])
        _check_tokenizer(first, name)
        _limit(first, name, architecture.max_length)
        return CrossStudent(architecture, model)


def _check_tokenizer(first: Transformer, name: str) -> None:
    loaded.check_tokenizer(name, first.tokenizer, cast(nn.Embedding, first.model.get_input_embeddings()).num_embeddings)


def _limit(first: Transformer, name: str, asked: int) -> int:
    """Set, and return, the most tokens that an encoder reads: as many as asked for, or fewer where it reads no more."""
    own = min(first.max_seq_length or asked, _positions(first.model) or asked)
    if asked > own:
        checkpoints.say(name, f"max_length is {asked}, but it reads at most {own} tokens, where texts are cut; set max_length to {own}")
    longest = min(asked, own)
    first.max_seq_length = longest
    return longest


def _positions(network: PreTrainedModel) -> int | None:
    """Return how many positions an encoder has vectors for; None where nothing limits them."""
    for module in network.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, nn.Embedding):
            before = getattr(module, "padding_idx", None)  # of those that count from behind the padding token's number
            return table.num_embeddings - (before + 1 if isinstance(before, int) else 0)
    most = getattr(network.config, "max_position_embeddings", None)
    return most if most and most > 0 else None


# --- read as its own library reads it ---------------------------------------------------------------------------------------------


def _refuse_what_is_read_otherwise(student: Student) -> None:
    """Read a few texts both ways, by the student and by the model's own library, and refuse a checkpoint where they differ.

    The tokens of a short, an empty and a long text must be the same, and the outputs of two texts equal to a thousandth of the largest; the
    student computes each alone, so that a model whose output depends on the texts beside it is refused too.
    """
    name = cast("FromCheckpoint", student.architecture).model
    with same_tokenizer(student.model), torch.inference_mode(), loaded.quiet():
        try:
            compared = list(student.read_both_ways())
        except Exception as error:
            raise CheckpointError(
                f"{name}: its own library cannot read texts with it ({type(error).__name__}: {' '.join(str(error).split())}); name another "
                "checkpoint"
            ) from error
    for what, ours, theirs in compared:
        rounding = 0.0 if theirs.dtype.kind == "i" else 1e-3 * np.abs(theirs).max(initial=0.0)
        if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=0, atol=rounding):
            side = getattr(student.tokenizer, "padding_side", "right")
            cause = (
                "; its padding_side is left, which moves what it reads: set it to right in tokenizer_config.json, or "
                if side == "left"
                else "; "
            )
            raise CheckpointError(
                f"{name}: {what} differ from those of its own library ({_shown(ours)} for {_shown(theirs)}), so that it cannot be served"
                f"{cause}name another checkpoint"
            )


def _shown(values: np.ndarray) -> str:
    return f"{' '.join(f'{value:g}' for value in values.reshape(-1)[:8])}{' ...' if values.size > 8 else ''}"


def _bert_config(
    architecture: architectures.TinyBert | architectures.TinyBertCross, tokenizer: PreTrainedTokenizerFast, heads: int
) -> BertConfig:
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=architecture.dimension,
        num_hidden_layers=architecture.layers,
        num_attention_heads=heads,
        intermediate_size=architecture.feed_forward,
        max_position_embeddings=SCRATCH_LENGTH,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=cast(int, tokenizer.pad_token_id),
    )


@torch.no_grad()
def _start_from_vectors(bert: BertModel, vectors: Tensor) -> None:
    """Set the word embeddings, silence the positions, and make every residual branch small, so that the vectors pass at first."""
    bert.embeddings.word_embeddings.weight.copy_(_noisy(vectors))
    bert.embeddings.position_embeddings.weight.zero_()
    for layer in layers_of(bert):
        layer.attention.output.dense.weight.mul_(0.1)
        layer.output.dense.weight.mul_(0.1)


@torch.no_grad()
def _start_matching(bert: BertForSequenceClassification) -> None:
    """Make the first layer a soft matching of the two segments, and the second one read it.

    Two coordinates are reserved, and the words have 0 there. The last one is the segment: + for the query, - for the document. Queries
    and keys of the first layer are the words themselves, with the segment's sign turned, so that a word attends to its like in the
    OTHER segment, and half of what it finds there is subtracted from it. What is left of a matched word is small, so that after the
    layer norm its segment coordinate is large: the more of a query's words the document has, the larger it is over the query's words.
    In the second layer [CLS] averages it over the query into the last coordinate but one, from which the head starts.
    """
    dimension = bert.config.hidden_size
    segment, match = torch.eye(dimension)[[-1, -2]]
    embeddings, layers = bert.bert.embeddings, layers_of(bert.bert)
    embeddings.word_embeddings.weight[:, -2:] = 0.0
    embeddings.token_type_embeddings.weight.copy_(torch.stack([3.5 * segment, -3.5 * segment]))
    matching = layers[0].attention
    matching.self.query.weight.copy_(torch.eye(dimension) - 2 * torch.outer(segment, segment))
    matching.self.key.weight.copy_(torch.eye(dimension))
    matching.self.value.weight.copy_(torch.eye(dimension))
    matching.output.dense.weight.copy_(-0.5 * torch.eye(dimension))
    if len(layers) > 1:
        reading = layers[1].attention
        reading.self.query.weight.add_(torch.outer(segment, segment))
        reading.self.key.weight.add_(torch.outer(segment, segment))
        reading.self.value.weight.add_(torch.outer(match, segment))
        reading.output.dense.weight.add_(torch.outer(match, match))
        pooler = cast(BertPooler, bert.bert.pooler)
        pooler.dense.weight[0].copy_(32 / dimension**0.5 * match)
        pooler.dense.bias[0] = -21.2  # the coordinate is about 0.66 sqrt(dimension) for a query that matches nothing
        bert.classifier.weight[0, 0] = 4.0


def _noisy(vectors: Tensor) -> Tensor:
    """Add the seed's noise: what makes two seeds differ where nothing else is drawn."""
    return vectors + NOISE * torch.randn(vectors.shape)


def _lexicon_file(architecture: FromScratch, lexicon: Path | None, name: str) -> Path:
    if lexicon is None:
        raise ValueError(
            f"{architecture.kind} starts from a lexicon, but none is given; pass the folder with tokenizer.json and vectors.npy"
        )
    path = Path(lexicon) / name
    if not path.exists():
        raise ValueError(f"the lexicon {lexicon} has no {name}; make the lexicon first")
    return path


def _vectors(architecture: FromScratch, lexicon: Path | None) -> Tensor:
    vectors = np.load(_lexicon_file(architecture, lexicon, "vectors.npy"))
    if vectors.ndim != 2 or vectors.shape[1] != architecture.dimension:
        raise ValueError(
            f"the lexicon's vectors have shape {vectors.shape}, but {architecture.kind} asks for dimension {architecture.dimension}"
        )
    return torch.from_numpy(vectors.astype(np.float32))
