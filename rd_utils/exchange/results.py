"""What a finished study found, small enough to be committed: the tables of its report that conclusions rest on, with where they come from.

A folder of results holds ``per_query.parquet`` (the study's own measure alone), ``means.parquet``, ``differences.parquet``,
``factorial.parquet`` where two things were dialled, ``learning_rates.parquet``, ``cells.parquet`` (each student's identity and cost),
``options.parquet`` and ``descriptions.parquet`` (what groups were like), and ``results.json``: the study, its command, the version, the
day, the processor, what is known of the collection before training, and the SHA-256 of each table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rd_utils.study.params import ParameterError, nearest

if TYPE_CHECKING:
    import pandas as pd

ABOUT = "results.json"
PER_QUERY = "per_query"
_COSTS = ("mine", "score", "train", "evaluate", "total")
_MORE = {  # of a report that has them: the frame, and what it is called here
    "differences": "differences",
    "variance": "factorial",
    "learning_rates": "learning_rates",
    "options": "options",
    "descriptions": "descriptions",
}
_PLACES = ["collection", "test_collection", "first_stage"]
_CELL = ["cell", "system", "strategy", "teacher", "loss", "architecture", "augmentation", "cut", "temperature", "target_entropy"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``export results``."""
    parser.add_argument("study", metavar="STUDY", help="a study file, such as params/embedded.yaml, whose report is finished")
    parser.add_argument("folder", metavar="FOLDER", help="where the tables go; it must not exist")
    parser.add_argument("--base", metavar="NAME", help="the study as run on another base: the name of a file in params/bases")


def write(options: argparse.Namespace) -> str:
    """Write a finished study's results into a folder; return what to print.

    Raises:
        ParameterError: the study's report is not finished, or the folder exists.
    """
    import rd_utils
    from rd_utils.analysis.prospects import prospects, sizes
    from rd_utils.exchange import export
    from rd_utils.processor import processor
    from rd_utils.store import file_sha256, outputs_root
    from rd_utils.study.plan import load_plan
    from rd_utils.study.studies import run_command
    from rd_utils.workflow.pipeline import Pipeline

    folder = export.absent(options.folder)
    plan, pipeline = load_plan(options.study, options.base or None), Pipeline()
    report = outputs_root() / plan.study.name
    if not (report / "study.json").is_file():
        raise ParameterError(f"{report} holds no finished report; `{run_command(options.study, options.base)}` makes it")
    with export.fresh(folder) as draft:
        draft.mkdir()
        files = {}
        for name, table in _tables(report, plan.study.analysis.measure).items():
            path = draft / f"{name}.parquet"
            table.to_parquet(path, compression="zstd", compression_level=19, index=False)
            files[path.name] = {"rows": len(table), "sha256": file_sha256(path)}
        record: dict[str, Any] = {
            "study": plan.study.name,
            "question": plan.study.question,
            "command": run_command(options.study, options.base),
            "version": rd_utils.__version__,
            "date": _day(report / "study.json"),
            "processor": processor().kind,
            "measure": plan.study.analysis.measure,
            "collections": sizes(plan, pipeline),
            "prospects": prospects(plan, pipeline),
            "files": files,
        }
        (draft / ABOUT).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    size = sum(path.stat().st_size for path in folder.iterdir())
    return f"{folder}: {len(files)} tables of {plan.study.name}, {size / 1e6:.2f} MB"


def _day(path: Path) -> str:
    import datetime

    return datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC).date().isoformat()


def _tables(report: Path, measure: str) -> dict[str, pd.DataFrame]:
    """Return what is kept of a report's tables: one measure, no column that another table has, numbers in single precision."""
    import pandas as pd

    def read(name: str) -> pd.DataFrame:
        return pd.read_parquet(report / f"{name}.parquet")

    per_query, means, cells = read("per_query"), read("summary"), read("cells")
    spent = [f"{step}_cpu_seconds" for step in _COSTS] + ["total_teacher_calls", "total_joules", "documents_seen"]
    tables = {
        PER_QUERY: per_query.loc[per_query["measure"] == measure, [*_CELL, "seed", *_PLACES, "query_id", "value"]],
        "means": means.loc[means["measure"] == measure, [*_PLACES, *_CELL, "mean", "sd", "n_seeds"]],
        "cells": cells[["cell", "collection", "seed", "identity", *spent]],
    }
    tables |= {kept: read(name) for name, kept in _MORE.items() if (report / f"{name}.parquet").is_file()}
    if "differences" in tables:
        of_students = [name for name in tables["differences"] if str(name).startswith(("low_q", "high_q", "p_queries"))]
        tables["differences"] = tables["differences"].drop(columns=of_students)
    return {name: _compact(table) for name, table in tables.items()}


def _compact(table: pd.DataFrame) -> pd.DataFrame:
    single = {name: "float32" for name in table.select_dtypes("float64")}
    return table.astype(single).reset_index(drop=True)


def read(pattern: str, leave_out: Sequence[str] = ()) -> pd.DataFrame:
    """Return the values per query of folders of results, with the name of each one's ``study``.

    Args:
        pattern: as in :func:`found`.
        leave_out: studies that are not read.

    Raises:
        ParameterError: as in :func:`found`, or a table is not as it was written.
    """
    import pandas as pd

    kept = [_categories(results.per_query()) for results in found(pattern, leave_out)]
    return _categories(pd.concat(kept, ignore_index=True))  # where categories differ, texts come together


def _categories(table: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    return table.astype({name: "category" for name in table if pd.api.types.is_string_dtype(table[name])})


@dataclass(frozen=True)
class Results:
    """A folder of results: its path, and what its ``results.json`` says."""

    folder: Path
    about: Mapping[str, Any]

    @property
    def study(self) -> str:
        """The name of the study."""
        return str(self.about["study"])

    def table(self, name: str) -> pd.DataFrame:
        """Return one of its tables.

        Raises:
            ParameterError: it has none of that name, or it is not as it was written.
        """
        import pandas as pd

        from rd_utils.store import file_sha256

        path, said = self.folder / f"{name}.parquet", self.about["files"]
        if path.name not in said:
            raise ParameterError(f"{self.folder} has no table {name!r}{nearest(path.name, said)}")
        if file_sha256(path) != said[path.name]["sha256"]:
            raise ParameterError(f"{path} is not what {ABOUT} beside it says; take both from one place, or export the results again")
        return pd.read_parquet(path)

    def per_query(self) -> pd.DataFrame:
        """Return its values per query in double precision, with the name of the ``study``."""
        return self.table(PER_QUERY).astype({"value": "float64"}).assign(study=self.study)


def found(pattern: str, leave_out: Sequence[str] = ()) -> list[Results]:
    """Return the folders of results of a pattern, in the order of their names.

    Args:
        pattern: such as ``docs/results/claims_*``, relative to the project's root, or to what ships where there is none.
        leave_out: studies that are left out.

    Raises:
        ParameterError: no folder of the pattern holds results, two are of one study, a study to be left out is not among them, or nothing
            is left.
    """
    from rd_utils.store.paths import project_root, suite_root

    at = next((paths for root in (project_root(), suite_root()) if (paths := sorted(root.glob(f"{pattern}/{ABOUT}")))), None)
    if at is None:
        raise ParameterError(
            f"no folder {pattern} holds results ({ABOUT}); `rd export results STUDY FOLDER` writes those of a finished study"
        )
    every: dict[str, Results] = {}
    for path in at:
        results = Results(path.parent, json.loads(path.read_text(encoding="utf-8")))
        if results.study in every:
            raise ParameterError(f"{path.parent}: the study {results.study} stands in another folder too; name one of them")
        every[results.study] = results
    for name in leave_out:
        if name not in every:
            raise ParameterError(f"leave_out: there are no results of {name!r}{nearest(name, every)}")
    if set(every) <= set(leave_out):
        raise ParameterError("leave_out leaves nothing; leave in two studies at least")
    return [results for name, results in every.items() if name not in leave_out]
