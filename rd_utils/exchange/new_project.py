"""``rd init FOLDER``: a project of one's own, with a study, the notebooks to edit, and a README that says what is where."""

from __future__ import annotations

import argparse
from pathlib import Path

from rd_utils import __version__, durable
from rd_utils.store import project_of, suite_root

FIRST = Path("params") / "own" / "first.yaml"
STUDY = """\
name: first
base: embedded
question: Are mined negatives worth more under distillation than under LCE?
grids:
  - strategies: [corpus_random, bm25, pooled]
    losses: [lce, kl]
    teachers: [teacher]
    architectures: [bi]
    seeds: [0, 1, 2]
analysis: {equivalence_margin: 0.03} # fixed before anything is seen
"""
IGNORED = "/outputs/\n/.snakemake/\n.ipynb_checkpoints/\n"
README = f"""\
# A project of ranking distillation

    rd plan {FIRST.as_posix()}      # what the study costs, and what is done of it
    rd run {FIRST.as_posix()}       # runs it, and prints where its report is
    rd new FOLDER-OR-ID                # writes a study of a collection: a folder in BEIR's layout, or an id of ir_datasets
    rd lab                             # opens JupyterLab on the notebooks

- `params/` holds studies. What a study does not say comes from its `base`. The suite's own run too: `rd run params/tour.yaml`.
- `notebooks/` holds the suite's notebooks, of version {__version__}, to read, run and change. A study runs these; one that is
  deleted here runs as the installed suite has it.
- `outputs/` is made by runs: `outputs/<study>/report.html`, and the store. All of it can be deleted and made again.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    parser.add_argument("folder", metavar="FOLDER", nargs="?", default=".", help="made where it is missing (default: the working folder)")
    parser.add_argument(
        "--collection", metavar="COLLECTION", help="write a study of it too, as rd new does: a folder or an id of ir_datasets"
    )


def run(options: argparse.Namespace) -> str:
    """Make a folder a project; return what to print. What is there already stays as it is.

    Raises:
        ParameterError: the collection cannot be read; the project is there then.
        OSError: the folder cannot be written.
    """
    folder = Path(options.folder).expanduser()
    written, kept = [], []
    for path, content in _files().items():
        place = folder / path
        if place.exists():
            kept.append(path)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        durable.write_bytes(place, content)
        written.append(path)
    lines = [f"{folder}: {len(written)} files written" + (f", {len(kept)} that were there stay as they are" if kept else "")]
    there = "" if folder.resolve() == Path.cwd() else f"cd {folder}; "
    if not options.collection:
        return "\n".join([*lines, f"begin with: {there}rd run {FIRST.as_posix()}"])
    from rd_utils.exchange import new_study

    asked = argparse.Namespace(collection=options.collection, to=None)
    with project_of(folder / FIRST):
        return "\n".join([*lines, "", new_study.run(asked)])


def _files() -> dict[Path, bytes]:
    """Return a project's files by their place in it."""
    notebooks = {path.relative_to(suite_root()): path.read_bytes() for path in sorted((suite_root() / "notebooks").rglob("*.ipynb"))}
    texts = {FIRST: STUDY, Path("README.md"): README, Path(".gitignore"): IGNORED}
    return {**{path: text.encode() for path, text in texts.items()}, **notebooks}
