"""The word-level tokenizer and token vectors of a collection's documents, from which students from scratch start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rd_utils.cost.workload import SECONDS, Counter, Work
from rd_utils.stages.docs import DOCS
from rd_utils.store import Draft
from rd_utils.study.specs import LexiconSpec
from rd_utils.study.stage import Given, Stage

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def _make(spec: LexiconSpec, given: Given, draft: Draft) -> None:
    from rd_utils.models import lexicon
    from rd_utils.models.tokens import tokenize

    texts = given(DOCS).frame["text"].tolist()
    tokenizer = lexicon.build_tokenizer(texts)
    table = tokenize(texts, tokenizer)
    size = tokenizer.get_vocab_size()
    if spec.encoder is None:
        vectors = lexicon.token_vectors(table.ids, table.offsets, size, spec.dimension)
    else:
        vectors = lexicon.principal_components(_embedded_words(spec.encoder, tokenizer, given), spec.dimension)
    if spec.weights == "idf":
        vectors *= lexicon.word_weights(table.ids, table.offsets, size)[:, None]
    tokenizer.save(str(draft.folder / "tokenizer.json"))
    np.save(draft.folder / "vectors.npy", vectors)
    draft.counts |= {"words": tokenizer.get_vocab_size(), "tokens": len(table.ids)}


def _embedded_words(encoder: str, tokenizer: Tokenizer, given: Given) -> np.ndarray:
    """Embed each word of the tokenizer by itself, as a sentence encoder embeds a text: (V, m)."""
    from rd_utils import models
    from rd_utils.models.architectures import BiEncoder
    from rd_utils.models.encoding import encoded, on_device
    from rd_utils.models.tokens import tokenize
    from rd_utils.workflow.progress import Pushed

    architecture = BiEncoder(model=encoder, similarity="cosine")
    student = on_device(models.build(architecture, seed=0))
    vocabulary = tokenizer.get_vocab()
    words = sorted(vocabulary, key=vocabulary.__getitem__)
    table = tokenize(words, models.tokenizer_of(architecture))
    return encoded(student, table, kind="document", progress=Pushed(given.track, "embedding words"))


def _work(spec: LexiconSpec, counter: Counter) -> Work:
    docs, words = counter.known.sizes(spec.docs.collection).docs, counter.known.words(spec.docs.collection)[1]
    found = counter.known.words_of(spec)
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
