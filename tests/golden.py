"""Do changed sources still write the same bytes? ``python -m tests.golden make|compare OUTPUTS FILE``.

``make`` writes down the SHA-256 of every file of every artefact in the store of ``OUTPUTS``, by stage and parameters; ``compare`` says
where another store differs. Identities are no part of it, and the parameters of both are read as the classes of today read them, so that
stores of several layouts can be compared. The last bits of trained students differ between processors: make both stores on the same
machine, with the same number of threads.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rd_utils.store.canonical import canonical
from rd_utils.study.stage import stages

Artefact = dict[str, Any]  # of its manifest: stage, parameters, files


def read(outputs: Path) -> list[Artefact]:
    """Return the artefacts in the store of ``outputs``."""
    manifests = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((outputs / "store").glob("*/*/manifest.json"))]
    return [{name: manifest[name] for name in ("stage", "parameters", "files")} for manifest in manifests]


def by_parameters(artefacts: list[Artefact]) -> dict[str, dict[str, str]]:
    """Return the SHA-256 of each artefact's files, by its stage and parameters.

    Raises:
        SystemExit: two artefacts of the same parameters have different files.
    """
    found: dict[str, dict[str, str]] = {}
    for artefact in artefacts:
        spec = stages()[artefact["stage"]].spec.model_validate(artefact["parameters"])
        key = f"{spec.stage} {json.dumps(canonical(spec), sort_keys=True)}"
        if found.setdefault(key, artefact["files"]) != artefact["files"]:
            sys.exit(f"two artefacts of the same parameters have other files: {key}")
    return found


def differences(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> list[str]:
    """Return a line for each artefact that is missing, new or different."""
    lines = [f"missing: {key}" for key in before.keys() - after.keys()] + [f"new: {key}" for key in after.keys() - before.keys()]
    for key in before.keys() & after.keys():
        was, is_now = before[key], after[key]
        files = sorted(name for name in was.keys() | is_now.keys() if was.get(name) != is_now.get(name))
        lines += [f"differs in {', '.join(files)}: {key}"] if files else []
    return sorted(lines)


def main(command: str, outputs: str, file: str) -> int:
    """Make or compare; return the exit status."""
    found = read(Path(outputs))
    if command == "make":
        Path(file).write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"{file}: {len(found)} artefacts")
        return 0
    if command != "compare":
        sys.exit(f"unknown command {command!r}; one of make, compare")
    before = json.loads(Path(file).read_text(encoding="utf-8"))
    lines = differences(by_parameters(before), by_parameters(found))
    print("\n".join(lines or [f"{len(found)} artefacts, all the same"]))
    return int(bool(lines))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
