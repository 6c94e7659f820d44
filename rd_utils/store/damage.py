"""Manifests, and what of an artefact's folder is no longer what was written."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, cast

from rd_utils.files import StoreError, tree_sha256
from rd_utils.store.manifests import Manifest

MANIFEST = "manifest.json"
_KEYS = ("stage", "identity", "parameters", "inputs", "counts", "dropped", "cost", "scoring", "files", "sizes", "checksum")


class DamageError(StoreError):
    """What an artefact's folder holds is not what was written; the message names the file and the remedy."""


class Damage(NamedTuple):
    """What is wrong with the folder of an artefact.

    Attributes:
        folder: of the artefact.
        problems: one a file, its name first.
        files: the SHA-256 of the files as they were made; None where the manifest cannot say.
    """

    folder: Path
    problems: list[str]
    files: dict[str, str] | None

    def say(self) -> str:
        """Return what is wrong, what can be done, and what is made from it."""
        others = f" (and {len(self.problems) - 1} more: {'; '.join(self.problems[1:])})" if len(self.problems) > 1 else ""
        return f"{self.folder}/{self.problems[0]}{others}; delete the folder {self.folder} and run again; {self.depending()}"

    def depending(self) -> str:
        """Return what of the store is made from the artefact, by stage."""
        counts = Counter(folder.parent.name for folder in dependents(self.folder))
        if not counts:
            return "nothing in the store is made from it"
        named = ", ".join(f"{number} {stage}" for stage, number in sorted(counts.items()))
        return f"made from it are {named}, which are right unless they were made after the damage"


def damage_of(folder: Path, hashed_up_to: float) -> Damage | None:
    """Compare an artefact's folder with its manifest: every file's size, and the SHA-256 of files of up to so many bytes."""
    try:
        manifest = read_manifest(folder)
    except DamageError as error:
        return Damage(folder, [str(error).split("; ")[0].removeprefix(f"{folder}/")], None)
    problems = []
    for name, size in manifest["sizes"].items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is {'damaged: it is no file' if path.exists() else 'missing'}")
        elif (found := path.stat().st_size) != size:
            problems.append(f"{name} is damaged: it has {found:,} bytes, not {size:,}")
        elif size <= hashed_up_to and (digest := _read_sha256(path)) != manifest["files"][name]:
            problems.append(f"{name} is damaged: its SHA-256 is {digest[:12]}..., not {manifest['files'][name][:12]}...")
    return Damage(folder, problems, manifest["files"]) if problems else None


def _read_sha256(path: Path) -> str:
    try:
        return tree_sha256(path)
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> StoreError:
    """Return the error that says that the disk does not give a file."""
    return StoreError(f"{path} cannot be read ({error.strerror or error}); make it readable, or look after the disk")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an artefact's folder.

    Raises:
        DamageError: it is missing, empty, cut, changed, or another artefact's.
        StoreError: the disk does not give it.
    """
    path, remedy = folder / MANIFEST, f"delete the folder {folder} and run again"
    try:
        text = path.read_bytes()
        manifest = json.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        raise DamageError(f"{path} is missing; {remedy}") from None
    except IsADirectoryError:
        raise DamageError(f"{path} is damaged: it is a folder; {remedy}") from None
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError):  # no UTF-8, or no JSON
        raise DamageError(f"{path} is damaged: it {'is no JSON' if text else 'is empty'}; {remedy}") from None
    if not isinstance(manifest, dict) or (lacking := [key for key in _KEYS if key not in manifest]):
        lacks = f"lacks {', '.join(lacking)}" if isinstance(manifest, dict) else "is no JSON object"
        raise DamageError(f"{path} is damaged, or of an earlier version: it {lacks}; {remedy}")
    if (manifest["stage"], manifest["identity"]) != (folder.parent.name, folder.name):
        raise DamageError(f"{path} is of another artefact, {manifest['stage']} {manifest['identity']}; {remedy}")
    if manifest["checksum"] != _checksum(manifest):
        raise DamageError(f"{path} is damaged: its checksum is another; {remedy}")
    return cast("Manifest", manifest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into the folder of a draft, which is flushed as a whole later."""
    (folder / MANIFEST).write_text(sealed(manifest), encoding="utf-8")


def sealed(manifest: Mapping[str, object]) -> str:
    """Return a manifest as text, with a checksum of itself."""
    plain = json.loads(json.dumps(manifest))
    plain["checksum"] = _checksum(plain)
    return json.dumps(plain, indent=1, sort_keys=True)


def _checksum(manifest: Mapping[str, object]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def dependents(folder: Path) -> list[Path]:
    """Return the folders of the artefacts of a store that are made from one of it, directly or not."""
    root = folder.parent.parent
    made_from: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(root.glob(f"*/*/{MANIFEST}")):
        try:
            parts = read_manifest(path.parent)["inputs"].values()
        except StoreError:
            continue
        for part in parts:
            made_from.setdefault((part["stage"], part["identity"]), []).append(path.parent)
    found: dict[Path, None] = {}
    waiting = [folder]
    while waiting:
        own = waiting.pop()
        for next_one in made_from.get((own.parent.name, own.name), ()):
            if next_one not in found:
                found[next_one] = None
                waiting.append(next_one)
    return list(found)
