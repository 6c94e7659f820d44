"""What artefacts are made from: the documents behind a collection, the tokens and the lexicon behind an architecture.

Every function returns specs, by role where there are several. Stages and kinds put their inputs together of these.
"""

from __future__ import annotations

from typing import cast

from rd_utils.models import checkpoints
from rd_utils.study.kinds import Architecture, Collection, Encoder, FromScratch, Teacher, Tokenizer
from rd_utils.study.specs import DocsSpec, LexiconSpec, LexiconTokenizer, ModelTokenizer, QueriesSpec, TokensSpec, VectorsSpec
from rd_utils.study.stage import Inputs


def docs_of(collection: Collection) -> DocsSpec:
    """Return the documents artefact of a collection; splits and query limits share it."""
    return DocsSpec(collection=collection.undivided())


def vectors_of(collection: Collection, encoder: Encoder) -> VectorsSpec:
    """Return the embeddings of a collection's documents, which all its splits share."""
    return VectorsSpec(collection=collection.undivided(), encoder=encoder)


def collection_inputs(collection: Collection) -> Inputs:
    """Return the documents and queries artefacts of a collection."""
    return {"docs": docs_of(collection), "queries": QueriesSpec(collection=collection)}


def lexicon_of(architecture: Architecture | Teacher, collection: Collection) -> LexiconSpec | None:
    """Return the lexicon that a from-scratch architecture starts from; None for checkpoints."""
    if isinstance(architecture, FromScratch):
        words = {"weights": architecture.word_weights, "encoder": architecture.encoder}
        return LexiconSpec(docs=docs_of(collection), dimension=architecture.dimension, **words)
    return None


def tokenizer_of(architecture: Architecture | Teacher, collection: Collection) -> Tokenizer:
    """Return the tokenizer that a student or loaded teacher reads; a from-scratch student's vocabulary is of ``collection``."""
    lexicon = lexicon_of(architecture, collection)
    if lexicon:
        return LexiconTokenizer(lexicon=lexicon)
    loaded = cast("checkpoints.FromCheckpoint", architecture)
    query_prompt, document_prompt = checkpoints.prompts(loaded)
    return ModelTokenizer(model=loaded.model, query_prompt=query_prompt, document_prompt=document_prompt)


def token_inputs(tokenizer: Tokenizer, collection: Collection) -> Inputs:
    """Return the token tables of a collection's documents and queries."""
    docs = TokensSpec(of="docs", collection=collection.undivided(), tokenizer=tokenizer)
    return {"doc_tokens": docs, "query_tokens": TokensSpec(of="queries", collection=collection, tokenizer=tokenizer)}


def architecture_inputs(architecture: Architecture, trained_on: Collection, read: Collection) -> Inputs:
    """Return what a student of an architecture needs: its lexicon, if it has one, and the tokens of the collection that it reads."""
    lexicon = lexicon_of(architecture, trained_on)
    return ({"lexicon": lexicon} if lexicon else {}) | token_inputs(tokenizer_of(architecture, trained_on), read)
