"""Charts are checked by their specifications, on frames made by hand, and by the width of what is drawn."""

from __future__ import annotations

import functools
import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rd_utils import charts, report

NAN = float("nan")
STRATEGIES = ("corpus-random", "bm25", "dense", "teacher", "pooled", "pooled-filtered", "graph")
VERDICTS = tuple(report.VERDICTS)


# --- frames made by hand ----------------------------------------------------------------------------------------------


def make_pairs(n: int = 4) -> pd.DataFrame:
    """All pairs of n systems; the further apart, the larger the difference, the verdicts by turns."""
    names = [f"{STRATEGIES[i % 7]}-{('lce', 'kl', 'ranknet')[i // 7]}" for i in range(n)]
    rows = [
        {
            "system_a": names[i], "system_b": names[j], "difference": (i - j) / 100 + 0.002, "verdict": VERDICTS[(i + j) % 4],
            "p_holm": 0.01, "p_equivalence_holm": 0.2, "smallest_margin": 0.03,
        }
        for i, j in itertools.combinations(range(n), 2)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def make_letters(n: int = 4) -> dict[str, str]:
    pairs = make_pairs(n)
    names = list(dict.fromkeys([*pairs["system_a"], *pairs["system_b"]]))
    return {name: "abcdefghijklmnopqrstuvwxyz"[i // 2] + ("z" if i % 3 else "") for i, name in enumerate(names)}


def make_groups(n: int = 60) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    strategy = np.arange(n) % 7
    return pd.DataFrame(
        {
            "query_id": [str(i) for i in range(n)],
            "strategy": [STRATEGIES[s] for s in strategy],
            "pairwise_entropy": np.clip(0.1 * strategy + generator.normal(0.2, 0.08, n), 0, 1),
            "diameter_q99": np.clip(1.0 - 0.08 * strategy + generator.normal(0, 0.05, n), 0, 2),
            "query": [f"query number {i}: does a rather long question fit?" for i in range(n)],
            "documents": [f"the positive document of {i} | a first negative that is long | a second negative" for i in range(n)],
            "value": np.where(np.arange(n) % 5 == 0, NAN, generator.uniform(0, 1, n)),
        }
    )


def make_cells(n: int = 6, queries: int = 50) -> tuple[pd.DataFrame, pd.DataFrame]:
    generator = np.random.default_rng(1)
    names = [f"{STRATEGIES[i % 7]}-{('kl', 'ranknet')[i % 2]}-static-oracle" for i in range(n)]
    rows = [(name, str(q), float(np.clip(generator.normal(0.3 + 0.05 * i, 0.3), 0, 1))) for i, name in enumerate(names) for q in range(queries)]
    per_query = pd.DataFrame(rows, columns=["cell", "query_id", "value"])
    return per_query, per_query.groupby("cell", sort=False)["value"].mean().rename("mean").reset_index().assign(sd=0.01)


def make_rates() -> pd.DataFrame:
    rows = [
        {
            "rule": rule, "n_queries": n, "true_difference": true, "rate": (rate := base * (1 + 0.1 * i) * (1 if true == 0 else n / 400)),
            "low": rate * 0.8, "high": min(1, rate * 1.2), "expected": 0.05 if true == 0 else NAN,
        }
        for true, base in ((0.0, 0.05), (0.01, 0.4), (0.02, 0.9))
        for i, rule in enumerate(("paired t", "TOST, fixed margin", "TOST, 0.1 % of the difference"))
        for n in (25, 50, 100, 200)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def make_behaviour() -> pd.DataFrame:
    levels = {"effective_rank": 80, "uniformity": -2.5, "intrinsic_dimension": 14, "diameter_q99": 0.8}
    rows = [
        (strategy, recipe, state, quantity, level * (1 + 0.04 * i + (0.2 if state == "after" else 0)))
        for quantity, level in levels.items()
        for recipe in ("static · kl · oracle", "static · lce", "cross · ranknet · oracle")
        for i, strategy in enumerate(STRATEGIES[:5])
        for state in ("before", "after")
        if not (quantity == "uniformity" and recipe.startswith("cross"))
    ]
    return pd.DataFrame(rows, columns=["strategy", "recipe", "state", "quantity", "value"])


def make_bins() -> pd.DataFrame:
    rows = [
        (strategy, recipe, state, p, float(np.clip(0.5 + (p - 0.5) * (0.9 if state == "after" else 0.4), 0, 1)), 1000 + 300 * i)
        for strategy in STRATEGIES[:3]
        for recipe in ("static · kl", "cross · kl")
        for state in ("before", "after")
        for i, p in enumerate((0.05, 0.25, 0.5, 0.75, 0.95))
    ]
    return pd.DataFrame(rows, columns=["strategy", "recipe", "state", "mean_student", "mean_teacher", "n_pairs"])


def make_correlations() -> pd.DataFrame:
    names = ("pairwise_entropy", "positive_entropy", "diameter_q99", "KL(teacher, student)")
    rows = [
        (loss, x, "nDCG@10", rho, rho - 0.15, rho + 0.15)
        for j, loss in enumerate(("kl", "ranknet"))
        for x, rho in zip(names, (-0.3 + j / 5, 0.1, 0.05, -0.45), strict=True)
    ]
    return pd.DataFrame(rows, columns=["loss", "x", "y", "spearman", "low", "high"])


def make_points() -> pd.DataFrame:
    costs = (3, 5, 20, 40, 90, 400, 410)
    rows = [
        (strategy, loss, 0.3 + 0.03 * i + 0.01 * j, 0.01 if j else NAN, float(cost * (1 + j)))
        for i, (strategy, cost) in enumerate(zip(STRATEGIES, costs, strict=True))
        for j, loss in enumerate(("lce", "kl"))
    ]
    frame = pd.DataFrame(rows, columns=["strategy", "loss", "value", "sd", "total_cpu_seconds"])
    best = frame.sort_values("total_cpu_seconds")["value"].cummax()
    return frame.assign(on_frontier=frame["value"] >= best.reindex(frame.index), joules=frame["total_cpu_seconds"] * 30)


def make_regret() -> pd.DataFrame:
    rules = {"advice": 0.004, "always-bm25": 0.012, "best-on-others": 0.008, "random": 0.02}
    rows = [
        (rule, left_out, value * (1 + i), value * (1 + i) * 0.5, value * (1 + i) * 1.6)
        for i, left_out in enumerate(("collection", "teacher", "architecture"))
        for rule, value in rules.items()
    ]
    return pd.DataFrame(rows, columns=["rule", "left_out", "regret", "low", "high"])


def make_terms() -> pd.DataFrame:
    rows = [
        ("risk, observed on test queries", 0.21, "observed", False),
        ("teacher's entropy (the floor)", 0.12, "observed", False),
        ("deviation, from the diameters", 0.56, "bound", False),
        ("times the density ratio", 3.4, "bound", True),
        ("through the VC dimension", 4.1e6, "bound", True),
        ("the loss's own range", 1.0, "trivial", False),
    ]
    return pd.DataFrame(rows, columns=["name", "value", "kind", "vacuous"])


def make_surface() -> pd.DataFrame:
    rows = [
        (loss, f"diameter_{d}", h, (mean := 0.4 + d / 1000 + (h * (1 - h)) * (0.1 + 0.1 * i)), mean - 0.012, mean + 0.012)
        for i, loss in enumerate(("kl", "ranknet"))
        for d in (10, 50, 90)
        for h in (0.1, 0.3, 0.5, 0.7)
    ]
    return pd.DataFrame(rows, columns=["loss", "strategy", "target_entropy", "mean", "low", "high"])


FRAMES = {
    "matrix": make_pairs,
    "queries": make_groups,
    "error_rate": make_rates,
    "behaviour": make_behaviour,
    "calibration": make_bins,
    "correlation": make_correlations,
    "pareto": make_points,
    "regret": make_regret,
    "bound": make_terms,
    "simple_effects": make_surface,
}


def make_charts() -> dict[str, Any]:
    """Every chart, and some at the sizes that they are hard at."""
    stages = pd.concat([make_pairs(5).assign(first_stage=stage) for stage in ("bm25@100", "full")])
    return {
        "matrix": charts.matrix_chart(make_pairs(), make_letters()),
        "matrix_two": charts.matrix_chart(make_pairs(2)),
        "matrix_large": charts.matrix_chart(make_pairs(20), make_letters(20)),
        "matrix_panels": charts.matrix_chart(stages, by=["first_stage"]),
        "queries": charts.queries_chart(make_groups()),
        "cells": charts.cells_chart(*make_cells()),
        "error_rate": charts.error_rate_chart(make_rates()),
        "behaviour": charts.behaviour_chart(make_behaviour()),
        "calibration": charts.calibration_chart(make_bins()),
        "correlation": charts.correlation_chart(make_correlations(), by=["loss"]),
        "pareto": charts.pareto_chart(make_points(), measure="nDCG@10"),
        "pareto_panels": charts.pareto_chart(
            pd.concat([make_points().assign(architecture=a) for a in ("static", "cross")]), cost="joules", by=["architecture"]
        ),
        "regret": charts.regret_chart(make_regret(), measure="nDCG@10"),
        "bound": charts.bound_chart(make_terms(), title="RankNet loss (bits)"),
        "simple_effects": charts.simple_effects_chart(make_surface(), measure="nDCG@10", by=["loss"]),
    }
