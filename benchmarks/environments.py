"""Virtual environments, one each under ``benchmarks/.peers``: pinned, installed once, never the project's own.

They are of the benchmark's peers, and of those who read what the suite exports.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FOLDER = HERE / ".peers"
TORCH = "torch==2.13.0"
PROJECT = "project"  # the environment that runs the suite


@dataclass(frozen=True)
class Environment:
    """A peer's environment, or a reader's: what pip is asked for."""

    name: str
    requirements: tuple[str, ...]
    without: tuple[str, ...] = ()  # what the requirements pull in and must not be there

    @property
    def python(self) -> Path:
        """Return its interpreter."""
        return FOLDER / self.name / "bin" / "python"


ENVIRONMENTS = {
    environment.name: environment
    for environment in (
        # CatTransformer needs python-terrier to be there
        Environment(
            "rankers",
            (
                TORCH,
                "rankers==0.0.6",
                "transformers==5.23.0",
                "accelerate==1.15.0",
                "python-terrier==1.0",
                "sentence-transformers==6.2.0",
                "bm25s==0.3.16",
                "PyStemmer==3.1.0",
            ),
        ),
        Environment("lightning-ir", (TORCH, "lightning-ir==0.0.6", "transformers==4.57.6")),
        # its release on PyPI needs a Trainer from before 4.46
        Environment("tevatron", (TORCH, "tevatron==0.1.0", "transformers==4.45.2", "accelerate==1.0.1", "datasets==3.0.1")),
        Environment("bm25", ("bm25s==0.3.16", "numba==0.68.1", "tantivy==0.27.0", "PyStemmer==3.1.0")),
        # torchvision comes for another build of torch, and breaks the import of transformers
        Environment(
            "openvino", (TORCH, "sentence-transformers==6.2.0", "optimum-intel==2.2.0", "openvino==2026.4.1"), without=("torchvision",)
        ),
        # not for speed: these two, and tevatron, read what the suite exports (tests/integration/test_consumers.py)
        # later releases need fast-plaid, which pins another torch; this one demands this sentence-transformers and this transformers
        Environment("pylate", (TORCH, "pylate==1.2.0", "transformers==4.48.2", "datasets==4.4.2", "sentence-transformers==4.0.2")),
        Environment(
            "flagembedding", (TORCH, "FlagEmbedding==1.4.2", "transformers==4.57.6", "datasets==4.4.2", "sentence-transformers==5.1.2")
        ),
    )
}


def install(names: Iterable[str] = ENVIRONMENTS, say: Callable[[str], None] = print) -> dict[str, str]:
    """Install what is not installed yet; return the environments that could not be, with the reason.

    An environment is installed anew when its requirements have changed. A failure is kept in ``NAME.failed`` beside it and is shown in the
    results; the next call tries again.
    """
    failed = {}
    for name in names:
        environment = ENVIRONMENTS[name]
        folder = FOLDER / name
        done = folder / "INSTALLED"
        wanted = json.dumps(environment.requirements)
        if done.is_file() and done.read_text() == wanted:
            continue
        say(f"installing {name}: {' '.join(environment.requirements)}")
        folder.mkdir(parents=True, exist_ok=True)
        (FOLDER / f"{name}.failed").unlink(missing_ok=True)
        pip = [environment.python, "-m", "pip"]
        commands = [[sys.executable, "-m", "venv", "--clear", folder], [*pip, "install", "--quiet", *environment.requirements]]
        if environment.without:
            commands.append([*pip, "uninstall", "--quiet", "--yes", *environment.without])
        for command in commands:
            made = subprocess.run([str(part) for part in command], capture_output=True, text=True)
            if made.returncode:
                errors = [line for line in made.stderr.splitlines() if line.startswith("ERROR")] or made.stderr.splitlines()
                failed[name] = f"cannot be installed: {(errors or ['no reason given'])[-1][:200]}"
                (FOLDER / f"{name}.failed").write_text(failed[name])
                say(f"  {failed[name]}")
                break
        else:
            done.write_text(wanted)
    return failed


def python_of(name: str) -> Path:
    """Return the interpreter of an environment.

    Raises:
        FileNotFoundError: It is not installed; the message is the reason, where an installation failed.
    """
    if name == PROJECT:
        return Path(sys.executable)
    if name not in ENVIRONMENTS:
        raise FileNotFoundError(f"there is no environment {name!r}; choose from {', '.join(ENVIRONMENTS)}")
    failure = FOLDER / f"{name}.failed"
    if failure.is_file():
        raise FileNotFoundError(failure.read_text())
    if not (FOLDER / name / "INSTALLED").is_file():
        raise FileNotFoundError("not installed; run make bench-setup")
    return ENVIRONMENTS[name].python
