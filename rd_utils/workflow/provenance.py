"""Can what a store holds be trusted, does it repeat, and where does a number come from?

``rd verify [STUDY]`` compares every file with what its manifest says of it. ``rerun CELL --study STUDY`` makes a cell, and
all that it is made from, again in an empty store and compares both file by file. ``trace STUDY CELL MEASURE`` walks from a number to the
parameters, inputs, seeds, versions and hashes that it rests on.

What is promised of a repetition is what :func:`compare_artefacts` allows: the same bytes, on the same kind of machine and number of
threads; but where a learned teacher scored the pairs in other batches its scores may move by rounding, and so may what rests on them.
"""

from __future__ import annotations

import json
import os
import re
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rd_utils import durable, files
from rd_utils.store import MANIFEST, Store, StoreError, damage_of, identity, one_look, read_manifest, upstream
from rd_utils.study.params import ParameterError, Part, Spec, nearest
from rd_utils.study.stage import inputs, made_whole
from rd_utils.workflow.progress import Track, untracked

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from rd_utils.store.manifests import Manifest
    from rd_utils.study.params import EvaluationSpec
    from rd_utils.study.plan import Plan

_IDENTITY = re.compile(r"[0-9a-f]{20}")
_DRAFT = re.compile(r"\.[0-9a-f]{20}\.(.+?)(\.damaged|\.launch)?")  # of an artefact, or beside it: by whom
_EVERYTHING = float("inf")
LEARNED = {"loaded", "trained", "encoder"}  # kinds of teachers whose scores move by rounding with the company of a pair
SCORES = 2e-4  # how far, in standard deviations of the scores: each of two is within 1e-4 of the exact one
MEASURES = 0.01  # how far means of what rests on moved scores may be apart, of themselves above 1
_SAME_MACHINE = ("processor", "threads")


# --- verify -----------------------------------------------------------------------------------------------------------------------


class Finding(NamedTuple):
    """What is not as it should be.

    Attributes:
        kind: ``damaged``; ``unfinished``, a folder without a manifest; ``leftover`` of what has ended; ``unknown``; ``missing``, an
            artefact of the study that was not made yet.
        place: the file or folder.
        text: what is wrong with it, and the remedy.
        removable: what may be deleted, so that it is made again or is gone; None where nothing need be.
    """

    kind: str
    place: Path
    text: str
    removable: Path | None = None


class Verified(NamedTuple):
    """What was found, and how much was looked at: artefacts, their files, and the bytes of these."""

    findings: list[Finding]
    artefacts: int
    files: int
    bytes: int

    @property
    def damaged(self) -> bool:
        """Tell whether anything is damaged."""
        return any(finding.kind == "damaged" for finding in self.findings)


def verify(store: Store, specs: Iterable[Spec] | None = None, track: Track = untracked) -> Verified:
    """Compare every file of a store, or of some artefacts and the scores that they used, with what is written of it.

    Args:
        store: whose files are read, all of them in full.
        specs: the artefacts; None takes all that the store holds.
        track: shows progress.
    """
    findings: list[Finding] = []
    if specs is None:
        folders, findings = _listed(store.root)
        pairs, kept = _folders(store.root / "pairs"), _folders(store.root / "checkpoints")
    else:
        with one_look():
            folders = [store.folder(spec) for spec in specs]
            kept = [folder for spec in specs if (folder := store.checkpoints(spec)).is_dir()]
        findings += [
            Finding("missing", folder, f"{folder.parent.name} {folder.name} was not made yet; rd run makes it")
            for folder in folders
            if not folder.exists()
        ]
        folders = [folder for folder in folders if folder.exists()]
        pairs = pairs_of(store, folders)
    count, size = 0, 0
    for folder in track(folders, "verifying artefacts", len(folders)):
        findings += _of_artefact(folder)
        for path in folder.rglob("*"):
            if path.is_file():
                count, size = count + 1, size + path.stat().st_size
    for folder in track(pairs, "verifying scores of pairs", len(pairs)):
        findings += _of_pairs(folder)
    finished = {folder.name for folder in folders if (folder / MANIFEST).is_file()}
    for folder in kept:
        findings += _of_checkpoints(folder, finished)
    return Verified(findings, len(folders), count, size)


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir()) if place.is_dir() else []


def _listed(root: Path) -> tuple[list[Path], list[Finding]]:
    """Return the folders of a store's artefacts, and what else stands among them."""
    folders, findings = [], []
    stages, others = set(made_whole()), {"pairs", "checkpoints", "locks", "nodes"}
    for place in sorted(root.iterdir()) if root.is_dir() else ():
        if place.name in others:
            continue
        if place.name not in stages or not place.is_dir():
            findings.append(Finding("unknown", place, "nothing of the store is called so; move it elsewhere, or delete it"))
            continue
        for folder in sorted(place.iterdir()):
            if _IDENTITY.fullmatch(folder.name) and folder.is_dir():
                folders.append(folder)
            elif draft := _DRAFT.fullmatch(folder.name):
                if durable.is_left(folder, draft[1]):
                    text = "a process that has ended was writing it; it may be deleted, and the next run does so"
                    findings.append(Finding("leftover", folder, text, folder))
            else:
                findings.append(Finding("unknown", folder, "no artefact is called so; move it elsewhere, or delete it"))
    return folders, findings


def glance(root: Path) -> tuple[int, list[Finding]]:
    """Return how many artefacts a store holds, and what of it is unfinished, left over or unknown, by names alone: no file is read."""
    folders, findings = _listed(root)
    return len(folders), [*findings, *(_unfinished(folder) for folder in folders if not (folder / MANIFEST).is_file())]


def _unfinished(folder: Path) -> Finding:
    text = f"it has no {MANIFEST}, so it counts as not made; delete it, or run again, which replaces it"
    return Finding("unfinished", folder, text, folder)


def _of_artefact(folder: Path) -> Iterator[Finding]:
    if not (folder / MANIFEST).is_file():
        yield _unfinished(folder)
        return
    try:
        damage = damage_of(folder, _EVERYTHING)
        if damage is not None:
            told = f"{'; '.join(damage.problems)}; delete the folder and run again, which makes it anew; {damage.depending()}"
            yield Finding("damaged", folder, told, folder)
            return
        known = read_manifest(folder)["files"].keys() | {MANIFEST}
    except StoreError as error:  # what the disk does not give
        yield Finding("damaged", folder, str(error), folder)
        return
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if str(path.relative_to(folder)) not in known:
            yield Finding("unknown", path, "the artefact has no such file, and nothing reads it; it may be deleted", path)


def pairs_of(store: Store, folders: Iterable[Path]) -> list[Path]:
    """Return where the scores lie that artefacts used."""
    used = set()
    for folder in folders:
        try:
            used |= {bill["teacher"] for bill in read_manifest(folder)["scoring"]}
        except StoreError:
            continue
    return sorted(place for name in used if (place := store.root / "pairs" / name).is_dir())


def _of_pairs(folder: Path) -> Iterator[Finding]:
    from rd_utils.scoring import arrays, teachers

    numbered = [name for name in os.listdir(folder) if teachers.MAIN.fullmatch(name)]
    again = "the next run that asks for these pairs scores them again"
    if numbered:
        main = folder / max(numbered)
        if wrong := arrays.damage_of_arrays(main, _EVERYTHING):
            yield Finding("damaged", main, f"{wrong}; {again}", main)
    for name in sorted(os.listdir(folder)):
        if name.startswith("shard-"):
            try:
                teachers.read_shard(folder / name)
            except teachers.TeacherError as error:
                yield Finding("damaged", folder / name, f"{error}; {again}", folder / name)


def _of_checkpoints(folder: Path, finished: set[str]) -> Iterator[Finding]:
    if folder.name in finished:
        yield Finding("leftover", folder, "what it was kept for is finished; it may be deleted", folder)
        return
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".pt" and (broken := files.broken_archive(path)):
            text = f"the checkpoint is damaged ({broken}); the next run begins anew"
            yield Finding("damaged", path, text, path)
        elif files.has_sum(path) and not files.is_whole_part(path):
            yield Finding("damaged", path, "this part is not what was written; the next run makes it again", path)


def discard(findings: Iterable[Finding]) -> list[Path]:
    """Delete what is damaged, unfinished or left, so that the next run makes it again; return what was deleted."""
    found = [finding.removable for finding in findings if finding.removable is not None and finding.kind != "unknown"]
    for place in found:
        with files.writing(place):
            durable.remove(place)
        if place.exists():
            raise StoreError(f"{place} cannot be deleted; make its folder writable, and do it again")
    return found


def say_verified(found: Verified, discarded: list[Path]) -> str:
    """Return what a person reads: what was found, one a line, and a last line with the counts."""
    lines = [f"{finding.kind}: {finding.place}: {finding.text}" for finding in found.findings if finding.kind != "missing"]
    counts = Counter(finding.kind for finding in found.findings)
    named = ", ".join(f"{number} {'not made yet' if kind == 'missing' else kind}" for kind, number in sorted(counts.items()))
    if discarded:
        lines.append(f"deleted {len(discarded)} of these; run again to make what is missing")
    lines.append(f"{found.artefacts:,} artefacts, {found.files:,} files, {found.bytes / 1e6:,.1f} MB: {named or 'all as they were made'}")
    return "\n".join(lines)


# --- rerun ------------------------------------------------------------------------------------------------------------------------


class Repeated(NamedTuple):
    """How an artefact that was made again compares with the one in the store.

    Attributes:
        outcome: ``same`` bytes; ``moved``, as far as is promised where scores or machines move; or ``differs``.
        files: how each file compares: ``same``, or what is said of its difference.
    """

    stage: str
    identity: str
    outcome: str
    files: dict[str, str]


class Rerun(NamedTuple):
    """A cell that was made again: its name, its seeds, the artefacts, the wall seconds that it took."""

    cell: str
    seeds: list[int]
    artefacts: list[Repeated]
    seconds: float

    @property
    def repeats(self) -> bool:
        """Tell whether everything repeats as far as is promised."""
        return all(one.outcome != "differs" for one in self.artefacts)


def specs_of(plan: Plan, name: str, seed: int | None = None) -> tuple[list[int], dict[str, Spec]]:
    """Return the seeds of a row of a study, and all that its evaluations are made from, by identity, upstream first.

    Raises:
        ParameterError: there is no such cell or seed; the message names near ones.
    """
    found: dict[str, Spec] = {}
    seeds: set[int] = set()
    for _, own, spec in evaluations_of(plan, name, seed):
        seeds.add(own)
        found |= upstream(spec) | {identity(spec): spec}
    return sorted(seeds), found


def evaluations_of(plan: Plan, name: str, seed: int | None) -> list[tuple[str, int, EvaluationSpec]]:
    """Return the evaluations of a row of a study: training collection, seed, spec."""
    from rd_utils.analysis.compare import side_of

    side = side_of(plan, name, name)
    seeds = sorted({own for systems in side.systems.values() for own in systems})
    if seed is not None and seed not in seeds:
        raise ParameterError(f"the row {side.name} of study {plan.study.name} has no seed {seed}; it has {', '.join(map(str, seeds))}")
    return [
        (label, own, spec)
        for label, systems in side.systems.items()
        for own, system in systems.items()
        if seed in (None, own)
        for spec in plan.evaluations(system, label)
    ]


def recorded_threads(plan: Plan, name: str, store: Store) -> str | None:
    """Return how many threads made a row's results, as their manifests say; None where none was set."""
    for _, _, spec in evaluations_of(plan, name, None):
        if store.has(spec):
            threads = store.manifest(spec)["machine"]["threads"]
            return None if threads is None else str(threads)
    return os.environ.get("OMP_NUM_THREADS")


def rerun(plan: Plan, name: str, store: Store, folder: Path, seed: int | None = None, track: Track = untracked) -> Rerun:
    """Make a row of a study, and everything that it is made from, again in an empty store, and compare.

    Args:
        plan: the study's.
        name: of the cell, or of a baseline.
        store: what is compared with.
        folder: where the other store goes.
        seed: one of the row's; None takes all.
        track: shows progress.

    Raises:
        StoreError: the store lacks what is to be compared, or holds it damaged.
    """
    from rd_utils.workflow.pipeline import Pipeline

    seeds, specs = specs_of(plan, name, seed)
    missing = Counter(spec.stage for spec in specs.values() if not store.folder(spec).exists())
    if missing:
        counts = ", ".join(f"{number} {stage}" for stage, number in missing.items())
        raise StoreError(f"{name} is not finished, so there is nothing to compare with: the store lacks {counts}; run it first")
    for spec in track(specs.values(), "verifying what is compared with", len(specs)):
        store.verify(spec)
    began = time.monotonic()
    again = Pipeline(Store(folder), track=track)
    for spec in specs.values():
        again.build(spec)
    moved: set[str] = set()
    found = []
    for key, spec in specs.items():
        below = any(identity(part) in moved for part in inputs(spec).values())
        one = compare_artefacts(store.folder(spec), again.store.folder(spec), below)
        if one.outcome != "same":
            moved.add(key)
        found.append(one)
    return Rerun(name, seeds, found, time.monotonic() - began)


def compare_artefacts(one: Path, other: Path, below: bool) -> Repeated:
    """Compare two artefacts of one identity file by file, costs aside.

    Args:
        one: the folder of the first.
        other: the folder of the second.
        below: whether what they are made from moved.
    """
    left, right = read_manifest(one), read_manifest(other)
    names = sorted(left["files"].keys() | right["files"].keys())
    compared = {name: "same" if left["files"].get(name) == right["files"].get(name) else "other bytes" for name in names}
    if set(compared.values()) == {"same"} and _counts(left) == _counts(right):
        return Repeated(left["stage"], left["identity"], "same", compared)
    machines = [name for name in _SAME_MACHINE if left["machine"].get(name) != right["machine"].get(name)]
    scored = bool(left["scoring"]) and _learned(left["parameters"])
    outcome = "moved" if below or scored or machines else "differs"
    if left["files"].keys() != right["files"].keys() or not _near(_counts(left), _counts(right)):
        outcome = "differs"
        compared |= {name: "in one alone" for name in names if name not in left["files"] or name not in right["files"]}
        compared |= {MANIFEST: "other counts"} if not _near(_counts(left), _counts(right)) else {}
    for name in names:
        if compared[name] == "other bytes" and name.endswith(".parquet"):
            far, text = _apart(one / name, other / name, left["stage"] == "scores" and not below)
            compared[name] += f", {text}"
            outcome = "differs" if far else outcome
    return Repeated(left["stage"], left["identity"], outcome, compared)


def _counts(manifest: Manifest) -> dict[str, int | float]:
    """Return what an artefact counted; which pairs were scored for it, and not for another before, depends on the order of work."""
    return {key: n for key, n in {**manifest["counts"], **manifest["dropped"]}.items() if key != "pairs_scored_now"}


def _near(one: dict[str, int | float], other: dict[str, int | float]) -> bool:
    return one.keys() == other.keys() and all(n == other[key] or abs(n - other[key]) <= MEASURES * abs(n) for key, n in one.items())


def _learned(parameters: object) -> bool:
    """Tell whether a learned teacher stands anywhere in an artefact's parameters."""
    if isinstance(parameters, dict):
        return parameters.get("kind") in LEARNED or any(map(_learned, parameters.values()))
    return isinstance(parameters, list) and any(map(_learned, parameters))


def _apart(one: Path, other: Path, same_pairs: bool) -> tuple[bool, str]:
    """Tell whether two tables are further apart than moved scores explain, and say how far they are."""
    import pandas as pd

    left, right = pd.read_parquet(one), pd.read_parquet(other)
    if list(left) != list(right) or len(left) != len(right):
        return True, "of another shape"
    if "query_id" in left and not left["query_id"].equals(right["query_id"]):
        return True, "of other queries"
    far, said = False, []
    for name in left:
        a, b = _numbers(left[name]), _numbers(right[name])
        if a is None or b is None or not len(a) + len(b):
            continue
        if len(a) != len(b):
            return True, f"{name} is a number elsewhere"
        largest = float(abs(a - b).max())
        if same_pairs:
            far |= not largest <= SCORES * float(a.std()) + 1e-5  # five decimals are kept
        else:
            far |= not abs(a.mean() - b.mean()) <= MEASURES * max(1.0, abs(a.mean()))
        if largest:
            said.append(f"{name} by {largest:.1g} at most, {abs(a.mean() - b.mean()):.1g} in the mean")
    return far, "; ".join(said) or "of equal values"


def _numbers(column: pd.Series) -> np.ndarray | None:
    """Return the finite fractions of a column, lists of them end to end; None for a column of something else."""
    import numpy as np

    values = np.concatenate(column.to_list()) if len(column) and isinstance(column.iloc[0], np.ndarray) else column.to_numpy()
    return values[np.isfinite(values)].astype(float) if values.dtype.kind == "f" else None


def say_rerun(found: Rerun) -> str:
    """Return what a person reads: every file, and whether the cell repeats."""
    words = {"same": "same bytes", "moved": "moved", "differs": "DIFFERS"}
    lines = []
    for one in found.artefacts:
        others = [f"{name}: {text}" for name, text in one.files.items() if text != "same"]
        told = "; ".join(others) if others else ", ".join(one.files)
        lines.append(f"{words[one.outcome]:11} {one.stage:12} {one.identity}  {told}")
    counts = Counter(one.outcome for one in found.artefacts)
    number = sum(len(one.files) for one in found.artefacts)
    seeds = f"seeds {', '.join(map(str, found.seeds))}" if found.seeds != [-1] else "no seed"
    lines.append(
        f"{found.cell} ({seeds}) made again in {found.seconds:.0f} s: {counts['same']} of {len(found.artefacts)} artefacts are the same, "
        f"byte for byte ({number} files in all)"
    )
    if counts["moved"]:
        lines.append(
            f"{counts['moved']} moved as far as is promised: a learned teacher scored its pairs in other batches, or another processor or "
            "number of threads rounded otherwise; measures and losses are within 0.01 in the mean"
        )
    if counts["differs"]:
        lines.append(f"{counts['differs']} differ by more than is promised; look at the first of them, which the others may rest on")
    return "\n".join(lines)


# --- trace ------------------------------------------------------------------------------------------------------------------------


def trace(plan: Plan, name: str, measure: str, store: Store, seed: int | None = None) -> dict[str, Any]:
    """Return what a row's mean of a measure rests on.

    Args:
        plan: the study's.
        name: of the cell, or of a baseline.
        measure: one of the study's.
        store: holds the finished study.
        seed: one of the row's; None takes all.

    Returns:
        ``numbers``: one entry a training collection, test collection and first stage, with the mean, and per seed the value, the number of
        queries and the evaluation's identity; ``artefacts``: by identity what the manifest says of every artefact below, upstream first.

    Raises:
        ParameterError: there is no such cell, seed or measure; the message names near ones.
        StoreError: the store lacks an artefact, or the table of values is damaged.
    """
    import pandas as pd

    if measure not in plan.study.evaluation.measures:
        raise ParameterError(f"study {plan.study.name} has no measure {measure!r}{nearest(measure, plan.study.evaluation.measures)}")
    numbers: dict[tuple[str, str, str], dict[str, Any]] = {}
    specs: dict[str, Spec] = {}
    for label, own, spec in evaluations_of(plan, name, seed):
        store.verify(spec)
        values = pd.read_parquet(store.folder(spec) / "per_query.parquet")
        values = values.loc[values["measure"] == measure, "value"]
        place = label, spec.collection.label, spec.first_stage.label
        entry = numbers.setdefault(place, dict(zip(("collection", "test_collection", "first_stage"), place, strict=True)) | {"seeds": {}})
        entry["seeds"][own] = {"value": float(values.mean()), "queries": len(values), "evaluation": identity(spec)}
        specs |= upstream(spec) | {identity(spec): spec}
    for entry in numbers.values():
        entry["mean"] = sum(one["value"] for one in entry["seeds"].values()) / len(entry["seeds"])
    about = {"study": plan.study.name, "file": plan.path, "cell": name, "measure": measure}
    return about | {"numbers": list(numbers.values()), "artefacts": {key: _traced(store, spec) for key, spec in specs.items()}}


_TRACED = ("stage", "seed", "inputs", "content", "versions", "counts", "dropped", "git", "packages", "machine", "node", "files", "sizes")


def _traced(store: Store, spec: Spec) -> dict[str, Any]:
    """Return what is told of one artefact; its parameters without those of its inputs, and without defaults."""
    manifest = store.manifest(spec)
    found = {key: manifest.get(key) for key in _TRACED}
    roles = {part: f"see {role}" for role, part in inputs(spec).items()}
    return found | {"parameters": _own(spec, roles), "folder": str(store.folder(spec)), "manifest": manifest.get("checksum")}


def _own(value: object, roles: dict[Spec, str]) -> object:
    """Return parameters without those at their defaults, but for what kind they are; an input is named by its role."""
    if isinstance(value, tuple):
        return [_own(one, roles) for one in value]
    if not isinstance(value, Part):
        return value
    if isinstance(value, Spec) and value in roles:
        return roles[value]
    kinds = ("kind", "source")
    defaults = {name: field.get_default(call_default_factory=True) for name, field in type(value).model_fields.items()}
    kept = sorted(
        (name for name in defaults if name in kinds or getattr(value, name) != defaults[name]), key=lambda name: name not in kinds
    )
    return {name: _own(getattr(value, name), roles) for name in kept}


def say_trace(found: dict[str, Any]) -> str:
    """Return a trace as a tree: every artefact once, and named again where it is used again."""
    lines = [f"{found['measure']} of {found['cell']}, study {found['study']} ({found['file']})"]
    artefacts, told = found["artefacts"], set()
    for entry in found["numbers"]:
        first = f"trained on {entry['collection']}, tested on {entry['test_collection']}, {entry['first_stage']}"
        number = len(entry["seeds"])
        lines.append(f"{entry['mean']:.6f}  mean over {number} {'seed' if number == 1 else 'seeds'}: {first}")
        for seed, one in entry["seeds"].items():
            of = f"seed {seed}" if seed >= 0 else "no seed"
            lines.append(f"  {one['value']:.6f}  {of}: mean over {one['queries']} queries in per_query.parquet of")
            lines += _branch(one["evaluation"], "evaluation", artefacts, told, 4)
    lines += ["made by:", *_surroundings(artefacts)]
    return "\n".join(lines)


def _branch(key: str, role: str, artefacts: dict[str, Any], told: set[str], depth: int) -> Iterator[str]:
    """Yield the lines of an artefact and of what it is made from."""
    own, indent = artefacts[key], " " * depth
    name = own["stage"] if role == own["stage"] else f"{role}: {own['stage']}"
    if key in told:
        yield f"{indent}{name} {key} (above)"
        return
    told.add(key)
    yield f"{indent}{name} {key}"
    shown = {name: value for name, value in own["parameters"].items() if value is not None}
    rows = {"parameters": _plain(shown), "seed": own["seed"], "counts": _plain(own["counts"])}
    rows["dropped"] = _plain({what: number for what, number in own["dropped"].items() if number})
    rows["outside"] = ", ".join(f"{path} {digest[:16]}" for path, digest in (own["content"] or {}).items())
    rows["files"] = ", ".join(f"{name} {digest[:16]}" for name, digest in own["files"].items())
    rows["versions"] = _plain(own["versions"])
    for label, text in rows.items():
        if text not in (None, ""):
            yield from textwrap.wrap(
                f"{label} {text}", 140, initial_indent=f"{indent}  ", subsequent_indent=f"{indent}    ", break_long_words=False
            )
    for role, part in own["inputs"].items():
        yield from _branch(part["identity"], role, artefacts, told, depth + 2)


def _plain(values: Mapping[str, object]) -> str:
    """Return values as a person writes them.

    >>> _plain({"depth": 5, "retriever": {"kind": "bm25", "b": 0.5}, "collection": {"source": "embedded"}, "teacher": "see scores"})
    'depth 5, retriever bm25 (b 0.5), collection embedded, teacher (see scores)'
    """

    def one(value: object) -> str:
        if isinstance(value, dict):
            kind = value.get("kind", value.get("source"))
            rest = _plain({name: inner for name, inner in value.items() if name not in ("kind", "source")})
            return f"{kind} ({rest})" if kind and rest else kind or f"({rest})"
        if isinstance(value, list):
            return f"[{', '.join(map(one, value))}]"
        return f"({value})" if isinstance(value, str) and value.startswith("see ") else str(value)

    return ", ".join(f"{name} {one(value)}" for name, value in values.items())


def _surroundings(artefacts: dict[str, Any]) -> Iterator[str]:
    """Yield what made the artefacts, a line for every revision, machine and set of versions that differs."""
    kinds = Counter(json.dumps([own["git"], own["machine"], own["packages"]], sort_keys=True) for own in artefacts.values())
    for text, number in kinds.most_common():
        git, machine, packages = json.loads(text)
        revision = f"revision {git['revision']}{' (modified)' if git['modified'] else ''}" if git["revision"] else "no revision known"
        versions = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
        about = f"Python {machine['python']} on {machine['system']}, {machine['cores']} cores, {machine['threads'] or 'all'} threads"
        yield from textwrap.wrap(f"  {number} of {len(artefacts)}: {revision}; {about}; {versions}", 140, subsequent_indent="    ")
