"""Cross-encoders of many families, with one and two labels: the scores of ``predict``, before and after training.

The library computes in a process of its own that has no other package (:mod:`library`). ``RD_ZOO=all`` (``make zoo``) takes every family
with every setting; by default each family and each setting is taken once.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from animals import CROSS_FAMILIES, LIMIT, QUERY_LIMIT, Cross, cross_folder, edit_json, encoder_folder, pair_texts

from rd_utils import models
from rd_utils.models import GroupBatch
from rd_utils.models.tokens import tokenize
from rd_utils.study import params
from rd_utils.training.groups import GroupTable
from rd_utils.training.loop import train

WHOLE = os.environ.get("RD_ZOO") == "all"
RANK = (("prompts", {"rank": "query: "}), ("default_prompt_name", "rank"))


def _shorter(folder: Path) -> None:
    edit_json(folder / "tokenizer_config.json", model_max_length=18)


def _sigmoid(folder: Path) -> None:
    """Name the activation as versions before 4 of the library did."""
    edit_json(folder / "config.json", sbert_ce_default_activation_function="torch.nn.modules.activation.Tanh")


SETTINGS: dict[str, dict] = {
    "plain": {},
    "query limit": {"query_limit": QUERY_LIMIT},
    "default prompt": {"cross": RANK, "may_refuse": ("prompt",)},
    "default prompt, query limit": {"cross": RANK, "query_limit": QUERY_LIMIT, "may_refuse": ("prompt",)},
    "default prompt without space": {
        "cross": (("prompts", {"rank": "fox"}), ("default_prompt_name", "rank")),
        "may_refuse": ("prompt",),
    },
    "prompt that is no default": {"cross": (("prompts", {"rank": "query: "}),)},
    "saved by the library": {"cross": (("activation_fn", torch.nn.Tanh()),)},
    "old activation": {"edit": _sigmoid},
    "bf16": {"dtype": "bf16"},
    "fp16": {"dtype": "fp16"},
    "padded left": {"tokenizer": (("padding_side", "left"),), "alone": True, "may_refuse": ("its own library", "padding_side")},
    "padded right": {"tokenizer": (("padding_side", "right"),)},
    "cut left": {"tokenizer": (("truncation_side", "left"),), "may_refuse": ("truncation_side",)},
    "bare": {"tokenizer": (("framed", False),), "texts": "words", "may_refuse": ("special",)},
    "shorter": {"edit": _shorter, "own_limits": True, "may_refuse": ("18",)},
    "own limits": {"own_limits": True, "may_refuse": ("48", "50")},
}


def _cases() -> list[Cross]:
    """Return every family with every setting, labels in turn; in the short form every setting once, families in turn."""
    labels = itertools.cycle((1, 2))
    if not WHOLE:
        families = itertools.cycle(CROSS_FAMILIES)
        return [Cross(next(families), name, labels=next(labels), **settings) for name, settings in SETTINGS.items()]
    every = [Cross(family, "plain", labels=number) for family in CROSS_FAMILIES for number in (1, 2)]
    return every + [
        Cross(family, name, labels=1 + (place + turn) % 2, **settings)
        for turn, family in enumerate(CROSS_FAMILIES)
        for place, (name, settings) in enumerate(SETTINGS.items())
        if name != "plain"
    ]


CASES = _cases()


# --- stages -----------------------------------------------------------------------------------------------------------------------


def limits(case: Cross) -> dict[str, int]:
    """Return the student's limits: those above the model's own, where these count."""
    return (
        {"max_length": 256, "max_query_length": 256}
        if case.own_limits
        else {
            "max_length": LIMIT,
            "max_query_length": case.query_limit or LIMIT,
        }
    )


def served(case: Cross, census, load):
    """Load the student, or count it as refused where that is right too: of Qwen3 in any case, whose head is at the last token."""
    try:
        return load()
    except ValueError as error:
        words = (*case.may_refuse, *(["Qwen3"] if case.family == "qwen3" else []))
        if not any(word in str(error) for word in words):
            raise
        census.count("settings refused instead of served")
        return None


def pairs(case: Cross) -> tuple[list[str], list[str], np.ndarray, np.ndarray, list[tuple[str, str]]]:
    """Return queries, documents, and the rows and texts of all their pairs."""
    asked, docs = pair_texts(case.texts)
    query_rows, doc_rows = np.repeat(np.arange(len(asked)), len(docs)), np.tile(np.arange(len(docs)), len(asked))
    return asked, docs, query_rows, doc_rows, [(query, doc) for query in asked for doc in docs]


def scores(case: Cross, student: models.CrossStudent) -> np.ndarray:
    asked, docs, query_rows, doc_rows, _ = pairs(case)
    return student.score_pairs(tokenize(asked, student.tokenizer), tokenize(docs, student.tokenizer), query_rows, doc_rows)


def of_the_library(found: dict[str, np.ndarray], labels: int) -> np.ndarray:
    """Return what a student's score is: the raw output, or the logarithm of the second of two labels' softmax."""
    if labels == 1:
        return found["raw"]
    chance = found["softmax"][:, 1].astype(np.float64)
    raw = found["raw"].astype(np.float64)
    exact = raw[:, 1] - np.logaddexp(raw[:, 0], raw[:, 1])
    near = (chance > 1e-30) & (chance < 0.999)  # elsewhere float32 has lost the logarithm's digits
    np.testing.assert_allclose(np.log(chance[near]), exact[near], rtol=1e-4, atol=1e-4)
    return exact


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_cross_encoder_is_what_the_library_has(case, library, census, tmp_path):
    """As it is found, and after some steps from the folder that it saved."""
    folder = cross_folder(case, tmp_path)
    census.count("cross-encoders: models x settings")
    problems: list[str] = []
    scorer = served(case, census, lambda: models.load_scorer(str(folder), **limits(case)))
    if scorer is not None and case.query_limit is None:  # the library has no limit for a pair's query: see what is saved, below
        texts = pairs(case)[-1]
        options = {"max_length": None if case.own_limits else LIMIT, "batch_size": 1 if case.alone else 32}
        found = library.ask(kind="cross", folder=str(folder), pairs=texts, float32=True, **options)
        census.compare(f"cross-encoders, scoring: {case.id}", scores(case, scorer), of_the_library(found, case.labels), texts, problems)
    architecture = params.CrossEncoder(model=str(folder), labels=case.labels, **limits(case))
    student = served(case, census, lambda: models.build(architecture, seed=0))
    if student is not None:
        compare_after_training(census, case, student, library, tmp_path / "student", problems)
    assert not problems, "\n".join(problems)


def compare_after_training(census, case: Cross, student: models.CrossStudent, library, folder: Path, problems: list[str]) -> None:
    """Train some steps and save; the library is given the folder, and no option."""
    assert {weight.dtype for weight in student.parameters()} == {torch.float32}
    before = {name: weight.detach().clone() for name, weight in student.named_parameters() if weight.requires_grad}
    asked, docs, _, _, texts = pairs(case)
    tables = tokenize(asked, student.tokenizer), tokenize(docs, student.tokenizer)
    rng = np.random.default_rng(0)
    groups = GroupTable(rng.integers(0, len(asked), 12), np.stack([rng.permutation(len(docs))[:4] for _ in range(12)]))
    settings = params.Training(documents=48, queries_per_batch=4, learning_rate=2e-3, warmup_share=0.0, schedule="constant")
    train(student, *tables, groups, loss="lce", temperature=1.0, training=settings, seed=0)
    moved = {name: float((weight.detach() - before[name]).abs().max()) for name, weight in student.named_parameters() if name in before}
    assert max(moved.values()) > 1e-3, moved
    ours = scores(case, student)
    batch = GroupBatch(*tables, np.arange(len(asked)), np.tile(np.arange(len(docs)), (len(asked), 1)))
    with torch.no_grad():
        in_groups = student(batch).numpy().reshape(-1)
    student.save(folder)
    found = library.ask(kind="cross", folder=str(folder), pairs=texts, batch_size=1 if case.alone else 32)
    census.compare(f"cross-encoders, trained and saved: {case.id}", ours, of_the_library(found, case.labels), texts, problems)
    census.compare(f"cross-encoders, scoring in training: {case.id}", in_groups, ours, texts, problems)
    if WHOLE or case.setting in ("plain", "bf16"):
        again = scores(case, models.load(folder))
        census.compare(f"cross-encoders, loaded again: {case.id}", again, ours, texts, problems)
    if case.labels == 1:  # predict() without any option is the student's score
        np.testing.assert_array_equal(found["own"], found["raw"])


# --- heads ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [name for name in CROSS_FAMILIES if WHOLE or name == "bert"])
def test_a_new_head_is_drawn_from_the_seed_and_said(family, library, census, tmp_path, caplog, recwarn):
    """An encoder without a head may become a student: what is drawn is named, and saving keeps it."""
    folder = encoder_folder(family, tmp_path / "encoder")
    architecture = params.CrossEncoder(model=str(folder), max_length=LIMIT, max_query_length=LIMIT)
    case, texts = Cross(family, "plain"), pairs(Cross(family, "plain"))[-1]
    if served(case, census, lambda: models.build(architecture, seed=0)) is None:
        return
    one, again, other = (models.build(architecture, seed=seed) for seed in (0, 0, 1))
    said = " ".join([*(record.getMessage() for record in caplog.records), *(str(warning.message) for warning in recwarn)])
    assert str(folder) in said and ("classifier" in said or "score" in said or "head" in said), said
    ours = scores(case, one)
    np.testing.assert_array_equal(ours, scores(case, again))
    assert np.abs(ours - scores(case, other)).max() > 1e-3
    one.save(tmp_path / "student")
    found, problems = library.ask(kind="cross", folder=str(tmp_path / "student"), pairs=texts), []
    census.compare(f"cross-encoders, new heads saved: {family}", ours, found["raw"], texts, problems)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("family", CROSS_FAMILIES if WHOLE else ["bert"])
def test_the_librarys_own_rounding_is_below_the_bound_and_one_word_is_far_above(family, library, made):
    case = Cross(family, "plain")
    folder = made(case, cross_folder)
    texts = pairs(case)[-1]
    together, alone = (
        library.ask(kind="cross", folder=str(folder), pairs=texts, max_length=LIMIT, batch_size=size)["raw"] for size in (32, 1)
    )
    assert np.abs(together - alone).max() < 1e-5 * max(1.0, np.abs(alone).max())
    words = [("fox", f"dog of the {last}") for last in ("air", "wing", "heat", "plate", "wave", "brown", "quick")]
    found = library.ask(kind="cross", folder=str(folder), pairs=words)["raw"]
    assert np.abs(found[:, None] - found)[~np.eye(len(words), dtype=bool)].min() > 1e-4
