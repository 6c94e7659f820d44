"""What guards versions: a committed file with a hash of every definition that a stage, a kind or a loss reaches, and every default.

Identities rest on versions (``store.identity``), so a changed behaviour needs a raised one. ``python -m tests.versions`` compares the
sources with the file: where something moved under a version that was not raised, it names the definitions and writes nothing.
``--same-bytes`` writes the file nevertheless.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple, get_args

import rd_utils
from rd_utils.scoring.pairs import kept_scores
from rd_utils.store.canonical import TAGS, canonical
from rd_utils.study.kinds import Part
from rd_utils.study.stage import stages
from rd_utils.training.losses import LOSSES
from tests.definitions import Name, Sources

LOCK = Path(__file__).with_name("versions.json")
# What these modules do shows in no byte of an artefact, but through its parameters and inputs, which its identity has.
BASES = {"Part", "Spec", "Kind"}  # of all parameters
# What these modules do shows in no byte of an artefact, but through its parameters and inputs, which its identity has.
BESIDE = {"durable", "energy", "files", "graph", "identity", "leakage", "maker", "progress", "stage", "store", "workload"}
METHODS = {"inputs", "label", "way", "work"}  # of kinds, which do no more
_LOSSES = Name("training.losses", "LOSSES")  # is not gone into: each of its entries has a version of its own


class Root(NamedTuple):
    """What has a version: ``stage docs``, ``BM25``, ``loss kl``.

    Attributes:
        version: as it is now.
        places: where what it does begins.
        defaults: of its parameters, as JSON, by field.
    """

    version: int
    places: list[Name]
    defaults: dict[str, Any]


def roots(sources: Sources) -> dict[str, Root]:
    """Return everything that has a version, by name."""
    found = {f"stage {name}": Root(stage.version, [_place(stage.make or kept_scores)], {}) for name, stage in stages().items()}
    for loss, places in sources.entries(_LOSSES).items():
        found[f"loss {loss}"] = Root(LOSSES[loss].version, places, {})
    for model in parameter_classes():
        fields = {name: field for name, field in model.model_fields.items() if name not in TAGS and not field.is_required()}
        defaults = {name: canonical(field.get_default(call_default_factory=True)) for name, field in fields.items()}
        above = [base for base in sources.bases(_place(model)) if base.name not in BASES]
        found[model.__name__] = Root(model.version, above, defaults)
    return found


def _place(defined: Any) -> Name:
    return Name(defined.__module__.partition(".")[2], defined.__qualname__)


def parameter_classes() -> list[type[Part]]:
    """Return the classes of parameters that may stand in an artefact's, sorted by name."""
    found: dict[type[Part], None] = {}
    waiting: list[Any] = [stage.spec for stage in stages().values()]
    while waiting:
        annotation = waiting.pop()
        waiting += get_args(annotation)
        if isinstance(annotation, type) and issubclass(annotation, Part) and annotation not in found:
            found[annotation] = None
            waiting += [field.annotation for field in annotation.model_fields.values()]
            waiting += getattr(annotation, "kinds", {}).values()
    return sorted((model for model in found if "kinds" not in vars(model)), key=lambda model: model.__name__)  # but families


class Current(NamedTuple):
    """What the sources say now.

    Attributes:
        lock: as the file says it: the version, hash and defaults of each root, and the hash of each definition.
        reached: the definitions of each root.
    """

    lock: dict[str, dict[str, Any]]
    reached: dict[str, dict[Name, str]]


def current(folder: Path = Path(rd_utils.__file__).parent) -> Current:
    """Return what the sources of the package in a folder say."""
    sources = Sources(folder)
    classes = {_place(model) for model in parameter_classes()}

    def stop(place: Name) -> bool:
        beside = not BESIDE.isdisjoint(place.module.split(".")) or place.name.rpartition("_")[2].rpartition(".")[2] in METHODS
        return beside or place == _LOSSES or place.name in BASES or place in classes

    every = roots(sources)
    reached = {name: sources.reached(root.places, stop) for name, root in every.items()}
    said = {}
    for name, root in every.items():
        text = "\n".join(sorted(f"{place.name} {digest}" for place, digest in reached[name].items()))
        said[name] = {"version": root.version, "hash": hashlib.sha256(text.encode()).hexdigest()[:12], "defaults": root.defaults}
    definitions = {str(place): digest for found in reached.values() for place, digest in found.items()}
    return Current({"roots": said, "definitions": definitions}, reached)


def moved(before: dict[str, Any], now: Current) -> dict[str, list[str]]:
    """Return the names of the roots whose version was not raised, by the definition or default under it that moved.

    Args:
        before: what the file says.
        now: what the sources say.
    """
    known = {(place.rpartition(".")[2], digest) for place, digest in before["definitions"].items()}
    found: dict[str, list[str]] = {}
    for name, was in before["roots"].items():
        root = now.lock["roots"].get(name)
        if root is None or root["version"] > was["version"]:
            continue
        lines = [
            f"{name}.{key}: {json.dumps(old)} -> {json.dumps(root['defaults'].get(key, 'no default'))}"
            for key, old in was["defaults"].items()
            if root["defaults"].get(key, "no default") != old
        ]
        if root["hash"] != was["hash"]:
            others = [str(place) for place, digest in now.reached[name].items() if (place.name.rpartition(".")[2], digest) not in known]
            lines += others or ["another set of definitions is reached"]
        if root["version"] < was["version"]:
            lines.append("the version was lowered")
        for line in lines:
            found.setdefault(line, []).append(name)
    return dict(sorted(found.items()))


def say(found: dict[str, list[str]]) -> str:
    """Return what moved as a message with its remedy."""
    lines = [f"  {line} (of {', '.join(names)})" for line, names in found.items()]
    return "\n".join(
        [
            "what versions stand for has moved, and they were not raised:",
            *lines,
            "raise the version of each whose bytes change, where it stands; for the others run `python -m tests.versions --same-bytes`",
            "once `python -m tests.golden compare` shows the same bytes",
        ]
    )


def renew(same_bytes: bool = False) -> int:
    """Write the file where nothing moved under a version that was not raised, or where the bytes are the same; return the exit status."""
    now = current()
    before = read()
    found = moved(before, now)
    if found and not same_bytes:
        print(say(found))
        return 1
    if now.lock != before:
        LOCK.write_text(json.dumps(now.lock, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{LOCK.name}: {len(now.lock['roots'])} versions, which rest on {len(now.lock['definitions'])} definitions")
    return 0


def read() -> dict[str, Any]:
    """Return what the file says; nothing where there is none."""
    return json.loads(LOCK.read_text(encoding="utf-8")) if LOCK.is_file() else {"roots": {}, "definitions": {}}


if __name__ == "__main__":
    if set(sys.argv[1:]) - {"--same-bytes"}:
        sys.exit(__doc__)
    sys.exit(renew(same_bytes="--same-bytes" in sys.argv))
