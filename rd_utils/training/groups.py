"""The groups that a student is trained on, the order in which a run takes them, and what makes groups fit to be trained on."""

from __future__ import annotations

import functools
import hashlib
from typing import NamedTuple

import numpy as np

from rd_utils.models import Student
from rd_utils.models.dual_students import DualStudent
from rd_utils.models.tokens import TokenTable
from rd_utils.training.losses import find_loss


class TrainingError(ValueError):
    """Training that cannot start or go on; the message names the offender and the remedy."""


class GroupTable(NamedTuple):
    """Training groups as rows of the token tables: the positive in column 0, then the negatives.

    With ``draws`` > 1 the rows are ``draws`` tables of n / draws base groups each, end to end in one order of queries and positives: the
    first draw of every group's negatives, then the second, and so on. Epoch e trains on draw e % draws, so that an epoch is n / draws
    groups long whatever the strategy.
    """

    query_rows: np.ndarray  # (n,)
    doc_rows: np.ndarray  # (n, G)
    teacher_scores: np.ndarray | None = None  # (n, G) float32, or None for a loss without a teacher
    positive_pairs: np.ndarray | None = None  # sorted int64, query_row * len(docs) + doc_row of all known positives, for in-batch negatives
    draws: int = 1

    def digest(self) -> bytes:
        """Return the SHA-256 of everything in the table."""
        digest = hashlib.sha256()
        for part in self:
            if part is not None:
                digest.update(np.ascontiguousarray(part).tobytes())
        return digest.digest()

    def are_positive(self, query_rows: np.ndarray, doc_rows: np.ndarray, docs: TokenTable) -> np.ndarray:
        """Tell which pairs are known positives, by bisection: these are many, and asked for at every step."""
        pairs = query_rows.astype(np.int64) * len(docs) + doc_rows
        if self.positive_pairs is None or not len(self.positive_pairs):
            return np.zeros(pairs.shape, dtype=bool)
        places = np.searchsorted(self.positive_pairs, pairs)
        return self.positive_pairs[np.minimum(places, len(self.positive_pairs) - 1)] == pairs


def group_order(n_groups: int, seed: int, start: int, count: int, draws: int = 1) -> np.ndarray:
    """Return ``count`` rows of groups from position ``start`` of the endless order: a fresh permutation of all base groups per epoch.

    Args:
        n_groups: Number of base groups, which is the length of an epoch.
        seed: Draws the permutations; the number of draws changes none of them.
        start: First position, from 0.
        count: Number of positions.
        draws: How many draws of every base group there are: epoch e takes rows ``e % draws * n_groups`` and on.

    Returns:
        Rows of a :class:`GroupTable`, int64 (count,).

    >>> np.sort(group_order(4, seed=7, start=8, count=4)).tolist()
    [0, 1, 2, 3]
    >>> np.sort(group_order(4, seed=7, start=4, count=4, draws=2)).tolist()
    [4, 5, 6, 7]
    """
    positions = np.arange(start, start + count)
    order = np.empty(count, dtype=np.int64)
    for epoch in range(start // n_groups, (start + count - 1) // n_groups + 1):
        permutation = _permutation(n_groups, seed, epoch)
        inside = positions // n_groups == epoch
        order[inside] = permutation[positions[inside] % n_groups] + epoch % draws * n_groups
    return order


@functools.lru_cache(maxsize=2)  # every step asks for its epoch's, which takes 10 ms for a million groups
def _permutation(n_groups: int, seed: int, epoch: int) -> np.ndarray:
    permutation = np.random.default_rng(np.random.SeedSequence([seed, epoch])).permutation(n_groups)
    permutation.flags.writeable = False
    return permutation


def check_groups(groups: GroupTable, queries: TokenTable, docs: TokenTable, loss: str) -> None:
    """Raise a TrainingError unless training on the groups, with that loss, makes sense."""
    n_groups = len(groups.query_rows)
    if n_groups == 0:
        raise TrainingError("there are no training groups; sample some first")
    if groups.doc_rows.ndim != 2 or len(groups.doc_rows) != n_groups or groups.doc_rows.shape[1] < 2:
        raise TrainingError(f"doc_rows has shape {groups.doc_rows.shape}; expected ({n_groups}, group_size) with a group_size of 2 or more")
    for name, rows, table in (("query_rows", groups.query_rows, queries), ("doc_rows", groups.doc_rows, docs)):
        outside = (rows < 0) | (rows >= len(table))
        if outside.any():
            first = tuple(int(i) for i in np.argwhere(outside)[0])
            raise TrainingError(
                f"{int(outside.sum())} of {rows.size} {name} are outside of a token table with {len(table)} rows, "
                f"the first is {int(rows[first])} in group {first[0]}; the groups and the tokens are of different collections"
            )
    if groups.draws < 1 or n_groups % groups.draws:
        raise TrainingError(f"{n_groups} groups do not divide into {groups.draws} draws; every draw has one row per base group")
    keys = np.column_stack([groups.query_rows, groups.doc_rows[:, 0]]).reshape(groups.draws, -1, 2)
    moved = (keys != keys[0]).any(axis=2)
    if moved.any():
        draw, group = (int(i) for i in np.argwhere(moved)[0])
        raise TrainingError(
            f"draw {draw} of group {group} has another query or positive than draw 0, as have {int(moved.sum()) - 1} more; "
            "sort the groups by draw, and every draw in the same order"
        )
    if not find_loss(loss).needs_teacher:
        return
    if groups.teacher_scores is None:
        raise TrainingError(f"the loss {loss!r} distils a teacher, but the groups have no teacher scores; score them, or use the loss lce")
    if groups.teacher_scores.shape != groups.doc_rows.shape:
        raise TrainingError(f"teacher_scores has shape {groups.teacher_scores.shape}, doc_rows {groups.doc_rows.shape}; they must be equal")
    missing = ~np.isfinite(groups.teacher_scores)
    if missing.any():
        group, column = (int(i) for i in np.argwhere(missing)[0])
        raise TrainingError(
            f"{int(missing.sum())} of {missing.size} teacher scores are missing or not finite, the first is "
            f"{groups.teacher_scores[group, column]} for document {column} of group {group}; score every document of every group first"
        )


def check_in_batch(student: Student, groups: GroupTable, docs: TokenTable, loss: str, hard_weight: float) -> None:
    """Raise a TrainingError unless the other groups of a batch can serve as negatives."""
    if not isinstance(student, DualStudent):
        raise TrainingError("in_batch_negatives is not for a cross-encoder, which would score every query with every document of a batch")
    if find_loss(loss).needs_teacher and not hard_weight:
        raise TrainingError(f"in_batch_negatives have no teacher scores for the loss {loss!r}; use the loss lce, or give it a hard_weight")
    if groups.positive_pairs is None:
        raise TrainingError(
            "in_batch_negatives needs to know all positives, or some would be trained on as negatives, but positive_pairs is None; "
            "pass the sorted query_row * len(docs) + doc_row of every known positive"
        )
    if (np.diff(groups.positive_pairs) < 0).any():
        raise TrainingError("positive_pairs are not sorted; pass them in ascending order")
    unknown = ~groups.are_positive(groups.query_rows, groups.doc_rows[:, 0], docs)
    if unknown.any():
        raise TrainingError(
            f"the positives of {int(unknown.sum())} of {len(unknown)} groups are not among positive_pairs, the first of group "
            f"{int(unknown.argmax())}; make the pairs as query_row * len(docs) + doc_row of these same tables"
        )
