"""Documents or queries as one flat array of token ids with offsets."""

from __future__ import annotations

from pathlib import Path

from rd_utils.cost.workload import BYTES, SECONDS, Counter, Work
from rd_utils.models.tokens import TokenTable
from rd_utils.stages.docs import DOCS
from rd_utils.stages.lexicon import LEXICON
from rd_utils.stages.queries import QUERIES
from rd_utils.store import Draft
from rd_utils.study.graph import docs_of
from rd_utils.study.specs import LexiconTokenizer, QueriesSpec, TokensSpec
from rd_utils.study.stage import Given, Inputs, Stage
from rd_utils.workflow.progress import LOGGER


def _inputs(spec: TokensSpec) -> Inputs:
    texts: Inputs = {"docs": docs_of(spec.collection)} if spec.of == "docs" else {"queries": QueriesSpec(collection=spec.collection)}
    return texts | ({"lexicon": spec.tokenizer.lexicon} if isinstance(spec.tokenizer, LexiconTokenizer) else {})


def _make(spec: TokensSpec, given: Given, draft: Draft) -> None:
    from rd_utils import models
    from rd_utils.models.tokens import count_unknown, tokenize

    if spec.tokenizer.kind == "lexicon":
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(given(LEXICON) / "tokenizer.json"))
    else:
        tokenizer = models.tokenizer_of(spec.tokenizer)
    texts = (given(DOCS) if spec.of == "docs" else given(QUERIES)).frame["text"]
    prompt = getattr(spec.tokenizer, "query_prompt" if spec.of == "queries" else "document_prompt", "")
    table = tokenize(given.track(iter(texts), f"tokenising {spec.of}", len(texts)), tokenizer, prompt=prompt)
    table.save(draft.folder)
    draft.counts |= {"texts": len(table), "tokens": len(table.ids)}
    unknown = count_unknown(table, tokenizer)
    if unknown:
        draft.counts["unknown_tokens"] = unknown
    if unknown * 2 > len(table.ids):
        _warn_of_unknown_words(spec, unknown / len(table.ids))


def _warn_of_unknown_words(spec: TokensSpec, share: float) -> None:
    LOGGER.warning(
        "%s: %.0f %% of the tokens of its %s are unknown to the tokenizer of %s, to which most words are so the same; name a model of this "
        "language, or look whether the tokenizer is the model's own",
        spec.collection.label,
        100 * share,
        spec.of,
        getattr(spec.tokenizer, "model", "the lexicon"),
    )


def _read(folder: Path, spec: TokensSpec, given: Given) -> TokenTable:
    return TokenTable.load(folder)


def _work(spec: TokensSpec, counter: Counter) -> Work:
    sizes = counter.known.sizes(spec.collection)
    texts = sizes.docs if spec.of == "docs" else sizes.queries
    tokens = texts * counter.known.lengths(spec.of, spec.collection, spec.tokenizer).mean
    size = tokens * BYTES["token"] + 8 * texts
    return Work(f"tokens {spec.tokenizer.kind}", cpu_seconds=tokens * SECONDS["token"], disk=size, memory=3 * size)


TOKENS = Stage(
    name="tokens",
    version=1,
    spec=TokensSpec,
    inputs=_inputs,
    make=_make,
    work=_work,
    read=_read,
    libraries=("rd_utils.models", "rd_utils.models.tokens"),
)
