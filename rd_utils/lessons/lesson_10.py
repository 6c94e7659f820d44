"""Lesson 10, what did it cost: the frontier of effectiveness against cost, and the price of its last step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from rd_utils.cost import frontier
from rd_utils.lessons.checks import Exercise, Function, Value

POINTS = pd.DataFrame(
    [
        ["BM25", 1.0, 0, 0.450],
        ["LCE, random", 5.0, 0, 0.600],
        ["LCE", 4.0, 0, 0.630],
        ["KL", 4.0, 4800, 0.650],
        ["KL, twice", 6.0, 9600, 0.655],
    ],
    columns=["name", "cpu_seconds", "teacher_calls", "value"],
)
"""Five recipes: seconds without the teacher's, how many pairs the teacher scores, and nDCG. The last has two groups a query."""
PRICE, STEP = 0.001, 0.01


def on_frontier(costs: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return what is not dominated, by the package."""
    return frontier.frontier(pd.DataFrame({"cost": costs, "value": values}), cost="cost", value="value").to_numpy()


def last_step(costs: np.ndarray, values: np.ndarray, step: float) -> float:
    """Return what the last step costs, by the package."""
    table = pd.DataFrame({"cost": costs, "value": values, "cell": [f"c{row}" for row in range(len(costs))]})
    return float(frontier.price_of_last(table, cost="cost", value="value", step=step)["extra_cost"].iloc[0])


def prices(costs: np.ndarray, values: np.ndarray, step: float) -> np.ndarray:
    """Return the price of a step between neighbours on the frontier, from cheap to dear, by the package."""
    table = pd.DataFrame({"cost": costs, "value": values, "cell": [f"c{row}" for row in range(len(costs))]})
    return frontier.marginal(table, cost="cost", value="value", step=step)["cost_per_step"].to_numpy(dtype=float)


def bills(seconds: np.ndarray, calls: np.ndarray, price: float) -> np.ndarray:
    """Return the cost of every recipe at a price of a teacher's call."""
    return seconds + price * calls


# --- exercises --------------------------------------------------------------------------------------------------------------------


def _recipes(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    n = int(rng.integers(5, 10))
    costs, values = rng.integers(1, 9, size=n).astype(float), rng.integers(50, 60, size=n) / 100
    costs[1], values[1] = costs[0], values[0] - 0.03  # of one cost the better stands
    values[3], costs[3] = values[2], costs[2] + 2  # of one value the cheaper
    return costs, values


def _steps(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    n = int(rng.integers(5, 10))
    values = np.sort(rng.uniform(0.5, 0.6, size=n))
    return rng.permuted(np.arange(1.0, n + 1) * 3), values, float(rng.choice([0.01, 0.02, 0.05]))


def _rising(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    costs, values, step = _steps(rng)
    costs = np.sort(costs) ** 1.5
    values[2], values[0] = values[1] - 0.02, values[0] - 0.05  # one is dominated
    order = rng.permutation(len(costs))
    return costs[order], values[order], step


def _dominated(costs: np.ndarray, values: np.ndarray, *, dearer: bool = True, lower: bool = True) -> np.ndarray:
    """Return what stands where only another that is strictly cheaper, strictly better, or both, dominates."""
    cheaper = costs[None] < costs[:, None] if dearer else costs[None] <= costs[:, None]
    better = values[None] > values[:, None] if lower else values[None] >= values[:, None]
    return np.asarray(~(cheaper & better).any(axis=1))


def _walked(costs: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    stands = on_frontier(costs, values)
    order = np.argsort(costs[stands])
    return costs[stands][order], values[stands][order]


def _cheapest_near(costs: np.ndarray, values: np.ndarray, step: float) -> tuple[float, float]:
    enough = values >= values.max() - step
    return float(costs[values.argmax()]), float(costs[enough].min())


def _from_first(costs: np.ndarray, values: np.ndarray, step: float) -> np.ndarray:
    paid, reached = _walked(costs, values)
    return (paid[1:] - paid[0]) / (reached[1:] - reached[0]) * step


def _all_sorted(costs: np.ndarray, values: np.ndarray, step: float) -> np.ndarray:
    order = np.argsort(costs)
    return np.diff(costs[order]) / np.diff(values[order]) * step


_BREAK_EVEN = 1000 * 2 * 5 / 4800  # milliseconds
_COSTS = bills(POINTS["cpu_seconds"].to_numpy(), POINTS["teacher_calls"].to_numpy(), PRICE)

EXERCISES: Mapping[str, Exercise] = {
    "frontier": Function(
        on_frontier,
        _recipes,
        (
            "a point is dominated where another costs no more, is worth no less, and is better in one of the two",
            "for every point: any((costs <= cost) & (values >= value) & ((costs < cost) | (values > value)))",
            "[not any(...) for cost, value in zip(costs, values)], with the condition above",
        ),
        {
            "strictly cheaper and strictly better is too much to ask: in one of the two they may be equal": _dominated,
            "of two with one value only the cheaper stands": lambda c, v: _dominated(c, v, dearer=False),
            "of two that cost the same only the better stands": lambda c, v: _dominated(c, v, lower=False),
            "that marks what is dominated; the frontier is the rest": lambda c, v: ~on_frontier(c, v),
            "nothing stands here: does each point dominate itself?": lambda c, v: np.zeros(len(c), dtype=bool),
            "a high cost is taken for good: cheaper is better, so costs <= cost": lambda c, v: on_frontier(c.max() - c, v),
        },
    ),
    "price of the last step": Function(
        last_step,
        _steps,
        (
            "what does the best cost, and what the cheapest that is good enough?",
            "good enough is values >= values.max() - step",
            "costs[values.argmax()] - costs[enough].min()",
        ),
        {
            "that is the cost of the best; take off that of the cheapest which is good enough": lambda c, v, s: _cheapest_near(c, v, s)[0],
            "that is what good enough costs; the best costs so much more": lambda c, v, s: _cheapest_near(c, v, s)[1],
            "that compares with the cheapest of all; it has to be good enough": lambda c, v, s: float(c[v.argmax()] - c.min()),
            "that compares with the second best; several may be good enough, and the cheapest of them counts": lambda c, v, s: float(
                c[np.argsort(v)[-1]] - c[np.argsort(v)[-2]]
            ),
            "the dearest need not be the best: ask for the cost of the highest value": lambda c, v, s: float(
                c.max() - _cheapest_near(c, v, s)[1]
            ),
            "that is a ratio; the price is a difference": lambda c, v, s: _cheapest_near(c, v, s)[0] / _cheapest_near(c, v, s)[1],
        },
    ),
    "prices along the frontier": Function(
        prices,
        _rising,
        (
            "keep the frontier, sort it by cost, and look at neighbours",
            "np.diff(costs) is what the next one costs more, np.diff(values) what it gains",
            "np.diff(costs) / np.diff(values) is the price of a whole unit; times step that of a step",
        ),
        {
            "that is the price of a whole unit; a step is a part of it": lambda c, v, s: prices(c, v, s) / s,
            "that is gain per cost; the price is cost per gain": lambda c, v, s: s / prices(c, v, s) * s,
            "from one point to the next: this compares each with the cheapest": _from_first,
            "the dominated are still in it": _all_sorted,
            "those are extra costs; divide by what they gain": lambda c, v, s: np.diff(_walked(c, v)[0]),
            "divide by the step, or multiply? The price of a unit is larger than that of a step": lambda c, v, s: prices(c, v, s) / s**2,
            "sort by cost, cheap first": lambda c, v, s: prices(c, v, s)[::-1],
        },
    ),
    "the last .01": Value(
        last_step(_COSTS, POINTS["value"].to_numpy(), STEP),
        (
            "the best is KL, twice, at 15.6 s; which others have at least .645?",
            "KL has .650 and costs 4 + 4.8 s",
        ),
        digits=1,
        mistakes={
            "that is the cost of the best alone": 15.6,
            "that is the seconds without the teacher's; a call costs .001 s here": 2.0,
            "LCE has .630, which is more than .01 below": 11.6,
            "that is the price of .01 at the rate of the last step, whose gain is only .005": 13.6,
        },
    ),
    "teacher calls": Value(
        [0, 4800, 4800],
        (
            "which loss asks a teacher at all, and how many pairs of query and document do 300 groups of 16 hold?",
            "two losses that ask about the same pair: who says that it is scored twice?",
        ),
        digits=0,
        mistakes={
            "LCE learns from the label alone": [4800, 4800, 4800],
            "the positive is scored too: 16 a group": [0, 4500, 4500],
            "the second loss asks for pairs that are scored already": [0, 4800, 9600],
            "a call is a pair of query and document, not a group": [0, 300, 300],
        },
    ),
    "what a call may cost": Value(
        _BREAK_EVEN,
        (
            "KL gains two hundredths over LCE, and its own seconds are the same; what do you pay for two hundredths?",
            "10 s over 4,800 calls, in milliseconds",
        ),
        digits=2,
        mistakes={
            "KL gains two hundredths, not one": _BREAK_EVEN / 2,
            "in milliseconds: 1,000 to the second": _BREAK_EVEN / 1000,
            "one group has 16 calls; there are 300 groups": 1000 * 10 / 16,
            "that is how many calls a second pays for": 480,
        },
    ),
    "a free teacher": Value(
        ["BM25", "KL", "KL, twice"],
        (
            "at a price of 0 a recipe costs its own seconds; which of the five has another that costs no more and is better?",
            "LCE and KL both cost 4 s then",
        ),
        mistakes={
            "LCE costs as much as KL then, and is worse": ["BM25", "LCE", "KL", "KL, twice"],
            "KL, twice is dearer than KL, and better: it stands": ["BM25", "KL"],
            "BM25 is the worst, and nothing is cheaper: it stands": ["KL", "KL, twice"],
            "LCE, random costs more than LCE and is worse, at any price": ["BM25", "LCE, random", "KL", "KL, twice"],
        },
    ),
}
