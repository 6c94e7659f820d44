"""Studies, notebooks' parameters, compare's options and files of devices, damaged at random: refused with a reason, or accepted and sane.

Nothing may end in another exception, hang, or end the process. ``RD_FUZZ`` says how many inputs there are in all (a few hundred by
default; ``make fuzz`` has 10,000), ``RD_FUZZ_SEED`` with which seed they are drawn; each test prints what became of them.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import math
import os
import random
import re
import signal
import string
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

from rd_utils.analysis import compare, questions
from rd_utils.companions.theory import held_out
from rd_utils.cost import devices, estimates
from rd_utils.store import Store, StoreError
from rd_utils.study import checks, params, plan, studies, yaml_files
from rd_utils.study.params import ParameterError

ROOT = Path(__file__).resolve().parents[2]
INPUTS = int(os.environ.get("RD_FUZZ", 200))
SEED = int(os.environ.get("RD_FUZZ_SEED", 14))
SECONDS = 60  # of the processor that one input may take
REFUSALS = (ParameterError, StoreError)

# --- what an accepted number or text may be, written down apart from the types that decide it ---------------------------------------

FLAGS = {"in_batch_negatives", "ranks", "gpu", "here"}
BOUNDS: dict[str, tuple[float, float]] = {  # both ends are allowed
    **dict.fromkeys(["seed", "noise_seed", "seeds"], (0, 2**63 - 1)),
    **dict.fromkeys(["skip_queries"], (0, 1e12)),
    **dict.fromkeys(["documents", "stop_at", "max_queries", "queries", "docs", "sample", "every", "checkpoint_every"], (1, 1e12)),
    **dict.fromkeys(["depth", "from_rank", "from_depth", "at_most", "nlist", "nprobe", "students_per_node"], (1, 1e6)),
    **dict.fromkeys(["queries_per_batch", "accumulation_steps"], (1, 1e6)),
    **dict.fromkeys(["group_size", "trials", "kernels", "n_repeats", "perturbations"], (2, 1e4)),
    **dict.fromkeys(["draws", "refine", "m", "layers", "heads", "top_k", "neighbours", "processes", "words"], (1, 1e4)),
    **dict.fromkeys(["dimension", "hidden", "feed_forward"], (1, 2**16)),
    **dict.fromkeys(["max_length", "max_query_length"], (4, 2**20)),
    **dict.fromkeys(["shares", "b", "quantile", "warmup_share", "random_share", "document_span"], (0, 1)),
    **dict.fromkeys(["target_entropy", "target_entropies", "floor", "delta"], (1e-30, 1 - 1e-16)),
    **dict.fromkeys(["betas", "weight_decay", "query_dropout", "query_replacement", "smoothing", "hard_weight"], (0, 1 - 1e-16)),
    **dict.fromkeys(["learning_rate", "learning_rates", "embedding_learning_rate"], (5e-324, 10)),
    **dict.fromkeys(["temperature", "temperatures", "draw_temperature"], (1e-6, 1e12)),
    **dict.fromkeys(["k1", "scale", "initial_norm", "max_gradient_norm", "embedding_ratio", "clip", "sigmas"], (5e-324, 1e6)),
    **dict.fromkeys(["noise", "value"], (0, 1e6)),
    **dict.fromkeys(["equivalence_margin", "margins_shown", "margin"], (1e-6, 1 - 1e-16)),
    **dict.fromkeys(["watts", "watts_per_core", "gpu_watts"], (5e-324, 1e6)),
    **dict.fromkeys(["peak", "bandwidth", "memory"], (5e-324, 1e30)),
    **dict.fromkeys(["train", "infer"], (5e-324, 1)),
    **dict.fromkeys(["training_queries", "held_out_queries", "pilot", "n"], (1, 1e12)),
    "alpha": (1e-9, 0.5 - 1e-16), "level": (0.5, 1 - 1e-10), "labels": (1, 2),
}  # fmt: skip
UNIQUE = {
    "seeds",
    "measures",
    "temperatures",
    "target_entropies",
    "losses",
    "strategies",
    "teachers",
    "cuts",
    "augmentations",
    "margins_shown",
}
NAMED = {"retrievers", "strategies", "teachers", "architectures", "augmentations", "cuts", "losses"}  # mappings whose keys are names
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@-]{0,79}")
MEASURE = re.compile(r"[A-Za-z]\w*(\([^()]*\))?(@(0\.\d+|1\.0|[1-9]\d{0,5}))?")


def check_sane(value: Any, field: str = "") -> None:
    """Raise an AssertionError where an accepted value is none that a person can have meant."""
    if isinstance(value, dict):
        for key, item in value.items():
            if field in NAMED and isinstance(item, dict):
                assert NAME.fullmatch(key), f"{field}.{key!r} is no name"
            check_sane(item, field if field == "peak" else key)
    elif isinstance(value, list | tuple):
        assert field not in UNIQUE or len({str(item) for item in value}) == len(value), f"{field} repeats: {value}"
        for item in value:
            check_sane(item, field)
    elif isinstance(value, bool):
        assert field in FLAGS, f"{field} is {value}"
    elif isinstance(value, int | float):
        assert field in BOUNDS, f"{field} is {value}; say in BOUNDS of this file what it may be"
        low, high = BOUNDS[field]
        assert math.isfinite(value) and low <= value <= high, f"{field} is {value}"
    elif isinstance(value, str):
        assert value.strip() and len(value) <= 10_000 and all(c.isprintable() or c in "\n\t" for c in value), f"{field} is {value!r}"
        if field in ("measure", "measures"):
            assert MEASURE.fullmatch(value), f"{field} is {value!r}"
        if field in ("name", "strategy", "retriever", "teacher", "architecture", "reference", "shortage", "split", "base"):
            assert NAME.fullmatch(value), f"{field} is {value!r}"
    else:
        assert value is None, f"{field} is a {type(value).__name__}"


# --- what inputs are made of --------------------------------------------------------------------------------------------------------

NUMBERS = [
    float("nan"), float("inf"), -float("inf"), 0, -0.0, 0.0, 1, -1, 1.0, 1.5, -1.5, 1e-6, 1e-9, 5e-324, 1e-300, 1e300, 1e9, 64, 2**31,
    2**32, 2**53,
    2**63 - 1, 2**63, 2**64, -(2**63), 10**40, 10**400, True, False, 0.1 + 0.2, 3, 7, 100,
]  # fmt: skip
TEXTS = [
    "", " ", "a/b", "../x", "..", ".hidden", "x" * 81, "x" * 300, "x" * 5_000, "\0", "a\nb", "é", "名", "😀", "NA", "null", "nan",
    "none", "all", "drop",
    "true", "yes", "no", "on", "010", "1:30", "2020-01-01", "0x1F", "1e5", "12", "-1", "~", "~nobody/x", "/", "/etc/passwd",
    "/dev/zero", "a b", "-x",
    "bm25", "oracle", "teacher", "kl", "lce", "candidates", "embedded", "documented", "package:", "package:x", "package:os/../..",
    "package:no.such/x", "{}", "[]",
    "nDCG@0", "R@0", "P@0", "nDCG@-1", "nDCG@10", "ndcg@10", "NDCG@10", "R@99999999999", "AP(rel=0)", "AP(rel=2)", "ERR@20",
    "RBP(p=2.0)", "Judged@0",
    "RR", "IPrec@0.1", "nDCG@10@10", "f(", "__import__('os')", "beir/scifact/trian", "vaswani", "<b>x</b>", "%s", "$HOME", "\ud800",
    "\u202e", "a\u0301",
]  # fmt: skip
OTHERS = [
    None,
    [],
    {},
    [1],
    [[]],
    {"a": 1},
    {"kind": "bm25"},
    {"kind": "oracle"},
    {"kind": "nosuch"},
    {"source": "ir_datasets", "id": "nosuch"},
    {"source": "documented"},
    {"source": "documented", "task": "see_also", "split": "validation"},
    ["x"],
    [None],
]
FOREIGN = [b"bytes", (1, 2), {1, 2}, object, 1j]  # what only a notebook can hold


def written(values: Any, **options: Any) -> str:
    """Return values as YAML, by the fast writer where there is one."""
    return yaml.dump(values, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), **options)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of everything inside a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from leaves(item, (*path, key))


def inside(value: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        value = value[part]
    return value


def mutated(values: dict[str, Any], rng: random.Random, odd: list[Any]) -> dict[str, Any]:
    """Return values with one to three changes somewhere."""
    values = copy.deepcopy(values)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = list(leaves(values))
        if not places:
            return values
        *path, key = rng.choice(places)
        holder = inside(values, tuple(path))
        change = rng.randrange(16)
        if change < 6:
            holder[key] = rng.choice(odd)
        elif change == 6:
            del holder[key]
        elif change == 7 and isinstance(holder, dict):
            holder[rng.choice([str(key) + "x", str(key)[1:], str(rng.choice(TEXTS))])] = holder.pop(key)
        elif change == 8 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif change == 9:
            holder[key] = copy.deepcopy(inside(values, rng.choice(places)))
        elif change > 11 and isinstance(holder[key], int | float):
            holder[key] = type(holder[key])(holder[key] * rng.choice([-1, 1e-3, 0.5, 2, 3, 10, 1e6, 1e12]))
        elif change == 11:
            for _ in range(rng.choice([1, 30, 60, 300])):
                holder[key] = rng.choice([[holder[key]], {"kind": holder[key]}])
            return values
    return values


BOMB = b"a: &a [x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + n, 98 + n, b", ".join([b"*%c" % (97 + n)] * 8)) for n in range(9)
)  # every line eight times the one before


WORDS = [
    b": yes", b": no", b": on", b": 010", b": 0o7", b": 0x1F", b": 1:30", b": 2020-01-01", b": 2020-01-01T00:00:00Z", b": .inf",
    b": -.inf", b": .nan", b": 1e400", b": 1_000", b": ~", b": =", b": <<", b": 08", b": 1e5", b": +3", b": 1.", b": !!int 3", b": !x y",
    b": *a", b": 'x", b": |", b": ", b": 4", b": true", b": 0.5", b": -0",
]  # fmt: skip


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return a file's bytes with damage that only a file can have."""
    place, end = rng.randrange(len(content)), rng.randrange(len(content))
    lines = content.split(b"\n")
    row = rng.randrange(len(lines))
    snippets = [
        b"\xff", b"\x00", b"\xef\xbb\xbf", b"\t", b"- ", b": ", b"{", b"}", b"[", b"]", b"*x", b"&x ",
        b"!!python/object/apply:os.system ['false']",
        b"!!python/name:os.system", b"!!binary AA==", b"!!set {a}", b"!!timestamp x", b"!!float x", b"<<: {a: 1}", b"? ", b"|\n", b"'",
        b'"', b"#", b"%YAML 9.9", b"---\n",
        b"\xed\xa0\x80", b"\xc2\x85", b"\xe2\x80\xa8", b"1: 2\n", b"null: 1\n", b"[a]: 2\n", b"@", b"`", b"9" * 5_000,
    ]  # fmt: skip
    return rng.choice(
        [
            lambda: content[:place],
            lambda: content[:place] + bytes([rng.randrange(256)]) + content[place + 1 :],
            lambda: content[:place] + rng.choice(snippets) + content[place:],
            lambda: content[:place] + content[max(place, end) :],
            lambda: b"\n".join([*lines[:row], lines[row], *lines[row:]]),
            lambda: b"\n".join([*lines[:row], b"  " + lines[row], *lines[row + 1 :]]),
            lambda: content.decode().encode(rng.choice(["utf-16", "utf-32", "utf-8-sig"])),
            lambda: content.replace(b"\n", b"\r\n"),
            lambda: content + b"x: " + b"[" * rng.choice([10, 60, 3_000]),
            lambda: content + b"x: &a [" + b"&b [" * 30 + b"*a" + b"]" * 31,
            lambda: BOMB + content,
            lambda: b"\n".join(
                re.sub(rb": [^:{\[,}]+(?=[,}]|$)", rng.choice(WORDS), line) if n == row else line for n, line in enumerate(lines)
            ),
            lambda: re.sub(rb": [^:{\[,}\n]+(?=[,}\n])", lambda found: rng.choice([found[0]] * 50 + WORDS), content),
            lambda: bytes(rng.randrange(256) for _ in range(rng.randrange(200))),
            lambda: rng.choice([b"", b"\n", b"#", b"[]", b"text", b"- a", b"null", b"\xef\xbb\xbf"]),
        ]
    )()


@contextlib.contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError(f"longer than {seconds} CPU seconds")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def run(what: str, inputs: Iterator[tuple[Any, Callable[[], Any]]], names: str = "") -> Counter[str]:
    """Try inputs; return how many were refused and accepted, and fail on the first few that ended in any other way.

    Args:
        what: they are, for the report.
        inputs: each with what tries it, which returns what it accepted as plain values, to be checked for sanity.
        names: what every refusal has to name.
    """
    counted: Counter[str] = Counter()
    raw: list[str] = []
    for made, attempt in inputs:
        said = io.StringIO()
        try:
            with no_longer_than(SECONDS), contextlib.redirect_stderr(said):
                check_sane(attempt())
            counted["accepted"] += 1
        except REFUSALS as error:
            counted["refused"] += 1
            text = str(error)
            text.encode()  # can be printed
            if not re.search(names, text) or "Traceback" in text or len(text) > 20_000:
                raw.append(f"a refusal that names nothing, or too much: {text[:300]!r} for {made!r:.1500}")
        except SystemExit as error:  # argparse, which has printed what is wrong
            counted["refused"] += 1
            if error.code != 2 or "error: " not in said.getvalue():
                raw.append(f"exit {error.code} for {made!r:.300}")
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            raw.append(f"{type(error).__name__}: {str(error)[:300]} for {made!r:.1500}")
    counted["raw"] = len(raw)
    print(f"{what}: {sum(counted[key] for key in ('refused', 'accepted', 'raw'))} inputs, {dict(counted)}")
    assert not raw, f"{len(raw)} of {what}, the first:\n" + "\n".join(raw[:5])
    return counted


def drawn(share: float, what: str) -> Iterator[random.Random]:
    """Yield a generator for every input of a test, as many as its share of all."""
    for number in range(max(1, round(INPUTS * share))):
        yield random.Random(f"{SEED} {what} {number}")


# --- studies ------------------------------------------------------------------------------------------------------------------------


def merged(name: str) -> dict[str, Any]:
    """Return what a study that ships says with its bases' part, with fewer seeds and strategies, so that it is planned quickly."""
    values, _ = studies._on_base(yaml_files.read(ROOT / "params" / f"{name}.yaml", "study"))
    values = {key: value for key, value in copy.deepcopy(values).items() if key not in ("base", "overrides")}
    for grid in values["grids"]:
        grid |= {"seeds": grid["seeds"][:2], "strategies": grid["strategies"][:3]}
    return values


def tried(path: Path, base: str | None = None) -> Any:
    """Do what ``check`` does, without asking for run files; return what was accepted."""
    made = plan.load_plan(path, base)
    questions.before(made)
    assert made.folder.name and made.folder.resolve().is_relative_to(Path(os.environ["RD_OUTPUTS"]).resolve())
    for cell in made.cells:
        assert "/" not in cell.name and not cell.name.startswith(".")
    if INPUTS >= 1_000 and len(made.cells) <= 6 and zlib.crc32(made.study.model_dump_json().encode()) % 10 == 0:
        for node in made.nodes:
            assert "/" not in node.name and len(node.name.encode()) <= 220
            json.dumps(node.parameters, allow_nan=False)
        estimates.show(estimates.estimate(made, Store(), devices.GPUS["h100"]), "json")
    return made.study.model_dump(mode="json", exclude_none=True)


@pytest.fixture(scope="module")
def originals() -> dict[str, dict[str, Any]]:
    plain = {name: yaml.safe_load((ROOT / "params" / f"{name}.yaml").read_text()) for name in ("smallest", "tour")}
    return plain | {name: merged(name) for name in ("smallest_grid", "vaswani", "documented")}


def test_what_is_mutated_is_accepted_as_it_stands(originals, outputs, tmp_path):
    for name, values in originals.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(written(values))
        check_sane(tried(path))


def test_studies_with_other_values(originals, outputs, tmp_path):
    def inputs() -> Iterator[tuple[Any, Callable[[], Any]]]:
        for rng in drawn(0.3, "studies"):
            values = mutated(originals[rng.choice(sorted(originals))], rng, [*NUMBERS, *TEXTS, *OTHERS])
            path = tmp_path / "fuzzed.yaml"
            with contextlib.suppress(ValueError, RecursionError):  # a number of 400 digits, nested 900 deep: written as well as it can be
                path.write_text(written(values, allow_unicode=rng.random() < 0.5), encoding="utf-8", errors="surrogatepass")
            yield values, partial(tried, path)

    counted = run("studies", inputs(), names="fuzzed.yaml|study ")
    assert counted["refused"] and (INPUTS < 200 or counted["accepted"])


def test_studies_whose_file_is_damaged(originals, outputs, tmp_path):
    shipped = [path.read_bytes() for path in sorted((ROOT / "params").glob("*.yaml")) if b"\nbase:" not in path.read_bytes()]

    def inputs() -> Iterator[tuple[Any, Callable[[], Any]]]:
        for rng in drawn(0.2, "files"):
            content = damaged(rng.choice(shipped), rng)
            path = tmp_path / "fuzzed.yaml"
            path.write_bytes(content)
            yield content, partial(tried, path)

    run("files of studies", inputs(), names="fuzzed.yaml|study ")


def test_bases(outputs, tmp_path):
    (tmp_path / "bases").mkdir()
    below = (ROOT / "params" / "smallest.yaml").read_bytes()

    def inputs() -> Iterator[tuple[Any, Callable[[], Any]]]:
        for rng in drawn(0.05, "bases"):
            base, argument = (rng.choice([*TEXTS, *NUMBERS, *OTHERS, "one", "one"]) for _ in "ab")
            (tmp_path / "bases" / "one.yaml").write_bytes(below if rng.random() < 0.5 else damaged(below, rng))
            path = tmp_path / "fuzzed.yaml"
            with contextlib.suppress(ValueError):
                path.write_text(written({"name": "own", "question": "?", "base": base}), encoding="utf-8", errors="surrogatepass")
            asked = argument if isinstance(argument, str) and rng.random() < 0.3 else None
            yield (base, asked), partial(tried, path, asked)

    run("bases", inputs(), names="fuzzed.yaml|one.yaml|study ")


# --- notebooks ----------------------------------------------------------------------------------------------------------------------

MODELS = {
    "01_mine": params.MineParameters, "02_score": params.ScoreParameters, "03_train": params.TrainParameters,
    "04_evaluate": params.EvaluateParameters,
    "05c_report": params.AnalyseParameters, "06_search": params.SearchParameters, "07a_floor": held_out.TheoryParameters,
    "07b_bounds": held_out.BoundsParameters, "07c_bias": held_out.BiasParameters,
    "09_advise": params.AdviseParameters,
    "10_claims": params.ClaimsParameters,
}  # fmt: skip


def parameters_of(notebook: str) -> dict[str, Any]:
    """Return what a notebook's parameter cell says."""
    cells = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
    found: dict[str, Any] = {}
    exec(next(cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])), {}, found)
    return found


def test_parameters_of_notebooks(outputs):
    known = {name: parameters_of(name) for name in MODELS}

    def attempt(model: type[params.Part], values: dict[str, Any]) -> Any:
        made, problems = params.attempt(model, values)
        problems += checks.problems(made)
        if problems:
            raise ParameterError(params.listed("parameters", problems))
        return made.model_dump(mode="json", exclude_none=True)

    def inputs() -> Iterator[tuple[Any, Callable[[], Any]]]:
        for rng in drawn(0.3, "notebooks"):
            name = rng.choice(sorted(MODELS))
            values = mutated(known[name], rng, [*NUMBERS, *TEXTS, *OTHERS, *FOREIGN])
            yield (name, values), partial(attempt, MODELS[name], values)

    run("parameters of notebooks", inputs(), names=r"^parameters: [1-9]\d* problem")


# --- compare ------------------------------------------------------------------------------------------------------------------------


def test_options_of_compare(outputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "qrels").write_text("".join(f"q{n} 0 d{n} 1\n" for n in range(6)))
    for name, offset in (("a.run", 0), ("b.run", 1)):
        rows = (f"q{n} Q0 d{(n + k + offset) % 6} {k + 1} {9 - k} t\n" for n in range(6) for k in range(3))
        (tmp_path / name).write_text("".join(rows))
    study = str(ROOT / "params" / "smallest.yaml")
    numbers = [*(str(n) for n in NUMBERS if not isinstance(n, int) or abs(n) < 10**50), "x", "", "1e-7", "0,5", "٣"]

    def inputs() -> Iterator[tuple[Any, Callable[[], Any]]]:
        for rng in drawn(0.1, "compare"):
            of_study = rng.random() < 0.25
            options = ["static-bm25-lce", "static-bm25-oracle-kl", "--study", study] if of_study else ["a.run", "b.run", "--qrels", "qrels"]
            for option in rng.sample(["--margin", "--alpha", "--level", "--seed"], rng.randrange(4)):
                options.append(f"{option}={rng.choice(numbers)}")
            if rng.random() < 0.5:
                options.append(f"--measure={rng.choice(TEXTS)}")
            if rng.random() < 0.2:
                options[rng.choice([0, 1, 3])] = rng.choice(["", "nosuch", "x" * 300, "..", "bm25", "a b", "/", "q\0"])
            options.append("--json")

            def attempt(options: list[str] = options) -> Any:
                parser = argparse.ArgumentParser()
                compare.add_arguments(parser)
                found = json.loads(compare.run(parser.parse_args(options)))["settings"]
                return {name: found[name] for name in ("margin", "seed")}

            yield options, attempt

    run("options of compare", inputs())


# --- devices ------------------------------------------------------------------------------------------------------------------------


def test_files_of_devices(tmp_path):
    def attempt(path: Path) -> Any:
        return devices.device_of(str(path)).model_dump()

    own = {"name": "own", "gpu": True, "peak": {"fp32": 1e13, "bf16": 1e14}, "bandwidth": 1e12, "memory": 8e10, "watts": 300, "train": 0.3}

    def inputs() -> Iterator[tuple[Any, Callable[[], Any]]]:
        for rng in drawn(0.05, "devices"):
            path = tmp_path / "own.yaml"
            with contextlib.suppress(ValueError, RecursionError):
                path.write_text(written(mutated(own, rng, [*NUMBERS, *TEXTS, *OTHERS])), encoding="utf-8", errors="surrogatepass")
            if rng.random() < 0.3:
                path.write_bytes(damaged(path.read_bytes() or b"a: 1", rng))
            yield path.read_bytes(), partial(attempt, path)

    run("files of devices", inputs(), names="own.yaml")
    for name in [*TEXTS, "x" * 300 + ".yaml", string.printable]:
        if name != "cpu":
            with pytest.raises(ParameterError):
                devices.device_of(name)
