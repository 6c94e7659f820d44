"""Write the tables and numbers of README.md and docs/ from committed data: ``make tables``, or ``python -m docs.tables``.

A table stands between ``<!-- table: name -->`` and ``<!-- end -->``, a number of a sentence between ``<!-- n: name -->`` and
``<!-- /n -->``; :data:`TABLES` and :data:`NUMBERS` say what a name is made of. ``docs/data/*.csv`` begin with lines that say the study, the
version, the date and the command that the numbers come from; digits are shown as they stand there.
"""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from docs import options
from rd_utils.companions import claims as judge
from rd_utils.companions import recipes, scaling
from rd_utils.exchange import results

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "docs" / "data"
TABLE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
NUMBER = re.compile(r"(<!-- n: ([\w-]+) -->).*?(<!-- /n -->)", re.DOTALL)

ARCHITECTURES = {"bi": "bi-encoder", "cross": "cross-encoder"}
FIRST_STAGES = {"full": "full retrieval", "bm25@100": "re-ranking", "both": "both"}
LOSSES = {"lce": "LCE", "ranknet": "RankNet", "margin_mse": "MarginMSE", "kl": "KL"}
STRATEGIES = {
    "corpus_random": "corpus-random",
    "bm25": "BM25",
    "dense": "dense",
    "teacher": "teacher's top",
    "pooled": "pooled",
    "pooled_filtered": "pooled, filtered",
    "graph": "graph",
}

SAID = {
    "": "–",
    "queries": "over queries",
    "queries_and_seeds": "over queries and seeds",
    "published": "the published rule",
    "tost": "paired TOST",
}
SAID |= ARCHITECTURES

# --- data -------------------------------------------------------------------------------------------------------------------------


def data(name: str) -> pd.DataFrame:
    """Return a file of docs/data as text, so that no digit is lost."""
    return pd.read_csv(DATA / f"{name}.csv", comment="#", dtype=str, keep_default_na=False)


def source(name: str) -> dict[str, str]:
    """Return what the head of a file of docs/data says: study, version, date, command, measure."""
    lines = (DATA / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    return dict(line[2:].split(": ", 1) for line in lines if line.startswith("# "))


def values(name: str, column: str, /, **where: str) -> pd.Series:
    """Return a column as numbers, of the rows in which the named columns have these values."""
    table = data(name)
    for key, wanted in where.items():
        table = table[table[key] == wanted]
    return pd.to_numeric(table[column]).dropna()


@functools.cache
def benchmarks() -> dict[str, dict]:
    """Return the benchmark's committed runs by the names of their files, the newest first."""
    read = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "benchmarks" / "results").glob("*.json")}
    full = {name: run for name, run in read.items() if run.get("form") == "full"}
    return dict(sorted(full.items(), key=lambda item: item[1]["date"], reverse=True))


def processor_name(run: str) -> str:
    """Return what a run's processor is called in a table.

    >>> processor_name("amd-25-1-avx2"), processor_name("amd-avx512_bf16-again")
    ('AMD, AVX2', 'AMD, AVX-512 and bf16 (again)')
    """
    vendor, *numbers = run.removesuffix("-again").split("-")
    sets = {"avx2": "AVX2", "avx512": "AVX-512", "avx512_bf16": "AVX-512 and bf16", "amx": "AMX"}
    vendors = {"amd": "AMD", "intel": "Intel"}
    return f"{vendors.get(vendor, vendor)}, {sets.get(numbers[-1], numbers[-1])}" + (" (again)" if run.endswith("-again") else "")


def scale() -> pd.DataFrame:
    """Return what was measured at the largest size, a row a step."""
    measured = pd.DataFrame(json.loads((ROOT / "docs" / "scale.json").read_text(encoding="utf-8"))["measured"])
    return measured[measured["passages"] == measured["passages"].max()].set_index("step")


# --- how a number is said ---------------------------------------------------------------------------------------------------------


def spread(mean: str, sd: str = "") -> str:
    """Return a mean with its standard deviation, where there are any.

    >>> spread("0.512", "0.036"), spread("0.679"), spread("")
    ('0.512 ± 0.036', '0.679', '–')
    """
    return f"{mean} ± {sd}" if sd else mean or "–"


def brief(value: float) -> str:
    """Return a number in three digits, large ones with commas.

    >>> brief(0.012345), brief(1.0), brief(4.5), brief(797.2), brief(1234567)
    ('0.0123', '1.00', '4.50', '797', '1,234,567')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def two_digits(value: float) -> str:
    """Return a number in two digits, as plans are printed.

    >>> two_digits(0), two_digits(0.0088), two_digits(46.9), two_digits(2.5e10)
    ('0', '0.0088', '47', '2.5e10')
    """
    return "0" if value == 0 else re.sub(r"e\+?0*", "e", f"{value:.1e}") if value >= 1e4 else f"{value:.2g}"


def markdown(table: pd.DataFrame, words: int = 1) -> str:
    """Return a table as Markdown: so many columns of words, the others of numbers."""
    aligned = ["left"] * words + ["right"] * (table.shape[1] - words)
    return table.to_markdown(index=False, colalign=aligned, disable_numparse=True)


def cited(name: str, table: pd.DataFrame, words: int = 1) -> str:
    """Return a table and, below it, what its numbers are and where they come from."""
    head = source(name)
    told = f"{head['measure']}. {head['study']}, version {head['version']}, {head['date']}: `{head['command']}`; [data](data/{name}.csv)"
    return f"{markdown(table, words)}\n\n<sub>{told}</sub>"


# --- tables: each takes the way from its page to the root of the project -------------------------------------------------------------


def plain(name: str, words: int, *columns: str) -> Callable[[str], str]:
    """Return what shows a file of docs/data as it stands, under other names of its columns."""

    def show(up: str) -> str:
        table = data(name).replace(SAID)
        return cited(name, table.set_axis(columns, axis=1), words)

    return show


def opening(path: Path) -> list[str]:
    """Return the lines of a notebook's first cell."""
    return json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"]


def heads() -> list[dict[str, str]]:
    """Return path, name, question and time of every notebook, as its first cell says them."""
    found = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        first = opening(path)
        text = " ".join("".join(first).split())
        question = re.search(r"\*\*Question\.\*\* (.*?) \*\*", text)
        time = re.search(r"\*\*Time\.\*\* (.*?)[.,]( |$)", text)
        if question is None or time is None:
            raise ValueError(f"{path}: its first cell says no question or no time")
        title = first[0].strip()
        named = {"path": path.relative_to(ROOT).as_posix(), "name": path.stem, "question": question[1], "time": time[1]}
        asked = title.partition(": ")[2] if title.endswith("?") else question[1]
        found.append(named | {"title": asked[0].upper() + asked[1:]})
    return found


def notebooks(up: str) -> str:
    """Return the notebooks with their questions and times."""
    rows = [(f"[{head['name']}]({up}{head['path']})", head["question"], head["time"]) for head in heads()]
    return markdown(pd.DataFrame(rows, columns=["notebook", "question", "time"]), words=3)


def notebook_titles(up: str) -> str:
    """Return the notebooks with what their titles ask."""
    rows = [(f"[{head['name']}]({up}{head['path']})", head["title"]) for head in heads()]
    return markdown(pd.DataFrame(rows, columns=["notebook", "question"]), words=2)


def lessons(up: str) -> str:
    """Return the lessons with what they ask, what their reader writes, and how long that takes."""
    rows = []
    for path in sorted((ROOT / "notebooks" / "lessons").glob("*.ipynb")):
        text = " ".join("".join(opening(path)).split())
        said = re.search(r"\*\*Question\.\*\* (.*?) \*\*You write\*\* (.*?)\. \*\*Time\.\*\* (\d+) minutes", text)
        if said is None:
            raise ValueError(f"{path}: its first cell says no question, nothing to write, or no time")
        solved = path.parent / "solutions" / path.name
        names = [f"[{path.stem[:2]}]({up}{path.relative_to(ROOT)})", said[1], said[2], said[3], f"[solved]({up}{solved.relative_to(ROOT)})"]
        rows.append(names)
    return markdown(pd.DataFrame(rows, columns=["lesson", "question", "you write", "minutes", "solution"]), words=3)


def mistakes(up: str) -> str:
    """Return every exercise of the lessons with the mistakes that its check knows, as the hints that they earn."""
    from rd_utils.lessons import checks, marking

    rows = []
    for lesson in marking.lessons():
        for name in lesson.exercises:
            hints = [hint.replace("|", r"\|").replace("*", r"\*") for hint in checks.exercises()[name].mistakes]
            rows.append([lesson.name[:2], name, "<br>".join(hints)])
    return markdown(pd.DataFrame(rows, columns=["lesson", "exercise", "what a wrong answer is told"]), words=3)


def rooms(up: str) -> str:
    """Return the folders of the package with the first line of what they say of themselves, the package itself first."""
    rows = []
    for path in sorted((ROOT / "rd_utils").rglob("__init__.py")):
        said = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
        rows.append(
            (
                f"[{path.parent.relative_to(ROOT)}/]({up}{path.parent.relative_to(ROOT)})",
                re.sub(r":\w+:`~?([^`]+)`", r"`\1`", " ".join(said.split())),
            )
        )
    return markdown(pd.DataFrame(rows, columns=["room", "what is in it"]), words=2)


def together(blocks: Iterable[str | pd.DataFrame]) -> str:
    """Return blocks of a page one below the other."""
    return "\n\n".join(block if isinstance(block, str) else markdown(block, words=block.shape[1]) for block in blocks)


def sections(up: str) -> str:
    """Return the sections of a report, in their order, with what each says of itself."""
    from rd_utils.report.sections import files

    rows = [(section.TITLE, (section.__doc__ or "").split("\n\n")[0].replace("\n", " ")) for section in files().values()]
    return markdown(pd.DataFrame(rows, columns=["section", "what it shows"]), words=2)


def studies(up: str) -> str:
    """Return the studies that ship."""
    table = data("studies")
    table["study"] = [f"[{name}]({up}params/{name}.yaml)" for name in table["study"]]
    table = table[["study", "what", "takes", "cells", "students"]]
    return markdown(table.rename(columns={"takes": "takes, once set up"}), words=3)


def claims(up: str) -> str:
    """Return the claims' contrasts."""
    from rd_utils.companions.claims import CLAIMS

    rows = [
        (f"{claim.number}. {claim.words}" if not number else "", claim.holds if not number else "", contrast.name, contrast.expects)
        for claim in CLAIMS
        for number, contrast in enumerate(claim.contrasts)
    ]
    return markdown(pd.DataFrame(rows, columns=["claim", "needs", "contrast", "expected"]), words=4)


@functools.cache
def judged() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the values per query of the claims' committed results, and the estimates of the claims' contrasts."""
    per_query = results.read(CLAIMED)
    return per_query, judge.estimates(per_query)


def claims_verdicts(up: str) -> str:
    """Return the five verdicts with what moves them."""
    _, estimates = judged()
    table = judge.verdicts(estimates).merge(judge.fragile(estimates)[["claim", "moved_by"]], on="claim")
    table["claim"] = table["claim"].astype(str) + ". " + table["title"]
    return markdown(table[["claim", "verdict", "why", "moved_by"]].rename(columns={"moved_by": "moved by"}).replace("", "–"), words=4)


def claims_short(up: str) -> str:
    """Return the five verdicts, each with the effect of the claim's first contrast."""
    estimates = judged()[1]
    verdicts, effects = judge.verdicts(estimates), judge.combine(estimates)
    rows = []
    for claim, verdict in zip(judge.CLAIMS, verdicts["verdict"], strict=True):
        first = effects[effects["contrast"] == claim.contrasts[0].name]
        said = [ranged(row, "+").replace(" ", "&nbsp;") for row in first[["estimate", "low", "high"]].to_numpy()]
        rows.append([f"{claim.number}. {claim.title}", f"**{verdict}**", *said])
    return markdown(pd.DataFrame(rows, columns=["claim", "verdict", *effects["architecture"].unique()]), words=4)


def claims_hours(what: str) -> str:
    """Return the CPU hours of training or evaluating the claims' students, over all collections."""
    every = pd.concat([found.table("cells") for found in results.found(CLAIMED)])
    return f"{every[f'{what}_cpu_seconds'].sum() / 3600:,.0f}"


def claims_collections() -> str:
    """Return how many collections the verdicts rest on."""
    return str(judged()[1]["study"].nunique())


def ranged(values: Sequence[float], sign: str = "", digits: int = 3) -> str:
    """Return a value with its interval.

    >>> ranged([0.1, -0.05, 0.25], "+")
    '+0.100 [-0.050, +0.250]'
    """
    value, low, high = (format(each, f"{sign}.{digits}f") for each in values)
    return f"{value} [{low}, {high}]"


def claims_contrasts(up: str) -> str:
    """Return the combined effect of every contrast."""
    table = judge.combine(judged()[1])
    effect = [ranged(row, "+") for row in table[["estimate", "low", "high"]].to_numpy()]
    more = ["–" if pd.isna(row.low_next) else f"{row.low_next:+.3f} to {row.high_next:+.3f}" for row in table.itertuples()]
    shown = table.assign(effect=effect, next=more, i_squared=[f"{100 * value:.0f}" for value in table["i_squared"]])
    names = {"architecture": "student", "n": "collections", "next": "one more collection", "i_squared": "I squared, %"}
    columns = ["claim", "contrast", "architecture", "n", "expects", "effect", "next", "i_squared", "verdict"]
    return markdown(shown[columns].rename(columns=names).replace({"student": ARCHITECTURES}).astype(str), words=3)


CLAIMED = "docs/results/claims_*"
LEFT_OUT = {"collection": "one collection", "kind of text": "one kind of text", "architecture": "one architecture"}


@functools.cache
def elsewhere() -> tuple[recipes.Evidence, pd.DataFrame]:
    """Return what the claims' results say of recipes, and what each rule of choosing loses."""
    known = recipes.evidence(CLAIMED)
    return known, recipes.regret_summary(recipes.regrets(known))


def advised(what: str) -> str:
    """Return the name of the rule to go by, or what it loses where a collection was left out."""
    _, summary = elsewhere()
    rule = recipes.winner(summary)
    row = summary[(summary["rule"] == rule) & (summary["left_out"] == "collection")].iloc[0]
    return rule if what == "rule" else ranged(row[["regret", "low", "high"]])


def shipped_advice() -> str:
    """Return the file of the advice that ships, from which reports quote."""
    known, summary = elsewhere()
    record = {"made by": "python -m docs.tables", "results": CLAIMED, "studies": sorted(known.features.index)}
    return json.dumps(record | {"advice": recipes.advice(known, summary)}, indent=1) + "\n"


def claims_advice(up: str) -> str:
    """Return the advice in words."""
    return " ".join(recipes.advice(*elsewhere())) + "\n"


def claims_regrets(up: str) -> str:
    """Return what each rule loses, whatever was left out."""
    table = elsewhere()[1].copy()
    table["shown"] = [ranged(row) for row in table[["regret", "low", "high"]].to_numpy()]
    table["gain"] = [ranged(row, "+") for row in table[["gain", "gain_low", "gain_high"]].to_numpy()]
    wide = table.pivot(index="rule", columns="left_out", values="shown").loc[list(recipes.RULES), list(LEFT_OUT)].rename(columns=LEFT_OUT)
    gains = table[table["left_out"] == "collection"].set_index("rule")["gain"]
    return markdown(wide.assign(**{"gain on best elsewhere": gains}).rename_axis("rule").reset_index(), words=4)


def claims_standing(up: str) -> str:
    """Return where students stand: below what was not trained, and beside BM25 and their teacher."""
    table = judge.standing(judged()[0])
    table["study"] = [study.removeprefix("claims_") for study in table["study"]]
    numbers = ["bm25", "untrained", "best", "teacher"]
    for name in numbers:
        table[name] = ["–" if pd.isna(value) else f"{value:.3f}" for value in table[name]]
    names = {"study": "collection", "architecture": "student", "bm25": "BM25", "below_bm25": "cells below BM25"}
    names |= {"below_untrained": "below untrained"}
    columns = ["study", "architecture", "cells", "below_bm25", "below_untrained", *numbers]
    return markdown(table[columns].rename(columns=names).replace({"student": ARCHITECTURES}).astype(str), words=2)


@functools.cache
def over_sizes() -> pd.DataFrame:
    """Return the lines of effects over sizes, of the committed results."""
    return scaling.lines(scaling.estimates("docs/results/scaling_*"))


def sizes(up: str) -> str:
    """Return how effects change with each size, and what the lines say of MS MARCO's."""
    table = over_sizes()
    shown = pd.DataFrame(
        {
            "more": table["axis"].map(scaling.AXES),
            "effect": table["contrast"],
            "student": table["architecture"].replace(ARCHITECTURES),
            "sizes": table["n"],
            "from": [f"{row.at_base:+.3f} at {row.line.base:,.0f}" for row in table.itertuples()],
            "a doubling": [ranged(row, "+", 4) for row in table[["slope", "low", "high"]].to_numpy()],
            "trend": table["trend"],
            "at MS MARCO's": [ranged(row, "+") for row in table[["far", "far_low", "far_high"]].to_numpy()],
        }
    )
    return markdown(shown.astype(str), words=4)


def sizes_words(up: str) -> str:
    """Return what the lines say, in words."""
    return "".join(f"- {line}\n" for line in scaling.in_words(over_sizes()))


def msmarco_plan() -> str:
    """Return what the published main table would take, in words."""
    plan = data("plan_msmarco").set_index("name").loc["total"]
    hours, energy = float(plan["gpu_seconds"]) / 3600, float(plan["joules"]) / 3.6e6
    return f"planned, not run: {two_digits(hours)} hours of an H200, {two_digits(energy)} kWh"


def costs(up: str) -> str:
    """Return what four studies cost."""
    table = data("studies").set_index("study")
    table.loc["paper/msmarco", "takes"] = msmarco_plan()
    names = ("tour", "embedded", "scifact", "paper/msmarco")
    rows = [(f"[{name}]({up}params/{name}.yaml)", table.loc[name, "students"], table.loc[name, "takes"]) for name in names]
    return markdown(pd.DataFrame(rows, columns=["study", "students", "takes"]), words=3)


def plan_msmarco(up: str) -> str:
    """Return the plan of the published main table, stage by stage."""
    table = data("plan_msmarco")
    table = pd.concat([table[table["level"] == "stage"], table[table["level"] == "study"]])
    table = table[table["artefacts"] != "0"]
    number = table.loc[:, "artefacts":"memory_bytes"].apply(pd.to_numeric)
    columns = {
        "tokens": number["tokens"],
        "FLOP": number["flops"],
        "GPU h": number["gpu_seconds"] / 3600,
        "core h": number["core_seconds"] / 3600,
        "kWh": number["joules"] / 3.6e6,
        "disk GB": number["disk_bytes"] / 1e9,
    }
    shown = (
        table[["name", "artefacts"]]
        .rename(columns={"name": "stage"})
        .assign(**{key: value.map(two_digits) for key, value in columns.items()})
    )
    return cited("plan_msmarco", shown)


def benchmark_range(up: str) -> str:
    """Return how many times better than the best peer the suite is, a row a line, a column a run, and the range over the runs."""
    runs = dict(sorted(benchmarks().items(), key=lambda run: -len(run[1]["lines"])))  # whole ones first, which say the order of the lines
    rows: dict[str, dict[str, str]] = {}
    medians: dict[str, list[float]] = {}
    for name, run in runs.items():
        for line in run["lines"]:
            goal = "–" if line["target"] is None else brief(line["target"])
            row = rows.setdefault(line["line"], {"work": line["line"], "goal": goal} | dict.fromkeys(map(processor_name, runs), "–"))
            if line["ratio"] is not None:
                row[processor_name(name)] = ratio_said(line)
                medians.setdefault(line["line"], []).append(line["ratio"])
    for work, row in rows.items():
        found = medians.get(work, [])
        row["over processors"] = f"{brief(min(found))} to {brief(max(found))}" if found else "–"
    return markdown(pd.DataFrame([*rows.values()]))


def ratio_said(line: dict) -> str:
    """Return a line's ratio to its best peer, the median with least and most."""
    ratio = line["ratios"][line["best_peer"]]
    return f"{brief(ratio['median'])} ({brief(ratio['least'])} to {brief(ratio['most'])})"


def benchmark_table(name: str) -> Callable[[str], str]:
    """Return what shows one run of the benchmark."""

    def show(up: str) -> str:
        rows = []
        for line in benchmarks()[name]["lines"]:
            if line["ratio"] is None:
                continue
            goal = "–" if line["target"] is None else f"{brief(line['target'])}: {'yes' if line['reached'] else 'no'}"
            precise = line["ours"].removeprefix("ours").strip()
            rows.append(
                {
                    "work": line["line"],
                    "ours": f"{brief(line['ours_median'])} {line['unit']}" + (f" ({precise})" if precise else ""),
                    "best peer": f"{brief(line['medians'][line['best_peer']])} ({line['best_peer']})",
                    "times better (least to most)": ratio_said(line),
                    "goal": goal,
                    "of the peak": f"{line['roofline']['share']:.0%}" if line.get("roofline") else "–",
                }
            )
        return markdown(pd.DataFrame(rows))

    return show


def scale_table(up: str) -> str:
    """Return what each step takes at the largest size."""
    table = scale()
    shown = {
        "step": [step.replace("_", " ") for step in table.index],
        "wall s": table["wall_seconds"].map(brief),
        "CPU s": table["cpu_seconds"].map(brief),
        "resident GB": (table["peak_rss_mb"] / 1000).map("{:.1f}".format),
        "of them anonymous": (table["peak_anonymous_mb"] / 1000).map("{:.1f}".format),
        "disk GB": [f"{counts['disk_mb'] / 1000:.2f}" if "disk_mb" in counts else "–" for counts in table["counts"]],
    }
    return markdown(pd.DataFrame(shown))


def strategy_x_loss(up: str) -> str:
    """Return for how many strategies a distillation loss gains more than LCE."""
    table = data("strategy_x_loss")
    shown = pd.DataFrame(
        {
            "student": table["architecture"].map(ARCHITECTURES),
            "first stage": table["first_stage"].map(FIRST_STAGES),
            "loss": table["loss"].map(LOSSES),
            "gain more than under LCE": (table["more"] + " of " + table["strategies"]).where(table["more"] != "", "–"),
            "by": [_range(low, high) for low, high in zip(table["least_more"], table["most_more"], strict=True)],
            "gain less": table["less"].replace("", "–"),
            "by ": [_range(low, high) for low, high in zip(table["least_less"], table["most_less"], strict=True)],
        }
    )
    return cited("strategy_x_loss", shown, words=3)


def _range(low: str, high: str) -> str:
    return "–" if not low else _signed(low) if low == high else f"{_signed(low)} to {_signed(high)}"


def _signed(value: str | float) -> str:
    return f"{float(value):+.3f}"


def main_table(up: str) -> str:
    """Return the main table: a row a strategy, a column a loss of each architecture."""
    table = data("main_table")
    table["shown"] = [spread(mean, sd) for mean, sd in zip(table["mean"], table["sd"], strict=True)]
    wide = table.pivot(index="strategy", columns=["architecture", "loss"], values="shown").loc[list(STRATEGIES)]
    wide = wide[[(architecture, loss) for architecture in ARCHITECTURES for loss in LOSSES]]
    wide.columns = [f"{architecture}: {LOSSES[loss]}" for architecture, loss in wide.columns]
    return cited("main_table", wide.rename(index=STRATEGIES).rename_axis("strategy").reset_index())


def locality_x_entropy(up: str) -> str:
    """Return the surface of effectiveness over diameter and entropy, its best value marked."""
    table = data("locality_x_entropy")
    best = table["mean"] == table["mean"].max()
    table["mean"] = table["mean"].where(~best, "**" + table["mean"] + "**")
    wide = table.pivot(index="diameter_quantile", columns="target_entropy", values="mean")
    wide.columns = [f"H = {entropy}" for entropy in wide.columns]
    ends = {"0.1": "0.1 (most compact)", "0.9": "0.9 (widest)"}
    return cited("locality_x_entropy", wide.rename(index=ends).rename_axis("diameter quantile").reset_index())


def locality_x_entropy_shares(up: str) -> str:
    """Return the shares of the sum of squares."""
    table = data("locality_x_entropy_shares")
    table["case"] = [f"{row.world}, {FIRST_STAGES[row.first_stage]}, {LOSSES[row.loss]}" for row in table.itertuples()]
    table["shown"] = [f"{row.share} %" + (f" [{row.low}, {row.high}]" if row.low else "") for row in table.itertuples()]
    wide = table.pivot(index="case", columns="factor", values="shown").loc[table["case"].unique(), table["factor"].unique()]
    wide = wide.rename(columns=lambda name: name.replace("_", " ")).rename_axis("world, first stage, loss").reset_index()
    return cited("locality_x_entropy_shares", wide)


def worlds(up: str) -> str:
    """Return what the worlds of the embedded collection are like."""
    table = data("worlds")
    shown = pd.DataFrame(
        {
            "world": "`" + table["world"] + "`",
            "words of a document": table["document_words"],
            "of a query": table["query_words"],
            "documents of grade 1, 2, 3": table["grade_1"] + ", " + table["grade_2"] + ", " + table["grade_3"],
            "unlabelled in BM25's 20": table["unlabelled_20"],
            "in its 100": table["unlabelled_100"],
            "BM25": table["bm25"],
            "oracle, re-ranking": table["oracle_reranking"],
            "oracle": table["oracle"],
            "pairwise entropy": table["pairwise_entropy"],
        }
    )
    return cited("worlds", shown)


def scifact(up: str) -> str:
    """Return the results on SciFact."""
    table = data("scifact")
    names = [row.system + (f" (published: {row.published})" if row.published else "") for row in table.itertuples()]
    pairs = {"full retrieval": ("full", "full_sd"), "BM25's top 10 re-ranked": ("bm25@10", "bm25@10_sd")}
    columns = {title: [spread(*pair) for pair in zip(table[mean], table[sd], strict=True)] for title, (mean, sd) in pairs.items()}
    return cited("scifact", pd.DataFrame({"system": names} | columns))


def scifact_grid(up: str) -> str:
    """Return the results of the grid on SciFact."""
    table = data("scifact_grid")
    table["shown"] = [spread(mean, sd) for mean, sd in zip(table["mean"], table["sd"], strict=True)]
    rows = table[["student", "strategy"]].drop_duplicates().apply(tuple, axis=1)
    wide = table.pivot(index=["student", "strategy"], columns="loss", values="shown").loc[list(rows), list(LOSSES)].fillna("–")
    return cited("scifact_grid", wide.rename(columns=LOSSES, index=STRATEGIES).reset_index(), words=2)


TABLES: dict[str, Callable[[str], str]] = {
    "notebooks": notebooks,
    "notebook_titles": notebook_titles,
    "lessons": lessons,
    "mistakes": mistakes,
    "rooms": rooms,
    "studies": studies,
    "claims": claims,
    "claims_verdicts": claims_verdicts,
    "claims_short": claims_short,
    "claims_contrasts": claims_contrasts,
    "claims_standing": claims_standing,
    "claims_advice": claims_advice,
    "claims_regrets": claims_regrets,
    "sizes": sizes,
    "sizes_words": sizes_words,
    "costs": costs,
    "plan_msmarco": plan_msmarco,
    "estimates": plain("estimates", 2, "study", "what", "estimated, CPU s", "measured, CPU s"),
    "worlds": worlds,
    "usable": lambda up: markdown(options.usable(), words=2),
    "losses": lambda up: together(options.losses()),
    "sections": sections,
    "api": rooms,
    "documented": plain("documented", 1, "task", "documents", "train", "validation", "test", "positives", "query", "document", "BM25"),
    "languages": plain("languages", 1, "collection", "English words", "fitting analysis", "analysis"),
    "benchmark": benchmark_range,
    "scale": scale_table,
    "seed_against_seed": plain("seed_against_seed", 2, "student", "test", "comparisons", "called different, %"),
    "verdicts": plain("verdicts", 1, "student", "different over queries alone, 3 seeds", "kept over queries and seeds, 3 seeds", "8 seeds"),
    "strategy_x_loss": strategy_x_loss,
    "main_table": main_table,
    "locality_x_entropy": locality_x_entropy,
    "locality_x_entropy_shares": locality_x_entropy_shares,
    "published_rule": plain("published_rule", 2, "queries", "rule", "of equal systems, %", "of systems a margin apart, %"),
    "published_verdicts": plain("published_verdicts", 1, "by the published rule", "different", "equivalent", "undecided", "pairs"),
    "advice": plain("advice", 1, "left out", "advised", "always BM25", "random", "what was best elsewhere"),
    "scifact": scifact,
    "scifact_grid": scifact_grid,
}
TABLES |= {family: (lambda up, family=family: together(options.page(family))) for family in options.FAMILIES}
TABLES |= {f"benchmark-{name}": benchmark_table(name) for name in benchmarks()}


# --- numbers of sentences -----------------------------------------------------------------------------------------------------------


def mean(strategy: str, architecture: str, loss: str) -> float:
    """Return a value of the main table."""
    return float(values("main_table", "mean", strategy=strategy, architecture=architecture, loss=loss).item())


def gain(strategy: str, architecture: str, loss: str) -> float:
    """Return what a strategy gains over corpus-random in the main table."""
    return mean(strategy, architecture, loss) - mean("corpus_random", architecture, loss)


def mined_spread(loss: str) -> float:
    """Return how far the bi-encoder's strategies lie apart in the main table, corpus-random left out."""
    found = values("main_table", "mean", architecture="bi", loss=loss).iloc[1:]
    return found.max() - found.min()


def grid_spread(loss: str) -> float:
    """Return how far the static students' strategies lie apart on SciFact."""
    found = values("scifact_grid", "mean", student="static, from scratch", loss=loss)
    return found.max() - found.min()


def filtered(loss: str) -> float:
    """Return what filtering false negatives takes from the bi-encoder in the main table."""
    return mean("pooled", "bi", loss) - mean("pooled_filtered", "bi", loss)


def share(factor: str, end: Callable[[pd.Series], float]) -> str:
    """Return the least or the largest share of a factor, in percent."""
    return f"{end(values('locality_x_entropy_shares', 'share', factor=factor)):.0f}"


def rejected(architecture: str, test: str) -> str:
    """Return how often a test calls a recipe different from itself, in percent."""
    return values("seed_against_seed", "called_different", architecture=architecture, test=test).item()


def interaction(column: str, architecture: str, first_stage: str, loss: str) -> float:
    """Return a number of the interaction of strategy and loss."""
    return values("strategy_x_loss", column, architecture=architecture, first_stage=first_stage, loss=loss).item()


def peer(line: str, ours: bool = False) -> str:
    """Return what a line of the benchmark says of the suite or of its best peer."""
    (found,) = (each for each in benchmarks()["amd-avx512_bf16"]["lines"] if each["line"] == line)
    return brief(found["ours_median"] if ours else found["medians"][found["best_peer"]])


def growth(step: str) -> str:
    """Return the power of the number of passages with which a step's CPU seconds grow."""
    fitted = pd.DataFrame(json.loads((ROOT / "docs" / "scale.json").read_text(encoding="utf-8"))["growth"])
    return f"{fitted[(fitted['step'] == step) & (fitted['quantity'] == 'cpu_seconds')]['exponent'].item():.1f}"


DISTILLING = ("ranknet", "margin_mse", "kl")
NUMBERS: dict[str, Callable[[], str | float]] = {
    "claims-collections": claims_collections,
    "msmarco-plan": msmarco_plan,
    "claims-train-hours": lambda: claims_hours("train"),
    "claims-evaluate-hours": lambda: claims_hours("evaluate"),
    "advised-rule": lambda: advised("rule"),
    "advised-regret": lambda: advised("regret"),
    "seeds-queries-cross": lambda: f"{rejected('cross', 'queries'):.0f} %",
    "seeds-queries-cross-n": lambda: f"{values('seed_against_seed', 'comparisons', architecture='cross', test='queries').item()}",
    "seeds-crossed-cross": lambda: f"{rejected('cross', 'queries_and_seeds'):.0f} %",
    "kl-bi-full-least": lambda: _signed(interaction("least_more", "bi", "full", "kl")),
    "kl-bi-full-most": lambda: _signed(interaction("most_more", "bi", "full", "kl")),
    "kl-bi-full-n": lambda: f"{interaction('more', 'bi', 'full', 'kl')} of {interaction('strategies', 'bi', 'full', 'kl')}",
    "kl-cross-n": lambda: f"{interaction('more', 'cross', 'bm25@100', 'kl')} of {interaction('strategies', 'cross', 'bm25@100', 'kl')}",
    "entropy-share": lambda: f"{share('entropy', min)} to {share('entropy', max)} %",
    "diameter-share": lambda: f"{share('diameter', min)} to {share('diameter', max)} %",
    "interaction-share": lambda: f"{share('interaction', min)} to {share('interaction', max)} %",
    "main-bm25-lce": lambda: _signed(gain("bm25", "bi", "lce")),
    "main-bm25-kl": lambda: _signed(gain("bm25", "bi", "kl")),
    "main-spread-lce": lambda: f"{mined_spread('lce'):.3f}",
    "main-spread-others": lambda: f"{min(map(mined_spread, DISTILLING)):.3f} to {max(map(mined_spread, DISTILLING)):.3f}",
    "main-filtered": lambda: f"{min(map(filtered, LOSSES)):.3f} to {max(map(filtered, LOSSES)):.3f}",
    "grid-spread-lce": lambda: f"{grid_spread('lce'):.3f}",
    "grid-spread-others": lambda: f"{min(map(grid_spread, DISTILLING)):.3f} to {max(map(grid_spread, DISTILLING)):.3f}",
    "plan-memory": lambda: two_digits(values("plan_msmarco", "memory_bytes", name="total").item() / 1e9),
    "plan-device-memory": lambda: two_digits(values("plan_msmarco", "device_memory_bytes", name="total").item() / 1e9),
    "bench-scripts": lambda: peer("grid, a cell, as the study's scripts"),
    "bench-scored": lambda: peer("grid, a cell, scored by CrossEncoder"),
    "growth-index": lambda: growth("index"),
    "growth-groups": lambda: growth("groups"),
    "growth-scores": lambda: growth("scores"),
    "growth-candidates": lambda: " to ".join(sorted({growth("candidates_100"), growth("candidates_200")})),
    "scale-minutes": lambda: f"{scale().loc[:'lookups', 'wall_seconds'].sum() / 60:.0f}",
    "scale-disk": lambda: f"{sum(counts.get('disk_mb', 0) for counts in scale().loc[:'lookups', 'counts']) / 1000:.1f}",
    "scale-first-lookup": lambda: f"{scale()['counts']['lookups']['first_lookup_ms']:.0f} ms",
    "scale-recall": lambda: f"{scale()['counts']['dense_candidates']['recall']:.0%}",
}


# --- pages ------------------------------------------------------------------------------------------------------------------------


def pages() -> list[Path]:
    """Return the pages that may hold tables and numbers."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def rendered(text: str, up: str) -> str:
    """Return a page with its tables and numbers as the data give them.

    Raises:
        KeyError: a table or number has no such name.
    """
    text = TABLE.sub(lambda found: f"{found[1]}{TABLES[found[2]](up)}\n{found[3]}", text)
    return NUMBER.sub(lambda found: f"{found[1]}{NUMBERS[found[2]]()}{found[3]}", text)


def main() -> None:
    """Write every page that differs from its data, and say which."""
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = rendered(before, "" if page.parent == ROOT else "../")
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(f"{page.relative_to(ROOT)}: written")
    (ROOT / recipes.SHIPPED).write_text(shipped_advice(), encoding="utf-8")


if __name__ == "__main__":
    main()
