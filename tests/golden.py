"""Do changed sources still write the same bytes? ``python -m tests.golden make|compare OUTPUTS FILE``.

``make`` writes down the SHA-256 of every file of every artefact in the store of ``OUTPUTS``, by stage and parameters; ``compare`` says
where another store differs. Identities are no part of it, so that stores of several layouts can be compared. The last bits of trained
students differ between processors: make both stores on the same machine, with the same number of threads.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rd_utils import params

SPECS = {spec.stage: spec for spec in params.Spec.__subclasses__()}
TAGS = ("kind", "source")


def canonical(value: Any) -> Any:
    """Return a value as JSON without the fields that equal their defaults; tags stay."""
    if isinstance(value, BaseModel):
        fields = {name: (getattr(value, name), field) for name, field in type(value).model_fields.items()}
        return {name: canonical(item) for name, (item, field) in fields.items() if name in TAGS or item != field.get_default()}
    if isinstance(value, (tuple, list)):
        return [canonical(item) for item in value]
    return value


def read(outputs: Path) -> dict[str, dict[str, str]]:
    """Return the SHA-256 of each artefact's files, by its stage and parameters.

    Raises:
        SystemExit: two artefacts of the same parameters have different files.
    """
    found: dict[str, dict[str, str]] = {}
    for path in sorted((outputs / "store").glob("*/*/manifest.json")):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        parameters = SPECS[manifest["stage"]].model_validate(manifest["parameters"])
        key = f"{manifest['stage']} {json.dumps(canonical(parameters), sort_keys=True)}"
        if found.setdefault(key, manifest["files"]) != manifest["files"]:
            sys.exit(f"{path.parent} has other files than another artefact of the same parameters: {key}")
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
    lines = differences(json.loads(Path(file).read_text(encoding="utf-8")), found)
    print("\n".join(lines or [f"{len(found)} artefacts, all the same"]))
    return int(bool(lines))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
