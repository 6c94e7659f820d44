"""``python -m benchmarks``: run rows and print the table; ``python -m benchmarks setup``: install the peers."""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import time
from typing import Any

from benchmarks import environments, harness
from benchmarks.roofline import shapes
from rd_utils.processor import processor

MODULES = ("training", "scoring", "bm25", "pairs", "dense", "grid", "study")


def families() -> list[harness.Family]:
    """Return all families, in the order in which they run."""
    return [family for name in MODULES for family in importlib.import_module(f"benchmarks.rows.{name}").FAMILIES]


def add_roofline(
    family: harness.Family, found: dict[str, Any], rows: list[dict[str, Any]], cpu: bool = False, start: Any = harness.Worker
) -> None:
    """Add to every row of ours which share of the measured peak it reached: operations needed a second over the peak's."""
    answered = {name: found["ways"][name]["answers"] for name in family.precisions if found["ways"].get(name, {}).get("answers")}
    if not answered:
        return
    worker = start(harness.Way("peak", "benchmarks.roofline"), False)
    try:
        for name, answers in answered.items():
            first = answers[0]
            asked = {
                "shapes": shapes(first["tokens_per_step"], first["dimension"], first["feed_forward"]),
                "precision": family.precisions[name],
            }
            peak = worker.ask(asked)["gflops"]
            reached = statistics.median(answer["flops"] / answer["cpu_seconds" if cpu else "seconds"] for answer in answers) / 1e9
            found["ways"][name]["roofline"] = {"gflops": reached, "peak_gflops": peak, "share": reached / peak, **asked}
    finally:
        worker.close()
    for row in rows:
        if row["ours"] in answered:
            row["roofline"] = found["ways"][row["ours"]]["roofline"]


def throughput(family: harness.Family, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what ours reached, as :func:`rd_utils.cost.devices.read_benchmarks` reads it: by precision, of the processor's kind."""
    entries = []
    for name, precision in family.precisions.items() if family.work else ():
        peak = found["ways"].get(name, {}).get("roofline")  # of a way that answered
        if peak is None:
            continue
        answers = found["ways"][name]["answers"]
        unit = next(unit for unit in ("documents", "pairs") if f"{unit}_per_second" in answers[0])
        entry = {"device": processor().kind, "precision": precision, "work": family.work[0], "kind": family.work[1]}
        entry |= {"layers": answers[0]["layers"], "hidden": answers[0]["dimension"], "tokens": answers[0]["tokens_per_text"]}
        entry |= {"documents_per_second": statistics.median(answer[f"{unit}_per_second"] for answer in answers)}
        entries.append(entry | {"flops_per_second": 1e9 * peak["gflops"], "share_of_peak": min(peak["share"], 1.0)})
    return entries


def main(arguments: list[str] | None = None) -> int:
    """Run the rows that are asked for."""
    every = families()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("action", nargs="?", choices=("run", "setup", "list"), default="run")
    parser.add_argument("--short", action="store_true", help="one repeat of a little work: shows that everything runs, measures little")
    parser.add_argument("--rows", default="", help=f"comma-separated: {', '.join(family.name for family in every)}; all where it is empty")
    parser.add_argument("--ways", default="", help="comma-separated names of ways, for trying one out")
    parser.add_argument("--name", default=None, help="of the results file (default: the processor's kind, and -short or -some)")
    parser.add_argument("--cpu", action="store_true", help="compare training, scoring and encoding by CPU seconds: on a busy machine")
    options = parser.parse_args(arguments)
    if options.action == "list":
        for family in every:
            print(f"{family.name}: {family.title}: {', '.join(way.name for way in family.ways)}")
        return 0
    if options.action == "setup":
        failed = environments.install(say=harness.report)
        for name, reason in failed.items():
            harness.report(f"{name} {reason}")
        return 0  # a peer that cannot be installed is named in the results
    wanted = [name for name in options.rows.split(",") if name]
    unknown = set(wanted) - {family.name for family in every}
    if unknown:
        parser.error(f"no row {sorted(unknown)[0]!r}; choose from {', '.join(family.name for family in every)}")
    began = time.monotonic()
    results: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    rates: list[dict[str, Any]] = []
    results_name = options.name or processor().kind + ("-short" if options.short else "-some" if wanted or options.ways else "")
    for family in every:
        if (wanted and family.name not in wanted) or (options.short and not family.short_repeats):
            continue
        harness.report(f"{family.name}: {family.title}")
        found = harness.run_family(family, options.short, say=harness.report, only=[way for way in options.ways.split(",") if way])
        own = [harness.compare(line, found, options.cpu, options.short) for line in family.lines]
        add_roofline(family, found, own, options.cpu)
        rates += [] if options.short else throughput(family, found)
        for name, difference in found["agreement"].items():
            harness.report(f"  {name}: largest difference of {family.check}: {difference:.2g}")
        harness.report(f"  took {found['seconds']:.0f} s")
        results[family.name] = found
        rows += own
        path = harness.write_results(results_name, options.short, results, rows, time.monotonic() - began, rates)
    if not rows:
        harness.report("nothing was run")
        return 1
    harness.report("\n" + harness.table(rows))
    harness.report(f"\n{time.monotonic() - began:.0f} s in all; everything that was measured: {path.relative_to(environments.ROOT)}")
    for sentence in (lacking := harness.not_measured(rows)):
        harness.report(sentence)
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
