"""Texts as token ids: tokenised once into one flat array with offsets, gathered into batches without a loop over rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_IDS, _OFFSETS = "ids.npy", "offsets.npy"


@dataclass(frozen=True, eq=False, slots=True)
class TokenTable:
    """Token ids of many texts, end to end: row i is ``ids[offsets[i]:offsets[i + 1]]``; special tokens are not included.

    >>> table = TokenTable(ids=np.array([7, 8, 9, 5], dtype=np.int32), offsets=np.array([0, 3, 3, 4]))
    >>> len(table), table.lengths().tolist(), table.row(0).tolist()
    (3, [3, 0, 1], [7, 8, 9])
    """

    ids: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.offsets) - 1

    def lengths(self) -> np.ndarray:
        """Return the number of tokens of every row, int64 (n,)."""
        return np.diff(self.offsets)

    def row(self, index: int) -> np.ndarray:
        """Return the token ids of one row."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a token table with {len(self)} rows; rows count from 0")
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def save(self, folder: Path) -> None:
        """Write ``ids.npy`` and ``offsets.npy`` into a folder, which is made where it is missing."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / _IDS, np.asarray(self.ids, dtype=np.int32))
        np.save(folder / _OFFSETS, np.asarray(self.offsets, dtype=np.int64))

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
        return cls(ids=ids, offsets=offsets)


def tokenize(texts: Iterable[str], tokenizer: Any, *, batch_size: int = 4096, progress: Callable[[int], None] | None = None) -> TokenTable:
    """Tokenise texts once, whole (no truncation, no padding) and without special tokens.

    Args:
        texts: The texts; the rows of the table are in their order.
        tokenizer: A ``tokenizers.Tokenizer``, or a fast tokenizer of transformers. It is copied, not changed.
        batch_size: Texts per call of the tokenizer.
        progress: Called with the number of texts done after every batch.

    Returns:
        The token table.

    Raises:
        TypeError: When the tokenizer is not a fast one, or a text is not a string.
    """
    engine = _plain_copy(tokenizer)
    texts = iter(texts)
    ids: list[np.ndarray] = []
    lengths: list[int] = []
    while batch := list(itertools.islice(texts, batch_size)):
        for position, text in enumerate(batch):
            if not isinstance(text, str):
                raise TypeError(f"text {len(lengths) + position} is {type(text).__name__} ({text!r:.40}), not a string")
        encodings = [encoding.ids for encoding in engine.encode_batch_fast(batch, add_special_tokens=False)]
        lengths.extend(map(len, encodings))
        ids.append(np.fromiter(itertools.chain.from_iterable(encodings), dtype=np.int32))
        if progress is not None:
            progress(len(lengths))
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return TokenTable(ids=np.concatenate(ids) if ids else np.empty(0, dtype=np.int32), offsets=offsets)


def take(
    table: TokenTable,
    rows: np.ndarray,
    max_length: int | np.ndarray | None = None,
    *,
    prefix: Sequence[int] = (),
    suffix: Sequence[int] = (),
) -> TokenTable:
    """Copy rows into a table of their own, each cut to fit and framed by a prefix and a suffix.

    Args:
        table: The token table.
        rows: Row indices, (n,).
        max_length: Most tokens of a new row, prefix and suffix included: one number, or one per row; None cuts nothing.
        prefix: Ids before every row, such as [CLS].
        suffix: Ids after every row, such as [SEP].

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
        body = np.minimum(body, np.maximum(np.asarray(max_length) - frame, 0))
    offsets = np.zeros(len(body) + 1, dtype=np.int64)
    np.cumsum(body + frame, out=offsets[1:])
    begins = np.cumsum(body) - body
    tokens = table.ids[np.repeat(starts - begins, body) + np.arange(int(body.sum()))]
    if not frame:
        return TokenTable(ids=np.asarray(tokens), offsets=offsets)
    ids = np.empty(int(offsets[-1]), dtype=np.int32)
    inside = np.ones(len(ids), dtype=bool)
    for at, token in [*enumerate(prefix), *enumerate(suffix, start=-len(suffix))]:
        positions = (offsets[:-1] if at >= 0 else offsets[1:]) + at
        ids[positions] = token
        inside[positions] = False
    ids[inside] = tokens
    return TokenTable(ids=ids, offsets=offsets)


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
) -> tuple[np.ndarray, np.ndarray]:
    """Gather rows into one padded block, each cut to fit and framed as :func:`take` does.

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
    block[np.arange(block.shape[1]) < lengths[:, None]] = taken.ids
    return block, lengths


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


def _plain_copy(tokenizer: Any) -> Any:
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
