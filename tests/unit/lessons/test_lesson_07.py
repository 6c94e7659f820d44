"""The numbers of lesson 7, by plain mathematics; those of notebook 01's toy, by the draws that it shows."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from rd_utils.data import runs
from rd_utils.lessons import lesson_07, toy
from rd_utils.mining import sampling
from rd_utils.study import params


def angle(name: str) -> float:
    x, y = toy.vector(name)
    return math.atan2(y, x)


def test_the_numbers_that_lesson_7_quotes() -> None:
    length = math.hypot(*toy.vector("q2"))
    assert tuple(toy.vector("q2")) == (0.6, 2.2) and length == pytest.approx(2.28, abs=5e-3)
    diameters = {}
    for name, documents in lesson_07.GROUPS.items():
        diameters[name] = max(2 * abs(math.sin((angle(a) - angle(b)) / 2)) for a, b in combinations(documents, 2))
        assert documents[0] == toy.LABELS["q2"]
    assert diameters == pytest.approx({"compact": 0.47, "wide": 2.00}, abs=5e-3)
    bounds = [length * diameters["compact"], length * diameters["wide"]]
    assert bounds == pytest.approx([1.07, 4.56], abs=5e-3)
    assert lesson_07.EXERCISES["bounds of two groups"].value == pytest.approx(bounds)
    assert [1 / (1 + math.exp(-reach)) for reach in bounds] == pytest.approx([0.74, 0.99], abs=5e-3)
    grades = toy.grades()["q2"]
    false = {name: [document for document in documents[1:] if grades[document] > 0] for name, documents in lesson_07.GROUPS.items()}
    assert false == {"compact": ["f2", "f1"], "wide": []}
    assert max(2 * math.sin(math.radians(degrees) / 2) for degrees in (60, 120, 180)) == lesson_07.EXERCISES["three directions"].value == 2


@pytest.mark.parametrize("documents", lesson_07.GROUPS.values(), ids=lesson_07.GROUPS)
def test_no_margin_of_a_group_leaves_its_interval(documents: tuple[str, ...]) -> None:
    directions, query = lesson_07.directions(documents), toy.vector("q2")
    scores = directions @ query
    assert max(abs(a - b) for a, b in combinations(scores, 2)) <= lesson_07.margin_bound(query, directions)


def test_the_shares_of_notebook_01_that_lesson_7_quotes() -> None:
    ids, relevant = pd.Series(list("abcdefgh"), name="doc_id"), {"b", "e"}
    angles = np.radians([0, 10, 80, 35, 20, 110, 17, 150])
    vectors = np.stack([np.cos(angles).round(2), np.sin(angles).round(2)], axis=1)
    found = pd.DataFrame({"query_id": "q", "doc_id": list("abcdef"), "score": [9.0, 8.0, 7.0, 6.0, 5.0, 3.0]})
    label = pd.DataFrame({"query_id": ["q"], "doc_id": ["a"], "relevance": [3]})
    anywhere = params.UntrainedSystem(architecture=params.StaticBi(), collection=params.EmbeddedCollection())
    for quantile, share in ((0.1, 0.67), (0.9, 0.36)):
        drawn = sampling.draw_groups(
            ids,
            label,
            group_size=4,
            shortage="drop",
            seed=0,
            draws=100,
            strategy=params.DiameterTargeted(quantile=quantile, reference=anywhere),
            candidates=runs.Run.from_frame(found, pd.Series(["q"]), ids),
            vectors=vectors,
        )
        negatives = [document for group in drawn.frame["doc_ids"] for document in group[1:]]
        assert sum(document in relevant for document in negatives) / len(negatives) == pytest.approx(share, abs=5e-3)


def test_the_packages_share_of_false_negatives_is_a_mean_over_all_negatives() -> None:
    assert lesson_07.false_share(np.array([[3, 0, 1, 2], [1, 0, 0, 0]])) == pytest.approx(2 / 6)
