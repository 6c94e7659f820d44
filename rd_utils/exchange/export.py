"""What leaves the store: groups with a teacher's scores, as other people's trainers read them, and what other modules write.

Students with a card are written by :mod:`student_card`, runs and qrels by :mod:`trec_files`, a whole study by :mod:`crate`.

A format is a class of files and says which of its consumer's losses take it. Texts stand in the files, so that nothing else is needed to
train; ``provenance.json`` beside them says what they are. Scores are the teacher's own, undivided and not augmented; the positive is first.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rd_utils import durable
from rd_utils.files import writing
from rd_utils.study.explain import nearest
from rd_utils.study.params import ParameterError

if TYPE_CHECKING:
    import pandas as pd

    from rd_utils.study.plan import Cell, Plan
    from rd_utils.workflow.progress import Track

AT_ONCE = 4096  # groups that are written together
PROVENANCE = "provenance.json"


class Exported(NamedTuple):
    """Groups by row numbers, and the frames that these count.

    Attributes:
        queries: query_id, text.
        docs: doc_id, text.
        query_rows: (n,).
        doc_rows: (n, G), the positive first.
        scores: float32 (n, G), None without a teacher.
    """

    queries: pd.DataFrame
    docs: pd.DataFrame
    query_rows: np.ndarray
    doc_rows: np.ndarray
    scores: np.ndarray | None

    def parts(self) -> Iterator[Exported]:
        """Yield the groups, some thousands at a time."""
        for start in range(0, len(self.query_rows), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            scores = None if self.scores is None else self.scores[part]
            yield self._replace(query_rows=self.query_rows[part], doc_rows=self.doc_rows[part], scores=scores)

    @property
    def n_parts(self) -> int:
        """Return how many parts there are."""
        return -(-len(self.query_rows) // AT_ONCE)

    def query(self, column: str) -> list[str]:
        """Return a column of the groups' queries, (n,)."""
        return self.queries[column].take(self.query_rows).tolist()

    def doc(self, column: str) -> list[list[str]]:
        """Return a column of the groups' documents, (n, G)."""
        values = np.asarray(self.docs[column].take(self.doc_rows.ravel()), dtype=object)
        return values.reshape(self.doc_rows.shape).tolist()


@dataclass(frozen=True)
class Format:
    """One form of files.

    Attributes:
        about: who reads it, for what.
        scored: whether it is nothing without a teacher's scores.
        write: writes groups into a folder, given what shows progress.
    """

    about: str
    scored: bool
    write: Callable[[Exported, Path, Track], None]


# --- the formats ------------------------------------------------------------------------------------------------------------------


def _rows_to_parquet(columns: Callable[[Exported], dict[str, Any]], name: str = "train") -> Callable[[Exported, Path, Track], None]:
    """Return what writes one Parquet file, whose columns ``columns`` makes of a part."""

    def write(groups: Exported, folder: Path, track: Track) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path, writer = folder / f"{name}.parquet", None
        try:
            for part in track(groups.parts(), f"writing {path.name}", groups.n_parts):
                table = pa.table(columns(part))
                writer = writer or pq.ParquetWriter(path, table.schema)
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()

    return write


def _rows_to_jsonl(rows: Callable[[Exported], Iterator[dict[str, Any]]]) -> Callable[[Exported, Path, Track], None]:
    """Return what writes one file of JSON lines, which ``rows`` makes of a part."""

    def write(groups: Exported, folder: Path, track: Track) -> None:
        path = folder / "train.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for part in track(groups.parts(), f"writing {path.name}", groups.n_parts):
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(part))

    return write


def _triplets(part: Exported) -> dict[str, Any]:
    texts, size = part.doc("text"), part.doc_rows.shape[1] - 1
    return {
        "query": [text for text in part.query("text") for _ in range(size)],
        "positive": [group[0] for group in texts for _ in range(size)],
        "negative": [text for group in texts for text in group[1:]],
    }


def _margins(part: Exported) -> dict[str, Any]:
    scores = np.asarray(part.scores, dtype=np.float64)
    return _triplets(part) | {"label": (scores[:, :1] - scores[:, 1:]).ravel()}


def _tuples(part: Exported) -> dict[str, Any]:
    positives, *negatives = zip(*part.doc("text"), strict=True)
    columns = {"query": part.query("text"), "positive": list(positives)}
    columns |= {f"negative_{number}": list(texts) for number, texts in enumerate(negatives, 1)}
    return columns if part.scores is None else columns | {"label": np.asarray(part.scores, dtype=np.float64).tolist()}


def _lists(part: Exported) -> dict[str, Any]:
    return {"query": part.query("text"), "docs": part.doc("text"), "labels": np.asarray(part.scores, dtype=np.float64).tolist()}


def _ids(part: Exported) -> dict[str, Any]:
    columns = {"query_id": part.query("query_id"), "doc_ids": part.doc("doc_id"), "query": part.query("text"), "docs": part.doc("text")}
    return columns if part.scores is None else columns | {"scores": np.asarray(part.scores).tolist()}


def _tevatron(part: Exported) -> Iterator[dict[str, Any]]:
    for query_id, query, ids, texts in zip(part.query("query_id"), part.query("text"), part.doc("doc_id"), part.doc("text"), strict=True):
        positive, *negatives = ({"docid": doc_id, "title": "", "text": text} for doc_id, text in zip(ids, texts, strict=True))
        yield {"query_id": query_id, "query": query, "positive_passages": [positive], "negative_passages": negatives}


def _flag_embedding(part: Exported) -> Iterator[dict[str, Any]]:
    scores = [None] * len(part.query_rows) if part.scores is None else part.scores.astype(float).tolist()
    for query, (positive, *negatives), of_group in zip(part.query("text"), part.doc("text"), scores, strict=True):
        row = {"query": query, "pos": [positive], "neg": negatives}
        yield row if of_group is None else row | {"pos_scores": of_group[:1], "neg_scores": of_group[1:]}


def _write_pylate(groups: Exported, folder: Path, track: Track) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name, key, frame, rows in (
        ("queries", "query_id", groups.queries, groups.query_rows),
        ("documents", "document_id", groups.docs, groups.doc_rows),
    ):
        own = frame.take(np.unique(rows))
        pq.write_table(pa.table({key: own.iloc[:, 0].tolist(), "text": own["text"].tolist()}), folder / f"{name}.parquet")
    columns = _rows_to_parquet(
        lambda part: {
            "query_id": part.query("query_id"),
            "document_ids": part.doc("doc_id"),
            "scores": np.asarray(part.scores, dtype=np.float64).tolist(),
        }
    )
    columns(groups, folder, track)


FORMATS = {
    "triplets": Format(
        "sentence-transformers: query, positive, negative; MultipleNegativesRankingLoss, TripletLoss", False, _rows_to_parquet(_triplets)
    ),
    "margins": Format(
        "sentence-transformers: a triplet with the margin of its scores as label; MarginMSELoss", True, _rows_to_parquet(_margins)
    ),
    "tuples": Format(
        "sentence-transformers: query, positive, negative_1 ..., the scores as label; DistillKLDivLoss, MarginMSELoss", False,
        _rows_to_parquet(_tuples),
    ),
    "lists": Format(
        "sentence-transformers' cross-encoders: query, docs, the scores as labels; ListNetLoss, LambdaLoss, RankNetLoss", True,
        _rows_to_parquet(_lists),
    ),
    "tevatron": Format("tevatron: query, positive_passages, negative_passages", False, _rows_to_jsonl(_tevatron)),
    "flagembedding": Format("FlagEmbedding (the file): query, pos, neg, pos_scores, neg_scores", False, _rows_to_jsonl(_flag_embedding)),
    "pylate": Format("PyLate: tables of ids and scores, queries and documents; KDProcessing, Distillation", True, _write_pylate),
    "parquet": Format("anything: query_id, doc_ids, query, docs, scores", False, _rows_to_parquet(_ids)),
}  # fmt: skip


# --- the command ------------------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    from rd_utils.exchange import crate, results, trec_files

    parts = parser.add_subparsers(dest="what", required=True)
    groups = parts.add_parser("groups", help="a cell's groups with a teacher's scores, as other trainers read them")
    forms = "; ".join(f"{name}: {form.about}" for name, form in FORMATS.items())
    _add_cell(groups)
    groups.add_argument("--to", metavar="FORMAT", help=forms)
    groups.add_argument("--teacher", metavar="NAME", help="of the study's teachers, for groups of a cell that has none")
    student = parts.add_parser("student", help="a trained student with a model card")
    _add_cell(student)
    student.add_argument("--best", action="store_true", help="the seed that is best on validation queries; CELL best: also the best cell")
    trec_files.add_run(parts.add_parser("run", help="what a cell or a row that is not trained ranked, as TREC runs"))
    trec_files.add_qrels(parts.add_parser("qrels", help="a collection's qrels in TREC's form"))
    results.add_arguments(parts.add_parser("results", help="the tables of a finished study that conclusions rest on, as Parquet"))
    crate.add_arguments(parts.add_parser("study", help="a finished study as an RO-Crate that a stranger can check"))


def _add_cell(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cell", metavar="CELL", help="of the study: its collection, strategy, group size, cut and teacher are taken")
    parser.add_argument("folder", metavar="FOLDER", help="where the files go; it must not exist")
    parser.add_argument("--study", required=True, metavar="FILE", help="a study file, such as params/embedded.yaml")
    parser.add_argument("--base", metavar="NAME", help="the study as run on another base: the name of a file in params/bases")
    parser.add_argument("--collection", metavar="LABEL", help="the training collection, where the study has several")
    parser.add_argument("--seed", type=int, help="of the cell's students (default: the least)")


def run(options: argparse.Namespace) -> str:
    """Write what the options name into a new folder or file; return what to print.

    Of groups, what is missing in the store is made first: candidates, groups, scores, a teacher or retriever that is trained; no student.

    Raises:
        ParameterError: an option or a name is not what it should be, or what is to be written exists.
        StoreError: what is asked for is not finished, or the disk refuses.
    """
    from rd_utils.exchange import crate, results, trec_files

    others = {"run": trec_files.write_runs, "qrels": trec_files.write_qrels, "study": crate.write, "results": results.write}
    if options.what in others:
        return others[options.what](options)
    from rd_utils.study.plan import load_plan

    if options.what == "groups" and options.to not in FORMATS:
        unknown = "--to is missing" if options.to is None else f"--to: there is no format {options.to!r}"
        raise ParameterError(f"{unknown}{nearest(options.to or '', FORMATS)}")
    folder = absent(options.folder)
    plan = load_plan(options.study, options.base or None)
    return (_write_groups if options.what == "groups" else _write_student)(plan, options, folder)


def absent(place: str, what: str = "folder") -> Path:
    """Return where something is to be written.

    Raises:
        ParameterError: something stands there.
    """
    path = Path(place).expanduser()
    if path.exists():
        raise ParameterError(f"{path} exists; name a {what} that does not")
    return path


@contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """Yield where to write what will stand in a folder or a file, whole or not at all."""
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with durable.replacing(folder) as draft:
            yield draft


def write_provenance(folder: Path, record: dict[str, Any]) -> None:
    """Write what files are beside them."""
    (folder / PROVENANCE).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_student(plan: Plan, options: argparse.Namespace, folder: Path) -> str:
    from rd_utils.exchange import best_student, student_card
    from rd_utils.store import StoreError
    from rd_utils.study.studies import run_command
    from rd_utils.workflow.pipeline import Pipeline

    pipeline, choice = Pipeline(), None
    if options.best or options.cell == best_student.ALL:
        if options.seed is not None:
            raise ParameterError("--seed and --best: one or the other")
        choice = best_student.choose(plan, _asked_cells(plan, options), pipeline)
        cell, seed, student = choice.cell, choice.seed, choice.cell.students[choice.seed]
    else:
        cell, seed, student, _ = _chosen(plan, options)
    if not pipeline.store.has(student):
        raise StoreError(f"{options.cell}, seed {seed}, is not trained yet; `{run_command(options.study, options.base)}` trains it")
    with fresh(folder) as draft:
        student_card.write(plan, cell, seed, pipeline.store, draft, (options.study, options.base), choice)
    said = "" if choice is None else f"\n{best_student.as_text(choice)}"
    return f"{folder}: {cell.name}, seed {seed}, with a model card (README.md) that says how it is loaded{said}"


def _asked_cells(plan: Plan, options: argparse.Namespace) -> list[Cell]:
    """Return the cells of one collection among which the best is chosen."""
    from rd_utils.exchange import best_student

    every = [cell for cell in plan.cells if cell.name == best_student.ALL]
    if options.cell != best_student.ALL or every:
        return [_chosen(plan, options)[0]]
    label = options.collection or plan.labels[0]
    if label not in plan.labels:
        raise ParameterError(f"--collection: the study does not train on {label!r}{nearest(label, plan.labels)}")
    return [cell for cell in plan.cells if cell.collection == label]


def _write_groups(plan: Plan, options: argparse.Namespace, folder: Path) -> str:
    from rd_utils.store import identity
    from rd_utils.study.specs import ScoresSpec
    from rd_utils.workflow.pipeline import Pipeline

    form = FORMATS[options.to]
    _, _, student, teacher = _chosen(plan, options)
    if teacher is None and form.scored:
        raise ParameterError(f"--to {options.to} holds a teacher's scores, and {options.cell} has no teacher; name one with --teacher")
    pipeline, spec = Pipeline(), student.groups
    scored = None if teacher is None else ScoresSpec(groups=spec, teacher=teacher)
    query_rows, doc_rows = pipeline.group_rows(spec)
    scores = None if scored is None else pipeline.group_scores(scored)
    groups = Exported(pipeline.queries(spec.collection), pipeline.docs(spec.collection), query_rows, doc_rows, scores)
    provenance = {
        "study": plan.study.name,
        "cell": options.cell,
        "format": options.to,
        "groups": {"identity": identity(spec), "parameters": spec.model_dump(mode="json")},
        "scores": None if scored is None else {"identity": identity(scored), "parameters": scored.teacher.model_dump(mode="json")},
        "counts": {"groups": len(query_rows), "queries": len(np.unique(query_rows)), "documents_a_group": doc_rows.shape[1]},
    }
    with fresh(folder) as draft:
        draft.mkdir()
        form.write(groups, draft, pipeline.track)
        write_provenance(draft, provenance)
    files = ", ".join(sorted(path.name for path in folder.iterdir()))
    return f"{folder}: {len(query_rows):,} groups of {doc_rows.shape[1]} documents, for {form.about}\n{files}"


def _chosen(plan: Plan, options: argparse.Namespace) -> tuple[Cell, int, Any, Any]:
    """Return the cell on its collection, the seed, the student, and the teacher of its groups."""
    from rd_utils.analysis.compare import side_of

    cells = side_of(plan, options.cell, options.cell).cells
    if not cells:
        raise ParameterError(f"{options.cell} is a row of study {plan.study.name} that it does not train; name one of its cells")
    label = options.collection or next(iter(cells))
    if label not in cells:
        raise ParameterError(f"--collection: {options.cell} is not trained on {label!r}{nearest(label, cells)}")
    students = cells[label].students
    seed = min(students) if options.seed is None else options.seed
    if seed not in students:
        raise ParameterError(f"--seed: {options.cell} has the seeds {', '.join(map(str, students))}, not {seed}")
    teachers = plan.study.teachers
    if getattr(options, "teacher", None) is None:
        return cells[label], seed, students[seed], students[seed].teacher
    if options.teacher not in teachers:
        raise ParameterError(f"--teacher: the study has no {options.teacher!r}{nearest(options.teacher, teachers)}")
    return cells[label], seed, students[seed], teachers[options.teacher]
