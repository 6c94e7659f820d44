"""The identities of artefacts, and of everything that they are made from (see :mod:`rd_utils.store.canonical`)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol, TypeVar, cast

from rd_utils.files import StoreError
from rd_utils.store.canonical import digest
from rd_utils.store.outside import content_of, missing_outside, named_outside, one_look, outside_content
from rd_utils.study.kinds import Named, Spec
from rd_utils.study.stage import inputs

V = TypeVar("V", covariant=True)


class _Remembered(Protocol[V]):
    cache_clear: Callable[[], None]

    def __call__(self, spec: Spec) -> V: ...


def _by_content(function: Callable[[Spec], V]) -> _Remembered[V]:
    """Remember what a function returns for a spec, as long as what the spec names by path, or its inputs do, has the same content.

    A spec that names nothing by path is remembered for good.
    """
    known: dict[Spec, tuple[tuple[Named, ...], dict[tuple[str | None, ...], V]]] = {}

    @functools.wraps(function)
    def remembered(spec: Spec) -> V:
        if spec not in known:
            known[spec] = (named_outside(spec), {})
        names, values = known[spec]
        if not names and values:
            return values[()]
        with one_look():
            content = tuple(content_of(name) for name in names)
            if content not in values:
                values[content] = function(spec)
        return values[content]

    kept = cast("_Remembered[V]", remembered)
    kept.cache_clear = known.clear
    return kept


@_by_content
def identity(spec: Spec) -> str:
    """Return the identity of an artefact: 20 hexadecimal digits (see :mod:`rd_utils.store.canonical`)."""
    return digest(spec, {role: identity(part) for role, part in inputs(spec).items()}, outside_content(spec), identity)


@_by_content
def upstream(spec: Spec) -> dict[str, Spec]:
    """Return everything that an artefact is made from, by identity, each after what it is made from itself."""
    found: dict[str, Spec] = {}
    for part in inputs(spec).values():
        found |= upstream(part) | {identity(part): part}
    return found


def check_outside(spec: Spec) -> None:
    """Check that what an artefact is made from outside the store is there.

    Raises:
        StoreError: naming every file and folder that is missing.
    """
    missing = missing_outside(spec)
    if missing:
        raise StoreError(f"{spec.stage} {identity(spec)} cannot be made: there is {missing}; put it there, or name another")
