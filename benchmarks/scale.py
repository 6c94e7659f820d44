"""How time and memory grow with the collection: the study's steps on synthetic collections of 10,000 to 8.8 million passages.

``python -m benchmarks.scale run`` makes the collections (:mod:`benchmarks.passages`) and takes each step of the project's own pipeline in
a process of its own, smallest collection first. What a step took is written when it ends, so that a run that was killed goes on where it
was: with the step that was under way, which keeps its own finished parts. ``python -m benchmarks.scale chart`` draws what was measured.

Wall and CPU seconds are those of the step's process and the processes that it started. Two peaks of memory are kept: resident, which holds
the pages of mapped files that the system could drop at any time, and anonymous, which it could not. Both are summed over processes; the
resident one is no less than the kernel's own high-water mark of any of them, the anonymous one is looked at every 50 ms.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks import passages
from rd_utils.store import Store
from rd_utils.study import params
from rd_utils.study.graph import docs_of
from rd_utils.study.stage import inputs
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.workflow.progress import LOGGER, log_to, track

FULL = 8_800_000  # passages of the largest collection
FULL_QUERIES = 500_000  # of that one; the others have as many in proportion
SIZES = "10k,30k,100k,300k,1M,3M,8.8M"
DEPTHS = (100, 200)
GROUP_SIZE = 16
SLAB = 5_000_000  # pairs that are handed to the teacher at once
LOOKUPS, LOOKUP_GROUPS = 2_000, 8  # batches that look scores up, of so many groups
DIMENSION = 128  # of the embeddings
PROBES, PARTS = 64, 32  # cells of the inverted file that a query looks into; bytes of a vector in it
FIT_FROM = 100_000  # passages of the smallest collection that growth is fitted to
_POLL, _SAVE = 0.05, 5.0  # seconds between two looks at the memory, and between two notes of what was spent so far
_QUANTITIES = {
    "wall_seconds": "wall seconds",
    "cpu_seconds": "CPU seconds",
    "peak_rss_mb": "resident MB at the peak",
    "peak_anonymous_mb": "anonymous MB at the peak",
}


class Scale(NamedTuple):
    """One collection of the run.

    Attributes:
        n_docs: passages.
        n_queries: queries.
        folder: where everything of it lies.
        seed: of the passages.
    """

    n_docs: int
    n_queries: int
    folder: Path
    seed: int

    @property
    def collection(self) -> params.FolderCollection:
        """The collection as a study names it."""
        return params.FolderCollection(path=str(self.folder / "collection"), split="train")

    @property
    def pipeline(self) -> Pipeline:
        """A pipeline that keeps its artefacts beside the collection."""
        return Pipeline(Store(self.folder / "store"), track)

    def candidates(self, depth: int) -> params.CandidatesSpec:
        """The top documents of every query by BM25."""
        return params.CandidatesSpec(collection=self.collection, retriever=params.BM25(), depth=depth)

    @property
    def dense(self) -> params.CandidatesSpec:
        """The top documents of every query by embeddings, out of an inverted file of about 4 sqrt(n) product-quantised cells."""
        encoder = params.UntrainedSystem(
            architecture=params.BiEncoder(model=str(self.folder / "encoder"), max_length=512), collection=self.collection
        )
        nlist = min(round(4 * math.sqrt(self.n_docs)), self.n_docs // 20)
        index = params.IVFPQ(nlist=nlist, nprobe=min(PROBES, nlist), m=PARTS, sample=max(100_000, 20 * nlist))
        return params.CandidatesSpec(collection=self.collection, retriever=params.Dense(encoder=encoder, index=index), depth=DEPTHS[0])

    @property
    def groups(self) -> params.GroupsSpec:
        """Groups of a query's positive and candidates."""
        strategy = params.FromCandidates(depth=DEPTHS[0])
        return params.GroupsSpec(
            collection=self.collection, strategy=strategy, group_size=GROUP_SIZE, shortage=params.CorpusRandom(), seed=self.seed
        )


# --- the steps --------------------------------------------------------------------------------------------------------------------


def _generate(scale: Scale) -> dict[str, Any]:
    folder = passages.generate(scale.folder / "collection", scale.n_docs, scale.n_queries, scale.seed, track=track)
    return {"disk_mb": _megabytes(folder)}


def _documents(scale: Scale) -> dict[str, Any]:
    return _made(scale, docs_of(scale.collection))


def _queries(scale: Scale) -> dict[str, Any]:
    return _made(scale, params.QueriesSpec(collection=scale.collection))


def _index(scale: Scale) -> dict[str, Any]:
    return _made(scale, inputs(scale.candidates(DEPTHS[0]))["index"])


def _candidates_100(scale: Scale) -> dict[str, Any]:
    return _made(scale, scale.candidates(DEPTHS[0]))


def _candidates_200(scale: Scale) -> dict[str, Any]:
    return _made(scale, scale.candidates(DEPTHS[1]))


def _encoder(scale: Scale) -> dict[str, Any]:
    """Write the bi-encoder that embeds at this size: the mean of random vectors, longer for rarer words."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = passages.vocabulary()
    tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(words)} | {"[UNK]": len(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    vectors = np.random.default_rng(scale.seed).standard_normal((len(words) + 1, DIMENSION)).astype(np.float32)
    vectors *= np.log(np.arange(len(words) + 1, dtype=np.float32) + 2)[:, None] / math.sqrt(DIMENSION)
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=vectors)], device="cpu").save(
        str(scale.folder / "encoder"), create_model_card=False
    )
    return {"disk_mb": _megabytes(scale.folder / "encoder")}


def _tokens(scale: Scale) -> dict[str, Any]:
    return _made(scale, inputs(inputs(scale.dense)["vectors"])["doc_tokens"])


def _vectors(scale: Scale) -> dict[str, Any]:
    return _made(scale, inputs(scale.dense)["vectors"])


def _dense_index(scale: Scale) -> dict[str, Any]:
    return _made(scale, inputs(scale.dense)["index"])


def _dense_candidates(scale: Scale) -> dict[str, Any]:
    return _made(scale, scale.dense)


def _groups(scale: Scale) -> dict[str, Any]:
    return _made(scale, scale.groups)


def _scores(scale: Scale) -> dict[str, Any]:
    """Score the deeper candidates of all queries by BM25, a slab of them at a time."""
    pipeline, teacher = scale.pipeline, params.BM25Teacher()
    run, n_pairs = pipeline.run(scale.candidates(DEPTHS[1])), 0
    slabs = _slabs(run.offsets)
    for start, stop in track(slabs, f"scoring {run.offsets[-1]:,} pairs", len(slabs)):
        query_rows = np.repeat(np.arange(start, stop), np.diff(run.offsets[start : stop + 1]))
        pipeline.teacher_scores(teacher, scale.collection, query_rows, run.docs[run.offsets[start] : run.offsets[stop]])
        n_pairs += len(query_rows)
    return {"pairs": n_pairs, "disk_mb": _megabytes(_pairs_folder(scale))}


def _group_scores(scale: Scale) -> dict[str, Any]:
    return _made(scale, params.ScoresSpec(groups=scale.groups, teacher=params.BM25Teacher()))


def _lookups(scale: Scale) -> dict[str, Any]:
    """Look up what was scored: from opening the store to the first score, and scores a second in batches of 8 groups of 16."""
    from rd_utils.scoring.teachers import PairScores

    run = scale.pipeline.run(scale.candidates(DEPTHS[1]))
    generator, batches = np.random.default_rng(scale.seed), []
    filled = np.flatnonzero(run.lengths() >= GROUP_SIZE)
    for _ in range(LOOKUPS):
        rows = np.repeat(generator.choice(filled, LOOKUP_GROUPS), GROUP_SIZE)
        places = run.offsets[rows] + (generator.random(len(rows)) * (run.offsets[rows + 1] - run.offsets[rows])).astype(np.int64)
        batches.append(rows * scale.n_docs + run.docs[places])
    folder = _pairs_folder(scale)
    start = time.perf_counter()
    kept = PairScores(folder, scale.n_docs)
    kept.lookup(batches[0])
    first = time.perf_counter() - start
    start = time.perf_counter()
    for batch in batches:
        kept.lookup(batch)
    seconds = time.perf_counter() - start
    return {"pairs": len(kept), "first_lookup_ms": first * 1e3, "lookups_per_second": LOOKUPS * LOOKUP_GROUPS * GROUP_SIZE / seconds}


STEPS: dict[str, Callable[[Scale], dict[str, Any]]] = {
    "generate": _generate,
    "documents": _documents,
    "queries": _queries,
    "index": _index,
    "candidates_100": _candidates_100,
    "candidates_200": _candidates_200,
    "groups": _groups,
    "scores": _scores,
    "group_scores": _group_scores,
    "lookups": _lookups,
    "encoder": _encoder,
    "tokens": _tokens,
    "vectors": _vectors,
    "dense_index": _dense_index,
    "dense_candidates": _dense_candidates,
}


def _made(scale: Scale, spec: Any) -> dict[str, Any]:
    pipeline = scale.pipeline
    folder = pipeline.build(spec)
    return {**pipeline.manifest(spec)["counts"], "disk_mb": _megabytes(folder)}


def _pairs_folder(scale: Scale) -> Path:
    return scale.pipeline.store.folder(params.PairsSpec(teacher=params.BM25Teacher(), collection=scale.collection))


def _slabs(offsets: np.ndarray) -> list[tuple[int, int]]:
    """Split queries into slabs of about SLAB pairs: the first query and the one after the last."""
    starts = np.unique(np.searchsorted(offsets, np.arange(0, int(offsets[-1]), SLAB), side="right") - 1)
    return list(zip(starts.tolist(), [*starts[1:].tolist(), len(offsets) - 1], strict=True))


def _megabytes(folder: Path) -> float:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 3)


# --- measuring --------------------------------------------------------------------------------------------------------------------


class Watch:
    """Watches a process and those that it starts: wall and CPU seconds, and peaks of resident and anonymous memory in MB."""

    def __init__(self, pid: int) -> None:
        self.pid, self.start = pid, time.monotonic()
        self.peaks = {"peak_rss_mb": 0.0, "peak_anonymous_mb": 0.0}
        self.cpu_seconds = 0.0

    def look(self) -> None:
        """Look at the memory and CPU seconds of the moment."""
        resident = anonymous = cpu = 0.0
        for pid in _family(self.pid):
            status, spent = _status(pid), _cpu_seconds(pid)
            resident += status.get("VmRSS", 0.0)
            anonymous += status.get("RssAnon", 0.0)
            cpu += spent
            self.peaks["peak_rss_mb"] = max(self.peaks["peak_rss_mb"], status.get("VmHWM", 0.0))
        self.peaks["peak_rss_mb"] = max(self.peaks["peak_rss_mb"], resident)
        self.peaks["peak_anonymous_mb"] = max(self.peaks["peak_anonymous_mb"], anonymous)
        self.cpu_seconds = max(self.cpu_seconds, cpu)

    def read(self) -> dict[str, float]:
        """Return what was spent until now."""
        spent = {"wall_seconds": time.monotonic() - self.start, "cpu_seconds": self.cpu_seconds} | self.peaks
        return {name: round(value, 3) for name, value in spent.items()}


def _family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for process in found:
        try:
            for task in os.listdir(f"/proc/{process}/task"):
                found += map(int, Path(f"/proc/{process}/task/{task}/children").read_text().split())
        except OSError:  # it has ended
            continue
    return found


def _status(pid: int) -> dict[str, float]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith(("VmRSS", "VmHWM", "RssAnon"))}


def _cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process and of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def take_step(step: str, scale: Scale, log: Path) -> dict[str, Any]:
    """Take one step in a process of its own and write what it took; a step that has ended already is not taken again.

    Returns:
        The record: what the step spent over all its attempts (seconds summed, peaks the highest), and its counts.

    Raises:
        RuntimeError: the step failed.
    """
    results = scale.folder / "results"
    results.mkdir(parents=True, exist_ok=True)
    done, running = results / f"{step}.json", results / f"{step}.running.json"
    if done.is_file():
        return json.loads(done.read_text(encoding="utf-8"))
    attempts = json.loads(running.read_text(encoding="utf-8"))["attempts"] if running.is_file() else []
    counts = results / f"{step}.counts.json"
    counts.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.scale", "step", step, "--docs", str(scale.n_docs), "--queries", str(scale.n_queries)]
    command += ["--seed", str(scale.seed), "--folder", str(scale.folder), "--log", str(log), "--counts", str(counts)]
    process = subprocess.Popen(command, cwd=Path(__file__).resolve().parent.parent)
    watch, saved, ended = Watch(process.pid), 0.0, 0
    try:
        while not ended:
            watch.look()
            if time.monotonic() - saved > _SAVE:
                saved = time.monotonic()
                _write(running, {"attempts": [*attempts, watch.read()]})
            time.sleep(_POLL)
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    except BaseException:
        process.terminate()
        raise
    finally:
        _write(running, {"attempts": [*attempts, watch.read()]})
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or not counts.is_file():
        raise RuntimeError(f"step {step} at {scale.n_docs:,} passages failed with {process.returncode}; its log is {log}")
    watch.cpu_seconds = usage.ru_utime + usage.ru_stime
    watch.peaks["peak_rss_mb"] = max(watch.peaks["peak_rss_mb"], usage.ru_maxrss / 1024)
    attempts.append(watch.read())
    record = {
        "passages": scale.n_docs,
        "queries": scale.n_queries,
        "step": step,
        **{name: round(sum(attempt[name] for attempt in attempts), 3) for name in ("wall_seconds", "cpu_seconds")},
        **{name: max(attempt[name] for attempt in attempts) for name in watch.peaks},
        "attempts": attempts,
        "counts": json.loads(counts.read_text(encoding="utf-8")),
        "ended": datetime.now().isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "threads": os.environ.get("OMP_NUM_THREADS")},
    }
    _write(done, record)
    counts.unlink()
    running.unlink()
    return record


def _write(path: Path, record: dict[str, Any]) -> None:
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(record, indent=1), encoding="utf-8")
    os.replace(draft, path)


def run(sizes: list[int], folder: Path, full_queries: int = FULL_QUERIES, seed: int = 0) -> list[dict[str, Any]]:
    """Take all steps at all sizes, each unless it was taken before, and say what they took.

    Args:
        sizes: numbers of passages.
        folder: where collections, artefacts, results and the log go.
        full_queries: queries of a collection of FULL passages; the others have as many in proportion, at least 10.
        seed: of the passages.

    Returns:
        The records, by size and step.
    """
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "scale.log"
    log_to(log)
    records = []
    for place, n_docs in enumerate(sorted(sizes)):
        scale = Scale(n_docs, max(10, round(n_docs * full_queries / FULL)), folder / str(n_docs), seed)
        for number, step in enumerate(STEPS):
            at = f"size {place + 1} of {len(sizes)}, step {number + 1} of {len(STEPS)}"
            say(f"{at}: {step}, {n_docs:,} passages, {scale.n_queries:,} queries")
            record = take_step(step, scale, log)
            say(
                f"  {step}: {record['wall_seconds']:,.1f} s, {record['cpu_seconds']:,.1f} CPU s, {record['peak_rss_mb']:,.0f} MB resident, "
                f"{record['peak_anonymous_mb']:,.0f} MB of it anonymous; {_counts(record['counts'])}"
            )
            records.append(record)
    return records


def say(line: str) -> None:
    """Show a line on the terminal and keep it in the log."""
    print(line, flush=True)
    LOGGER.info(line)


def _counts(counts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:,.1f}" if isinstance(value, float) else f"{name} {value:,}" for name, value in counts.items())


# --- growth -----------------------------------------------------------------------------------------------------------------------


def measured(folder: Path) -> pd.DataFrame:
    """Return what steps took: passages, queries, step, seconds, peaks of memory; one row a size and step, with what was measured."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in Path(folder).glob("*/results/*.json") if "." not in path.stem]
    if not found:
        raise ValueError(f"no results under {folder}; run `python -m benchmarks.scale run` first")
    table = pd.DataFrame(found)[["passages", "queries", "step", *_QUANTITIES, "counts"]]
    table["step"] = pd.Categorical(table["step"], categories=list(STEPS))
    return table.sort_values(["passages", "step"], ignore_index=True).astype({"step": "str"})


def fit(sizes: np.ndarray, values: np.ndarray, level: float = 0.95) -> dict[str, float]:
    """Fit ``value = factor * size**exponent`` by least squares of the logarithms.

    Args:
        sizes: (n,) positive.
        values: (n,) positive.
        level: of the interval.

    Returns:
        factor, exponent, and the t interval of the exponent (low, high; NaN below three sizes).

    >>> found = fit(np.array([1.0, 10.0, 100.0]), np.array([3.0, 30.0, 300.0]))
    >>> round(found["factor"], 6), round(found["exponent"], 6)
    (3.0, 1.0)
    """
    from scipy import stats

    x, y = np.log(sizes), np.log(values)
    line = stats.linregress(x, y)
    half = float(stats.t.ppf((1 + level) / 2, len(x) - 2) * line.stderr) if len(x) > 2 else math.nan
    return {
        "factor": float(np.exp(line.intercept)),
        "exponent": float(line.slope),
        "low": float(line.slope - half),
        "high": float(line.slope + half),
    }


def growth(table: pd.DataFrame, smallest: int = FIT_FROM) -> pd.DataFrame:
    """Return the fitted growth of every step and quantity, ``base + factor * passages**exponent``, and what it says of FULL passages.

    The base is what the step took at the smallest size, which is mostly what any process takes to start; the rest is fitted by
    :func:`fit`. So an exponent is that of what grows, and sizes that took no more than the smallest are left out.

    Args:
        table: of :func:`measured`.
        smallest: sizes below give no points to the fit.

    Returns:
        One row a step and quantity with at least two points: sizes (how many), base, factor, exponent, low and high, and at_full.
    """
    rows = []
    for step, part in table.groupby("step", sort=False):
        first = part.loc[part["passages"].idxmin()]
        for quantity in _QUANTITIES:
            above = part[(part["passages"] >= max(smallest, first["passages"] + 1)) & (part[quantity] > first[quantity])]
            if len(above) > 1:
                found = fit(above["passages"].to_numpy(dtype=float), (above[quantity] - first[quantity]).to_numpy(dtype=float))
                at_full = first[quantity] + found["factor"] * FULL ** found["exponent"]
                base = {"sizes": len(above), "base": first[quantity]}
                rows.append({"step": step, "quantity": quantity, **base, **found, "at_full": at_full})
    return pd.DataFrame(rows)


def chart(folder: Path, out: Path) -> Path:
    """Draw time and memory by size from the result files, and write the numbers beside the picture.

    Args:
        folder: of the results.
        out: where scale.svg and scale.json go.

    Returns:
        The picture's path.
    """
    import altair as alt

    from rd_utils.report import drawing

    table, out = measured(folder), Path(out)
    fitted = growth(table)
    steps = [step for step in STEPS if step in set(table["step"])]
    panels, legend = [], "step: exponent of growth (95 %)"
    for quantity, title in _QUANTITIES.items():
        exponents = fitted[fitted["quantity"] == quantity].set_index("step") if len(fitted) else pd.DataFrame()
        names = {step: step.replace("_", " ") + _exponent(exponents, step) for step in steps}
        points = table[["passages", "step"]].assign(value=table[quantity], step=table["step"].map(names))
        panels.append(
            alt.Chart(points[points["value"] > 0], title=title, width=330, height=260)
            .mark_line(point=True)
            .encode(
                x=alt.X("passages:Q", scale=alt.Scale(type="log"), title="passages", axis=alt.Axis(format="~s", tickCount=5)),
                y=alt.Y("value:Q", scale=alt.Scale(type="log"), title=None, axis=alt.Axis(format="~s", tickCount=5)),
                color=alt.Color(
                    "step:N",
                    sort=list(names.values()),
                    scale=alt.Scale(scheme="tableau10" if len(steps) <= 10 else "tableau20"),
                    legend=alt.Legend(title=legend, titleLimit=400, labelLimit=400),
                ),
            )
        )
    picture = alt.vconcat(*(alt.hconcat(*panels[at : at + 2]).resolve_scale(color="independent") for at in (0, 2)))
    out.mkdir(parents=True, exist_ok=True)
    with drawing.use_theme():
        picture.resolve_scale(color="independent").save(out / "scale.svg")
    record = {"measured": table.to_dict("records"), "growth": fitted.to_dict("records")}
    (out / "scale.json").write_text(json.dumps(record, indent=1, default=float) + "\n", encoding="utf-8")
    return out / "scale.svg"


def _exponent(fitted: pd.DataFrame, step: str) -> str:
    if step not in fitted.index:
        return ""
    found = fitted.loc[step]
    interval = "" if math.isnan(found["low"]) else f" ({found['low']:.2f} to {found['high']:.2f})"
    return f": {found['exponent']:.2f}{interval}"


# --- command line -----------------------------------------------------------------------------------------------------------------


def size_of(text: str) -> int:
    """Read a number of passages: ``300k``, ``8.8M`` or ``10000``.

    >>> size_of("8.8M"), size_of("300k"), size_of("12")
    (8800000, 300000, 12)
    """
    unit = {"k": 1_000, "M": 1_000_000}.get(text[-1:], 1)
    number = float(text.rstrip("kM")) * unit
    if not number >= 1 or number != round(number):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of passages; expected one such as 300k, 8.8M or 10000")
    return round(number)


def main(arguments: list[str] | None = None) -> int:
    """Run, draw, or take one step (which a run does in a process of its own)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    running = actions.add_parser("run", help="take all steps at all sizes")
    running.add_argument("--sizes", default=SIZES, help=f"comma-separated (default: {SIZES})")
    running.add_argument("--full-queries", type=int, default=FULL_QUERIES, help=f"queries per {FULL:,} passages")
    drawing = actions.add_parser("chart", help="draw what was measured")
    drawing.add_argument("--out", type=Path, default=Path("docs"), help="where scale.svg and scale.json go")
    step = actions.add_parser("step")
    step.add_argument("name", choices=STEPS)
    step.add_argument("--docs", type=int, required=True)
    step.add_argument("--queries", type=int, required=True)
    step.add_argument("--log", type=Path, required=True)
    step.add_argument("--counts", type=Path, required=True)
    for part in (running, step):
        part.add_argument("--seed", type=int, default=0)
    for part in (running, drawing, step):
        part.add_argument("--folder", type=Path, default=Path("outputs/scale"), help="of collections, artefacts, results and the log")
    options = parser.parse_args(arguments)
    if options.action == "run":
        run([size_of(size) for size in options.sizes.split(",")], options.folder, options.full_queries, options.seed)
    elif options.action == "chart":
        print(chart(options.folder, options.out))
    else:
        log_to(options.log)
        counts = STEPS[options.name](Scale(options.docs, options.queries, options.folder, options.seed))
        _write(options.counts, counts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
