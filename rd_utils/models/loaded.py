"""What transformers had to invent or leave out while it loaded a checkpoint, and which of that is refused."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import TYPE_CHECKING, TypedDict

from rd_utils.models.checkpoints import CheckpointError, first_line, say

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from rd_utils.models.tokens import AnyTokenizer

_BUFFERS = ("position_ids", "token_type_ids", "inv_freq", "masked_bias", "attn.bias")  # that older versions stored beside the weights
Shape = tuple[int, ...]


class _Report(TypedDict):
    """What transformers says of a network's weights."""

    missing_keys: set[str]
    unexpected_keys: set[str]
    mismatched_keys: set[tuple[str, Shape, Shape]]  # a weight, its shape in the file, and as the configuration has it


class Loaded:
    """What transformers reports of the encoders that it loads within :func:`loading`."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.networks: list[tuple[PreTrainedModel, _Report]] = []

    def check(self, whole: nn.Module, *, may_be_new: bool = False) -> None:
        """Refuse weights that are missing, without a place, or not finite; say which of a head are new or left out.

        Args:
            whole: The model that was loaded.
            may_be_new: Whether the head may be drawn from the seed, as that of a student may.

        Raises:
            CheckpointError: Naming the first of these weights.
        """
        for network, report in self.networks:
            self._check_shapes(network, sorted(report["mismatched_keys"]))
            self._check_missing(network, sorted(report["missing_keys"]), may_be_new)
            self._check_unexpected(network, sorted(report["unexpected_keys"]))
        for name, values in whole.state_dict().items():
            if values.is_floating_point() and not bool(values.isfinite().all()):
                count = int((~values.isfinite()).sum())
                raise CheckpointError(
                    f"{self.model}: {count} of the {values.numel()} numbers of its weight {name} are not finite; copy it again, or name a "
                    "checkpoint whose training did not diverge"
                )

    def _check_shapes(self, network: PreTrainedModel, mismatched: list[tuple[str, Shape, Shape]]) -> None:
        for name, *shapes in mismatched:
            stored, expected = (tuple(shape) for shape in shapes)
            if network is network.base_model or name.startswith(f"{network.base_model_prefix}.") or stored[1:] != expected[1:]:
                raise CheckpointError(
                    f"{self.model}: its weight {name} has the shape {stored}, but its config.json asks for {expected}; give it the "
                    "config.json that it was trained with"
                )
        if mismatched:
            name, stored, expected = mismatched[0]
            raise CheckpointError(
                f"{self.model}: its head has {stored[0]} outputs (the shape of {name}), but labels is {expected[0]}; name a checkpoint "
                f"whose head fits, or set labels to {stored[0]}"
            )

    def _check_missing(self, network: PreTrainedModel, missing: list[str], may_be_new: bool) -> None:
        is_bare = network is network.base_model
        head = [name for name in missing if _is_pooler(name) or not (is_bare or name.startswith(f"{network.base_model_prefix}."))]
        lost = [name for name in missing if name not in head]
        if lost or (head and not is_bare and not may_be_new):
            lost = lost or head
            where = "its encoder" if lost[0] not in head else "its head"
            raise CheckpointError(
                f"{self.model}: its file lacks {len(lost)} weights of {where}, the first is {lost[0]}{self._hint(network)}, and they would "
                "be drawn at random; name a checkpoint that holds them, whose config.json is its own"
            )
        if head and not is_bare:  # the pooler of a bare encoder is not part of a sentence embedding
            say(self.model, f"its file has no head for scores: {', '.join(head)} are drawn from the seed")

    def _hint(self, network: PreTrainedModel) -> str:
        report = next(found for other, found in self.networks if other is network)
        names = sorted(report["unexpected_keys"])
        return f" (its file has {names[0]} instead)" if names else ""

    def _check_unexpected(self, network: PreTrainedModel, names: list[str]) -> None:
        prefix = f"{network.base_model_prefix}."
        inside = {name for name, _ in network.base_model.named_children() if name != "pooler"}
        of_encoder = [name for name in names if name.removeprefix(prefix).split(".")[0] in inside and not name.endswith(_BUFFERS)]
        if of_encoder:
            raise CheckpointError(
                f"{self.model}: its file has {len(of_encoder)} weights that its config.json has no place for, the first is "
                f"{of_encoder[0]}; give it the config.json that it was trained with"
            )
        other = [name for name in names if not name.endswith(_BUFFERS)]
        if other:
            say(self.model, f"{len(other)} weights of its file are another task's and are left out, the first is {other[0]}")


def _is_pooler(name: str) -> bool:
    return "pooler" in name.split(".")


@contextmanager
def loading(model: str) -> Iterator[Loaded]:
    """Load a checkpoint quietly, and collect what transformers reports of it.

    Raises:
        CheckpointError: Instead of whatever the library raises, naming the checkpoint.
    """
    from transformers import PreTrainedModel

    found = Loaded(model)
    plain = PreTrainedModel.__dict__["from_pretrained"]

    def reported(cls: type, *args: object, **options: object) -> PreTrainedModel:
        options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}  # they are refused by name, below
        network, report = plain.__get__(None, cls)(*args, **options)
        found.networks.append((network, report))
        return network

    PreTrainedModel.from_pretrained = classmethod(reported)  # pyright: ignore[reportAttributeAccessIssue]  # for a while another one
    try:
        with quiet():
            yield found
    except CheckpointError:
        raise
    except UnpicklingError as error:
        raise CheckpointError(
            f"{model}: its weights are pickled (pytorch_model.bin) with other objects beside them, which are not opened; name one in "
            "safetensors"
        ) from error
    except Exception as error:
        raise CheckpointError(
            f"{model}: its own library cannot load it ({type(error).__name__}: {first_line(error)}); copy the checkpoint again, or name "
            "another"
        ) from error
    finally:
        PreTrainedModel.from_pretrained = plain


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back the libraries' progress bars and remarks; what they had to invent or leave out is said by :class:`Loaded`."""
    from transformers.utils import logging as transformers_logging

    ours = logging.getLogger("sentence_transformers")
    level, verbosity, bars = ours.level, transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    ours.setLevel(logging.ERROR)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        ours.setLevel(level)
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def check_tokenizer(model: str, made: AnyTokenizer | None, rows: int) -> None:
    """Refuse a tokenizer that an encoder cannot be served with.

    Args:
        model: The checkpoint.
        made: Its tokenizer.
        rows: How many tokens the encoder has a vector for.

    Raises:
        CheckpointError: When it is not a fast one, knows no words, cannot pad, or knows more tokens than the encoder.
    """
    from tokenizers import Tokenizer

    if made is None or isinstance(made, Tokenizer) or not made.is_fast:
        raise CheckpointError(f"{model}: its tokenizer {type(made).__name__} is not a fast one; save it with a tokenizer.json")
    if made.pad_token_id is None:
        raise CheckpointError(
            f"{model}: its tokenizer has no padding token, without which its own library encodes no batch; name one in "
            "tokenizer_config.json (pad_token)"
        )
    vocabulary = made.get_vocab()
    if len(set(vocabulary) - set(made.all_special_tokens)) < 2:
        raise CheckpointError(f"{model}: its tokenizer knows no words, only special tokens; save its own tokenizer beside it")
    if max(vocabulary.values()) >= rows:
        raise CheckpointError(
            f"{model}: its tokenizer has tokens up to number {max(vocabulary.values())}, but its weights end at {rows - 1}; give it the "
            "tokenizer that it was trained with"
        )
