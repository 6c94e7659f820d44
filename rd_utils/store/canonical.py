"""The identity of an artefact: it changes when, and only when, the bytes may change.

It is the SHA-256 of the artefact's stage, its parameters, where an identity stands for each spec within, the identities of its inputs, the
content of what it names by path, and the versions of what makes it: of the stage, and of each kind, loss or other class of parameters
within its own whose version is above 1. A version is raised where the same parameters are to give other bytes.

Parameters that equal their default are left out, so that a new one whose default changes nothing changes no identity; a default that
changes needs a raised version. Code is no part of it: a committed file guards it (``tests/versions.py``).
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping

from rd_utils.study.kinds import Part, Spec
from rd_utils.study.stage import stage_of
from rd_utils.training.losses import LOSSES

TAGS = ("kind", "source")  # say which class of parameters this is, so that they stay where they are the default


def canonical(value: object, of_spec: Callable[[Spec], object] | None = None) -> object:
    """Return parameters as JSON without what equals its default; tags stay.

    Args:
        value: parameters, or a value within them.
        of_spec: returns what stands for a spec within them (default: its parameters).

    >>> from rd_utils.study.params import BM25
    >>> canonical(BM25(k1=0.9))
    {'kind': 'bm25', 'k1': 0.9}
    """
    if isinstance(value, Part):
        given = ((name, default, getattr(value, name)) for name, default in _defaults(type(value)))
        return {name: _inside(item, of_spec) for name, default, item in given if item != default}
    return _inside(value, of_spec)


def _inside(value: object, of_spec: Callable[[Spec], object] | None) -> object:
    if of_spec is not None and isinstance(value, Spec):
        return of_spec(value)
    if isinstance(value, tuple | list):
        return [_inside(item, of_spec) for item in value]
    return canonical(value, of_spec) if isinstance(value, Part) else value


@functools.cache
def _defaults(model: type[Part]) -> tuple[tuple[str, object], ...]:
    """Return the default of each field; of a tag, what no value equals."""
    fields = model.model_fields.items()
    return tuple((name, object() if name in TAGS else field.get_default(call_default_factory=True)) for name, field in fields)


def versions(spec: Spec) -> dict[str, int]:
    """Return the version of a spec's stage, and those above 1 of what stands within its parameters, defaults too; not in specs within."""
    return {spec.stage: stage_of(spec).version} | {name: version for name, version in _within(spec) if version > 1}


def names_within(spec: Spec) -> set[str]:
    """Return the names of the classes and the loss whose versions count for an artefact."""
    return {name for name, _ in _within(spec)}


def _within(part: Part) -> Iterator[tuple[str, int]]:
    """Yield the name and version of a class of parameters, of its loss, and of those within it."""
    yield type(part).__name__, part.version
    for name in type(part).model_fields:
        value = getattr(part, name)
        if name == "loss":
            yield f"loss {value}", LOSSES[value].version
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Part) and not isinstance(item, Spec):
                yield from _within(item)


def digest(spec: Spec, inputs: Mapping[str, str], content: Mapping[str, str], identity: Callable[[Spec], str]) -> str:
    """Return an identity: 20 hexadecimal digits.

    Args:
        spec: the parameters of the artefact.
        inputs: the identities of what it is made from, by role.
        content: fingerprints of what the parameters name by path.
        identity: of a spec within the parameters, which stands for it.
    """
    record = {
        "stage": spec.stage,
        "versions": versions(spec),
        "parameters": canonical(spec, of_spec=identity),
        "inputs": inputs,
        "content": content,
    }
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:20]
