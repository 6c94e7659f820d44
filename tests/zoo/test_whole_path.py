"""From files to vectors and scores: what the pipeline stores of texts is what the library computes of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from animals import LIMIT, PROMPTS, QUERY_LIMIT, Bi, Cross, bi_folder, cross_folder, documents, queries

from rd_utils.store import Store
from rd_utils.study import params
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.workflow.progress import untracked

WHOLE = os.environ.get("RD_ZOO") == "all"
BI = (
    Bi("roberta", "prompts", sentence=(("prompts", PROMPTS),)),
    Bi("bert", "truncated", pooling="cls", sentence=(("truncate_dim", 8),), modules=("Normalize",)),
    Bi("xlm-roberta", "prompts not pooled", include_prompt=False, sentence=(("prompts", PROMPTS),)),
    Bi("qwen3", "bf16, prompts", pooling="lasttoken", dtype="bf16", sentence=(("prompts", PROMPTS),)),
)
CROSS = (
    Cross("bert", "plain"),
    Cross("roberta", "two labels", labels=2),
    Cross(
        "deberta-v2", "default prompt", cross=(("prompts", {"rank": "query: "}), ("default_prompt_name", "rank")), may_refuse=("prompt",)
    ),
)


def _as_read(text: str) -> bool:
    """Tell whether reading keeps a text as it is: it has a word (others have a rule, and a test, of their own) and no space around it."""
    return text == text.strip() and any(letter.isalnum() for letter in text)


DOCS = [text for text in documents() if _as_read(text)]
ASKED = [text for text in queries() if _as_read(text)]


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> params.FolderCollection:
    """A folder of texts around the limits, every query judged with some documents."""
    folder = tmp_path_factory.mktemp("collection")
    (folder / "qrels").mkdir()
    for name, texts in (("corpus", DOCS), ("queries", ASKED)):
        lines = [json.dumps({"_id": f"{name[0]}{row}", "text": text}) for row, text in enumerate(texts)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = [f"q{row}\tc{(row * 7 + step) % len(DOCS)}\t1" for row in range(len(ASKED)) for step in range(2)]
    for split in ("train", "test"):
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n")
    return params.FolderCollection(path=str(folder), split="test")


def pipeline(folder: Path) -> Pipeline:
    return Pipeline(Store(folder), track=untracked)


def run_of(made_here: Pipeline, spec: params.EvaluationSpec) -> pd.DataFrame:
    """Return the run that an evaluation wrote: query_id, doc_id, score."""
    path = made_here.store.folder(spec) / "run.trec"
    made_here.frame(spec, "per_query")
    return pd.read_csv(path, sep=r"\s+", header=None, usecols=[0, 2, 4], names=["query_id", "q0", "doc_id", "rank", "score", "tag"])


@pytest.mark.parametrize("case", BI if WHOLE else BI[:1], ids=lambda case: case.id)
def test_a_bi_encoder_searches_with_the_librarys_vectors(case, collection, library, census, made, tmp_path):
    folder = made(case, bi_folder)
    theirs = library.ask(kind="bi", folder=str(folder), queries=ASKED, documents=DOCS, limits=(LIMIT, QUERY_LIMIT), float32=True)
    architecture = params.BiEncoder(model=str(folder), max_length=LIMIT, max_query_length=QUERY_LIMIT)
    system = params.UntrainedSystem(architecture=architecture, collection=collection)
    made_here, problems = pipeline(tmp_path / "store"), []
    stored = np.asarray(made_here.vectors(params.VectorsSpec(collection=collection, encoder=system)))
    census.compare(f"whole path, vectors: {case.id}", stored, theirs["documents"], DOCS, problems)
    spec = params.EvaluationSpec(system=system, collection=collection, first_stage=params.FirstStage(kind="full", depth=10))
    run = run_of(made_here, spec)
    exact = theirs["queries"].astype(np.float64) @ theirs["documents"].T.astype(np.float64)
    for query_id, found in run.groupby("query_id"):
        row = int(query_id[1:])
        docs = found["doc_id"].str[1:].astype(int).to_numpy()
        size = max(1.0, np.abs(exact[row]).max())
        assert np.abs(found["score"].to_numpy() - exact[row, docs]).max() < 1e-4 * size
        assert exact[row, docs].min() >= np.sort(exact[row])[-len(docs)] - 1e-4 * size
    assert run["query_id"].nunique() == len(ASKED)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("case", CROSS if WHOLE else CROSS[:1], ids=lambda case: case.id)
def test_a_cross_encoder_reranks_with_the_librarys_scores(case, collection, library, census, made, tmp_path):
    folder = made(case, cross_folder)
    teacher = params.LoadedTeacher(model=str(folder), max_length=LIMIT, max_query_length=LIMIT)
    stage = params.FirstStage(kind="rerank", retriever=params.BM25(stemmer="none", stopwords="none"), depth=8)
    spec = params.EvaluationSpec(system=params.TeacherSystem(teacher=teacher), collection=collection, first_stage=stage)
    try:
        run = run_of(pipeline(tmp_path / "store"), spec)
    except ValueError as error:
        assert any(word in str(error) for word in case.may_refuse), error
        census.count("settings refused instead of served")
        return
    pairs = [(ASKED[int(query_id[1:])], DOCS[int(doc_id[1:])]) for query_id, doc_id in zip(run["query_id"], run["doc_id"], strict=True)]
    assert len(pairs) > 50
    found = library.ask(kind="cross", folder=str(folder), pairs=pairs, max_length=LIMIT)
    theirs = found["raw"] if case.labels == 1 else np.log(found["softmax"][:, 1].astype(np.float64))
    size = np.maximum(1.0, np.abs(theirs))
    apart = np.abs(run["score"].to_numpy() - theirs) / size
    assert apart.max() < 2e-5, (pairs[int(apart.argmax())], apart.max())  # runs are rounded to 5 decimals
    census.count("compared whole path, runs")
