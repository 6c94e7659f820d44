"""``python -m rd_utils adopt``: take over the artefacts of a store that was made by 0.4.0 to 0.6.0, whose identities rested on code.

An artefact is renamed to its identity of now where its parameters are known, what it names by path has the content that it was made from,
all its files have the hashes of its manifest, a golden run has confirmed that the code which made it writes the same bytes as today's
(``adopted.json``, by stage and hash of the code, for the kinds that the run had), and the same holds for all that it was made from.

Everything is looked at before anything is renamed. What is not taken over stays where it is, and is said. An adoption that was interrupted
goes on when it is started again. Nothing else may use the store meanwhile.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from pydantic import ValidationError

from rd_utils import durable
from rd_utils.files import tree_sha256
from rd_utils.scoring import arrays
from rd_utils.store import MANIFEST, Store, identity, one_look, outside_content, read_manifest, upstream
from rd_utils.store.canonical import names_within, versions
from rd_utils.store.damage import sealed
from rd_utils.store.manifests import Manifest
from rd_utils.study.kinds import Spec, Teacher, within
from rd_utils.study.specs import PairsSpec
from rd_utils.study.stage import inputs, stages
from rd_utils.workflow.progress import Track, untracked

_NEEDED = {"stage", "identity", "parameters", "inputs", "code", "files", "counts", "scoring"}


class NotAdopted(ValueError):
    """Why an artefact stays where it is."""


@dataclass
class Adoption:
    """What was done.

    Attributes:
        adopted: artefacts by stage; folders of pairs are ``pairs``.
        left: the folders that stay, by the reason.
    """

    adopted: Counter[str] = field(default_factory=Counter)
    left: defaultdict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))

    def __str__(self) -> str:
        """Return what was done as lines."""
        counted = ", ".join(f"{number} {stage}" for stage, number in sorted(self.adopted.items()))
        lines = [f"adopted: {counted or 'nothing'}"]
        for reason, folders in sorted(self.left.items()):
            counts = sorted(Counter(folder.parent.name for folder in folders).items())
            stay = ", ".join(f"{number} {stage}" for stage, number in counts)
            lines.append(f"left: {stay}: {reason}; the first is {folders[0]}")
        return "\n".join(lines)


def adopt(store: Store, rounding: bool = False, track: Track = untracked) -> Adoption:
    """Take over what can be.

    Args:
        store: of the older layout, or of both.
        rounding: take over, too, what the golden run found to differ by the rounding of a learned teacher's scores, and what rests on it.
        track: shows progress.
    """
    with one_look():
        old = _Old(store, rounding)
        done = Adoption()
        chosen: list[Path] = []
        for folder in track(old.folders, "verifying", len(old.folders)):
            try:
                if old.chosen(folder):
                    chosen.append(folder)
            except NotAdopted as reason:
                done.left[str(reason)].append(folder)
        pairs = old.pairs(chosen)
        done.left |= old.other_pairs(pairs)
        for before, after in pairs.items():
            if before.is_dir() and not after.exists():
                _move_pairs(before, after)
                done.adopted["pairs"] += 1
        names = {before.name: after.name for before, after in pairs.items()}
        for folder in chosen:
            _take_over(folder, old.manifests[folder], old.specs[folder], store, names, old.rounded(folder))
            done.adopted[folder.parent.name] += 1
    return done


class Confirmed(TypedDict):
    """What a golden run has confirmed of artefacts that one code made.

    ``release`` says whose it is; ``kinds`` what the run had of classes of parameters and losses; ``but`` which files differ, and nothing
    reads to make something; ``rounding`` of which kinds the scores differ by rounding.
    """

    release: str
    kinds: list[str]
    but: NotRequired[list[str]]
    rounding: NotRequired[list[str]]


@cache
def confirmed() -> dict[str, dict[str, Confirmed]]:
    """Return what golden runs have confirmed, by stage and hash of the code."""
    return json.loads(Path(__file__).with_name("adopted.json").read_text(encoding="utf-8"))


class _Old:
    """The artefacts of the older layout.

    Args:
        store: that they lie in.
        rounding: whether what differs by rounding may be taken over.
    """

    def __init__(self, store: Store, rounding: bool) -> None:
        self.store, self.rounding = store, rounding
        self.folders: list[Path] = []
        self.manifests: dict[Path, Manifest] = {}
        self.specs: dict[Path, Spec] = {}
        self._judged: dict[Path, str | None] = {}  # the reason against each that was looked at
        self._before: dict[tuple[str, str], Spec] = {}  # what was adopted already, by its old identity
        for stage in stages():
            for folder in sorted(store.root.glob(f"{stage}/[!.]*")):
                self._list(folder)

    def _list(self, folder: Path) -> None:
        try:
            manifest = json.loads((folder / MANIFEST).read_bytes())
        except (OSError, ValueError, RecursionError):
            manifest = None
        if folder.parent.name == "pairs":
            return
        if isinstance(manifest, dict) and "versions" in manifest:
            was = manifest.get("adopted", {}).get("identity")
            if was == folder.name:  # the manifest is written, the folder was not renamed
                self.folders.append(folder)
            elif was:
                self._before[folder.parent.name, was] = stages()[folder.parent.name].spec.model_validate(manifest["parameters"])
                return
            else:
                return
        else:
            self.folders.append(folder)
        if isinstance(manifest, dict):
            self.manifests[folder] = cast("Manifest", manifest)

    def chosen(self, folder: Path) -> bool:
        """Tell whether an artefact is to be renamed.

        Raises:
            NotAdopted: it is to stay.
        """
        self._judge(folder)
        if (entry := self._entry(folder)) and (but := entry.get("but")) and "versions" not in self.manifests[folder]:
            raise NotAdopted(f"its {', '.join(but)} would be written otherwise today; what was made from it is none the worse")
        if self.store.folder(self.specs[folder]).exists():
            raise NotAdopted("there is one under today's identity already")
        return True

    def _judge(self, folder: Path) -> None:
        """Raise NotAdopted unless all is as the module says; ask each once."""
        if folder not in self._judged:
            try:
                self._judged[folder] = None  # no circles: an artefact's identity rests on those of its inputs
                self._check(folder)
            except NotAdopted as reason:
                self._judged[folder] = str(reason)
        if reason := self._judged[folder]:
            raise NotAdopted(reason)

    def _check(self, folder: Path) -> None:
        manifest = self.manifests.get(folder)
        if manifest is None:
            raise NotAdopted(f"its {MANIFEST} is missing or damaged")
        if "versions" in manifest:
            self.specs[folder] = stages()[folder.parent.name].spec.model_validate(manifest["parameters"])
            return
        if lacking := _NEEDED - manifest.keys():
            raise NotAdopted(f"its {MANIFEST} lacks {', '.join(sorted(lacking))}")
        try:
            spec = self.specs[folder] = stages()[folder.parent.name].spec.model_validate(manifest["parameters"])
        except ValidationError:
            raise NotAdopted("its parameters are not those of today") from None
        entry = self._entry(folder)
        if entry is None:
            raise NotAdopted("no golden run has compared the code that made it")
        if unknown := sorted(names_within(spec) - set(entry["kinds"])):
            raise NotAdopted(f"the golden run of {entry['release']} had no {', '.join(unknown)}")
        if not self.rounding and _rounded(spec, entry):
            raise NotAdopted("scores of a learned teacher differ from today's by rounding; adopt --rounding takes them over")
        if folder.name != _old_identity(manifest, outside_content(spec)):
            raise NotAdopted("its manifest is damaged, or what it names by path has another content now")
        self._check_inputs(manifest, spec)
        for name, digest in manifest["files"].items():
            if not (folder / name).is_file() or tree_sha256(folder / name) != digest:
                raise NotAdopted(f"its {name} is missing or damaged")

    def _check_inputs(self, manifest: Manifest, spec: Spec) -> None:
        for part in manifest["inputs"].values():
            key = part["stage"], part["identity"]
            above = self.store.root.joinpath(*key)
            if key not in self._before:
                if above not in self.folders:
                    raise NotAdopted(f"the {part['stage']} that it was made from is not there")
                try:
                    self._judge(above)
                except NotAdopted:
                    raise NotAdopted(f"the {part['stage']} that it was made from stays") from None
            if identity(self._before.get(key) or self.specs[above]) not in upstream(spec):
                raise NotAdopted(f"today it would be made from another {part['stage']}")

    def _entry(self, folder: Path) -> Confirmed | None:
        return confirmed().get(folder.parent.name, {}).get(self.manifests[folder].get("code", ""))

    def rounded(self, folder: Path) -> bool:
        """Tell whether an artefact differs from today's by rounding itself."""
        return _rounded(self.specs[folder], self._entry(folder))

    def pairs(self, chosen: list[Path]) -> dict[Path, Path]:
        """Return where folders of pairs go that a chosen artefact, or one that differs where nobody reads, was made with."""
        found: dict[Path, Path] = {}
        beside = [folder for folder, reason in self._judged.items() if reason is None and folder not in chosen]
        for folder in [*chosen, *beside]:
            spec, bills = self.specs[folder], dict.fromkeys(bill["teacher"] for bill in self.manifests[folder]["scoring"])
            collection = getattr(spec, "collection", None) or getattr(getattr(spec, "groups", None), "collection", None)
            scorers = dict.fromkeys(scorer for teacher in _teachers(spec) for scorer in teacher.scorers)
            if collection is not None and len(bills) == len(scorers):  # else another artefact tells of the same teacher
                for name, teacher in zip(bills, scorers, strict=True):
                    found[self.store.root / "pairs" / name] = self.store.folder(PairsSpec(teacher=teacher, collection=collection))
        return found

    def other_pairs(self, taken: dict[Path, Path]) -> dict[str, list[Path]]:
        """Return the folders of pairs of the older layout that stay, by the reason."""
        others = [place for place in sorted(self.store.root.glob("pairs/*-*")) if place not in taken]
        damaged = [place for place in taken if any(_is_damaged(main) for main in place.glob("main-*"))]
        for place in damaged:
            del taken[place]
        reasons = {"no artefact that was taken over says whose they are": others, "their arrays are damaged": damaged}
        return {reason: places for reason, places in reasons.items() if places}


def _is_damaged(main: Path) -> bool:
    """Tell whether merged arrays are not what their hashes say; those of 0.4.0 have none."""
    try:
        hashed = "files" in json.loads((main / "about.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return True
    return hashed and arrays.damage_of_arrays(main, float("inf")) is not None


def _teachers(spec: Spec) -> list[Teacher]:
    """Return the teachers within parameters, but for those within specs in them."""
    values = [getattr(spec, name) for name in type(spec).model_fields]
    return [part for part in within(values, below=Spec) if isinstance(part, Teacher)]


def _rounded(spec: Spec, entry: Confirmed | None) -> bool:
    return entry is not None and bool({type(teacher).__name__ for teacher in _teachers(spec)} & set(entry.get("rounding", ())))


def _old_identity(manifest: Manifest, content: dict[str, str]) -> str:
    """Return the identity that 0.4.0 to 0.6.0 gave to what a manifest says."""
    record = {"stage": manifest["stage"], "parameters": manifest["parameters"], "code": manifest.get("code"), "content": content}
    record["inputs"] = {role: part["identity"] for role, part in manifest["inputs"].items()}
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:20]


def _take_over(folder: Path, manifest: Manifest, spec: Spec, store: Store, pairs: dict[str, str], rounded: bool) -> None:
    """Write an artefact's manifest anew, then rename its folder."""
    if "versions" not in manifest:
        made = {"identity": folder.name, "code": manifest.get("code")} | ({"rounding": True} if rounded else {})
        fresh = {name: value for name, value in manifest.items() if name not in ("code", "checksum")} | {
            "identity": identity(spec),
            "parameters": spec.model_dump(mode="json"),
            "inputs": {role: {"stage": part.stage, "identity": identity(part)} for role, part in inputs(spec).items()},
            "versions": versions(spec),
            "content": outside_content(spec),
            "scoring": [bill | {"teacher": pairs.get(bill["teacher"], bill["teacher"])} for bill in manifest["scoring"]],
            "sizes": {name: (folder / name).stat().st_size for name in manifest["files"]},
            "adopted": made,
        }
        durable.write_text(folder / MANIFEST, sealed(fresh))
    durable.rename(folder, store.folder(spec))
    read_manifest(store.folder(spec))


def _move_pairs(before: Path, after: Path) -> None:
    """Rename a folder of pairs; arrays that have no hashes yet, as 0.4.0 wrote them, get those that they have."""
    for main in before.glob("main-*"):
        arrays.seal_arrays(main)
    durable.rename(before, after)
