"""The word-level tokenizer and token vectors of a collection's documents, from which students from scratch start."""

from __future__ import annotations

import numpy as np

from rd_utils.cost import flops
from rd_utils.cost.workload import SECONDS, Counter, Work
from rd_utils.stages.docs import DOCS
from rd_utils.store import Draft
from rd_utils.study.specs import LexiconSpec
from rd_utils.study.stage import Given, Stage


def _make(spec: LexiconSpec, given: Given, draft: Draft) -> None:
    from rd_utils.models import lexicon
    from rd_utils.models.tokens import tokenize

    texts = given(DOCS).frame["text"].tolist()
    tokenizer = lexicon.build_tokenizer(texts)
    table = tokenize(texts, tokenizer)
    vectors = lexicon.token_vectors(table.ids, table.offsets, tokenizer.get_vocab_size(), spec.dimension)
    tokenizer.save(str(draft.folder / "tokenizer.json"))
    np.save(draft.folder / "vectors.npy", vectors)
    draft.counts |= {"words": tokenizer.get_vocab_size(), "tokens": len(table.ids)}


def _work(spec: LexiconSpec, counter: Counter) -> Work:
    docs, words = counter.known.sizes(spec.docs.collection).docs, counter.known.words(spec.docs.collection)[1]
    found = int(counter.known.counts(spec).get("words", flops.LEXICON_WORDS))
    seconds = docs * words * SECONDS["word to lexicon"]
    return Work("lexicon", cpu_seconds=seconds, disk=4.0 * found * spec.dimension, memory=docs * words * 12)


LEXICON = Stage(
    name="lexicon",
    version=1,
    spec=LexiconSpec,
    inputs=lambda spec: {"docs": spec.docs},
    make=_make,
    work=_work,
    libraries=("rd_utils.models.lexicon", "rd_utils.models.tokens"),
)
