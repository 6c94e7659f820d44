"""The command ``doctor``: what is installed, what this machine can do, and whether the project, its outputs and its store are sound.

Each check yields findings. This module imports the standard library alone, and a check imports what it needs: in a broken environment, what
cannot be imported is a finding like any other, and compiled libraries are tried in a process of their own, which may die of them.
"""

from __future__ import annotations

import argparse
import fcntl
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = "rd-utils"
SHOWN = ("torch", "sentence-transformers", "transformers", "numpy")  # packages with a line of their own
COMPILED = ("numpy", "pyarrow", "faiss", "numba", "torch")  # libraries that a processor or a system may not be able to load
LITTLE_DISK, LITTLE_MEMORY = 2e9, 2e9  # bytes, below which there is a note
_SECONDS = 120.0  # that loading these libraries may take
_ROOT = Path(__file__).resolve().parents[2]
_LOADS = """
import importlib, json, sys
for name in sys.argv[1:]:
    print(json.dumps({"loading": name}), flush=True)
    module = importlib.import_module(name)
cuda = "torch" in sys.argv[1:] and module.cuda.is_available()
devices = [module.cuda.get_device_properties(place) for place in range(module.cuda.device_count())] if cuda else []
print(json.dumps({"devices": [[device.name, device.total_memory] for device in devices]}), flush=True)
"""
_REPAIR = "`make clean`, then `make study`, installs what the lock names"


class Finding(NamedTuple):
    """What a check found.

    Attributes:
        about: the check.
        state: ``ok``, ``note`` or ``problem``.
        text: what is so.
        remedy: what helps, where it is not ok.
    """

    about: str
    state: str
    text: str
    remedy: str = ""


Found = Iterator[tuple[str, str, str]]  # state, text, remedy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    parser.add_argument("--json", action="store_true", help="print findings and versions as one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print what is found; return 1 where there is a problem."""
    findings = list(examined())
    if options.json:
        print(json.dumps({"findings": [finding._asdict() for finding in findings], "versions": versions()}, indent=1))
    else:
        print(as_text(findings))
    return int(any(finding.state == "problem" for finding in findings))


def examined(checks: Iterable[Callable[[], Found]] | None = None) -> Iterator[Finding]:
    """Yield what the checks find; one that fails is a problem that names the error, and the others go on."""
    for check in CHECKS if checks is None else checks:
        about = check.__name__.strip("_")
        try:
            for state, text, remedy in check():
                yield Finding(about, state, text, remedy)
        except ImportError as error:
            yield Finding(about, "problem", f"not examined: {error}", _REPAIR)
        except Exception as error:  # whatever is broken, the other checks are what a person needs now
            yield Finding(about, "problem", f"not examined: {type(error).__name__}: {error}", "look after what the message names")


def as_text(findings: Iterable[Finding]) -> str:
    """Return the findings, one a line with its remedy below, and a last line with the counts."""
    findings, lines, width = list(findings), [], max(60, shutil.get_terminal_size((120, 24)).columns)
    for finding in findings:
        indent = " " * 20
        lines += textwrap.wrap(
            f"{finding.state:<8} {finding.about:<10} {finding.text}", width, subsequent_indent=indent, break_on_hyphens=False
        )
        if finding.remedy:
            lines += textwrap.wrap(finding.remedy, width, initial_indent=f"{indent}-> ", subsequent_indent=f"{indent}   ")
    counts = Counter(finding.state for finding in findings)
    said = ", ".join(f"{counts[state]} {state}{'s' * (counts[state] != 1)}" for state in ("problem", "note"))
    return "\n".join([*lines, "", said])


# --- packages -----------------------------------------------------------------------------------------------------------------------


def _declared() -> tuple[list[str], dict[str, list[str]]]:
    """Return what the package needs, and what each extra needs besides: as its checkout says, else as it was installed."""
    import tomllib

    if (path := _ROOT / "pyproject.toml").is_file():
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        return project["dependencies"], project["optional-dependencies"]
    base: list[str] = []
    extras: dict[str, list[str]] = {}
    for text in importlib.metadata.requires(PACKAGE) or ():
        needed, _, marker = (part.strip() for part in text.partition(";"))
        extra = re.search(r"extra == ['\"](.+?)['\"]", marker)
        (extras.setdefault(extra[1], []) if extra else base).append(needed)
    return base, extras


def _name(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement)[0]  # pyright: ignore[reportOptionalSubscript]


def _version(name: str) -> str | None:
    """Return a package's version, None where it is not installed, or half removed."""
    try:
        return importlib.metadata.version(name) or None
    except (importlib.metadata.PackageNotFoundError, KeyError):
        return None


def versions() -> dict[str, str | None]:
    """Return the versions of this package, Python and what is needed, None where it is missing; empty where nothing says what is."""
    from rd_utils import __version__

    try:
        base, extras = _declared()
    except Exception:  # the check of packages says so
        base, extras = [], {}
    names = [_name(text) for text in (*base, *(text for needed in extras.values() for text in needed))]
    return {PACKAGE: __version__, "python": platform.python_version()} | {name: _version(name) for name in names}


def _outside(requirements: Iterable[str]) -> list[str]:
    """Return the packages whose installed versions are outside their ranges, with both."""
    from packaging.requirements import Requirement

    found = []
    for text in requirements:
        needed, version = Requirement(text), _version(_name(text))
        if version is not None and not needed.specifier.contains(version, prereleases=True):
            found.append(f"{needed.name} {version} (not {needed.specifier})")
    return found


def packages() -> Found:
    """This package, Python, and what the package needs."""
    from rd_utils import __version__

    python = f"Python {platform.python_version()} ({sys.executable})"
    if sys.version_info < (3, 11):  # noqa: UP036  # started without make, which looks
        yield "problem", f"rd_utils {__version__}, {python}", "Python 3.11 or later is needed: `make study PYTHON=python3.12`"
    else:
        yield "ok", f"rd_utils {__version__}, {python}", ""
    try:
        importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        yield "note", f"{PACKAGE} is not installed here, so only its checkout's folder has it", "`pip install --no-deps -e .` there"
    base, _ = _declared()
    missing = [name for name in map(_name, base) if _version(name) is None]
    if missing:
        yield "problem", f"{len(missing)} of {len(base)} packages are missing: {', '.join(missing)}", _REPAIR
    outside = _outside(base) if _version("packaging") else []
    if outside:
        yield "problem", f"{len(outside)} packages are outside the range that is needed: {', '.join(outside)}", _REPAIR
    shown = [f"{name} {_version(name)}" for name in SHOWN if name not in missing]
    others = len(base) - len(missing) - len(shown)
    yield "ok", f"{', '.join(shown)}, and {others} more of the {len(base)} packages that are needed", ""


def extras() -> Found:
    """What makes a package's extras."""
    for extra, needed in _declared()[1].items():
        missing = [name for name in map(_name, needed) if _version(name) is None]
        locked = next((name for name in (f"locks/{extra}.txt", "constraints.txt") if (_ROOT / name).is_file()), None)
        install = f"--require-hashes --no-deps -r {locked}" if locked else f"'{PACKAGE}[{extra}]'"
        remedy = f"where it is wanted: `pip install {install}`"
        if missing:
            yield "note", f"{extra}: missing {', '.join(missing)}", remedy
        elif outside := _outside(needed):
            yield "note", f"{extra}: outside the range that is needed: {', '.join(outside)}", remedy
        else:
            yield "ok", f"{extra}: all {len(needed)} packages", ""


def lock() -> Found:
    """Whether what is installed is what the lock names."""
    from rd_utils.workflow import lock

    paths = [path for name in ("locks/build.txt", "constraints.txt") if (path := _ROOT / name).is_file()]
    if not paths:
        yield "note", f"no lock beside {_ROOT}, so versions are not compared", "a checkout has one (constraints.txt)"
        return
    pins = {name: version for path in paths for name, (version, _) in lock.read(path).items()}
    here = {name: version.split("+")[0] for name in pins if (version := _version(name)) is not None}
    differing = [f"{name} {version} (locked: {pins[name]})" for name, version in here.items() if version != pins[name]]
    if differing:
        more = f" and {len(differing) - 8} more" if len(differing) > 8 else ""
        yield "note", f"{len(differing)} of {len(here)} packages are not as locked: {', '.join(differing[:8])}{more}", _REPAIR
    else:
        yield "ok", f"{len(here)} packages are as locked", ""


# --- machine ------------------------------------------------------------------------------------------------------------------------


def machine() -> Found:
    """The processor, memory and accelerators, and whether compiled libraries load."""
    from rd_utils.processor import cores, processor

    one = processor()
    about = f"{platform.platform()}; processor {one.kind}: {one.instructions}; {cores()} of {os.cpu_count()} cores"
    if one.instructions in ("plain", "scalar"):
        yield "note", about, "without AVX2 products of matrices are slow; encoders are better trained elsewhere"
    else:
        yield "ok", about, ""
    total, free = _memory()
    if total:
        text = f"{total / 1e9:.1f} GB of memory" + (f", {free / 1e9:.1f} GB available" if free else "")
        scarce = free is not None and free < LITTLE_MEMORY
        yield ("note", text, "end what is not needed; `rd plan` says what a study takes") if scarce else ("ok", text, "")
    yield from _loaded()


def _memory() -> tuple[int | None, int | None]:
    """Return bytes of memory in all and available, None where the system does not say."""
    path = Path("/proc/meminfo")
    if path.is_file():
        said = dict(re.findall(r"^(\w+):\s+(\d+) kB", path.read_text(), re.MULTILINE))
        total, free = (int(said[name]) * 1024 if name in said else None for name in ("MemTotal", "MemAvailable"))
        return total, free
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
    except (ValueError, OSError):
        return None, None


def _loaded() -> Found:
    """Load compiled libraries in another process; say the accelerators that torch sees."""
    try:
        done = subprocess.run([sys.executable, "-c", _LOADS, *COMPILED], capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        yield "note", f"{', '.join(COMPILED)} did not load within {_SECONDS:.0f} s", "the disk or the machine is busy; ask again"
        return
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    last: dict[str, Any] = said[-1] if said else {"loading": "Python"}
    if "devices" not in last:
        reason = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), f"exit status {done.returncode}")
        yield "problem", f"{last['loading']} does not load: {reason}", _REPAIR
        return
    yield "ok", f"{', '.join(COMPILED)} load", ""
    if devices := last["devices"]:
        yield "ok", f"accelerators: {', '.join(f'{name} ({memory / 1e9:.0f} GB)' for name, memory in devices)}", ""
    elif shutil.which("nvidia-smi"):
        remedy = "PyTorch's build for CUDA: `make clean`, then `make study`, without the CPU build in reach (docs/quickstart.md)"
        yield "note", "torch sees no accelerator, though the machine has NVIDIA's driver", remedy
    else:
        yield "ok", "no accelerator: models run on the processor", ""


# --- project ------------------------------------------------------------------------------------------------------------------------


def project() -> Found:
    """The project, its outputs folder, and what their disk takes."""
    from rd_utils.store.paths import outputs_root, project_root

    yield "ok", f"project {project_root()}", ""
    folder = outputs_root().resolve()
    chosen = " (RD_OUTPUTS)" if os.environ.get("RD_OUTPUTS") else ""
    elsewhere = "make it writable, or name another folder in RD_OUTPUTS"
    held = next(place for place in (folder, *folder.parents) if place.exists())
    text = f"outputs {folder}{chosen}" + ("" if held == folder else f", to be made in {held}")
    if not held.is_dir():
        yield "problem", f"{text}: {held} is no folder", "name another folder in RD_OUTPUTS"
        return
    refused = _refused(held)
    yield ("problem", f"{text}: {refused}", elsewhere) if refused else ("ok", f"{text}: writable, with locks", "")
    free = shutil.disk_usage(held).free
    text = f"{free / 1e9:.1f} GB free where outputs go"
    yield ("note", text, "`rd plan` says how much a study leaves") if free < LITTLE_DISK else ("ok", text, "")


def _refused(folder: Path) -> str | None:
    """Return why a folder takes no file, or no lock; None where it does."""
    from rd_utils import durable

    probe = folder / durable.beside("probe")
    try:
        with probe.open("wb") as stream:
            stream.write(bytes(65_536))
            stream.flush()
            os.fsync(stream.fileno())
            try:
                for take in (fcntl.lockf, fcntl.flock):  # of a study's turn, and of an artefact
                    take(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    take(stream, fcntl.LOCK_UN)
            except OSError as error:
                return f"its file system has no locks ({error.strerror})"
    except OSError as error:
        return f"it takes no file ({error.strerror})"
    finally:
        try:
            durable.remove(probe)
        except OSError:
            pass
    return None


def store() -> Found:
    """What the store holds, by names alone."""
    from rd_utils.store import Store
    from rd_utils.workflow import provenance

    root = Store().root
    if not root.is_dir():
        yield "ok", f"no store yet at {root}: the first study makes it", ""
        return
    artefacts, found = provenance.glance(root)
    yield "ok", f"{artefacts:,} artefacts in {root}; `rd verify` reads them in full", ""
    for kind in dict.fromkeys(finding.kind for finding in found):
        places = [finding.place for finding in found if finding.kind == kind]
        discarded = "`rd verify --discard` deletes it, and the next run replaces it"
        remedy = "move it elsewhere, or delete it" if kind == "unknown" else discarded
        yield "note", f"{len(places)} {kind}, the first is {places[0]}", remedy


def programs() -> Found:
    """What a study is run with: snakemake and the kernel of notebooks."""
    own = Path(sys.executable).parent / "snakemake"
    found = shutil.which("snakemake") or (str(own) if own.is_file() else None)
    if found is None:
        yield "problem", "snakemake is not found", _REPAIR
    elif own.is_file() and not os.path.samefile(found, own):
        yield "note", f"snakemake is that of another environment: {found}", f"`source {own.parent}/activate` first"
    else:
        yield "ok", f"snakemake {_version('snakemake')} at {found}", ""
    for name in ("make", "git"):
        if shutil.which(name) is None:
            yield "note", f"{name} is not found", "studies are started by make, and manifests name git's revision; install it"
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        kernel = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        yield "problem", "no kernel python3, which runs the notebooks", "`python -m ipykernel install --sys-prefix`"
        return
    program = shutil.which(kernel.argv[0])
    if program is None:
        yield "problem", f"the kernel python3 starts {kernel.argv[0]}, which is not there", "`python -m ipykernel install --sys-prefix`"
    else:
        yield "ok", f"kernel python3 at {kernel.resource_dir}", ""


CHECKS: tuple[Callable[[], Found], ...] = (packages, extras, lock, machine, project, store, programs)
