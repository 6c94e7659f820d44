"""Runs and qrels as the tools of TREC read them: what a row of a study ranked, and a collection's judgements."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rd_utils.study.params import ParameterError, nearest

if TYPE_CHECKING:
    from rd_utils.study.kinds import Collection
    from rd_utils.study.specs import EvaluationSpec

_UNFIT = re.compile(r"[^A-Za-z0-9_.+@-]+")  # for a name that shells, file systems and the format of runs take


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``export run``."""
    parser.add_argument("row", metavar="ROW", help="a cell of the study, or a row that is not trained, such as bm25")
    parser.add_argument(
        "folder", metavar="FOLDER", help="where the runs go, one a test collection, first stage and seed; it must not exist"
    )
    parser.add_argument("--study", required=True, metavar="FILE", help="a study file, such as params/embedded.yaml")
    parser.add_argument("--base", metavar="NAME", help="the study as run on another base: the name of a file in params/bases")
    parser.add_argument("--collection", metavar="LABEL", help="one training collection (default: all)")
    parser.add_argument("--test", metavar="LABEL", help="one test collection (default: all)")
    parser.add_argument("--first-stage", metavar="LABEL", help="one first stage (default: all that the row ranks)")
    parser.add_argument("--seed", type=int, help="one seed (default: all)")


def add_qrels(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``export qrels``."""
    add_collection(parser, "collection", metavar="COLLECTION")
    parser.add_argument("file", metavar="FILE", help="where the qrels go; it must not exist")


def add_collection(parser: argparse.ArgumentParser, *name: str, **settings: Any) -> None:
    """Add what :func:`named_collections` reads."""
    parser.add_argument(
        *name, **settings, help="an id of ir_datasets, a folder in BEIR's layout, or with --study the label of one of its collections"
    )
    parser.add_argument("--study", metavar="FILE", help="a study file, such as params/embedded.yaml")
    parser.add_argument("--base", metavar="NAME", help="the study as run on another base: the name of a file in params/bases")
    parser.add_argument("--split", metavar="NAME", help="of a folder: the name of a file of qrels, where it has several")


def write_runs(options: argparse.Namespace) -> str:
    """Write the runs of a row as its evaluations hold them, tagged with its name; return what to print.

    Raises:
        ParameterError: there is no such row, place or seed, or the folder exists.
        StoreError: a run is not in the store as it was made.
    """
    from rd_utils.exchange import export
    from rd_utils.store import Store, file_sha256, identity
    from rd_utils.study.plan import load_plan
    from rd_utils.workflow.progress import track
    from rd_utils.workflow.provenance import evaluations_of

    folder = export.absent(options.folder)
    plan, store = load_plan(options.study, options.base or None), Store()
    every = evaluations_of(plan, options.row, options.seed)
    asked = _asked(every, options)
    several = len({label for label, _, _ in asked}) > 1
    named: dict[str, tuple[str, int, EvaluationSpec]] = {}
    for label, seed, spec in asked:
        parts = [options.row, *([label] if several else []), spec.collection.label, spec.first_stage.label]
        name = ".".join(map(fit, [*parts, *([f"seed{seed}"] if seed >= 0 else []), "trec"]))
        if name in named:
            raise ParameterError(f"two runs would be called {name}; ask for one with --collection, --test, --first-stage or --seed")
        named[name] = label, seed, spec
    for _, _, spec in named.values():
        store.verify(spec)
    record: dict[str, Any] = {"study": plan.study.name, "row": options.row, "runs": {}}
    with export.fresh(folder) as draft:
        draft.mkdir()
        for name, (label, seed, spec) in track(named.items(), "writing runs", len(named)):
            tag = fit(options.row) + (f".seed{seed}" if seed >= 0 else "")
            lines = _tagged(store.folder(spec) / "run.trec", draft / name, tag)
            record["runs"][name] = {
                "collection": label,
                "test_collection": spec.collection.label,
                "first_stage": spec.first_stage.label,
                "seed": seed if seed >= 0 else None,
                "evaluation": identity(spec),
                "lines": lines,
                "sha256": file_sha256(draft / name),
            }
        export.write_provenance(draft, record)
    return "\n".join([f"{folder}: {len(named)} runs of {options.row}", *named])


def fit(text: str) -> str:
    """Return a text as the name of a file.

    >>> fit("beir/scifact/test[:20]")
    'beir-scifact-test-20-'
    """
    return _UNFIT.sub("-", text)


def _asked(every: list[tuple[str, int, EvaluationSpec]], options: argparse.Namespace) -> list[tuple[str, int, EvaluationSpec]]:
    """Return the evaluations that are asked for."""
    places = {
        "--collection": (options.collection, lambda label, spec: label),
        "--test": (options.test, lambda label, spec: spec.collection.label),
        "--first-stage": (options.first_stage, lambda label, spec: spec.first_stage.label),
    }
    for option, (value, of) in places.items():
        known = dict.fromkeys(of(label, spec) for label, _, spec in every)
        if value is not None and value not in known:
            raise ParameterError(f"{option}: {options.row} has no runs of {value!r}{nearest(value, known)}")
        every = [one for one in every if value in (None, of(one[0], one[2]))]
    return every


def _tagged(source: Path, target: Path, tag: str) -> int:
    """Copy a run with another tag; return how many lines it has."""
    count = 0
    with source.open(encoding="utf-8") as lines, target.open("w", encoding="utf-8") as out:
        for line in lines:
            out.write(f"{line[: line.rindex(' ')]} {tag}\n")
            count += 1
    return count


def write_qrels(options: argparse.Namespace) -> str:
    """Write a collection's qrels, ``query_id 0 doc_id relevance``; return what to print.

    Raises:
        ParameterError: there is no such collection, or the file exists.
    """
    from rd_utils.data import collections
    from rd_utils.exchange import export
    from rd_utils.workflow.progress import track

    path = export.absent(options.file, "file")
    collection, *others = named_collections(options.collection, options.study, options.base, options.split)
    if others:
        splits = [getattr(one, "split", one.label) for one in (collection, *others)]
        raise ParameterError(f"{options.collection} has the splits {', '.join(splits)}; name one with --split")
    try:
        _, qrels = collections.read_queries(collection, track)
    except collections.CollectionError as error:
        raise ParameterError(str(error)) from None
    with export.fresh(path) as draft:
        table = qrels.assign(iteration=0)[["query_id", "iteration", "doc_id", "relevance"]]
        table.to_csv(draft, sep=" ", header=False, index=False, lineterminator="\n", quoting=3)
    return f"{path}: {len(qrels):,} judgements of {qrels['query_id'].nunique():,} queries of {collection.label}"


def named_collections(name: str | None, study: str | None, base: str | None, split: str | None) -> list[Collection]:
    """Return the collections that a command's options name, each of the same documents as the first.

    Args:
        name: an id of ir_datasets, a folder, or the label of one of the study's; None takes the study's first training collection, and
            those of its validation and test collections that share its documents.
        study: a study's file.
        base: another base for it.
        split: of a folder; None takes all.

    Raises:
        ParameterError: there is none such; the message names near ones.
    """
    if study is not None:
        if split is not None:
            raise ParameterError(f"--split {split}: a study's collections have theirs; name one of them by its label")
        return list(_of_study(name, study, base))
    if base is not None:
        raise ParameterError(f"--base {base}: only a study has a base; name it with --study")
    if name is None:
        raise ParameterError("which collection is it of? Name it with --collection, or a study with --study")
    return list(_outside(name, split))


def _of_study(name: str | None, study: str, base: str | None) -> Iterator[Collection]:
    from rd_utils.study.graph import docs_of
    from rd_utils.study.studies import load_study

    read = load_study(study, base or None)
    every = [one for pair in read.collections for one in (pair.train, *pair.test)]
    every += [] if read.search is None else [read.search.validation]
    known = {one.label: one for one in every}
    if name is None:
        yield from (one for one in known.values() if docs_of(one) == docs_of(every[0]))
    elif name in known:
        yield known[name]
    else:
        raise ParameterError(f"study {read.name} has no collection {name!r}{nearest(name, known)}")


def _outside(name: str, split: str | None) -> Iterator[Collection]:
    from rd_utils.data import collections
    from rd_utils.data.sources import FolderCollection, IrDatasetsCollection
    from rd_utils.store import resolve_path
    from rd_utils.study.params import parse

    if name.startswith((".", "~", "/")) or resolve_path(name).is_dir() or Path(name).is_dir():
        folder = Path(name).expanduser().resolve() if Path(name).expanduser().is_dir() else resolve_path(name)
        splits = collections.splits(folder)
        if not splits or split not in (None, *splits):
            known = nearest(split or "", splits)
            raise ParameterError(f"{name}: no qrels{f' for the split {split!r}' if split else ''}{known}; expected qrels/<split>.tsv")
        for each in splits if split is None else [split]:
            yield parse(FolderCollection, {"path": str(folder), "split": each}, name)
        return
    if split is not None:
        raise ParameterError(
            f"--split {split}: only a folder has splits here; write the id of ir_datasets with its own, such as {name}/test"
        )
    collection = parse(IrDatasetsCollection, {"id": name}, name)
    try:
        collections.check_source(collection)
    except collections.CollectionError as error:
        raise ParameterError(str(error)) from None
    yield collection
