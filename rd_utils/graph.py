"""What artefacts are made from: the documents behind a collection, the tokens behind an encoder, the candidates behind a strategy.

Every function returns specs, by role where there are several. Stages put their inputs together of these.
"""

from __future__ import annotations

from typing import Any

from rd_utils import checkpoints, params
from rd_utils.stage import Inputs, prefixed


def docs_of(collection: Any) -> params.DocsSpec:
    """Return the documents artefact of a collection; splits and query limits share it."""
    if collection.source == "pseudo_queries":
        return docs_of(collection.documents)
    changes: dict[str, Any] = {"max_queries": None, "random_split": None}
    if collection.source in ("ir_datasets", "folder"):
        changes["skip_queries"] = 0
    if collection.source in ("embedded", "folder"):
        changes["split"] = "train"
    if collection.source == "ir_datasets":
        import ir_datasets

        changes["id"] = ir_datasets.docs_parent_id(collection.id)
    return params.DocsSpec(collection=collection.model_copy(update=changes))


def vectors_of(collection: Any, encoder: Any) -> params.VectorsSpec:
    """Return the embeddings of a collection's documents, which all its splits share."""
    return params.VectorsSpec(collection=docs_of(collection).collection, encoder=encoder)


def index_of(collection: Any, retriever: Any) -> params.IndexSpec | None:
    """Return what a retriever searches of a collection's documents; None where it goes through all embeddings, or searches nothing."""
    if retriever.kind == "bm25" or (retriever.kind == "dense" and retriever.index.kind != "flat"):
        return params.IndexSpec(collection=docs_of(collection).collection, retriever=retriever)
    return None


def index_inputs(retriever: Any, collection: Any) -> Inputs:
    """Return the index of a retriever that has one."""
    index = index_of(collection, retriever)
    return {"index": index} if index else {}


def collection_inputs(collection: Any) -> Inputs:
    """Return the documents and queries artefacts of a collection."""
    return {"docs": docs_of(collection), "queries": params.QueriesSpec(collection=collection)}


def lexicon_of(architecture: Any, collection: Any) -> params.LexiconSpec | None:
    """Return the lexicon that a from-scratch architecture starts from; None for checkpoints."""
    if isinstance(architecture, params.FROM_SCRATCH):
        return params.LexiconSpec(docs=docs_of(collection), dimension=architecture.dimension)
    return None


def tokenizer_of(architecture: Any, collection: Any) -> Any:
    """Return the tokenizer part that a student or loaded teacher reads; a from-scratch student's vocabulary is of ``collection``."""
    lexicon = lexicon_of(architecture, collection)
    if lexicon:
        return params.LexiconTokenizer(lexicon=lexicon)
    query_prompt, document_prompt = checkpoints.prompts(architecture)
    return params.ModelTokenizer(model=architecture.model, query_prompt=query_prompt, document_prompt=document_prompt)


def token_inputs(tokenizer: Any, collection: Any) -> Inputs:
    """Return the token tables of a collection's documents and queries."""
    docs = params.TokensSpec(of="docs", collection=docs_of(collection).collection, tokenizer=tokenizer)
    return {"doc_tokens": docs, "query_tokens": params.TokensSpec(of="queries", collection=collection, tokenizer=tokenizer)}


def architecture_inputs(architecture: Any, trained_on: Any, read: Any) -> Inputs:
    """Return what a student of an architecture needs: its lexicon, if it has one, and the tokens of the collection that it reads."""
    lexicon = lexicon_of(architecture, trained_on)
    return ({"lexicon": lexicon} if lexicon else {}) | token_inputs(tokenizer_of(architecture, trained_on), read)


def encoder_inputs(encoder: Any, collection: Any) -> Inputs:
    """Return what a student needs, trained or not, before it can read a collection."""
    if encoder.kind == "student":
        student = encoder.student
        return {"student": student} | architecture_inputs(student.architecture, student.groups.collection, collection)
    return architecture_inputs(encoder.architecture, encoder.collection, collection)


def retriever_inputs(retriever: Any, collection: Any) -> Inputs:
    """Return what a retriever needs, beside the collection, before it can search it."""
    if retriever.kind == "dense":
        vectors = {"vectors": vectors_of(collection, retriever.encoder)}
        return vectors | index_inputs(retriever, collection) | encoder_inputs(retriever.encoder, collection)
    if retriever.kind == "reranked":
        inner = params.CandidatesSpec(collection=collection, retriever=retriever.retriever, depth=retriever.from_depth)
        return {"candidates": inner} | prefixed("teacher_", teacher_inputs(retriever.teacher, collection))
    if retriever.kind == "pooled":
        return {
            f"candidates_{number}": params.CandidatesSpec(collection=collection, retriever=inner, depth=retriever.at_most)
            for number, inner in enumerate(retriever.retrievers)
        }
    return index_inputs(retriever, collection)


def teacher_inputs(teacher: Any, collection: Any) -> Inputs:
    """Return what a teacher needs before it can score pairs of a collection's queries and documents."""
    texts = collection_inputs(collection)
    if teacher.kind in ("oracle", "file"):
        return texts
    if teacher.kind in ("trained", "encoder"):
        system = params.StudentSystem(student=teacher.student) if teacher.kind == "trained" else teacher.encoder
        embeds = isinstance(params.architecture_of(system), params.BI_ENCODERS)
        return texts | ({"vectors": vectors_of(collection, system)} if embeds else {}) | encoder_inputs(system, collection)
    if teacher.kind == "bm25":
        return texts | index_inputs(teacher.retriever, collection)
    if teacher.kind == "ensemble":
        found: Inputs = {}
        for number, member in enumerate(teacher.members):
            found[f"calibration_{number}"] = params.ScoresSpec(groups=teacher.calibration, teacher=member)
            found |= prefixed(f"member_{number}_", teacher_inputs(member, collection))
        return found
    return texts | token_inputs(tokenizer_of(teacher, collection), collection)


def first_stage_inputs(spec: params.EvaluationSpec) -> Inputs:
    """Return the candidates that an evaluation re-ranks, or that are the first stage's own row."""
    if spec.first_stage.kind == "rerank" or spec.system.kind == "first_stage":
        retriever = spec.system.retriever if spec.system.kind == "first_stage" else spec.first_stage.retriever
        return {"candidates": params.CandidatesSpec(collection=spec.collection, retriever=retriever, depth=spec.first_stage.depth)}
    return {}


def system_inputs(spec: params.EvaluationSpec) -> Inputs:
    """Return what an evaluated system is made from."""
    if spec.system.kind == "teacher":
        return prefixed("teacher_", teacher_inputs(spec.system.teacher, spec.collection))
    return {} if spec.system.kind == "first_stage" else encoder_inputs(spec.system, spec.collection)


def pool_of(strategy: Any, collection: Any) -> Any | None:
    """Return the artefact that a strategy draws from; None for corpus_random."""
    if strategy.kind == "corpus_random":
        return None
    spec = params.NeighboursSpec if strategy.kind == "graph" else params.CandidatesSpec
    return spec(collection=collection, retriever=strategy.retriever, depth=strategy.depth)


def search_evaluations(spec: params.SearchSpec) -> list[list[params.EvaluationSpec]]:
    """Return the evaluations that a choice rests on: one list a candidate, one evaluation a first stage that it can serve."""
    found: list[list[params.EvaluationSpec]] = []
    for student in spec.candidates:
        system = params.StudentSystem(student=student)
        found.append(
            [
                params.EvaluationSpec(system=system, collection=spec.collection, first_stage=stage, measures=(spec.measure,))
                for stage in sorted(spec.first_stages, key=lambda stage: stage.kind != "full")
                if params.serves(system, stage)
            ]
        )
    return found
