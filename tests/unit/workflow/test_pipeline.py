"""The pipeline on the toy collection: every stage, reuse, and the errors that name an id."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from rd_utils.analysis import behaviour, locality
from rd_utils.data.collections import CollectionError, positives
from rd_utils.mining import sampling
from rd_utils.models import encoding
from rd_utils.scoring import entropy, pairs, teachers
from rd_utils.scoring.teachers import PairScores, TeacherError
from rd_utils.stages.search import search_evaluations
from rd_utils.stages.student import Regroup, augmented_texts
from rd_utils.store import Store, StoreError, identity, upstream
from rd_utils.study import params
from rd_utils.study.graph import docs_of, tokenizer_of, vectors_of
from rd_utils.study.stage import Given, inputs, stages
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.workflow.progress import untracked

PLAIN = params.BM25(stemmer="none", stopwords="none")
STOPPED = params.BM25(stemmer="none")


@pytest.fixture
def pipeline(tmp_path):
    return Pipeline(Store(tmp_path / "store"), track=untracked)


@pytest.fixture
def train(toy):
    return params.FolderCollection(path=str(toy), split="train")


def student(train, loss="lce", seed=0):
    return params.StudentSpec(
        groups=params.GroupsSpec(collection=train, strategy=params.CorpusRandom(), group_size=3, seed=seed),
        loss=loss,
        architecture=params.StaticBi(dimension=4),
        training=params.Training(documents=24, queries_per_batch=2, learning_rate=0.05),
        seed=seed,
    )


def evaluation(system, toy, kind="full"):
    stage = params.FirstStage(kind=kind, retriever=PLAIN, depth=6)
    return params.EvaluationSpec(system=system, collection=params.FolderCollection(path=str(toy), split="test"), first_stage=stage)


def test_a_student_is_made_from_the_collection_down_and_ranks(pipeline, toy, train):
    spec = evaluation(params.StudentSystem(student=student(train)), toy)
    per_query = pipeline.frame(spec, "per_query")
    assert per_query["query_id"].unique().tolist() == ["q1", "q3"]
    counts = pipeline.manifest(student(train))["counts"]
    assert counts["documents_seen"] == 24 and counts["steps"] == 4
    assert (pipeline.store.folder(spec) / "run.trec").read_text().count("\n") == 2 * 6


def test_the_same_parameters_give_the_same_bytes_in_another_store(pipeline, toy, train, tmp_path):
    other = Pipeline(Store(tmp_path / "other"), track=untracked)
    spec = evaluation(params.StudentSystem(student=student(train)), toy)
    first, second = (p.manifest(spec)["files"] for p in (pipeline, other))
    assert first == second and set(first) == {"run.trec", "per_query.parquet"}
    first, second = (p.manifest(student(train))["files"] for p in (pipeline, other))
    assert first == second


def test_what_is_there_is_not_made_again(pipeline, toy, train):
    spec = student(train)
    pipeline.build(spec)
    stamp = (pipeline.store.folder(spec) / "manifest.json").stat().st_mtime_ns
    Pipeline(pipeline.store, track=untracked).build(spec)
    assert (pipeline.store.folder(spec) / "manifest.json").stat().st_mtime_ns == stamp


def test_a_collection_that_is_corrected_is_read_again_by_the_same_pipeline(pipeline, toy, train):
    def best() -> str:
        found = pipeline.candidates(params.CandidatesSpec(collection=train, retriever=PLAIN, depth=6))
        return found[found["query_id"] == "q1"]["doc_id"].iloc[0]

    assert best() == "d1"
    text = (toy / "corpus.jsonl").read_text()
    (toy / "corpus.jsonl").write_text(text.replace("sat on the mat", "sat on a bench").replace("rain fell", "cat mat and"))
    assert best() == "d6"
    (toy / "corpus.jsonl").write_text(text)
    assert best() == "d1" and len(list((pipeline.store.root / "docs").iterdir())) == 2


def test_a_run_file_that_is_missing_is_named_before_anything_is_made_and_one_that_changes_is_read_again(pipeline, toy, train):
    path = toy.parent / "a.run"
    spec = params.CandidatesSpec(collection=train, retriever=params.RunFile(path=str(path), name="a"), depth=2)
    with pytest.raises(StoreError, match=f"candidates .* cannot be made: there is no file {path}; put it there, or name another"):
        pipeline.build(spec)
    assert not pipeline.store.root.exists()
    for doc in ("d3", "d4"):
        path.write_text(f"q1 Q0 {doc} 1 1.0 x\n")
        assert pipeline.candidates(spec)["doc_id"].tolist() == [doc]


def test_a_file_of_scores_that_changes_while_it_is_read_leaves_no_scores(pipeline, toy, train, monkeypatch):
    path = toy.parent / "scores.run"
    lines = "".join(f"{query} Q0 d{number} 1 {number}.5 x\n" for query in ("q1", "q2", "q3") for number in range(1, 7))
    path.write_text(lines)
    groups = params.GroupsSpec(collection=train, strategy=params.CorpusRandom(), group_size=3)
    spec = params.ScoresSpec(groups=groups, teacher=params.FileTeacher(path=str(path)))
    read = teachers.read_scores

    def read_and_change(path):
        found = read(path)
        path.write_text(lines.replace(".5", ".7"))
        return found

    monkeypatch.setattr(teachers, "read_scores", read_and_change)
    with pytest.raises(StoreError, match=f"{path} changed while .* was made from it, so nothing was kept; run again"):
        pipeline.group_scores(spec)
    monkeypatch.undo()
    assert not list((pipeline.store.root / "scores").iterdir())
    assert set(np.round(pipeline.group_scores(spec).ravel().astype(np.float64) % 1, 3).tolist()) == {0.7}


def test_a_manifest_names_its_inputs_by_identity(pipeline, train):
    manifest = pipeline.manifest(student(train))
    assert manifest["inputs"]["groups"]["identity"] == identity(student(train).groups)
    assert set(manifest["inputs"]) == set(inputs(student(train)))


def test_reranking_orders_only_the_candidates(pipeline, toy, train):
    system = params.UntrainedSystem(architecture=params.StaticBi(dimension=4), collection=train)
    per_stage = {kind: pipeline.build(evaluation(system, toy, kind)) for kind in ("full", "rerank")}
    ranked = {
        kind: {tuple(line.split()[:3:2]) for line in (path / "run.trec").read_text().splitlines()} for kind, path in per_stage.items()
    }
    candidates = pipeline.candidates(inputs(evaluation(system, toy, "rerank"))["candidates"])
    assert ranked["rerank"] == set(zip(candidates["query_id"], candidates["doc_id"], strict=True)) < ranked["full"]


def test_full_and_reranked_scores_of_a_pair_agree(pipeline, toy, train):
    system = params.StudentSystem(student=student(train))
    scores = {}
    for kind in ("full", "rerank"):
        lines = [line.split() for line in (pipeline.build(evaluation(system, toy, kind)) / "run.trec").read_text().splitlines()]
        scores[kind] = {(line[0], line[2]): float(line[4]) for line in lines}
    for pair, score in scores["rerank"].items():
        assert scores["full"][pair] == pytest.approx(score, abs=2e-5)


def test_oracle_scores_are_kept_once_and_floored(pipeline):
    collection = params.EmbeddedCollection(max_queries=5)
    teacher = params.Oracle(floor=1e-2)
    scores, scored = pipeline.teacher_scores(teacher, collection, np.array([0, 1, 1]), np.array([3, 4, 4]))
    assert scored == 2 and scores[1] == scores[2]
    assert (scores >= np.float32(np.log(1e-2)) - 1e-5).all()
    assert pipeline.teacher_scores(teacher, collection, np.array([1]), np.array([4]))[1] == 0
    assert pipeline.teacher_scores(params.Oracle(floor=1e-3), collection, np.array([1]), np.array([4]))[1] == 1


def test_query_limits_do_not_shift_the_oracles_rows(pipeline):
    few, all_of_them = params.EmbeddedCollection(max_queries=5), params.EmbeddedCollection()
    rows = pipeline.query_rows(all_of_them, pipeline.queries(few)["query_id"])
    docs = np.arange(5)
    first, _ = pipeline.teacher_scores(params.Oracle(), few, np.arange(5), docs)
    second, _ = pipeline.teacher_scores(params.Oracle(), all_of_them, rows, docs)
    assert first.tolist() == second.tolist()


def test_an_unknown_id_is_named(pipeline, train):
    with pytest.raises(CollectionError, match="1 values of doc_id are unknown, the first is 'zz'"):
        pipeline.doc_rows(train, ["d1", "zz"])


def test_teacher_scores_stand_in_the_order_of_the_groups(pipeline):
    groups = params.GroupsSpec(collection=params.EmbeddedCollection(max_queries=4), strategy=params.CorpusRandom(), group_size=3)
    spec = params.ScoresSpec(groups=groups, teacher=params.Oracle())
    matrix = pipeline.group_scores(spec)
    query_rows, doc_rows = pipeline.group_rows(groups)
    one, _ = pipeline.teacher_scores(params.Oracle(), groups.collection, query_rows[2:3], doc_rows[2, 1:2])
    assert matrix.shape == (4, 3) and matrix[2, 1] == one[0]


def test_a_study_charges_every_seed_for_its_pairs_also_those_scored_for_another(tmp_path, monkeypatch):
    from pathlib import Path

    from rd_utils.analysis import tables as analysis
    from rd_utils.cost.costs import STAGES, costs
    from rd_utils.study import plan

    monkeypatch.setenv("RD_OUTPUTS", str(tmp_path))
    planned = plan.load_plan(Path(__file__).resolve().parents[3] / "params" / "smallest.yaml")
    planned.cells = [cell for cell in planned.cells if cell.name == "static-bm25-oracle-kl"]
    pipeline = Pipeline(track=untracked)
    analysis.per_query(planned, pipeline)
    table = costs(planned, pipeline).set_index("seed")
    for seed, student in planned.cells[0].students.items():
        manifest = pipeline.manifest(params.ScoresSpec(groups=student.groups, teacher=student.teacher))
        (bill,) = manifest["scoring"]
        rate = PairScores(pipeline.store.root / "pairs" / bill["teacher"]).rate()
        assert bill["pairs"] == table.loc[seed, "score_teacher_calls"] == 300 * 16 > bill["scored_now"] * (seed == 1)
        for unit, place in (("wall_seconds", 0), ("cpu_seconds", 1)):
            expected = max(0.0, manifest["cost"][unit] - bill[unit] + bill["pairs"] * rate[place])
            assert table.loc[seed, f"score_{unit}"] == pytest.approx(expected, abs=0.002)
    total = table[[f"{stage}_cpu_seconds" for stage in STAGES]].sum(axis=1)
    assert table["total_cpu_seconds"].to_numpy() == pytest.approx(total.to_numpy()) and (total > 0).all()


# --- every part, on 20 queries of the smallest embedded collection ----------------------------------------------------------------

SMALL = params.EmbeddedCollection(max_queries=20)
TEST = params.EmbeddedCollection(split="test", max_queries=20)
BI = params.StaticBi(dimension=8)
CROSS = params.InteractionCross(dimension=8)
BM25 = params.BM25()
UNTRAINED = params.UntrainedSystem(architecture=BI, collection=SMALL)
BUDGET = params.Training(documents=64, queries_per_batch=4, learning_rate=0.05)  # 4 steps of 4 groups of 4


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Pipeline:
    """A pipeline whose store the tests of this module share: every artefact stands under its own identity."""
    return Pipeline(Store(tmp_path_factory.mktemp("small")), track=untracked)


def groups_of(strategy=None, **changes) -> params.GroupsSpec:
    strategy = strategy or params.FromCandidates(depth=50)
    return params.GroupsSpec(collection=SMALL, strategy=strategy, **({"group_size": 4, "shortage": params.CorpusRandom()} | changes))


def small_student(loss="lce", teacher=None, **changes) -> params.StudentSpec:
    teacher = teacher or (params.Oracle() if params.LOSSES[loss].needs_teacher else None)
    return params.StudentSpec(
        **({"groups": groups_of(), "loss": loss, "teacher": teacher, "architecture": BI, "training": BUDGET} | changes)
    )


TRAINED = params.StudentSystem(student=small_student())
RETRIEVERS = {
    "bm25": BM25,
    "untrained": params.Dense(encoder=UNTRAINED),
    "trained": params.Dense(encoder=TRAINED),
    "reranked": params.Reranked(retriever=BM25, from_depth=20, teacher=params.Oracle()),
    "pooled": params.Pooled(retrievers=(BM25, params.Dense(encoder=UNTRAINED)), at_most=5),
}


def candidates_of(retriever, depth=10) -> params.CandidatesSpec:
    return params.CandidatesSpec(collection=SMALL, retriever=retriever, depth=depth)


def embedded(pipeline, system, of="docs") -> np.ndarray:
    """Return the embeddings of SMALL's documents or queries, computed beside the pipeline."""
    student, queries, docs = opened(pipeline, system)
    return student.encode({"docs": docs, "queries": queries}[of], kind={"docs": "document", "queries": "query"}[of])


def opened(pipeline, system):
    """Return a student, trained or not, and the tokens of SMALL's queries and documents."""
    given = Given(pipeline, system.inputs(SMALL))
    return system.open(given), *encoding.text_tokens(given)


def scoring_parts(pipeline, teacher) -> Given:
    return Given(pipeline, teacher.inputs(SMALL))


def model_files(pipeline, spec) -> dict[str, str]:
    return {name: digest for name, digest in pipeline.manifest(spec)["files"].items() if name.startswith("model")}


# --- retrievers


@pytest.mark.parametrize("kind", RETRIEVERS)
def test_every_retriever_ranks_documents_for_every_query(small, kind):
    spec = candidates_of(RETRIEVERS[kind])
    run = small.candidates(spec)
    assert run["query_id"].nunique() == 20 and not run.duplicated(["query_id", "doc_id"]).any()
    assert (run.groupby("query_id").size() <= 10).all() and (kind == "pooled" or (run.groupby("query_id").size() == 10).all())
    assert run["query_id"].is_monotonic_increasing and (run.groupby("query_id")["score"].diff().dropna() <= 0).all()
    assert small.manifest(spec)["dropped"] == {"queries_without_candidates": 0}


def test_a_dense_retriever_finds_the_largest_dot_products(small):
    for kind, system in (("untrained", UNTRAINED), ("trained", TRAINED)):
        products = embedded(small, system, "queries") @ embedded(small, system).T
        run = small.candidates(candidates_of(RETRIEVERS[kind], depth=1))
        rows = small.doc_rows(SMALL, run["doc_id"])
        assert products[np.arange(20), rows] == pytest.approx(products.max(axis=1), abs=1e-5)
        assert run["score"].to_numpy() == pytest.approx(products.max(axis=1), abs=2e-5)
    assert {"student"} == set(inputs(candidates_of(RETRIEVERS["trained"]))) - set(inputs(candidates_of(RETRIEVERS["untrained"])))


@pytest.mark.parametrize("settings", [params.IVFOnDisk(nlist=8, nprobe=4, sample=300), params.IVFPQ(nlist=8, nprobe=4, sample=300, m=4)])
def test_an_inverted_file_is_an_artefact_and_its_recall_is_recorded(small, settings):
    retriever = RETRIEVERS["untrained"].model_copy(update={"index": settings})
    spec = candidates_of(retriever)
    index = inputs(spec)["index"]
    assert index.stage == "index" and set(inputs(index)) == {"docs", "vectors"}
    counts, flat = small.manifest(spec)["counts"], small.candidates(candidates_of(RETRIEVERS["untrained"]))
    found = small.candidates(spec).merge(flat, on=["query_id", "doc_id"], suffixes=("", "_flat"))
    assert counts["recall"] == pytest.approx(len(found) / len(flat)) and counts["recall_queries"] == 20
    assert counts["recall"] > 0.3 and (found["score"] - found["score_flat"]).abs().max() < 2e-5
    graph = params.NeighboursSpec(collection=SMALL, retriever=retriever, depth=5)
    assert identity(inputs(graph)["index"]) == identity(index)
    assert small.manifest(graph)["counts"]["recall_queries"] > 0


def test_one_index_of_words_serves_candidates_neighbours_and_the_bm25_teacher(small):
    index = inputs(candidates_of(BM25))["index"]
    teacher = params.ScoresSpec(groups=groups_of(), teacher=params.BM25Teacher(retriever=BM25))
    neighbours = params.NeighboursSpec(collection=SMALL, retriever=BM25, depth=5)
    assert identity(inputs(neighbours)["index"]) == identity(inputs(teacher)["teacher_index"]) == identity(index)
    counts = small.manifest(index)["counts"]
    assert counts["documents"] == len(small.docs(SMALL)) and counts["postings"] > counts["words"] > 0


def test_a_reranked_retriever_keeps_the_best_of_the_inner_ones_candidates(small):
    run, inner = small.candidates(candidates_of(RETRIEVERS["reranked"])), small.candidates(candidates_of(BM25, 20))
    rows = small.query_rows(SMALL, inner["query_id"]), small.doc_rows(SMALL, inner["doc_id"])
    scores = inner.assign(score=small.teacher_scores(params.Oracle(), SMALL, *rows)[0].astype(float).round(5))
    expected = scores.sort_values(["query_id", "score", "doc_id"], ascending=[True, False, True]).groupby("query_id").head(10)
    assert run[["query_id", "doc_id"]].values.tolist() == expected[["query_id", "doc_id"]].values.tolist()


def test_a_pool_is_the_union_of_the_tops(small):
    run = small.candidates(candidates_of(RETRIEVERS["pooled"]))
    tops = pd.concat([small.candidates(candidates_of(inner, 5)) for inner in RETRIEVERS["pooled"].retrievers])
    assert set(zip(run["query_id"], run["doc_id"], strict=True)) == set(zip(tops["query_id"], tops["doc_id"], strict=True))


def write_run(path, *rows) -> params.RunFile:
    path.write_text("".join(f"{query_id} Q0 {doc_id} 1 {score} x\n" for query_id, doc_id, score in rows))
    return params.RunFile(path=str(path), name="elsewhere")


def test_a_run_file_is_ordered_by_its_scores_and_queries_without_candidates_are_counted(pipeline, train, tmp_path):
    retriever = write_run(tmp_path / "x.run", ("q1", "d2", 1.0), ("q1", "d4", 3.0), ("q1", "d3", 1.0), ("q9", "d1", 1.0))
    spec = params.CandidatesSpec(collection=train, retriever=retriever, depth=3)
    assert pipeline.candidates(spec)["doc_id"].tolist() == ["d4", "d2", "d3"]
    assert pipeline.manifest(spec)["dropped"] == {"pairs_of_other_queries": 1, "queries_without_candidates": 1}


# --- strategies


FILTER = params.FalseNegativeFilter(teacher=params.Oracle(), value=1.0)
STRATEGIES = {
    "corpus_random": params.CorpusRandom(),
    "bm25": params.FromCandidates(depth=50),
    "bm25_late_top": params.FromCandidates(from_rank=11, depth=50, draw="top"),
    "bm25_softmax": params.FromCandidates(depth=50, draw="softmax", draw_temperature=2.0),
    "filtered": params.FromCandidates(depth=50, filter=FILTER),
    **{name: params.FromCandidates(retriever=retriever, depth=20) for name, retriever in RETRIEVERS.items() if name != "bm25"},
    "graph_bm25": params.Graph(depth=20),
    "graph_dense": params.Graph(retriever=params.Dense(encoder=UNTRAINED), depth=20),
    "narrow": params.DiameterTargeted(depth=50, quantile=0.0, reference=UNTRAINED),
}


@pytest.fixture(scope="module")
def twin(tmp_path_factory) -> Pipeline:
    """A second store, in which everything is made anew."""
    return Pipeline(Store(tmp_path_factory.mktemp("twin")), track=untracked)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_draws_from_its_pool_no_known_positive_and_the_same_bytes_elsewhere(small, twin, name):
    spec = groups_of(STRATEGIES[name], shortage="drop")
    groups = small.groups(spec)
    known = set(map(tuple, positives(small.qrels(SMALL))[["query_id", "doc_id"]].to_numpy()))
    pool = spec.strategy.pool_of(SMALL)
    allowed = None if pool is None else set(map(tuple, small.candidates(pool)[["query_id", "doc_id"]].to_numpy()))
    assert len(groups) >= 18
    for query_id, (positive, *negatives) in zip(groups["query_id"], groups["doc_ids"], strict=True):
        assert (query_id, positive) in known
        assert len({positive, *negatives}) == 4
        assert not {(query_id, doc_id) for doc_id in negatives} & known
        key = positive if spec.strategy.kind == "graph" else query_id
        assert allowed is None or {(key, doc_id) for doc_id in negatives} <= allowed
    assert small.manifest(spec)["files"] == twin.manifest(spec)["files"]


def test_every_strategys_groups_have_an_identity_of_their_own():
    assert len({identity(groups_of(strategy)) for strategy in STRATEGIES.values()}) == len(STRATEGIES)


def test_a_graph_is_walked_from_the_positive_not_from_the_query(pipeline, train):
    """Without stop words d1 shares words with d2 alone, d4 with d5 and d6, of which d5 is a positive too, and d5 with d4 alone."""
    spec = params.GroupsSpec(collection=train, strategy=params.Graph(retriever=STOPPED, depth=5), group_size=2)
    neighbours = pipeline.candidates(spec.strategy.pool_of(train))
    assert neighbours.groupby("query_id")["doc_id"].agg(list).to_dict() == {"d1": ["d2"], "d4": ["d5", "d6"], "d5": ["d4"]}
    assert [list(doc_ids) for doc_ids in pipeline.groups(spec)["doc_ids"]] == [["d1", "d2"], ["d4", "d6"]]
    assert pipeline.manifest(spec)["dropped"]["groups_for_shortage"] == 1


def test_a_graph_needs_a_retriever_that_reads_documents(pipeline, train):
    strategy = params.Graph(retriever=params.Pooled(retrievers=(PLAIN, STOPPED)), depth=5)
    with pytest.raises(sampling.SamplingError, match="a graph is made by bm25 or a dense retriever, not by 'pooled'"):
        pipeline.groups(params.GroupsSpec(collection=train, strategy=strategy, group_size=2))


def test_false_negatives_are_left_out_and_counted(small):
    pool = small.candidates(candidates_of(BM25, 50))
    known = positives(small.qrels(SMALL))
    pairs = pd.concat([pool[["query_id", "doc_id"]], known[["query_id", "doc_id"]]])
    rows = small.query_rows(SMALL, pairs["query_id"]), small.doc_rows(SMALL, pairs["doc_id"])
    scores = small.teacher_scores(params.Oracle(), SMALL, *rows)[0]
    lowest = known.assign(score=scores[len(pool) :]).groupby("query_id")["score"].min()
    counts = {}
    for value in (0.0, 1.0):
        suspected = pool[scores[: len(pool)] > pool["query_id"].map(lowest).to_numpy() - value]
        keep = params.FalseNegativeFilter(teacher=params.Oracle(), value=value)
        spec = groups_of(params.FromCandidates(depth=50, filter=keep))
        counts[value] = small.manifest(spec)["dropped"]["false_negatives"]
        assert counts[value] == len(suspected)
        drawn = small.groups(spec).explode("doc_ids")
        drawn = drawn[drawn.groupby("query_id").cumcount() > 0]
        filled = drawn["n_filled"] > 0
        forbidden = set(zip(suspected["query_id"], suspected["doc_id"], strict=True))
        assert not forbidden & set(zip(drawn["query_id"][~filled], drawn["doc_ids"][~filled], strict=True))
    assert 20 < counts[0.0] < counts[1.0]
    assert small.manifest(groups_of())["dropped"]["false_negatives"] == 0


def test_diameters_are_targeted_in_the_reference_encoder(small):
    vectors = embedded(small, UNTRAINED)
    mean = {}
    for quantile in (0.0, 0.5, 1.0):
        spec = groups_of(params.DiameterTargeted(depth=50, quantile=quantile, reference=UNTRAINED))
        assert identity(inputs(spec)["strategy_vectors"]) == identity(vectors_of(SMALL, UNTRAINED))
        mean[quantile] = locality.diameters(vectors, small.group_rows(spec)[1])["diameter_q99"].mean()
    assert mean[0.0] < mean[0.5] - 0.05 < mean[1.0] - 0.1
    other = params.UntrainedSystem(architecture=params.StaticBi(dimension=4), collection=SMALL)
    assert not small.groups(spec).equals(small.groups(groups_of(spec.strategy.model_copy(update={"reference": other}))))


def test_the_reference_is_not_mistaken_for_the_teacher_of_the_filling_strategy():
    teacher = params.EncoderTeacher(encoder=params.UntrainedSystem(architecture=params.StaticBi(dimension=4), collection=SMALL))
    fill = params.FromCandidates(filter=params.FalseNegativeFilter(teacher=teacher, value=1.0))
    spec = groups_of(params.DiameterTargeted(quantile=0.5, reference=UNTRAINED), shortage=fill)
    assert inputs(spec)["strategy_vectors"] == vectors_of(SMALL, UNTRAINED)


def test_the_parts_of_a_cut_partition_the_queries_and_need_no_new_scores(small):
    whole = groups_of(draws=2)
    groups, scores = small.groups(whole), small.group_scores(params.ScoresSpec(groups=whole, teacher=params.Oracle()))
    matrix = dict(zip(zip(groups["query_id"], groups["draw"], strict=True), scores, strict=True))
    for parts in (["lower_half", "upper_half"], [f"quarter_{number}" for number in (1, 2, 3, 4)], ["inside_fence"]):
        found = []
        for part in parts:
            spec = whole.model_copy(update={"cut": params.EntropyCut(teacher=params.Oracle(), part=part)})
            groups = small.groups(spec)
            assert groups.groupby("query_id").size().eq(2).all()  # both draws of a query go together
            assert small.manifest(spec)["dropped"] == {"groups_of_other_parts": 40 - len(groups)}
            scores = params.ScoresSpec(groups=spec, teacher=params.Oracle())
            assert small.manifest(scores)["counts"] == {"pairs": 4 * len(groups), "pairs_scored_now": 0}
            for key, row in zip(zip(groups["query_id"], groups["draw"], strict=True), small.group_scores(scores), strict=True):
                assert (row == matrix[key]).all()
            found += groups["query_id"].unique().tolist()
        assert len(found) == len(set(found))
        assert set(found) == {query_id for query_id, _ in matrix} or parts == ["inside_fence"]


def test_the_lower_half_is_what_the_teacher_is_surer_about(small):
    mean = {}
    for part in ("lower_half", "upper_half"):
        spec = groups_of(cut=params.EntropyCut(teacher=params.Oracle(), part=part, temperature=0.5))
        scores = small.group_scores(params.ScoresSpec(groups=spec, teacher=params.Oracle()))
        mean[part] = entropy.pairwise_entropy(scores, 0.5)
    assert mean["lower_half"].max() <= mean["upper_half"].min()


def test_draws_add_groups_and_change_none(small):
    once, twice = (small.groups(groups_of(draws=draws)) for draws in (1, 2))
    assert len(twice) == 2 * len(once)
    pd.testing.assert_frame_equal(twice[twice["draw"] == 0].reset_index(drop=True), once)
    second = twice[twice["draw"] == 1]
    assert second["doc_ids"].str[0].tolist() == once["doc_ids"].str[0].tolist()
    assert second["doc_ids"].map(list).tolist() != once["doc_ids"].map(list).tolist()


def test_a_share_of_the_negatives_is_random(small):
    groups = small.groups(groups_of(random_share=0.5, group_size=5))
    assert set(groups["n_random"]) == {2}
    pool = set(zip(*small.candidates(candidates_of(BM25, 50))[["query_id", "doc_id"]].to_numpy().T, strict=True))
    outside = [
        sum((query_id, doc_id) not in pool for doc_id in ids[1:])
        for query_id, ids in zip(groups["query_id"], groups["doc_ids"], strict=True)
    ]
    assert max(outside) == 2 and np.mean(outside) > 1.5


def test_a_shortage_is_filled_from_the_strategy_that_the_study_names(pipeline, train, tmp_path):
    """Without stop words and stems BM25 finds d2 for "cat mat", and for "stock markets" nothing but the two positives."""
    run = write_run(tmp_path / "fill.run", ("q1", "d5", 1.0), ("q2", "d3", 2.0), ("q2", "d1", 1.0))
    spec = params.GroupsSpec(
        collection=train, strategy=params.FromCandidates(retriever=STOPPED), group_size=3, shortage=params.FromCandidates(retriever=run)
    )
    groups = pipeline.groups(spec)
    assert [(row.doc_ids[0], set(row.doc_ids[1:]), row.n_filled) for row in groups.itertuples()] == [
        ("d1", {"d2", "d5"}, 1),
        ("d4", {"d1", "d3"}, 2),
        ("d5", {"d1", "d3"}, 2),
    ]
    assert set(inputs(spec)) == {"docs", "queries", "strategy_pool", "fill_pool"}
    assert pipeline.manifest(spec)["dropped"]["groups_for_shortage"] == 0


# --- teachers


PAIRS = np.array([0, 0, 7, 19]), np.array([3, 900, 41, 3])


def test_a_bi_encoder_teaches_its_scaled_dot_product(small):
    for system, teacher in (
        (UNTRAINED, params.EncoderTeacher(encoder=UNTRAINED)),
        (TRAINED, params.TrainedTeacher(student=TRAINED.student)),
    ):
        queries, docs = embedded(small, system, "queries"), embedded(small, system)
        expected = BI.scale * (queries[PAIRS[0]] * docs[PAIRS[1]]).sum(axis=1)
        assert small.teacher_scores(teacher, SMALL, *PAIRS)[0] == pytest.approx(expected, abs=2e-5)


def test_an_untrained_cross_encoder_teaches_its_raw_output(small):
    system = params.UntrainedSystem(architecture=CROSS, collection=SMALL)
    student, *texts = opened(small, system)
    expected = student.score_pairs(*texts, *PAIRS)
    assert small.teacher_scores(params.EncoderTeacher(encoder=system), SMALL, *PAIRS)[0] == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(
    "teacher",
    [
        params.Oracle(noise=0.1),
        params.BM25Teacher(),
        params.TrainedTeacher(student=TRAINED.student),
        params.EncoderTeacher(encoder=params.UntrainedSystem(architecture=CROSS, collection=SMALL)),
    ],
    ids=lambda teacher: teacher.kind,
)
def test_a_teachers_score_does_not_depend_on_the_pairs_it_is_asked_for_with(small, teacher):
    """But for rounding: each is within 1e-4 standard deviations of the exact score."""
    score = teacher.scorer(SMALL, scoring_parts(small, teacher))
    rng = np.random.default_rng(0)
    pairs = rng.integers(len(small.queries(SMALL)), size=3000), rng.integers(len(small.docs(SMALL)), size=3000)
    together = score(*pairs)
    assert len(np.unique(together)) > 50
    for size in (1, 2, 30, 1000):
        some = rng.choice(3000, size, replace=False)
        np.testing.assert_allclose(score(*(rows[some] for rows in pairs)), together[some], rtol=0, atol=2e-4 * together.std())


def test_bm25_teaches_what_it_retrieves_by_and_0_for_pairs_without_a_common_word(pipeline, train):
    teacher = params.BM25Teacher(retriever=STOPPED)
    run = pipeline.candidates(params.CandidatesSpec(collection=train, retriever=STOPPED, depth=6))
    found = {(row.query_id, row.doc_id): row.score for row in run.itertuples()}
    scores, scored = pipeline.teacher_scores(teacher, train, np.repeat([0, 1], 6), np.tile(np.arange(6), 2))
    every = [(query_id, f"d{number}") for query_id in ("q1", "q2") for number in range(1, 7)]
    assert scored == 12 and 0 < len(found) < 12
    assert scores == pytest.approx([found.get(pair, 0.0) for pair in every], abs=2e-5)


def test_scores_from_a_file_are_taken_as_they_are_and_a_missing_pair_names_its_ids(pipeline, train, tmp_path):
    frame = pd.DataFrame(
        [(q, f"d{n}", 10 * n + len(q)) for q in ("q1", "q2") for n in range(1, 6)], columns=["query_id", "doc_id", "score"]
    )
    frame.to_parquet(tmp_path / "scores.parquet")
    teacher = params.FileTeacher(path=str(tmp_path / "scores.parquet"))
    scores, scored = pipeline.teacher_scores(teacher, train, np.array([1, 0]), np.array([4, 0]))
    assert scores.tolist() == [52.0, 12.0] and scored == 0
    with pytest.raises(TeacherError, match="1 of 2 pairs have no score in the file, the first is query 'q2', document 'd6'"):
        pipeline.teacher_scores(teacher, train, np.array([1, 1]), np.array([4, 5]))


def test_an_ensemble_is_the_mean_of_members_standardised_over_its_calibration_groups(small, twin):
    members = (params.Oracle(), params.BM25Teacher(), params.EncoderTeacher(encoder=UNTRAINED))
    calibration = groups_of(params.CorpusRandom())
    ensemble = params.EnsembleTeacher(members=members, calibration=calibration)
    spec = params.ScoresSpec(groups=groups_of(), teacher=ensemble)
    z = []
    for member in members:
        reference = small.group_scores(params.ScoresSpec(groups=calibration, teacher=member)).astype(float)
        z.append((small.group_scores(params.ScoresSpec(groups=groups_of(), teacher=member)) - reference.mean()) / reference.std())
    assert small.group_scores(spec) == pytest.approx(np.mean(z, axis=0), abs=1e-4)
    disagreement = np.stack(small.frame(spec, "scores")["disagreement"].to_list())
    assert disagreement == pytest.approx(np.std(z, axis=0), abs=1e-4)
    assert small.manifest(spec)["files"] == twin.manifest(spec)["files"]
    assert small.manifest(spec)["counts"]["pairs_scored_now"] == 0  # its members' scores were there
    other = params.EnsembleTeacher(members=members, calibration=groups_of())
    assert identity(params.ScoresSpec(groups=groups_of(), teacher=other)) != identity(spec)
    assert "disagreement" not in small.frame(params.ScoresSpec(groups=groups_of(), teacher=members[0]), "scores")


def test_a_cross_encoder_scores_by_the_tokens_of_both_texts_over_all_that_is_missing(small, monkeypatch):
    student = small_student(architecture=params.TinyBertCross())
    teacher = params.TrainedTeacher(student=student)
    rows = np.repeat(np.arange(3), 5), np.tile(np.arange(5), 3)
    queries, docs = (small.tokens(of, SMALL, tokenizer_of(student.architecture, SMALL)) for of in ("queries", "docs"))
    expected = [len(queries.row(query)) + len(docs.row(doc)) for query, doc in zip(*rows, strict=True)]
    assert pairs.pair_lengths(scoring_parts(small, teacher))(*rows).tolist() == expected
    seen = {}
    monkeypatch.setattr(params.TrainedTeacher, "scorer", lambda *_: lambda query_rows, doc_rows: np.zeros(len(query_rows)))
    monkeypatch.setattr("rd_utils.scoring.teachers.score_missing", lambda kept, pairs, score, **options: seen.update(options) or 1 / 0)
    for slow in (True, False):
        with pytest.raises(ZeroDivisionError):
            small.teacher_scores(teacher if slow else params.Oracle(noise=0.125), SMALL, *rows)
        assert ("lengths" in seen) == slow and seen.get("chunk") == (2_000 if slow else None)
        seen.clear()


def test_an_oracles_noise_belongs_to_the_pair(small):
    scores = {}
    for name, teacher in (
        ("plain", params.Oracle()),
        ("noisy", params.Oracle(noise=2.0)),
        ("other", params.Oracle(noise=2.0, noise_seed=1)),
    ):
        rows = np.repeat(np.arange(20), 40), np.tile(np.arange(40), 20)
        scores[name] = small.teacher_scores(teacher, SMALL, *rows)[0]
        backwards = small.teacher_scores(teacher, SMALL, rows[0][::-1], rows[1][::-1])[0]
        assert (backwards[::-1] == scores[name]).all()
    noise, other = scores["noisy"] - scores["plain"], scores["other"] - scores["plain"]
    assert abs(noise.mean()) < 0.3 and 1.8 < noise.std() < 2.2  # 800 deviates of SD 2: a mean within 4 of its SDs of 0.07
    assert abs(np.corrcoef(noise, other)[0, 1]) < 0.15
    everything = params.EmbeddedCollection()
    few = small.query_rows(everything, small.queries(SMALL)["query_id"][:3])
    again = small.teacher_scores(params.Oracle(noise=2.0), everything, few, np.array([0, 5, 9]))[0]
    assert again.tolist() == scores["noisy"].reshape(20, 40)[np.arange(3), [0, 5, 9]].tolist()


def test_a_teacher_that_stops_early_is_an_earlier_state_of_the_same_run(small):
    budget = params.Training(documents=640, queries_per_batch=8, learning_rate=0.02)
    whole = small_student(architecture=CROSS, training=budget)
    early = small_student(architecture=CROSS, training=budget.model_copy(update={"stop_at": 64}))
    assert small.manifest(early)["counts"]["documents_seen"] == 64
    history = small.frame(whole, "history")
    assert len(history) == 20
    pd.testing.assert_frame_equal(small.frame(early, "history"), history[:2])
    weak, strong = (params.TrainedTeacher(student=student) for student in (early, whole))
    assert identity(params.ScoresSpec(groups=groups_of(), teacher=weak)) != identity(params.ScoresSpec(groups=groups_of(), teacher=strong))
    loss = {}
    for name, teacher in (("weak", weak), ("strong", strong)):
        scores = small.group_scores(params.ScoresSpec(groups=groups_of(), teacher=teacher)).astype(float)
        loss[name] = float((np.log(np.exp(scores).sum(axis=1)) - scores[:, 0]).mean())
    assert loss["strong"] < loss["weak"] - 0.05  # on the groups that both were trained on


# --- students


@pytest.mark.parametrize("loss", params.LOSSES)
@pytest.mark.parametrize("architecture", [BI, CROSS], ids=lambda part: part.kind)
def test_every_loss_trains_both_kinds_of_student(small, loss, architecture):
    spec = small_student(loss, architecture=architecture, training=BUDGET.model_copy(update={"stop_at": 32}))
    history = small.frame(spec, "history")
    assert history["documents_seen"].tolist() == [16, 32] and np.isfinite(history["loss"]).all()
    counts = small.manifest(spec)["counts"]
    assert counts["temperature"] == 1.0 and counts["tokens_seen"] > 0
    before, after = small.untrained(architecture, SMALL, 0).state_dict(), small.student(spec).state_dict()
    assert any(not (before[name] == after[name]).all() for name in before)


def description_of(student: params.StudentSpec, **changes) -> params.DescriptionSpec:
    own = {name: getattr(student, name) for name in ("groups", "teacher", "temperature", "target_entropy", "augmentation", "seed")}
    return params.DescriptionSpec(**(own | {"reference": UNTRAINED} | changes))


@pytest.mark.parametrize("target", [0.3, 0.8])
def test_a_target_entropy_is_solved_for_recorded_and_what_training_sees(small, target):
    student = small_student("kl", target_entropy=target, teacher=params.Oracle(floor=1e-30))
    temperature = small.manifest(student)["counts"]["temperature"]
    scores = small.group_scores(params.ScoresSpec(groups=student.groups, teacher=student.teacher))
    assert entropy.pairwise_entropy(scores, temperature).mean() == pytest.approx(target, abs=1e-3)
    description = small.frame(description_of(student), "description")
    mean = description.groupby("state")["pairwise_entropy"].mean()
    assert mean["after"] == pytest.approx(target, abs=1e-3)
    assert mean["before"] == pytest.approx(entropy.pairwise_entropy(scores).mean(), abs=1e-6)
    assert small.manifest(description_of(student))["counts"]["temperature"] == temperature
    given = small_student("kl", temperature=temperature, teacher=student.teacher)
    assert model_files(small, given) == model_files(small, student) and identity(given) != identity(student)


def test_a_target_entropy_is_of_the_augmented_scores(small):
    augmentation = params.Augmentation(noise=3.0)
    student = small_student("kl", target_entropy=0.6, teacher=params.Oracle(floor=1e-30), augmentation=augmentation, seed=2)
    description = small.frame(description_of(student), "description")
    assert description[description["state"] == "after"]["pairwise_entropy"].mean() == pytest.approx(0.6, abs=1e-3)
    plain = small_student("kl", target_entropy=0.6, teacher=params.Oracle(floor=1e-30), seed=2)
    solved = [small.manifest(spec)["counts"]["temperature"] for spec in (student, plain)]
    assert solved[0] != pytest.approx(solved[1], rel=0.01)


AUGMENTATIONS = {
    "query_dropout": {"query_dropout": 0.5},
    "query_replacement": {"query_replacement": 0.5},
    "neighbours": {"query_replacement": 0.5, "neighbours": 1},
    "document_span": {"document_span": 0.5},
    "noise": {"noise": 2.0},
    "top_k": {"top_k": 1},
    "ranks": {"ranks": True},
    "smoothing": {"smoothing": 0.2},
    "hard_weight": {"hard_weight": 0.5},
}


def test_every_augmentation_changes_the_identity_and_what_is_learnt(small):
    spread = params.Oracle(floor=1e-30)  # so that no score stands at the floor, where nothing changes a lowest score
    specs = {name: small_student("kl", spread, augmentation=params.Augmentation(**own)) for name, own in AUGMENTATIONS.items()}
    specs["none"] = small_student("kl", spread)
    assert set(AUGMENTATIONS) == set(params.Augmentation.model_fields)
    assert len({identity(spec) for spec in specs.values()}) == len(specs)
    assert len({tuple(sorted(model_files(small, spec).items())) for spec in specs.values()}) == len(specs)


def test_augmented_texts_are_drawn_anew_every_epoch_and_the_same_elsewhere(small, twin):
    spec = small_student(
        augmentation=params.Augmentation(query_dropout=0.5, document_span=0.5), training=BUDGET.model_copy(update={"documents": 160})
    )
    assert model_files(small, spec) == model_files(twin, spec)
    tables = augmented_texts(
        spec.augmentation,
        small.untrained(BI, SMALL, 0),
        *(small.tokens(of, SMALL, tokenizer_of(BI, SMALL)) for of in ("queries", "docs")),
        0,
    )
    first, second, again = tables(0), tables(1), tables(0)
    assert (first[1].ids == again[1].ids).all()
    assert len(first[1].ids) == len(second[1].ids) and (first[1].ids != second[1].ids).any()


def test_in_batch_negatives_are_further_documents_of_the_same_steps(small):
    alone, together = (small_student(training=BUDGET.model_copy(update={"in_batch_negatives": switch})) for switch in (False, True))
    first, second = (small.frame(spec, "history") for spec in (alone, together))
    assert second["loss"][0] > first["loss"][0] + 0.1  # more documents in the denominator, at the same weights
    assert first["documents_seen"].tolist() == second["documents_seen"].tolist()
    assert model_files(small, alone) != model_files(small, together)
    mixed = small_student("kl", training=together.training, augmentation=params.Augmentation(hard_weight=0.5))
    assert small.manifest(mixed)["counts"]["steps"] == 4


@pytest.mark.parametrize("loss", ["lce", "kl"])
def test_refreshed_groups_are_the_students_own_and_the_same_elsewhere(small, twin, loss):
    refresh = params.Refresh(every=2, depth=10, draw="top")
    plain, refreshed = small_student(loss), small_student(loss, refresh=refresh)
    before, after = (small.frame(spec, "history")["loss"].to_numpy() for spec in (plain, refreshed))
    assert (before[:2] == after[:2]).all() and (before[2:] != after[2:]).all()
    assert model_files(small, refreshed) == model_files(twin, refreshed) != model_files(small, plain)


def test_a_refresh_draws_from_what_the_student_ranks_highest(small):
    spec = small_student("kl", refresh=params.Refresh(every=2, depth=3, draw="top"))
    drawn = Regroup(spec, spec.refresh, Given(small, inputs(spec)))(1, opened(small, UNTRAINED)[0])
    query_rows, doc_rows = small.group_rows(spec.groups)
    assert (drawn.query_rows == query_rows).all() and (drawn.doc_rows[:, 0] == doc_rows[:, 0]).all()
    products = embedded(small, UNTRAINED, "queries") @ embedded(small, UNTRAINED).T
    known = positives(small.qrels(SMALL))
    products[small.query_rows(SMALL, known["query_id"]), small.doc_rows(SMALL, known["doc_id"])] = -np.inf
    for query, row in zip(drawn.query_rows, drawn.doc_rows, strict=True):
        best = np.sort(products[query])[::-1][:3]
        assert np.sort(products[query][row[1:]])[::-1] == pytest.approx(best, abs=2e-5)
    repeated = np.repeat(drawn.query_rows, 4)
    assert drawn.teacher_scores.ravel() == pytest.approx(small.teacher_scores(spec.teacher, SMALL, repeated, drawn.doc_rows.ravel())[0])


def search(*rates, **changes) -> params.Search:
    own = {"collection": SMALL, "strategy": params.FromCandidates(depth=50), "teacher": params.Oracle()}
    own |= {"validation": params.EmbeddedCollection(split="validation", max_queries=20), "measure": "nDCG@10"}
    own |= {"first_stages": (params.FirstStage(depth=20), params.FirstStage(kind="full", depth=20)), "embedding_ratio": 0.5}
    return params.Search(learning_rates=rates, **(own | changes))


def test_a_searched_rate_is_the_best_on_the_validation_queries_and_the_one_that_trains(small, twin):
    spec = small_student("kl", search=search(0.3, 0.001, 3.0))
    chosen = params.search_spec(spec)
    table = small.frame(chosen, "search")
    assert table["learning_rate"].tolist() == [0.001, 0.3, 3.0]
    for candidate, evaluations, measured in zip(chosen.candidates, search_evaluations(chosen), table["nDCG@10"], strict=True):
        assert [evaluation.first_stage.kind for evaluation in evaluations] == ["full", "rerank"]
        assert candidate.training.embedding_learning_rate == pytest.approx(candidate.training.learning_rate / 2)
        assert np.mean([small.frame(evaluation, "per_query")["value"].mean() for evaluation in evaluations]) == measured
    best = table.loc[table["chosen"], "learning_rate"].item()
    assert table.loc[table["chosen"], "nDCG@10"].item() == table["nDCG@10"].max()
    assert small.manifest(chosen)["counts"]["learning_rate"] == small.manifest(spec)["counts"]["learning_rate"] == best
    direct = small_student("kl", training=params.with_rate(BUDGET, best, 0.5))
    pd.testing.assert_frame_equal(small.frame(spec, "history"), small.frame(direct, "history"))
    assert model_files(small, spec) == model_files(small, direct)
    assert small.manifest(chosen)["files"] == twin.manifest(chosen)["files"]
    assert small.manifest(spec)["files"] == twin.manifest(spec)["files"]


def test_of_equal_rates_the_lowest_is_taken(small):
    rates = 1e-12, 2e-12  # too small to change a ranking
    chosen = params.search_spec(small_student(search=search(*rates)))
    table = small.frame(chosen, "search")
    assert table["nDCG@10"].nunique() == 1
    assert table["chosen"].tolist() == [True, False]


def test_a_cross_encoders_search_takes_the_first_stages_that_it_can_serve(small):
    chosen = params.search_spec(small_student(architecture=CROSS, search=search(0.001, 0.1)))
    assert [[evaluation.first_stage.kind for evaluation in evaluations] for evaluations in search_evaluations(chosen)] == [["rerank"]] * 2
    assert small.frame(chosen, "search")["chosen"].sum() == 1


# --- descriptions


def test_a_description_is_of_the_groups_before_and_after_augmentation(small):
    student = small_student("kl", augmentation=params.Augmentation(document_span=0.3, noise=3.0))
    spec = description_of(student)
    table = small.frame(spec, "description")
    assert table.groupby("state").size().to_dict() == {"before": 20, "after": 20}
    before, after = (table[table["state"] == state].reset_index(drop=True) for state in ("before", "after"))
    vectors, doc_rows = embedded(small, UNTRAINED), small.group_rows(student.groups)[1]
    expected = locality.diameters(vectors, doc_rows)
    pd.testing.assert_frame_equal(before[expected.columns], expected)
    scores = small.group_scores(params.ScoresSpec(groups=student.groups, teacher=params.Oracle()))
    pd.testing.assert_frame_equal(before[["pairwise_entropy", "positive_entropy", "listwise_entropy"]], entropy.entropies(scores))
    assert (after["diameter"] != before["diameter"]).all() and (after["pairwise_entropy"] != before["pairwise_entropy"]).mean() > 0.9
    assert before["query_id"].tolist() == small.groups(student.groups)["query_id"].tolist()
    assert before["density_ratio"].tolist() == small.groups(student.groups)["density_ratio"].tolist()


def test_what_changes_nothing_is_described_once_and_what_has_no_teacher_without_entropies(small):
    table = small.frame(description_of(small_student()), "description")
    assert set(table["state"]) == {"before"} and not {"pairwise_entropy", "listwise_entropy"} & set(table)
    warm = small.frame(description_of(small_student("kl", temperature=4.0)), "description")
    cold = small.frame(description_of(small_student("kl")), "description")
    assert set(warm["state"]) == {"before"} and warm["pairwise_entropy"].mean() > cold["pairwise_entropy"].mean()


# --- behaviour


SPACE = ["uniformity", "effective_rank", "intrinsic_dimension", "log_density"]
SHAPE = ["student_pairwise_entropy", "student_positive_entropy", "student_listwise_entropy", "score_mean", "score_sd", "score_range"]
ORACLE = params.Oracle()
CALIBRATION = [f"calibration_{name}" for name in behaviour.Calibration._fields]


def behaviour_of(student=None, teacher=ORACLE, queries=12, docs=60, **probe) -> params.BehaviourSpec:
    probe = params.Probe(queries=queries, docs=docs, **probe)
    return params.BehaviourSpec(student=student or small_student("kl", temperature=4.0), teacher=teacher, probe=probe)


def behaved(pipeline, spec) -> tuple[dict[str, pd.DataFrame], dict[str, dict[str, float]]]:
    """Return the groups of a behaviour and its summary, both by state."""
    groups, summary = pipeline.frame(spec, "groups"), pipeline.frame(spec, "summary")
    states = ("before", "after")
    by_state = {state: groups[groups["state"] == state].drop(columns="state").reset_index(drop=True) for state in states}
    return by_state, {state: summary[summary["state"] == state].set_index("quantity")["value"].to_dict() for state in states}


def seen_by(pipeline, spec, kept) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the embeddings of SMALL's documents and the scores of some groups, before and after training, computed beside the pipeline."""
    found = {}
    query_rows, doc_rows = (rows[kept] for rows in pipeline.group_rows(spec.student.groups))
    for state, system in (("before", UNTRAINED), ("after", params.StudentSystem(student=spec.student))):
        docs, queries = embedded(pipeline, system), embedded(pipeline, system, "queries")
        scores = BI.scale * np.einsum("nd,ngd->ng", queries[query_rows].astype(float), docs[doc_rows].astype(float))
        found[state] = (docs, scores)
    return found


def test_erratum_33_a_bi_encoder_is_measured_in_its_own_space_before_and_after_training(small):
    spec = behaviour_of(docs=5000)  # all of them
    groups, summary = behaved(small, spec)
    own = small.groups(spec.student.groups)
    kept = own["query_id"].isin(groups["before"]["query_id"]).to_numpy()
    assert kept.sum() == len(groups["before"]) == len(groups["after"]) == 12
    doc_rows = small.group_rows(spec.student.groups)[1][kept]
    for state, (docs, scores) in seen_by(small, spec, kept).items():
        expected = locality.diameters(docs, doc_rows)
        pd.testing.assert_frame_equal(groups[state][expected.columns], expected, atol=1e-5)
        entropies = entropy.entropies(scores).add_prefix("student_")
        pd.testing.assert_frame_equal(groups[state][entropies.columns], entropies, atol=1e-5)
        assert groups[state]["score_mean"].to_numpy() == pytest.approx(scores.mean(axis=1), abs=1e-5)
        assert summary[state]["effective_rank"] == pytest.approx(behaviour.effective_rank(docs), rel=1e-4)
        assert summary[state]["uniformity"] == pytest.approx(behaviour.uniformity(docs), rel=1e-4)
        assert summary[state]["intrinsic_dimension"] == pytest.approx(behaviour.two_nn(docs).dimension, rel=1e-3)
    for name in ("diameter", "score_sd"):
        assert (groups["before"][name] != groups["after"][name]).all()
    assert set(SHAPE) < set(groups["before"]) and list(summary["before"]) == list(summary["after"]) == [*SPACE, "alignment", *CALIBRATION]


def test_erratum_28_a_students_embeddings_are_normalised_each_over_its_own_dimensions(small):
    spec = behaviour_of()
    groups, _ = behaved(small, spec)
    row = groups["after"].iloc[3]
    place = small.groups(spec.student.groups)["query_id"].tolist().index(row["query_id"])
    vectors = embedded(small, params.StudentSystem(student=spec.student))[small.group_rows(spec.student.groups)[1][place]].astype(float)
    cosines = [a @ b / np.sqrt((a @ a) * (b @ b)) for number, a in enumerate(vectors) for b in vectors[:number]]
    assert row["diameter"] == pytest.approx(1 - min(cosines), abs=1e-5)
    assert row["mean_distance"] == pytest.approx(1 - np.mean(cosines), abs=1e-5)


def test_erratum_34_densities_before_and_after_training_are_of_one_dimension(small):
    spec = behaviour_of(docs=5000)
    _, summary = behaved(small, spec)
    assert summary["before"]["intrinsic_dimension"] != summary["after"]["intrinsic_dimension"]
    for state, system in (("before", UNTRAINED), ("after", params.StudentSystem(student=spec.student))):
        distinct = np.unique(embedded(small, system), axis=0)
        density = behaviour.knn_density(distinct, dimension=summary["before"]["intrinsic_dimension"]).mean()
        assert summary[state]["log_density"] == pytest.approx(density, rel=1e-3)


def test_a_student_is_measured_beside_the_teacher_at_its_own_temperature(small):
    spec = behaviour_of()
    groups, summary = behaved(small, spec)
    own = small.groups(spec.student.groups)
    kept = own["query_id"].isin(groups["before"]["query_id"]).to_numpy()
    teacher = small.group_scores(params.ScoresSpec(groups=spec.student.groups, teacher=params.Oracle()))[kept]
    for state, (_, scores) in seen_by(small, spec, kept).items():
        assert groups[state]["divergence"].to_numpy() == pytest.approx(behaviour.divergence(teacher, scores, 4.0), abs=1e-5)
        assert summary[state]["calibration_n_pairs"] == 12 * 6  # every pair of four documents
    bins = small.frame(spec, "calibration")
    assert bins.groupby("state")["n_pairs"].sum().to_dict() == {"before": 72, "after": 72}
    assert bins.loc[bins["n_pairs"] > 0, "student"].min() >= 0.5  # from the document that the student prefers
    assert small.manifest(spec)["counts"] == {"groups": 12, "documents": 60, "temperature": 4.0}


def test_a_cross_encoder_has_scores_and_no_space(small):
    own = small_student("kl", architecture=CROSS)
    groups, summary = behaved(small, behaviour_of(own))
    assert not {"diameter", "diameter_q99", "mean_distance"} & set(groups["after"]) and set(SHAPE) < set(groups["after"])
    assert list(summary["before"]) == list(summary["after"]) == CALIBRATION
    first = small.groups(own.groups)["query_id"].tolist().index(groups["after"].loc[0, "query_id"])
    query_rows, doc_rows = small.group_rows(own.groups)
    tables = (small.tokens(of, SMALL, tokenizer_of(CROSS, SMALL)) for of in ("queries", "docs"))
    scores = small.student(own).score_pairs(*tables, np.repeat(query_rows[first], 4), doc_rows[first])
    assert groups["after"].loc[0, "score_mean"] == pytest.approx(scores.mean(), abs=1e-5)
    assert groups["after"].loc[0, "score_range"] == pytest.approx(np.ptp(scores), abs=1e-5)


def test_erratum_33_every_strategy_and_student_is_measured_on_the_same_queries(small):
    students = [
        small_student(),
        small_student("kl", groups=groups_of(params.CorpusRandom())),
        small_student("kl", architecture=CROSS, seed=1),
    ]
    measured = [behaved(small, behaviour_of(own))[0] for own in students]
    queries = [sorted(groups[state]["query_id"]) for groups in measured for state in ("before", "after")]
    assert len(queries[0]) == 12 and queries == [queries[0]] * 6
    other = behaved(small, behaviour_of(students[0], seed=1))[0]["before"]
    assert sorted(other["query_id"]) != queries[0]
    assert measured[0]["before"]["diameter"].tolist() != measured[1]["before"]["diameter"].tolist()  # of other documents


@pytest.mark.parametrize("architecture", [BI, CROSS], ids=lambda part: part.kind)
def test_without_a_teacher_there_is_nothing_to_be_calibrated_to(small, architecture):
    spec = behaviour_of(small_student(architecture=architecture), teacher=None)
    groups, summary = behaved(small, spec)
    assert "divergence" not in groups["after"] and set(SHAPE) < set(groups["after"])
    assert list(summary["after"]) == [] if architecture is CROSS else list(summary["after"]) == [*SPACE, "alignment"]
    assert set(small.manifest(spec)["files"]) == {"groups.parquet", "summary.parquet"}
    assert list(small.frame(spec, "summary").columns) == ["state", "quantity", "value"]


def test_a_student_without_a_teacher_may_be_measured_beside_one_at_temperature_1(small):
    spec = behaviour_of(small_student())
    groups, _ = behaved(small, spec)
    kept = small.groups(spec.student.groups)["query_id"].isin(groups["before"]["query_id"]).to_numpy()
    teacher = small.group_scores(params.ScoresSpec(groups=spec.student.groups, teacher=params.Oracle()))[kept]
    _, scores = seen_by(small, spec, kept)["after"]
    assert groups["after"]["divergence"].to_numpy() == pytest.approx(behaviour.divergence(teacher, scores, 1.0), abs=1e-5)


def test_a_behaviour_is_of_the_first_draw_and_the_same_elsewhere(small, twin):
    own = small_student("kl", groups=groups_of(draws=3))
    spec = behaviour_of(own)
    groups, _ = behaved(small, spec)
    assert groups["before"]["query_id"].is_unique and small.manifest(spec)["counts"]["groups"] == 12
    assert small.manifest(spec)["files"] == twin.manifest(spec)["files"]


@pytest.mark.parametrize("architecture", [BI, CROSS], ids=lambda part: part.kind)
def test_a_probe_none_of_whose_queries_has_a_group_measures_the_space_alone(small, architecture):
    cut = params.EntropyCut(teacher=params.Oracle(), part="lower_half")
    own = small_student("kl", architecture=architecture, groups=groups_of(cut=cut))
    left = set(small.groups(own.groups)["query_id"])
    every = small.queries(SMALL)["query_id"].to_numpy()
    seed = next(seed for seed in range(99) if not left & set(np.random.default_rng(seed).permutation(every)[:2]))
    groups, summary = behaved(small, behaviour_of(own, queries=2, seed=seed))
    assert len(groups["before"]) == len(groups["after"]) == 0
    assert list(summary["after"]) == ([] if architecture is CROSS else SPACE)


def test_a_space_of_too_few_documents_is_refused_with_the_remedy(pipeline, train):
    with pytest.raises(ValueError, match="6 of 6 embeddings are distinct; expected at least 20: embed more texts"):
        pipeline.build(params.BehaviourSpec(student=student(train)))
    assert not pipeline.store.has(params.BehaviourSpec(student=student(train)))


# --- what teachers scored


def fresh(tmp_path, name="store") -> Pipeline:
    return Pipeline(Store(tmp_path / name), track=untracked)


FEW = params.EmbeddedCollection(max_queries=5)


def of_few(strategy, **changes) -> params.GroupsSpec:
    return params.GroupsSpec(collection=FEW, strategy=strategy, **({"group_size": 4, "shortage": params.CorpusRandom()} | changes))


def bills(pipeline, spec) -> list[tuple[int, int]]:
    """Return the pairs of every bill in a manifest, and how many of them were scored for it."""
    return [(bill["pairs"], bill["scored_now"]) for bill in pipeline.manifest(spec)["scoring"]]


def test_every_artefact_says_which_pairs_of_a_teacher_it_used_and_which_it_had_scored(tmp_path):
    pipeline = fresh(tmp_path)
    reranked = params.Reranked(retriever=BM25, from_depth=20, teacher=params.Oracle())
    candidates = params.CandidatesSpec(collection=FEW, retriever=reranked, depth=10)
    groups = of_few(params.FromCandidates(retriever=reranked, depth=10, filter=FILTER))
    scores = params.ScoresSpec(groups=groups, teacher=params.Oracle())
    assert bills(pipeline, candidates) == [(100, 100)]
    ((used, new),) = bills(pipeline, groups)  # ten candidates a query, which have scores, and its positives, some of which have none
    assert 50 <= used <= 50 + len(positives(pipeline.qrels(FEW))) and 0 <= new <= used - 50
    ((used, new),) = bills(pipeline, scores)
    assert used == len({(q, d) for q, ids in zip(*pipeline.groups(groups)[["query_id", "doc_ids"]].to_numpy().T, strict=True) for d in ids})
    assert new < used == pipeline.manifest(scores)["counts"]["pairs"]
    assert bills(pipeline, docs_of(FEW)) == bills(pipeline, of_few(params.CorpusRandom())) == []


def test_the_bills_of_a_teacher_sum_to_the_pairs_that_are_kept_and_their_price(tmp_path):
    pipeline = fresh(tmp_path)
    specs = [params.ScoresSpec(groups=of_few(params.CorpusRandom(), seed=seed), teacher=params.Oracle()) for seed in (0, 1)]
    specs.append(params.ScoresSpec(groups=of_few(params.FromCandidates(depth=50)), teacher=params.Oracle()))
    paid = [bill for spec in specs for bill in pipeline.manifest(spec)["scoring"]]
    (name,) = {bill["teacher"] for bill in paid}
    kept = PairScores(pipeline.store.root / "pairs" / name)
    assert sum(bill["scored_now"] for bill in paid) == len(kept) > 0
    seconds = [sum(bill[unit] for bill in paid) for unit in ("wall_seconds", "cpu_seconds")]
    assert seconds == pytest.approx(kept.seconds.tolist(), abs=0.002 * len(paid))
    assert kept.rate().tolist() == pytest.approx((kept.seconds / len(kept)).tolist())
    for spec in specs:
        cost, (bill,) = pipeline.manifest(spec)["cost"], pipeline.manifest(spec)["scoring"]
        assert bill["wall_seconds"] <= cost["wall_seconds"] + 0.001 and bill["cpu_seconds"] <= cost["cpu_seconds"] + 0.011


def test_an_ensemble_has_a_bill_of_each_member_and_a_file_none(tmp_path, toy, train):
    pipeline = fresh(tmp_path)
    groups = of_few(params.CorpusRandom())
    ensemble = params.EnsembleTeacher(members=(params.Oracle(), params.BM25Teacher()), calibration=of_few(params.CorpusRandom(), seed=1))
    paid = pipeline.manifest(params.ScoresSpec(groups=groups, teacher=ensemble))["scoring"]
    assert len({bill["teacher"] for bill in paid}) == 2 and {bill["pairs"] for bill in paid} == {20}
    own = student(train).groups
    pairs = pipeline.groups(own).explode("doc_ids").rename(columns={"doc_ids": "doc_id"})[["query_id", "doc_id"]]
    pairs.drop_duplicates().assign(score=1.0).to_parquet(tmp_path / "scores.parquet")
    file = params.FileTeacher(path=str(tmp_path / "scores.parquet"))
    assert pipeline.manifest(params.ScoresSpec(groups=own, teacher=file))["scoring"] == []


def test_what_is_asked_of_a_teacher_beside_an_artefact_is_on_no_bill(tmp_path):
    pipeline = fresh(tmp_path)
    rows = np.arange(5), np.arange(5)
    pipeline.teacher_scores(params.Oracle(), FEW, *rows)
    spec = params.ScoresSpec(groups=of_few(params.CorpusRandom()), teacher=params.Oracle())
    assert bills(pipeline, spec)[0][0] == 20 and len(bills(pipeline, spec)) == 1
    pipeline.teacher_scores(params.Oracle(), FEW, *rows)
    assert len(bills(pipeline, spec)) == 1


def test_a_failed_artefact_leaves_no_bill_behind(tmp_path, monkeypatch):
    pipeline = fresh(tmp_path)
    spec = params.ScoresSpec(groups=of_few(params.CorpusRandom()), teacher=params.Oracle())
    pipeline.build(spec.groups)
    stage = stages()["scores"]

    def failing(spec, given, draft):
        stage.make(spec, given, draft)
        raise RuntimeError("killed")

    monkeypatch.setitem(stages(), "scores", replace(stage, make=failing))
    with pytest.raises(RuntimeError):
        pipeline.build(spec)
    monkeypatch.undo()
    assert bills(pipeline, spec) == [(20, 0)]  # the pairs were kept, so that nothing is scored twice


# --- pseudo-queries


def test_pseudo_queries_train_a_student_from_the_documents_alone(pipeline, toy, train):
    pseudo = params.PseudoQueries(documents=train, queries=4, words=(2, 3))
    queries, qrels = pipeline.queries(pseudo), pipeline.qrels(pseudo)
    assert pipeline.manifest(params.QueriesSpec(collection=pseudo))["counts"] == {
        "queries": 4, "qrels": 4, "positives": 4, "queries_without_word": 0,
    }  # fmt: skip
    texts = pipeline.docs(pseudo).set_index("doc_id")["text"].str.lower()
    assert texts.equals(pipeline.docs(train).set_index("doc_id")["text"].str.lower())
    for text, doc_id in zip(queries["text"], qrels["doc_id"], strict=True):
        assert 2 <= len(text.split()) <= 3 and set(text.split()) <= set(texts[doc_id].split())
    spec = student(pseudo)
    assert [ids[0] for ids in pipeline.groups(spec.groups)["doc_ids"]] == qrels.sort_values("query_id")["doc_id"].tolist()
    per_query = pipeline.frame(evaluation(params.StudentSystem(student=spec), toy), "per_query")
    assert per_query["query_id"].unique().tolist() == ["q1", "q3"]
    assert identity(params.QueriesSpec(collection=pseudo)) != identity(params.QueriesSpec(collection=pseudo.model_copy(update={"seed": 1})))
    assert {key for key, part in upstream(spec).items() if part.stage == "docs"} == {identity(docs_of(train))}


def test_pseudo_queries_have_no_oracle(small):
    pseudo = params.PseudoQueries(documents=SMALL, queries=5)
    with pytest.raises(
        ValidationError, match="the oracle knows the embedded collection only, not '.*pseudo-5-0'; use a trained or loaded teacher"
    ):
        params.ScoresSpec(
            groups=params.GroupsSpec(collection=pseudo, strategy=params.CorpusRandom(), group_size=3), teacher=params.Oracle()
        )


@pytest.mark.parametrize("strategy", [params.FromCandidates(filter=FILTER), params.FromCandidates(retriever=RETRIEVERS["reranked"])])
def test_an_oracle_that_cannot_score_is_refused_where_a_strategy_asks_it(pipeline, strategy):
    pseudo = params.PseudoQueries(documents=SMALL, queries=5)
    with pytest.raises(ValueError, match="the oracle knows the embedded collection only"):
        pipeline.groups(params.GroupsSpec(collection=pseudo, strategy=strategy, group_size=3))


def test_a_bi_encoder_that_teaches_can_rank_the_whole_collection_like_itself(pipeline, toy, train):
    own = student(train)
    as_teacher = evaluation(params.TeacherSystem(teacher=params.TrainedTeacher(student=own)), toy)
    as_student = evaluation(params.StudentSystem(student=own), toy)
    frames = [pipeline.frame(spec, "per_query") for spec in (as_teacher, as_student)]
    run = pd.read_csv(pipeline.store.folder(as_student) / "run.trec", sep=" ", names=["query", "q0", "doc", "rank", "score", "tag"])
    assert run.groupby("query")["score"].diff().max() < -0.01  # far enough apart that no rounding changes an order
    pd.testing.assert_frame_equal(*frames)
