"""Exported groups in the hands of those who asked for them: every consumer's own loader, and two steps of its own trainer.

Each runs in an environment of its own, which ``make bench-setup`` installs.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from benchmarks import environments
from rd_utils.exchange import export
from rd_utils.study import plan as planning
from rd_utils.study.specs import ScoresSpec
from rd_utils.workflow.pipeline import Pipeline
from tests import commands

STUDY, CELL = "params/smallest.yaml", "static-bm25-oracle-kl"
SECONDS = 500  # most of them are imports


class Consumer(NamedTuple):
    """What a consumer makes of an export."""

    scored: bool  # takes a teacher's scores
    as_texts: bool  # its loader gives texts, not tokens


CONSUMERS = {"pylate": Consumer(True, True), "flagembedding": Consumer(True, True), "tevatron": Consumer(False, False)}


class Group(NamedTuple):
    """A query, its documents with the positive first, and what the teacher gave them."""

    query: str
    docs: list[str]
    scores: list[float] | None


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return where the groups of a cell with a teacher lie for every consumer, and the groups as the store has them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RD_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        folder = tmp_path_factory.mktemp("exports")
        for name in CONSUMERS:
            commands.asked(export, "groups", CELL, folder / name, "--study", STUDY, "--to", name)
        spec = min(next(cell for cell in planning.load_plan(STUDY).cells if cell.name == CELL).students.items())[1]
        pipeline = Pipeline()
        queries, docs = (of(spec.groups.collection).iloc[:, :2] for of in (pipeline.queries, pipeline.docs))
        queries, docs = (dict(frame.itertuples(index=False)) for frame in (queries, docs))
        scores = pipeline.group_scores(ScoresSpec(groups=spec.groups, teacher=spec.teacher)).astype(float).tolist()
        frame, qrels = pipeline.groups(spec.groups), pipeline.qrels(spec.groups.collection)
        relevant = set(qrels.loc[qrels["relevance"] > 0, ["query_id", "doc_id"]].itertuples(index=False, name=None))
        assert all((query, own[0]) in relevant for query, own in zip(frame["query_id"], frame["doc_ids"], strict=True))
        ids = zip(frame["query_id"], frame["doc_ids"], scores, strict=True)
        yield folder, [Group(queries[query], [docs[doc] for doc in own], of_group) for query, own, of_group in ids]


def words(text: str) -> str:
    """Return a text as BERT cuts it into words."""
    from tokenizers.pre_tokenizers import BertPreTokenizer

    return " ".join(word for word, _ in BertPreTokenizer().pre_tokenize_str(text.lower()))


@pytest.fixture(scope="module")
def encoder(made, tmp_path_factory) -> Path:
    """A random BERT whose every token is a word of the groups, in files that every version of transformers reads."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("encoder")
    known = sorted({word for group in made[1] for text in (group.query, *group.docs) for word in words(text).split()})
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *known]
    (folder / "vocab.txt").write_text("\n".join(known) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", "model_max_length": 128}))
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 128}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(BertConfig(vocab_size=len(known), **sizes)).save_pretrained(folder)
    return folder


def consumed(name: str, *folders: Path) -> dict[str, Any]:
    """Return what a consumer's script prints, run by the consumer's own Python, without a network and with caches of its own."""
    try:
        python = environments.python_of(name)
    except FileNotFoundError as error:
        pytest.skip(f"the environment {name} is missing: {error}")
    script = environments.ROOT / "tests" / "consumers" / f"with_{name}.py"
    quiet = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
    own = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | quiet | {"HF_HOME": str(folders[-1])}
    ran = subprocess.run(
        [str(python), str(script), *map(str, folders)], env=own, cwd=folders[-1], capture_output=True, text=True, timeout=SECONDS
    )
    assert ran.returncode == 0, ran.stderr[-5000:]
    return json.loads(ran.stdout)


def told(groups: list[Group]) -> list[Any]:
    """Return what a trainer is told, whatever the order of the negatives: of every group the positive, and each document's score."""
    scored = [group._replace(scores=group.scores or [0.0] * len(group.docs)) for group in groups]
    pairs = [list(zip(docs, scores, strict=True)) for _, docs, scores in scored]
    return [(group.query, own[0], sorted(own[1:])) for group, own in zip(scored, pairs, strict=True)]


@pytest.mark.parametrize("name", CONSUMERS)
def test_a_consumer_reads_the_groups_and_trains_on_them(made, encoder, tmp_path, name):
    folder, groups = made
    consumer, found = CONSUMERS[name], consumed(name, folder / name, encoder, tmp_path)
    groups = [group if consumer.scored else group._replace(scores=None) for group in groups]
    as_words = [Group(words(group.query), [words(doc) for doc in group.docs], group.scores) for group in groups]

    assert told([Group(*row) for row in found["rows"]]) == told(groups if consumer.as_texts else as_words)
    given = Counter(map(repr, told([Group(*row) for row in found["batch"]])))
    assert given.total() == 4 and not given - Counter(map(repr, told(as_words)))

    assert len(found["losses"]) == 2 and np.isfinite(found["losses"]).all() and found["moved"]
