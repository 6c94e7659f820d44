"""Command line: ``rd init|new|check|plan|run|status|lab``, then ``compare``, ``power``, ``export``, ``import``; all are in :data:`VERBS`.

``python -m rd_utils`` is the same. ``verify``, ``rerun`` and ``trace`` say whether results can be trusted, ``doctor`` whether this machine
is ready; for developers ``execute|lock``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from rd_utils.study.plan import Plan


class Verb(NamedTuple):
    """A command: what it does in a line, what adds its arguments to a parser, and what runs it and returns the exit status."""

    about: str
    add: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def command_line(*asked: str | None, named: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of all commands, with the arguments of those that are asked for: others' modules take seconds to import.

    Args:
        asked: names of commands.
        named: what the program is called in its help (default: as it was started).
    """
    named = named or ("rd" if Path(sys.argv[0]).name == "rd" else "python -m rd_utils")
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=named, description="Studies of ranking distillation.", epilog=STATUS, formatter_class=as_written)
    commands = parser.add_subparsers(dest="command", required=True)
    width = shutil.get_terminal_size().columns - 2
    for name, verb in VERBS.items():
        shown = "".join(f"\n  {named} {example}" for example in EXAMPLES.get(name, ()))
        command = commands.add_parser(
            name,
            help=verb.about,
            description=textwrap.fill(verb.about, width),
            epilog=f"examples:{shown}" if shown else None,
            formatter_class=as_written,
        )
        if name in asked:
            verb.add(command)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status, as :data:`STATUS` says."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        options = command_line(next((one for one in arguments if not one.startswith("-")), None)).parse_args(arguments)
        run = VERBS[options.command].run
        return run(options) if options.command in ALONE else _told(run, options)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "rd_utils":
            raise
        print(f"error: the package {error.name} is not installed; `rd doctor` says what else is missing", file=sys.stderr)
    return 2


def _told(run: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a command; tell what it refuses, and return the exit status."""
    from rd_utils.files import StoreError
    from rd_utils.store import one_look, project_of
    from rd_utils.study.explain import ParameterError
    from rd_utils.workflow import turns

    try:
        studies = getattr(options, "study", None)
        with project_of(studies[0] if isinstance(studies, list) else studies), one_look():  # what a person owns is looked at once
            return run(options)
    except (ParameterError, StoreError) as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {turns.told(error)}", file=sys.stderr)
    return 2


def of_study(options: argparse.Namespace) -> int:
    """Run a command on a study's plan; return the exit status."""
    from rd_utils.study import node_files
    from rd_utils.study.plan import load_plan
    from rd_utils.workflow import turns

    plan = load_plan(options.study, options.base or None, inputs=options.command == "check")
    if options.command == "check":
        print_check(plan, options)
    elif options.command == "plan":
        print_plan(plan, options)
    elif options.command == "prepare":
        turns.begin(plan).leave()
    else:
        node_files.publish(plan)
    return 0


def lock(options: argparse.Namespace) -> int:
    """Write the lock; return the exit status."""
    from rd_utils.store import project_root
    from rd_utils.workflow import lock

    for name, n in lock.write(project_root()).items():
        print(f"{name}: {n} packages")
    return 0


def add_study(command: argparse.ArgumentParser) -> None:
    """Add a study and its base."""
    command.add_argument("study", help="a study file, such as params/embedded.yaml")
    command.add_argument("--base", help="run it on another base: the name of a file in params/bases")


def add_asked(command: argparse.ArgumentParser) -> None:
    """Add a study, its base, and the form of the answer."""
    add_study(command)
    add_json(command)


def add_json(command: argparse.ArgumentParser) -> None:
    """Add the form of the answer."""
    command.add_argument("--json", action="store_true", help="print the same as one JSON object")


def _add_format(command: argparse.ArgumentParser, *others: str, about: str) -> None:
    """Add the form of the answer, where there are more than two."""
    command.add_argument("--format", choices=("text", *others, "json"), default="text", help=about)
    command.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")


def add_plan(command: argparse.ArgumentParser) -> None:
    """Add what a plan is told."""
    add_study(command)
    command.add_argument(
        "--device", help="h200, h100, a100, cpu, or a YAML file with peak, bandwidth, memory, watts (default: this machine)"
    )
    command.add_argument("--cores", type=_at_least_one, default=1, help="that work at the same time (default: 1)")
    command.add_argument("--cells", action="store_true", help="a row a cell, not a row for all equal cells")
    _add_format(command, "csv", about="csv and json: every stage and cell, in SI units")


_BASE = "the study as run on another base: the name of a file in params/bases"


def add_verify(command: argparse.ArgumentParser) -> None:
    """Add what is verified."""
    command.add_argument("study", nargs="?", help="a study file (default: everything in the store)")
    command.add_argument("--discard", action="store_true", help="delete what is damaged, unfinished or left over, so that it is made again")
    command.add_argument("--base", help=_BASE)
    command.add_argument("--crate", metavar="FOLDER", help="what `export study` wrote, compared with its own hashes, instead of the store")
    add_json(command)


def add_adopt(command: argparse.ArgumentParser) -> None:
    """Add what is adopted."""
    command.add_argument("outputs", nargs="?", help="the folder that holds the store (default: this project's outputs)")
    command.add_argument("--rounding", action="store_true", help="also what differs by the rounding of a learned teacher's scores")


def add_rerun(command: argparse.ArgumentParser) -> None:
    """Add what is made again."""
    command.add_argument("cell", help="a cell, or a row that is not trained, such as BM25")
    command.add_argument("--study", required=True, help="a study file, such as params/embedded.yaml")
    command.add_argument("--base", help=_BASE)
    command.add_argument("--seed", type=int, help="one seed of the cell (default: all)")
    command.add_argument("--folder", help="where the other store goes, and stays (default: a temporary folder)")
    add_json(command)


def add_trace(command: argparse.ArgumentParser) -> None:
    """Add what is traced."""
    command.add_argument("study", help="a study file, such as params/embedded.yaml")
    command.add_argument("cell", help="a cell, or a row that is not trained, such as BM25")
    command.add_argument("measure", help="one of the study's, such as nDCG@10")
    command.add_argument("--base", help=_BASE)
    command.add_argument("--seed", type=int, help="one seed of the cell (default: all)")
    _add_format(command, about="json: all that the manifests say")


def add_execute(command: argparse.ArgumentParser) -> None:
    """Add which notebooks are executed."""
    command.add_argument("names", nargs="*", metavar="NOTEBOOK", help="their names, such as 07a_floor; all of them where none is named")


def adopt(options: argparse.Namespace) -> int:
    """Take over the artefacts of an older layout; return the exit status."""
    from rd_utils.store import Store, adopt
    from rd_utils.workflow.progress import track

    done = adopt.adopt(Store(Path(options.outputs) / "store" if options.outputs else None), options.rounding, track)
    print(done)
    return int(bool(done.left))


def verify(options: argparse.Namespace) -> int:
    """Verify the store, or one study in it; return the exit status."""
    from rd_utils.store import Store
    from rd_utils.study.explain import ParameterError
    from rd_utils.study.plan import load_plan
    from rd_utils.workflow import provenance
    from rd_utils.workflow.progress import track

    if options.crate:
        from rd_utils.exchange import crate

        if options.study or options.base or options.discard:
            raise ParameterError("--crate is compared with its own hashes, as a whole; leave the study, --base and --discard out")
        found = crate.check(Path(options.crate), track)
        print(crate.say_checked(Path(options.crate), found))
        return int(found.damaged)
    specs = load_plan(options.study, options.base or None).specs() if options.study else None
    if specs is None and options.base:
        raise ParameterError(f"--base {options.base}: only a study has a base; name it")
    found = provenance.verify(Store(), specs, track)
    discarded = provenance.discard(found.findings) if options.discard else []
    print(_as_json(found._asdict() | {"discarded": discarded}) if options.json else provenance.say_verified(found, discarded))
    return int(found.damaged)


def rerun(options: argparse.Namespace) -> int:
    """Make a cell again and compare; return the exit status.

    It is done with as many threads as the results were made with, since sums round otherwise with others.
    """
    import tempfile

    from rd_utils.store import Store
    from rd_utils.study.plan import load_plan
    from rd_utils.workflow import provenance
    from rd_utils.workflow.progress import track

    plan, store = load_plan(options.study, options.base or None), Store()
    threads = provenance.recorded_threads(plan, options.cell, store)
    if threads != os.environ.get("OMP_NUM_THREADS"):
        chosen = {key: value for key in ("study", "base", "seed", "folder") if (value := getattr(options, key)) is not None}
        command = [sys.executable, "-m", "rd_utils", "rerun", options.cell, *(f"--{key}={value}" for key, value in chosen.items())]
        command += ["--json"] * options.json
        environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
        return subprocess.run(command, env=environment | ({"OMP_NUM_THREADS": threads} if threads else {})).returncode
    with tempfile.TemporaryDirectory(prefix="rd-rerun-", ignore_cleanup_errors=True) as folder:
        found = provenance.rerun(plan, options.cell, store, Path(options.folder or folder), options.seed, track)
    print(_as_json(found._asdict() | {"repeats": found.repeats}) if options.json else provenance.say_rerun(found))
    return int(not found.repeats)


def _as_json(record: Mapping[str, object]) -> str:
    """Return a record as JSON; tuples with names in its lists become objects, paths texts."""
    plain = {key: [one._asdict() if hasattr(one, "_asdict") else one for one in value] if isinstance(value, list) else value
             for key, value in record.items()}  # fmt: skip
    return json.dumps(plain, indent=1, default=str)


def trace(options: argparse.Namespace) -> int:
    """Print what a number rests on; return the exit status."""
    from rd_utils.store import Store
    from rd_utils.study.plan import load_plan
    from rd_utils.workflow import provenance

    plan = load_plan(options.study, options.base or None)
    found = provenance.trace(plan, options.cell, options.measure, Store(), options.seed)
    print(json.dumps(found, indent=1) if options.format == "json" else provenance.say_trace(found))
    return 0


def print_check(plan: Plan, options: argparse.Namespace) -> None:
    """Print that a study is valid, how large it is, and what it will be able to show."""
    from rd_utils.analysis import questions

    if options.json:
        counts = {"cells": len(plan.cells), "students": sum(len(cell.students) for cell in plan.cells), "baselines": len(plan.baselines)}
        record = {"study": plan.study.name, "valid": True, **counts, "notebook_runs": len(plan.nodes), "notes": [*questions.before(plan)]}
        print(json.dumps(record, indent=1))
    else:
        print(f"{options.study}: valid; {_size(plan)}")
        print_notes(plan)


def print_plan(plan: Plan, options: argparse.Namespace) -> None:
    """Print what the study will cost and what of it is left; as CSV or JSON nothing else."""
    from rd_utils.cost import devices, estimates
    from rd_utils.store import Store

    found = estimates.estimate(plan, Store(), devices.device_of(options.device))
    if options.format == "text":
        print(f"study {plan.study.name}: {plan.study.question}\n{_size(plan)}\n")
        print_notes(plan)
        print()
    print(estimates.show(found, options.format, cells=options.cells, cores=options.cores))


def print_notes(plan: Plan) -> None:
    """Print what a study will be able to show, and what not."""
    from rd_utils.analysis import questions

    for line in questions.before(plan):
        print(f"note: {line}")


def execute(options: argparse.Namespace) -> int:
    """Execute notebooks; return the exit status."""
    execute_notebooks(options.names)
    return 0


def execute_notebooks(names: Sequence[str]) -> None:
    """Execute notebooks, or all, in place on their defaults, and write what JupyterLab would save: nothing but a result changes a file.

    Kept are outputs; dropped are standard error, progress and the times of cells. What a cell prints is one output, however it arrived.

    Raises:
        ParameterError: a name that no notebook has.
    """
    from rd_utils.store import project_root
    from rd_utils.study.explain import ParameterError, nearest

    folder = project_root() / "notebooks"
    known = {path.stem: path for place in ("*.ipynb", "lessons/solutions/*.ipynb") for path in sorted(folder.glob(place))}
    if unknown := next((name for name in names if name not in known), None):
        raise ParameterError(f"execute: no notebook {unknown!r}{nearest(unknown, known)}")
    import nbformat
    import papermill
    from jupyter_client.kernelspec import KernelSpecManager

    kernel = KernelSpecManager().get_kernel_spec("python3")
    for path in [known[name] for name in names] or known.values():
        print(path.name, flush=True)
        papermill.execute_notebook(str(path), str(path), cwd=str(path.parent), progress_bar=False, kernel_name="python3")
        notebook = nbformat.read(path, as_version=4)
        tidy(notebook)
        notebook.metadata.kernelspec = {"display_name": kernel.display_name, "language": kernel.language, "name": "python3"}
        nbformat.write(notebook, path)


def tidy(notebook: NotebookNode) -> None:
    """Drop from an executed notebook what differs between runs with the same results."""
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        tags = [tag for tag in cell.metadata.get("tags", []) if tag != "papermill-error-cell-tag"]
        cell.metadata.clear()
        if tags:
            cell.metadata["tags"] = tags
        if cell.cell_type == "code":
            cell.outputs = _joined(output for output in cell.outputs if output.get("name") != "stderr" and output.get("data") != {})


def _joined(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """Return outputs with printed text that follows printed text as one: a kernel sends it in pieces, as time goes by."""
    found: list[NotebookNode] = []
    for output in outputs:
        if found and output.output_type == found[-1].output_type == "stream" and output.name == found[-1].name:
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def _at_least_one(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of cores; give 1 or more")
    return int(text)


def _size(plan: Plan) -> str:
    students = sum(len(cell.students) for cell in plan.cells)
    return f"{len(plan.cells)} cells, {students} students, {len(plan.baselines)} baseline rows, {len(plan.nodes)} notebook runs"


def _nothing(command: argparse.ArgumentParser) -> None:
    """Add no argument."""


def _elsewhere(about: str, module: str) -> Verb:
    """Return a command that a module has, whose ``run`` returns what is printed, or its exit status; imported where it is asked for."""

    def add(command: argparse.ArgumentParser) -> None:
        importlib.import_module(f"rd_utils.{module}").add_arguments(command)

    def run(options: argparse.Namespace) -> int:
        found = importlib.import_module(f"rd_utils.{module}").run(options)
        if isinstance(found, int):
            return found
        print(found)
        return 0

    return Verb(about, add, run)


VERBS = {  # in the order in which they are listed
    "init": _elsewhere("make a folder a project: studies, notebooks to edit, outputs", "exchange.new_project"),
    "new": _elsewhere("look into a collection, say what it holds, and write a study of it that runs", "exchange.new_study"),
    "check": Verb("validate a study file and the names in it; start nothing", add_asked, of_study),
    "plan": Verb("print what the study will cost and what of it is done", add_plan, of_study),
    "run": _elsewhere("run a study, or go on with it, and print where its report is", "workflow.running"),
    "status": _elsewhere("say how far a study is, from any terminal; exit status 1 where a notebook has failed", "workflow.status"),
    "lab": _elsewhere("open JupyterLab on the first of the notebooks, for this machine alone and with its token", "workflow.lab"),
    "index": _elsewhere("write one page over all finished studies: every cell, with links to the reports", "report.all_studies"),
    "compare": _elsewhere(
        "say whether systems differ or are equivalent, how sure that is, at what cost: cells of studies, files, models on a collection",
        "analysis.compare",
    ),
    "power": _elsewhere(
        "say what so many queries and seeds can prove, and how many a margin needs, before anything is run", "analysis.asked_power"
    ),
    "export": _elsewhere(
        "write for others: groups with a teacher's scores, a student with a model card, TREC runs and qrels, a study as an RO-Crate",
        "exchange.export",
    ),
    "import": _elsewhere(
        "make what others ranked, scored or mined a part of a study: TREC runs, scores, hard negatives, groups", "exchange.imports"
    ),
    "doctor": _elsewhere(
        "say what is installed, what this machine can do, and whether project, outputs and store are sound; exit status 1 on a problem",
        "workflow.doctor",
    ),
    "verify": Verb(
        "compare every file of the store, or of one study in it, with what its manifest says; exit status 1 if one is damaged",
        add_verify,
        verify,
    ),
    "trace": Verb(
        "walk from a cell's mean of a measure to the parameters, inputs, seeds, versions and hashes that it rests on", add_trace, trace
    ),
    "rerun": Verb(
        "make one cell of a finished study again in an empty store, and say file by file whether it repeats; exit status 1 if it does not",
        add_rerun,
        rerun,
    ),
    "adopt": Verb(
        "take over the artefacts of a store that 0.4.0 to 0.6.0 made, where they are the same bytes today; exit status 1 if some stay",
        add_adopt,
        adopt,
    ),
    "prepare": Verb("write the parameters of every notebook run (the workflow does this itself)", add_study, of_study),
    "publish": Verb("copy the executed notebooks beside the report (the workflow does this itself)", add_study, of_study),
    "execute": Verb("execute notebooks in place on their defaults, as they are committed", add_execute, execute),
    "lock": Verb("write constraints.txt and locks/ from what is installed", _nothing, lock),
    "completion": _elsewhere("print a script by which bash or zsh completes the commands, their options and files", "workflow.completion"),
}
ALONE = {"doctor", "completion"}  # which need nothing of the store, and tell by themselves what is wrong
STATUS = """\
exit status:
  0  done
  1  done, and something was found (adopt, doctor, rerun, status, verify); of run and lab it is the program's own
  2  refused; standard error says why, and what helps"""
EXAMPLES = {
    "init": ("init mine", "init mine --collection data/own"),
    "new": ("new data/own", "new beir/scifact"),
    "check": ("check params/smallest.yaml", "check params/ablations/losses.yaml --base scifact"),
    "plan": ("plan params/embedded.yaml --cores 2", "plan params/paper/msmarco.yaml --device h200 --json"),
    "run": ("run params/tour.yaml --cores 2", "run params/paper/msmarco.yaml --profile slurm --report-to tensorboard"),
    "status": ("status params/tour.yaml", "status params/tour.yaml --watch"),
    "lab": ("lab", "lab --to ~/notebooks -- --no-browser --port 8889"),
    "index": ("index", "index --to all.html"),
    "compare": (
        "compare bi-bm25-lce bi-pooled-lce --study params/embedded.yaml",
        "compare a.run b.run --qrels qrels.txt --measure nDCG@10 --margin 0.02",
    ),
    "power": ("power --study params/embedded.yaml --architecture bi --queries 200", "power --sd-queries 0.2 --sd-seeds 0.01 --json"),
    "export": (
        "export groups bi-bm25-teacher-kl groups --study params/embedded.yaml --to margins",
        "export student bi-bm25-teacher-kl student --study params/embedded.yaml",
    ),
    "import": ("import run team.run --name team --collection data/own",),
    "doctor": ("doctor", "doctor --json"),
    "verify": ("verify", "verify params/smallest.yaml --json"),
    "trace": ("trace params/smallest.yaml static-bm25-lce nDCG@10",),
    "rerun": ("rerun static-bm25-lce --study params/smallest.yaml --seed 0",),
    "adopt": ("adopt", "adopt outputs --rounding"),
    "execute": ("execute", "execute 07a_floor"),
    "completion": ("completion bash", "completion zsh"),
}


if __name__ == "__main__":
    sys.exit(main())
