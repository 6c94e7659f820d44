"""The lock: which version of every package an environment gets, and the SHA-256 of each file that may be it: pip installs no other.

uv resolves for Linux, macOS and every Python that the package allows, where versions are those of the environment that is active, and lists
the files that the package index has of each: wheels of all platforms, and sources. :data:`FILES` says what is written where.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FILES = {  # in the order in which they are installed
    "locks/build.txt": "what builds packages that come as sources, this one among them; installed first",
    "locks/cpu.txt": "PyTorch's build for CPUs, taken where pip finds it",
    "constraints.txt": "what make installs",
    "locks/cuda.txt": "what PyTorch's build for CUDA needs besides",
    "locks/cluster.txt": "what the extra cluster needs besides",
    "locks/energy.txt": "what the extra energy needs besides",
}
_DEVELOPMENT = ("dev", "docs")  # the extras that make installs
_BUILD = {"setuptools", "hatchling", "packaging", "pathspec", "pluggy", "trove-classifiers"}
_CUDA = re.compile(r"(nvidia|cuda)-.+|triton")
_ENTRY = re.compile(r"^([a-z0-9-]+)==(\S+)(.*(?:\n    .*)*)", re.MULTILINE)


class LockError(RuntimeError):
    """The lock cannot be written; the message says what is missing."""


def write(root: Path, uv: str = "uv") -> dict[str, int]:
    """Write the files of the lock from what is installed.

    Args:
        root: the project's.
        uv: the program.

    Returns:
        How many packages each file has.

    Raises:
        LockError: uv is not there, or finds no versions that go together.
    """
    pins = installed("rd-utils", set(_DEVELOPMENT))
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "pins.txt"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in sorted(pins.items())), encoding="utf-8")
        needed = {extra: _resolved(root, uv, constraints, extra) for extra in ("dev", "cluster", "energy")}
    every = needed["dev"]
    parts = {
        "locks/build.txt": {name: text for name, text in every.items() if name in _BUILD},
        "locks/cuda.txt": {name: text for name, text in every.items() if _CUDA.fullmatch(name)},
    }
    parts["constraints.txt"] = {name: text for name, text in every.items() if not any(name in part for part in parts.values())}
    cpu = importlib.metadata.version("torch")
    if cpu.endswith("+cpu"):  # which the index does not have; without it the file stays as it is
        parts["locks/cpu.txt"] = {"torch": f"torch=={cpu} \\\n    --hash=sha256:{_sha256_here('torch', cpu)}"}
    for extra in ("cluster", "energy"):
        parts[f"locks/{extra}.txt"] = {name: text for name, text in needed[extra].items() if name not in every}
    for name, entries in parts.items():
        head = f"# {FILES[name][0].upper()}{FILES[name][1:]}. Written by `make lock`; for pip install --require-hashes --no-deps -r.\n"
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(head + "".join(f"{text}\n" for _, text in sorted(entries.items())), encoding="utf-8")
    return {name: len(entries) for name, entries in parts.items()}


def read(path: Path) -> dict[str, tuple[str, set[str]]]:
    """Return each package's version and the SHA-256 of its files, from a file of the lock."""
    found = {}
    for name, version, rest in _ENTRY.findall(path.read_text(encoding="utf-8")):
        found[canonicalize_name(name)] = version, set(re.findall(r"--hash=sha256:([0-9a-f]{64})", rest))
    return found


def installed(package: str, extras: set[str]) -> dict[str, str]:
    """Return the installed versions of everything that a package needs, itself left out, without local labels such as +cpu."""
    pins: dict[str, str] = {}
    wanted = [(package, frozenset(extras))]
    seen = set(wanted)
    while wanted:
        name, own = wanted.pop()
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform
        pins[canonicalize_name(name)] = distribution.version.split("+")[0]
        for text in distribution.requires or []:
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in (*own, "")):
                found = (canonicalize_name(requirement.name), frozenset(requirement.extras))
                if found not in seen:
                    seen.add(found)
                    wanted.append(found)
    del pins[package]
    return pins


def _resolved(root: Path, uv: str, constraints: Path, extra: str) -> dict[str, str]:
    """Return the lines of every package that this project needs with an extra, by name: its version, its platforms, its files' hashes."""
    extras = [part for name in sorted({*_DEVELOPMENT, extra}) for part in ("--extra", name)]
    options = ["--universal", "--generate-hashes", "--no-header", "--no-annotate", "--python-version", "3.11", "--quiet"]
    try:
        command = [uv, "pip", "compile", "pyproject.toml", *extras, *options, "--constraint", str(constraints)]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise LockError(f"there is no program {uv}; run make lock, which installs it for itself") from error
    if done.returncode:
        raise LockError(f"uv finds no lock for the extra {extra}: {done.stderr.strip()}; correct pyproject.toml, or what is installed")
    return {canonicalize_name(match[1]): match[0] for match in _ENTRY.finditer(done.stdout)}


def _sha256_here(name: str, version: str) -> str:
    """Return the SHA-256 of the file that pip takes for a package on this machine."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--report", "-"]
    done = subprocess.run([*command, f"{name}=={version}"], capture_output=True, text=True)
    if done.returncode:
        raise LockError(f"pip finds no {name} {version}, which is installed: {done.stderr.strip()}; install what can be found again")
    (found,) = json.loads(done.stdout)["install"]
    return found["download_info"]["archive_info"]["hashes"]["sha256"]
