"""Collections that lie in tables, as Parquet files or as a data set of a hub, written as a folder in BEIR's layout, which studies read.

Tables of documents, of queries and of judgements are told by their names (``corpus``, ``queries``, ``qrels`` or ``default``), their columns
by those that such tables have; see :data:`COLUMNS`. A hub's data set is read by the library ``datasets``.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import pyarrow as pa

from rd_utils.data.others import DOC_IDS, QUERY_IDS
from rd_utils.exchange import export
from rd_utils.study.params import ParameterError

if TYPE_CHECKING:
    from rd_utils.workflow.progress import Track

Batches = Callable[[], Iterator[pa.RecordBatch]]

COLUMNS = {  # what a table has, and the names under which it has it
    "corpus": {
        "_id": ("_id", "id", *DOC_IDS, "corpus_id"),
        "title": ("title",),
        "text": ("text", "body", "contents", "passage", "document"),
    },
    "queries": {"_id": ("_id", "id", *QUERY_IDS), "text": ("text", "query", "question")},
    "qrels": {
        "query-id": (*QUERY_IDS, "_id"),
        "corpus-id": (*DOC_IDS, "corpus_id"),
        "score": ("score", "relevance", "rel", "label", "relevance_score"),
    },
}
OPTIONAL = {"title", "score"}  # a missing title is empty, a missing score 1
BATCH = 10_000  # rows that are held at once
_SPLIT = re.compile(r"-\d{5}-of-\d{5}$")  # of a split that lies in several files


class Tables(NamedTuple):
    """The tables of a collection, and what provenance says of where they are from."""

    corpus: Batches
    queries: Batches
    qrels: dict[str, Batches]
    source: dict[str, object]


def folder_of(named: str, target: Path, track: Track) -> Path | None:
    """Write a collection that lies in tables as a folder in BEIR's layout; return None where the name is of no such collection.

    Args:
        named: a folder with Parquet files, or a hub's data set.
        target: the folder, which must not exist.
        track: shows progress.

    Raises:
        ParameterError: a table or a column is missing, the target exists, or the hub's data set cannot be read.
    """
    source = _source(named)
    if source is None:
        return None
    if target.exists():
        raise ParameterError(f"{target} exists; `rd new {target}` takes what is there, or remove it")
    tables = source(named)
    with export.fresh(target) as draft:
        (draft / "qrels").mkdir(parents=True)
        counts = {
            "corpus": _write_texts(draft / "corpus.jsonl", tables.corpus, "corpus", named, track),
            "queries": _write_texts(draft / "queries.jsonl", tables.queries, "queries", named, track),
        }
        for split, batches in tables.qrels.items():
            counts[f"qrels/{split}"] = _write_qrels(draft / "qrels" / f"{split}.tsv", batches, named)
        export.write_provenance(draft, {"collection": named, **tables.source, "rows": counts})
    return target


def _source(named: str) -> Callable[[str], Tables] | None:
    folder = Path(named).expanduser()
    if folder.is_dir():
        return _of_parquet if any(folder.glob("corpus*.parquet")) or any(folder.glob("corpus/*.parquet")) else None
    if re.fullmatch(r"[\w.-]+/[\w.-]+", named) is None or named.startswith("."):
        return None
    import ir_datasets

    if any(one == named or one.startswith(f"{named}/") for one in ir_datasets.registry):
        return None
    return _of_hub


# --- sources --------------------------------------------------------------------------------------------------------------------


def _of_parquet(named: str) -> Tables:
    """Return the tables of a folder: ``corpus.parquet`` or ``corpus/*.parquet``, the same of queries and, a file a split, of qrels."""
    import pyarrow.dataset as arrow

    from rd_utils.files import tree_sha256

    folder = Path(named).expanduser()
    forms = ("{}.parquet", "{}-*.parquet", "{}/*.parquet")
    files = {part: sorted(path for form in forms for path in folder.glob(form.format(part))) for part in COLUMNS}
    for part, found in files.items():
        if not found:
            raise ParameterError(f"{named}: no {part}.parquet and no {part}/*.parquet; a collection has a corpus, queries and qrels")

    def batches(paths: list[Path]) -> Batches:
        return lambda: arrow.dataset([str(path) for path in paths], format="parquet").to_batches(batch_size=BATCH)

    splits: dict[str, list[Path]] = {}
    for path in files["qrels"]:
        name = _SPLIT.sub("", path.stem if path.parent != folder else path.stem.removeprefix("qrels").strip("-") or "all")
        splits.setdefault(name, []).append(path)
    sums = {path.relative_to(folder).as_posix(): tree_sha256(path) for found in files.values() for path in found}
    qrels = {name: batches(paths) for name, paths in splits.items()}
    return Tables(batches(files["corpus"]), batches(files["queries"]), qrels, {"files": sums})


def _of_hub(named: str) -> Tables:
    """Return the tables of a hub's data set in the layout of BEIR or MTEB; judgements may be a data set of their own, ``NAME-qrels``."""
    import datasets

    try:
        configs = datasets.get_dataset_config_names(named)
        config = next((name for name in ("qrels", "default") if name in configs), None)
        judged = named if config else f"{named}-qrels"
        loaded = {part: datasets.load_dataset(named, part) for part in ("corpus", "queries")}
        loaded["qrels"] = datasets.load_dataset(judged, config)
    except Exception as error:  # whatever a hub, a network or a data set's own files raise
        import ir_datasets

        said = str(error).strip().partition("\n")[0]
        near = difflib.get_close_matches(named, list(ir_datasets.registry), n=1)
        raise ParameterError(
            f"{named}: no folder, no id of ir_datasets, and as a hub's data set it cannot be read ({type(error).__name__}: {said}); "
            f"it needs the configurations corpus, queries, and default or qrels{f'; did you mean {near[0]!r}?' if near else ''}"
        ) from error

    def batches(data: datasets.Dataset) -> Batches:
        rows = data.with_format("arrow")
        return lambda: (batch for table in rows.iter(BATCH) for batch in cast("pa.Table", table).to_batches())

    texts = {part: batches(datasets.concatenate_datasets(list(loaded[part].values()))) for part in ("corpus", "queries")}
    prints = {f"{part}/{split}": data._fingerprint for part, parts in loaded.items() for split, data in parts.items()}
    qrels = {str(split): batches(data) for split, data in loaded["qrels"].items()}
    return Tables(texts["corpus"], texts["queries"], qrels, {"hub": named, "judgements": judged, "fingerprints": prints})


# --- writing --------------------------------------------------------------------------------------------------------------------


def _columns(batch: pa.RecordBatch, part: str, named: str) -> Mapping[str, list[object] | None]:
    """Return a table's columns by the names of BEIR's layout; None for an optional one that is missing."""
    found = {}
    for name, known in COLUMNS[part].items():
        column = next((one for one in known if one in batch.schema.names), None)
        if column is None and name not in OPTIONAL:
            has = ", ".join(batch.schema.names)
            raise ParameterError(f"{named}: {part} has no column {' or '.join(known)}; it has {has}; rename one")
        found[name] = None if column is None else batch.column(column).to_pylist()
    return found


def _write_texts(path: Path, batches: Batches, part: str, named: str, track: Track) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as out:
        for batch in track(batches(), f"writing {path.name}", None):
            columns = {name: values for name, values in _columns(batch, part, named).items() if values is not None}
            for row in zip(*columns.values(), strict=True):
                values = dict(zip(columns, row, strict=True))
                record = {name: "" if value is None else str(value) for name, value in values.items()}
                out.write(json.dumps(record, ensure_ascii=False) + "\n")
                count += 1
    return count


def _write_qrels(path: Path, batches: Batches, named: str) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as out:
        out.write("query-id\tcorpus-id\tscore\n")
        for batch in batches():
            columns = _columns(batch, "qrels", named)
            scores = columns["score"] or [1] * len(batch)
            for query, doc, score in zip(columns["query-id"] or (), columns["corpus-id"] or (), scores, strict=True):
                out.write(f"{query}\t{doc}\t{_grade(score, named)}\n")
                count += 1
    return count


def _grade(score: object, named: str) -> int:
    if isinstance(score, int | float) and score == int(score):
        return int(score)
    raise ParameterError(f"{named}: qrels has the grade {score!r}; expected a whole number")
