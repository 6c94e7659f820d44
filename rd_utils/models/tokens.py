"""Texts as token ids: tokenised once into one flat array with offsets, gathered into batches without a loop over rows.

A prompt, where a model has one, is part of the text: "query: " and "fox" are tokenised together, because a tokenizer that marks the space
before a word makes other tokens of them apart. A table says which prompt its texts were tokenised with.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

AnyTokenizer: TypeAlias = "Tokenizer | PreTrainedTokenizerBase"  # the library's own, of static models, or one of transformers

_IDS, _OFFSETS = "ids.npy", "offsets.npy"
_PROMPT, _PROMPT_LENGTHS = "prompt.json", "prompt_lengths.npy"


@dataclass(frozen=True, eq=False, slots=True)
class TokenTable:
    """Token ids of many texts, end to end: row i is ``ids[offsets[i]:offsets[i + 1]]``; special tokens are not included.

    Attributes:
        ids: The tokens, int32.
        offsets: Where each row begins, and the last one ends, int64 (n + 1,).
        prompt: What was put before every text when it was tokenised.
        prompt_lengths: How many tokens of every row are the prompt's, (n,); None where there is no prompt.
        texts: The texts without the prompt, where they are at hand: a model with another prompt can then tokenise them itself.

    >>> table = TokenTable(ids=np.array([7, 8, 9, 5], dtype=np.int32), offsets=np.array([0, 3, 3, 4]))
    >>> len(table), table.lengths().tolist(), table.row(0).tolist()
    (3, [3, 0, 1], [7, 8, 9])
    """

    ids: np.ndarray
    offsets: np.ndarray
    prompt: str = ""
    prompt_lengths: np.ndarray | None = None
    texts: Sequence[str] | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.offsets) - 1

    def lengths(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the number of tokens of these rows, or of every row, int64 (n,)."""
        return np.diff(self.offsets) if rows is None else self.offsets[rows + 1] - self.offsets[rows]

    def text_lengths(self) -> np.ndarray:
        """Return the number of tokens of every row without those of the prompt, int64 (n,)."""
        return self.lengths() if self.prompt_lengths is None else self.lengths() - self.prompt_lengths

    def row(self, index: int) -> np.ndarray:
        """Return the token ids of one row."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a token table with {len(self)} rows; rows count from 0")
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def save(self, folder: Path) -> None:
        """Write ``ids.npy`` and ``offsets.npy`` into a folder, which is made where it is missing, and the prompt where there is one."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / _IDS, np.asarray(self.ids, dtype=np.int32))
        np.save(folder / _OFFSETS, np.asarray(self.offsets, dtype=np.int64))
        if self.prompt:
            np.save(folder / _PROMPT_LENGTHS, np.asarray(self.prompt_lengths, dtype=np.int32))
            (folder / _PROMPT).write_text(json.dumps({"prompt": self.prompt}) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> TokenTable:
        """Open what :meth:`save` wrote; the ids are memory-mapped, so that opening is instant and processes share them."""
        folder = Path(folder)
        missing = [name for name in (_IDS, _OFFSETS) if not (folder / name).exists()]
        if missing:
            raise FileNotFoundError(f"no token table in {folder}: {' and '.join(missing)} missing; expected {_IDS} and {_OFFSETS}")
        offsets = np.load(folder / _OFFSETS)
        # numpy cannot map a file that holds no element
        ids = np.load(folder / _IDS, mmap_mode="r" if offsets[-1] else None)
        if len(ids) != offsets[-1]:
            raise ValueError(f"the token table in {folder} is damaged: {len(ids)} ids, but the last offset is {offsets[-1]}; make it again")
        if not (folder / _PROMPT).exists():
            return cls(ids=ids, offsets=offsets)
        prompt = json.loads((folder / _PROMPT).read_text(encoding="utf-8"))["prompt"]
        return cls(ids=ids, offsets=offsets, prompt=prompt, prompt_lengths=np.load(folder / _PROMPT_LENGTHS))


def tokenize(
    texts: Iterable[str],
    tokenizer: AnyTokenizer,
    *,
    prompt: str = "",
    batch_size: int = 4096,
    progress: Callable[[int], None] | None = None,
) -> TokenTable:
    """Tokenise texts once, whole (no truncation, no padding) and without special tokens.

    A token that holds the end of the prompt and the beginning of the text, such as a word with the prompt's last space, is the text's.

    Args:
        texts: The texts; the rows of the table are in their order.
        tokenizer: A ``tokenizers.Tokenizer``, or a fast tokenizer of transformers. It is copied, not changed.
        prompt: What stands before every text.
        batch_size: Texts per call of the tokenizer.
        progress: Called with the number of texts done after every batch.

    Returns:
        The token table.

    Raises:
        TypeError: When the tokenizer is not a fast one, or a text is not a string.
    """
    engine = plain_copy(tokenizer)
    kept = texts if isinstance(texts, Sequence) else None
    texts = iter(texts)
    ids: list[np.ndarray] = []
    lengths: list[int] = []
    prompt_lengths: list[int] = []
    while batch := list(itertools.islice(texts, batch_size)):
        for position, text in enumerate(batch):
            if not isinstance(text, str):
                raise TypeError(f"text {len(lengths) + position} is {type(text).__name__} ({text!r:.40}), not a string")
        if prompt:
            found = engine.encode_batch([prompt + text for text in batch], add_special_tokens=False)
            prompt_lengths.extend(sum(end <= len(prompt) for _, end in encoding.offsets) for encoding in found)
        else:
            found = engine.encode_batch_fast(batch, add_special_tokens=False)
        encodings = [encoding.ids for encoding in found]
        lengths.extend(map(len, encodings))
        ids.append(np.fromiter(itertools.chain.from_iterable(encodings), dtype=np.int32))
        if progress is not None:
            progress(len(lengths))
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    flat = np.concatenate(ids) if ids else np.empty(0, dtype=np.int32)
    return TokenTable(flat, offsets, prompt, np.array(prompt_lengths, dtype=np.int32) if prompt else None, kept)


def count_unknown(table: TokenTable, tokenizer: AnyTokenizer) -> int:
    """Return how many tokens of a table stand for what its tokenizer does not know; 0 where it knows everything, as bytes do."""
    from tokenizers import Tokenizer

    if isinstance(tokenizer, Tokenizer):
        unknown = tokenizer.token_to_id(getattr(tokenizer.model, "unk_token", None) or "[UNK]")
    else:
        unknown = tokenizer.unk_token_id
    return 0 if unknown is None else int((table.ids == unknown).sum())


def take(
    table: TokenTable,
    rows: np.ndarray,
    max_length: int | np.ndarray | None = None,
    *,
    prefix: Sequence[int] = (),
    suffix: Sequence[int] = (),
    keep: str = "first",
) -> TokenTable:
    """Copy rows into a table of their own, each cut to fit and framed by a prefix and a suffix.

    Rows that are neither cut nor framed keep their prompt and their texts.

    Args:
        table: The token table.
        rows: Row indices, (n,).
        max_length: Most tokens of a new row, prefix and suffix included: one number, or one per row; None cuts nothing.
        prefix: Ids before every row, such as [CLS].
        suffix: Ids after every row, such as [SEP].
        keep: Which tokens of a row that is too long stay: ``first`` or ``last``.

    Returns:
        The table of n rows.

    >>> table = TokenTable(ids=np.array([7, 8, 9, 5], dtype=np.int32), offsets=np.array([0, 3, 3, 4]))
    >>> framed = take(table, np.array([0, 2]), max_length=4, prefix=[2], suffix=[3])
    >>> framed.ids.tolist(), framed.offsets.tolist()
    ([2, 7, 8, 3, 2, 5, 3], [0, 4, 7])
    """
    starts = table.offsets[rows]
    body = table.offsets[np.asarray(rows) + 1] - starts
    frame = len(prefix) + len(suffix)
    if max_length is not None:
        fitting = np.minimum(body, np.maximum(np.asarray(max_length) - frame, 0))
        starts, body = starts + (body - fitting if keep == "last" else 0), fitting
    offsets = np.zeros(len(body) + 1, dtype=np.int64)
    np.cumsum(body + frame, out=offsets[1:])
    begins = np.cumsum(body) - body
    tokens = table.ids[np.repeat(starts - begins, body) + np.arange(int(body.sum()))]
    if not frame:
        cut = TokenTable(np.asarray(tokens), offsets)
        return cut if max_length is not None else _whole_rows(table, np.asarray(rows), cut)
    ids = np.empty(int(offsets[-1]), dtype=np.int32)
    inside = np.ones(len(ids), dtype=bool)
    for at, token in [*enumerate(prefix), *enumerate(suffix, start=-len(suffix))]:
        positions = (offsets[:-1] if at >= 0 else offsets[1:]) + at
        ids[positions] = token
        inside[positions] = False
    ids[inside] = tokens
    return TokenTable(ids=ids, offsets=offsets)


def _whole_rows(table: TokenTable, rows: np.ndarray, found: TokenTable) -> TokenTable:
    """Return the table of whole rows, which keep the prompt and their texts."""
    numbers: list[int] = rows.tolist()
    prompt_lengths = None if table.prompt_lengths is None else table.prompt_lengths[rows]
    texts = None if table.texts is None else [table.texts[row] for row in numbers]
    return replace(found, prompt=table.prompt, prompt_lengths=prompt_lengths, texts=texts)


def without_prompt(table: TokenTable) -> TokenTable:
    """Return the tokens of the texts, those of the prompt left out; the table itself where it has no prompt.

    >>> table = TokenTable(np.array([1, 2, 7, 1, 2], dtype=np.int32), np.array([0, 3, 5]), "query: ", np.array([2, 2]))
    >>> without_prompt(table).ids.tolist(), without_prompt(table).lengths().tolist()
    ([7], [1, 0])
    """
    if table.prompt_lengths is None:
        return table
    return take(TokenTable(table.ids, table.offsets), np.arange(len(table)), table.text_lengths(), keep="last")


def with_prompt_of(texts: TokenTable, table: TokenTable) -> TokenTable:
    """Put the prompt's tokens of every row of a table before the same row of ``texts``: what undoes :func:`without_prompt`.

    >>> table = TokenTable(np.array([1, 2, 7, 1, 2], dtype=np.int32), np.array([0, 3, 5]), "query: ", np.array([2, 2]))
    >>> changed = TokenTable(ids=np.array([8, 9], dtype=np.int32), offsets=np.array([0, 1, 2]))
    >>> with_prompt_of(changed, table).ids.tolist()
    [1, 2, 8, 1, 2, 9]
    """
    if table.prompt_lengths is None:
        return texts
    heads = take(TokenTable(table.ids, table.offsets), np.arange(len(table)), table.prompt_lengths)
    ids, offsets = beside(heads, texts)
    return TokenTable(ids, offsets, table.prompt, table.prompt_lengths)


def beside(left: TokenTable, right: TokenTable) -> tuple[np.ndarray, np.ndarray]:
    """Put every row of one table before the same row of another: the ids and the offsets of the rows."""
    offsets = left.offsets + right.offsets
    is_left = np.arange(int(offsets[-1])) < np.repeat(offsets[:-1] + left.lengths(), np.diff(offsets))
    ids = np.empty(len(is_left), dtype=np.int32)
    ids[is_left], ids[~is_left] = left.ids, right.ids
    return ids, offsets


def longest_first(first: np.ndarray, second: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how many tokens of the two texts of a pair stay, as the tokenizers library cuts pairs (``longest_first``).

    A pair that fits ``room`` stays whole. Else the shorter text stays whole if it takes no more than half, and the other gets the rest; if
    both are longer than half, each gets half, and the longer one the odd token, the second of two equal ones.

    Args:
        first: Tokens of the first text of every pair, (n,).
        second: Tokens of the second one, (n,).
        room: Most tokens of a pair, special tokens not counted.

    >>> [kept.tolist() for kept in longest_first(np.array([2, 9, 9, 5]), np.array([9, 2, 8, 5]), room=9)]
    [[2, 7, 5, 4], [7, 2, 4, 5]]
    """
    shorter, longer = np.minimum(first, second), np.maximum(first, second)
    fits = first + second <= room
    short = np.where(fits, shorter, np.minimum(shorter, room // 2))
    long = np.where(fits, longer, room - short)
    is_first_longer = first > second
    return np.where(is_first_longer, long, short), np.where(is_first_longer, short, long)


def join(tables: Sequence[TokenTable]) -> TokenTable:
    """Put tables end to end: the rows of the first, then those of the second, and so on."""
    lengths = np.concatenate([table.lengths() for table in tables])
    return TokenTable(ids=np.concatenate([table.ids for table in tables]), offsets=np.concatenate([[0], np.cumsum(lengths)]))


def gather(
    table: TokenTable,
    rows: np.ndarray,
    max_length: int | np.ndarray | None = None,
    *,
    prefix: Sequence[int] = (),
    suffix: Sequence[int] = (),
    pad: int = 0,
    padding_side: str = "right",
) -> tuple[np.ndarray, np.ndarray]:
    """Gather rows into one padded block, each cut to fit and framed as :func:`take` does; padding stands on the ``padding_side``.

    Returns:
        The ids, int64 (n, L), with L the longest row; the lengths without padding, int64 (n,).

    >>> table = TokenTable(ids=np.array([7, 8, 9, 5], dtype=np.int32), offsets=np.array([0, 3, 3, 4]))
    >>> ids, lengths = gather(table, np.array([0, 2]), max_length=4, prefix=[2], suffix=[3])
    >>> ids.tolist(), lengths.tolist()
    ([[2, 7, 8, 3], [2, 5, 3, 0]], [4, 3])
    """
    taken = take(table, rows, max_length, prefix=prefix, suffix=suffix)
    lengths = taken.lengths()
    block = np.full((len(taken), int(lengths.max(initial=0))), pad, dtype=np.int64)
    block[is_token(lengths, padding_side)] = taken.ids
    return block, lengths


def is_token(lengths: np.ndarray, padding_side: str = "right") -> np.ndarray:
    """Tell the tokens of a padded block from its padding: bool (n, longest)."""
    longest = int(lengths.max(initial=0))
    columns = np.arange(longest)
    return columns < lengths[:, None] if padding_side == "right" else columns >= longest - lengths[:, None]


def length_buckets(lengths: np.ndarray, max_tokens: int) -> list[np.ndarray]:
    """Split rows into batches of similar length, the longest first, of at most ``max_tokens`` tokens with their padding.

    A row longer than ``max_tokens`` makes a batch of its own. Every row is in one batch; equal lengths keep their order.

    Args:
        lengths: Length of every row, (n,).
        max_tokens: Most tokens of a batch: its rows times the longest of them.

    Returns:
        Row indices of every batch.

    >>> [batch.tolist() for batch in length_buckets(np.array([2, 9, 3, 2]), max_tokens=6)]
    [[1], [2, 0], [3]]
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}; a batch needs at least 1 token")
    lengths = np.asarray(lengths)
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, max_tokens // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + size])
        start += size
    return batches


def plain_copy(tokenizer: AnyTokenizer) -> Tokenizer:
    """Return a copy of a fast tokenizer that neither cuts nor pads.

    Raises:
        TypeError: When the tokenizer is not a fast one.
    """
    from tokenizers import Tokenizer

    engine = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(engine, Tokenizer):
        raise TypeError(
            f"{type(tokenizer).__name__} is not a fast tokenizer; give a tokenizers.Tokenizer or a fast tokenizer of transformers"
        )
    engine = Tokenizer.from_str(engine.to_str())
    engine.no_padding()
    engine.no_truncation()
    return engine
