"""What groups, teachers and students are like, from a store that holds what the test says."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from studies_on_disk import AUGMENTED, EMBEDDED, GRID, SEARCH, Tables, planned, put, put_run, seal, students

from rd_utils.analysis import characteristics
from rd_utils.store import Store
from rd_utils.study import params
from rd_utils.study.graph import docs_of
from rd_utils.workflow.progress import untracked


@pytest.fixture
def pipeline(outputs):
    return Tables(Store(), track=untracked)


# --- training -----------------------------------------------------------------------------------------------------------------


def test_learning_rates_name_the_studys_architecture_and_warn_at_the_end_of_the_list(tmp_path, pipeline):
    this = planned(tmp_path, search=SEARCH)
    for cell, student in students(this):
        if student.search is not None:
            chosen = [False, True] if cell.loss == "kl" else [True, False]
            table = pd.DataFrame({"learning_rate": [0.003, 0.01], "nDCG@10": [0.5, 0.6], "chosen": chosen})
            put(pipeline.store, params.search_spec(student), search=table)
    rates = characteristics.learning_rates(this, pipeline)
    assert rates[["architecture", "loss", "learning_rate", "nDCG@10", "chosen", "at_end"]].to_numpy().tolist() == [
        ["static", "lce", 0.003, 0.5, True, True],
        ["static", "lce", 0.01, 0.6, False, False],
        ["static", "kl", 0.003, 0.5, False, False],
        ["static", "kl", 0.01, 0.6, True, True],
    ]
    assert rates["search"].nunique() == 2


def test_a_rate_between_others_is_not_at_the_end_and_a_study_without_a_search_has_none(tmp_path, pipeline):
    search = SEARCH | {"architectures": {"static": {"learning_rates": [0.003, 0.01, 0.03]}}}
    this = planned(tmp_path, search=search, grids=[GRID], overrides=[])
    table = pd.DataFrame({"learning_rate": [0.03, 0.01, 0.003], "nDCG@10": [0.5, 0.6, 0.4], "chosen": [False, True, False]})
    for _, student in students(this):
        put(pipeline.store, params.search_spec(student), search=table)
    rates = characteristics.learning_rates(this, pipeline)
    assert rates["learning_rate"].tolist() == [0.003, 0.01, 0.03] * 2 and not rates["at_end"].any() and rates["chosen"].sum() == 2
    nothing = characteristics.learning_rates(planned(tmp_path), pipeline)
    assert nothing.empty and {"search", "at_end"} <= set(nothing.columns)


def test_histories_are_averaged_over_stretches_of_steps(tmp_path, pipeline):
    this = planned(tmp_path)
    for _, student in students(this):
        step = np.arange(1, 11)
        table = pd.DataFrame({"step": step, "documents_seen": 16 * step, "loss": 1.0 * step, "learning_rate": 0.1})
        put(pipeline.store, student, history=table)
    first = characteristics.histories(this, pipeline, points=5).query("cell == 'static-bm25-oracle-kl' and seed == 0")
    assert first["step"].tolist() == [2, 4, 6, 8, 10] and first["loss"].tolist() == [1.5, 3.5, 5.5, 7.5, 9.5]
    assert first["documents_seen"].tolist() == [32, 64, 96, 128, 160]
    assert first["recipe"].unique().tolist() == ["static · kl · oracle"]
    assert len(characteristics.histories(this, pipeline).query("cell == 'static-bm25-lce' and seed == 0")) == 10


# --- groups -------------------------------------------------------------------------------------------------------------------

# Two groups: the positives p1 and p2, and the negatives a and b of the one, c and d of the other.
GROUPS = pd.DataFrame({"query_id": ["q1", "q2"], "doc_ids": [["p1", "a", "b"], ["p2", "c", "d"]], "draw": [0, 0]})


def put_test(store, this, *wanted) -> None:
    """Put the relevant documents of every test collection into the store."""
    for pair in this.study.collections:
        for test in pair.test:
            qrels = pd.DataFrame({"query_id": "t1", "doc_id": [*wanted, "no"], "relevance": [1] * len(wanted) + [0]})
            put(store, params.QueriesSpec(collection=test), qrels=qrels)


def describe(store, spec) -> None:
    """Put a description into the store: two groups before; after, as augmentation and the target leave them."""
    states = ["before"] if spec.augmentation == params.Augmentation() and spec.target_entropy is None else ["before", "after"]
    tables = [
        pd.DataFrame({"query_id": ["q1", "q2"], "diameter_q99": [0.2, 0.4 + 0.2 * spec.seed], "diameter": 0.5, "mean_distance": 0.1})
        .assign(density_ratio=[1.0, 3.0], pairwise_entropy=0.5 if state == "before" else spec.target_entropy or 0.25, state=state)
        for state in states
    ]  # fmt: skip
    temperature = 2.0 + spec.seed if spec.target_entropy else spec.temperature
    put(store, spec, {"temperature": temperature}, description=pd.concat(tables, ignore_index=True))
    put(store, spec.groups, groups=GROUPS)


def test_descriptions_are_of_groups_and_their_teacher_before_and_after(tmp_path, pipeline):
    grids = [GRID | {"augmentations": ["none", "spans"]}, GRID | {"losses": ["kl"], "target_entropies": [0.3]}]
    grids += [GRID | {"strategies": ["anew"]}]
    this = planned(tmp_path, **AUGMENTED, grids=grids)
    for cell, student in students(this):
        describe(pipeline.store, this.description(cell, student))
    put_test(pipeline.store, this, "a", "c", "p1", "z")
    table = characteristics.descriptions(this, pipeline)
    keys = ["strategy", "teacher", "augmentation", "target_entropy", "state"]
    assert table[keys].fillna(0).to_numpy().tolist() == [
        ["bm25", "oracle", "none", 0, "before"],  # also LCE's, which learns without the teacher, and anew's at first
        ["bm25", "oracle", "spans", 0, "before"],
        ["bm25", "oracle", "spans", 0, "after"],
        ["bm25", "oracle", "none", 0.3, "before"],
        ["bm25", "oracle", "none", 0.3, "after"],
    ]
    assert table["pairwise_entropy"].tolist() == [0.5, 0.5, 0.25, 0.5, 0.3]
    assert table["diameter_q99"].to_numpy() == pytest.approx([0.35] * 5)  # (0.2 + 0.4) / 2 with seed 0, (0.2 + 0.6) / 2 with seed 1
    assert table["diameter_median"].to_numpy() == pytest.approx([0.3] * 5)  # of the groups of both seeds: 0.2, 0.2, 0.4, 0.6
    assert table["diameter_high"].to_numpy() == pytest.approx([0.594] * 5)  # 0.4 + 0.97 * 0.2
    assert (table["diameter_median_low"] <= 0.3).all() and (table["diameter_median_high"] >= 0.3).all()
    assert table["density_ratio"].tolist() == [2.0] * 5 and table["coverage"].to_numpy() == pytest.approx([0.5] * 5)
    assert table["solved_temperature"].tolist() == [1.0, 1.0, 1.0, 2.5, 2.5]


def test_a_study_without_a_reference_has_no_descriptions(tmp_path, pipeline):
    nothing = characteristics.descriptions(planned(tmp_path, "reference"), pipeline)
    assert nothing.empty and {"strategy", "state"} <= set(nothing.columns)


def test_groups_are_named_by_what_changed_them_and_counted_once(tmp_path, pipeline):
    grids = [
        GRID | {"strategies": ["anew", "bm25"], "augmentations": ["none", "spans", "random_half"]},
        GRID | {"cuts": ["upper"], "seeds": [0]},
    ]
    this = planned(tmp_path, **AUGMENTED, grids=grids)
    for cell, student in students(this):
        counts, dropped = {"groups": 20 if cell.cut == "all" else 10}, {"groups_of_other_parts": 10} if cell.cut != "all" else {}
        put(pipeline.store, student.groups, counts, dropped, groups=pd.DataFrame({"query_id": ["q1", "q2"]}))
        if student.teacher:
            scores = pd.DataFrame({"teacher_scores": [[0.0, 0.0], [50.0, 0.0]]})
            put(pipeline.store, params.ScoresSpec(groups=student.groups, teacher=student.teacher), scores=scores)
    groups = characteristics.groups_made(this, pipeline)
    assert groups[["strategy", "seed", "groups"]].to_numpy().tolist() == [
        ["bm25", 0, 20], ["bm25", 1, 20], ["bm25 random_half", 0, 20], ["bm25 random_half", 1, 20], ["bm25 upper", 0, 10],
    ]  # fmt: skip
    assert groups["groups_of_other_parts"].fillna(0).tolist() == [0, 0, 0, 0, 10]
    entropies = characteristics.group_entropies(this, pipeline)
    assert entropies[["strategy", "teacher"]].to_numpy().tolist() == [
        [name, "oracle"] for name in ("bm25", "bm25 random_half", "bm25 upper")
    ]
    assert entropies["pairwise_entropy"].to_numpy() == pytest.approx([0.5] * 3)  # one pair undecided, one certain
    assert entropies["collection"].unique().tolist() == this.labels


def test_a_study_without_teachers_has_no_entropies(tmp_path, pipeline):
    this = planned(tmp_path, teachers={}, grids=[GRID | {"teachers": [], "losses": ["lce"]}], overrides=[])
    nothing = characteristics.group_entropies(this, pipeline)
    assert nothing.empty and {"strategy", "positive_entropy"} <= set(nothing.columns)


def test_examples_are_groups_of_every_strategy_before_augmentation(tmp_path, pipeline):
    this = planned(tmp_path, **AUGMENTED, grids=[GRID | {"strategies": ["corpus_random", "bm25"], "augmentations": ["spans", "none"]}])
    for cell, student in students(this):
        spec = this.description(cell, student)
        describe(pipeline.store, spec)
        folder = pipeline.store.folder(spec)
        frame = pd.read_parquet(folder / "description.parquet")
        frame.assign(positive_entropy=0.1, listwise_entropy=0.2).to_parquet(folder / "description.parquet")
        seal(folder, {key: value for key, value in pipeline.store.manifest(spec).items() if key not in ("files", "sizes")})
    train = this.study.collections[0].train
    put(
        pipeline.store,
        params.QueriesSpec(collection=train),
        queries=pd.DataFrame({"query_id": ["q1", "q2"], "text": ["cats", "a long query"]}),
    )
    put(
        pipeline.store,
        docs_of(train),
        docs=pd.DataFrame({"doc_id": list("abcd") + ["p1", "p2"], "text": [f"{name} {name}" for name in "ABCDPQ"]}),
    )
    table = characteristics.example_groups(this, pipeline, characters=6)
    assert table[["strategy", "query_id", "query"]].to_numpy().tolist() == [
        [strategy, *row] for strategy in ("corpus_random", "bm25") for row in (("q1", "cats"), ("q2", "a long"))
    ]
    assert table["documents"].tolist() == ["P P | A A | B B", "Q Q | C C | D D"] * 2
    assert characteristics.example_groups(this, pipeline, queries=1)["query_id"].nunique() == 1
    assert characteristics.example_groups(planned(tmp_path, "reference"), pipeline).empty


# --- coverage -----------------------------------------------------------------------------------------------------------------


def grouped(this, pipeline, **negatives) -> list[tuple[str, params.GroupsSpec]]:
    """Put groups of strategies into the store, each a list of lists of doc_ids, positives first; return them with their collection."""
    found = []
    for cell, student in students(this):
        doc_ids = negatives[cell.strategy]
        frame = pd.DataFrame({"query_id": [f"q{n}" for n in range(len(doc_ids))], "doc_ids": doc_ids, "draw": 0})
        put(pipeline.store, student.groups, groups=frame)
        found.append((cell.collection, student.groups))
    return found


TWO = {"grids": [GRID | {"strategies": ["corpus_random", "bm25"], "teachers": [], "losses": ["lce"], "seeds": [0]}], "overrides": []}


def test_erratum_36_coverage_looks_at_equal_numbers_of_sampled_documents_and_at_no_positives(tmp_path, pipeline):
    this = planned(tmp_path, **TWO)
    put_test(pipeline.store, this, "a", "c", "p1", "z")
    many, few = [["p1", "a", "b"], ["p2", "c", "d"]], [["p1", "c", "z"]]
    groups = grouped(this, pipeline, corpus_random=many, bm25=few)
    # two sampled documents of each: a of four wanted ones, though the four of corpus_random hold a and c; p1 was not sampled
    assert list(characteristics.coverages(this, pipeline, groups).values()) == [0.25, 0.5]
    alone = [entry for entry in groups if entry[1].strategy.kind == "corpus_random"]
    assert list(characteristics.coverages(this, pipeline, alone).values()) == [0.5]


def test_coverage_is_of_the_first_draw_and_averaged_over_test_collections(tmp_path, pipeline):
    collections = {"train": EMBEDDED | {"split": "train"}, "test": [EMBEDDED | {"split": "test"}, EMBEDDED | {"split": "validation"}]}
    this = planned(tmp_path, collections=collections, **TWO)
    for test, wanted in zip(this.study.collections[0].test, ("a", "b"), strict=True):
        put(
            pipeline.store,
            params.QueriesSpec(collection=test),
            qrels=pd.DataFrame({"query_id": ["t"], "doc_id": [wanted], "relevance": [1]}),
        )
    (label, first), (_, second) = grouped(this, pipeline, corpus_random=[["p", "a", "x"]], bm25=[["p", "x", "y"]])
    drawn = pd.DataFrame({"query_id": ["q", "q"], "doc_ids": [["p", "a", "x"], ["p", "b", "y"]], "draw": [0, 1]})
    put(pipeline.store, first, groups=drawn)
    assert list(characteristics.coverages(this, pipeline, [(label, first), (label, second)]).values()) == [0.5, 0.0]


def test_coverage_of_other_documents_is_not_known(tmp_path, pipeline):
    collections = {"train": EMBEDDED | {"split": "train"}, "test": [EMBEDDED | {"split": "test", "seed": 14}]}
    this = planned(tmp_path, collections=collections, **TWO)
    groups = grouped(this, pipeline, corpus_random=[["p", "a"]], bm25=[["p", "b"]])
    assert np.isnan(list(characteristics.coverages(this, pipeline, groups).values())).all()


def test_a_pilot_sees_some_training_queries_and_no_judgements(tmp_path, pipeline):
    this = planned(tmp_path, reference="static", **TWO)
    for cell, student in students(this):
        describe(pipeline.store, this.description(cell, student))
    (pair,) = this.study.collections
    put(pipeline.store, params.QueriesSpec(collection=pair.train), queries=pd.DataFrame({"query_id": ["q1", "q2"], "text": "x"}))
    stage = this.first_stages(0)[0]
    run = pd.DataFrame({"query_id": "t", "doc_id": ["a", "b", *(f"x{n}" for n in range(8)), "c"], "score": 1.0})  # c is the eleventh
    put(pipeline.store, params.CandidatesSpec(collection=pair.test[0], retriever=stage.retriever, depth=stage.depth), candidates=run)
    table = characteristics.descriptions(this, pipeline, pilot=1)
    (query,) = characteristics._pilot(pipeline, pair.train, 1)
    assert table["diameter_q99"].to_numpy() == pytest.approx([0.2 if query == "q1" else 0.4] * 2)
    assert table["retrieved_share"].tolist() == [0.2 if query == "q1" else 0.0] * 2  # a and b of ten; no relevant documents were read
    assert "coverage" not in table
    both = characteristics.descriptions(this, pipeline, pilot=2)
    assert both["diameter_q99"].to_numpy() == pytest.approx([0.3] * 2) and both["retrieved_share"].tolist() == [0.2] * 2


# --- students -----------------------------------------------------------------------------------------------------------------


def behave(store, spec, queries=("q1", "q2"), gain=0.0, bins=((0.5, 0.75, 1, 0.6, 0.7), (0.75, 1.0, 0, np.nan, np.nan))) -> None:
    """Put a behaviour into the store: diameters 0.2, 0.4, ... by query before training, and half of that after."""
    before = pd.DataFrame({"query_id": queries, "diameter_q99": [0.2 * int(query[1:]) + gain for query in queries]})
    tables = {"groups": pd.concat([before.assign(state="before"), before.assign(diameter_q99=before["diameter_q99"] / 2, state="after")])}
    tables["summary"] = pd.DataFrame({"state": ["before", "after"], "quantity": "effective_rank", "value": [3.0, 5.0 + gain]})
    if spec.teacher is not None:
        frame = pd.DataFrame(bins, columns=["low", "high", "n_pairs", "student", "teacher"])
        tables["calibration"] = pd.concat([frame.assign(state=state) for state in ("before", "after")])
    put(store, spec, **tables)


def test_behaviours_are_means_and_deviations_over_seeds(tmp_path, pipeline):
    this = planned(tmp_path, grids=[GRID], overrides=[])
    for cell, student in students(this):
        bins = [(0.5, 0.75, 1, 0.6, 0.7), (0.75, 1.0, 0, np.nan, np.nan)] if student.seed == 0 else [(0.5, 0.75, 3, 0.7, 0.5)]
        behave(pipeline.store, this.behaviour(cell, student), gain=0.1 * student.seed, bins=bins)
    table, bins = characteristics.behaviours(this, pipeline)
    assert table.groupby("cell", sort=False).size().to_dict() == {"static-bm25-lce": 4, "static-bm25-oracle-kl": 4}
    own = table[table["cell"] == "static-bm25-lce"].set_index(["state", "quantity"])
    assert own.loc[("before", "diameter_q99"), ["mean", "sd"]].tolist() == pytest.approx([0.35, 0.1 / math.sqrt(2)])  # 0.3 and 0.4
    assert own.loc[("after", "diameter_q99"), "mean"] == pytest.approx(0.175)
    assert own.loc[("before", "effective_rank"), ["mean", "sd"]].tolist() == [3.0, 0.0]
    assert own.loc[("after", "effective_rank"), "mean"] == pytest.approx(5.05)
    assert own["loss"].unique().tolist() == ["lce"]
    own = bins[(bins["cell"] == "static-bm25-lce") & (bins["state"] == "after")]
    assert own[["low", "high", "n_pairs"]].to_numpy().tolist() == [[0.5, 0.75, 4]]  # the empty bin is left out
    assert own[["mean_student", "mean_teacher"]].to_numpy()[0] == pytest.approx([0.675, 0.55])  # (0.6 + 3 * 0.7) / 4, (0.7 + 3 * 0.5) / 4


def test_erratum_33_students_are_compared_on_the_queries_that_every_strategy_of_a_collection_has(tmp_path, pipeline):
    this = planned(tmp_path, grids=[GRID | {"strategies": ["corpus_random", "bm25"], "losses": ["kl"], "seeds": [0]}], overrides=[])
    for cell, student in students(this):
        queries = ("q1", "q2", "q9") if cell.strategy == "corpus_random" else ("q2", "q1", "q7")
        behave(pipeline.store, this.behaviour(cell, student), queries)
    table, _ = characteristics.behaviours(this, pipeline)
    before = table[(table["quantity"] == "diameter_q99") & (table["state"] == "before")]
    assert before["mean"].to_numpy() == pytest.approx([0.3, 0.3]) and before["sd"].isna().all()


def test_strategies_that_share_no_query_have_spaces_and_no_groups_to_compare(tmp_path, pipeline):
    this = planned(tmp_path, grids=[GRID | {"strategies": ["corpus_random", "bm25"], "losses": ["kl"], "seeds": [0]}], overrides=[])
    for cell, student in students(this):
        behave(pipeline.store, this.behaviour(cell, student), ("q1",) if cell.strategy == "bm25" else ("q2",))
    table, bins = characteristics.behaviours(this, pipeline)
    assert set(table["quantity"]) == {"effective_rank"} and len(table) == 4 and table["n_queries"].isna().all()
    assert not bins.empty  # pairs are counted over each cell's own groups


def test_a_student_without_a_teacher_has_no_bins_and_a_study_without_a_probe_no_behaviour(tmp_path, pipeline):
    this = planned(tmp_path, teachers={}, **TWO)
    for cell, student in students(this):
        behave(pipeline.store, this.behaviour(cell, student))
    table, bins = characteristics.behaviours(this, pipeline)
    assert len(table) == 2 * 4 and bins.empty
    table, bins = characteristics.behaviours(planned(tmp_path, "probe"), pipeline)
    assert table.empty and bins.empty and {"quantity", "mean", "sd"} <= set(table.columns)


# --- query by query -----------------------------------------------------------------------------------------------------------

LOG3 = math.log(3)
KNOWN = {("q1", "d1"): LOG3, ("q1", "d2"): 0.0, ("q2", "d3"): 1.0, ("q2", "d4"): 1.0, ("q3", "d5"): 4.0}  # q3 has one candidate


def ran(store, spec, scores, values=(0.5, 0.25, 0.0)) -> None:
    """Put a re-ranking of KNOWN's candidates into the store, with nDCG@10 of its three queries."""
    run = pd.DataFrame([(query, doc, score) for (query, doc), score in scores.items()], columns=["query_id", "doc_id", "score"])
    per_query = pd.DataFrame({"query_id": ["q1", "q2", "q3"], "measure": "nDCG@10", "value": values})
    per_query = pd.concat([per_query, per_query.assign(measure="AP", value=9.0)])
    put_run(store, spec, run, per_query=per_query)


def reranked(this, pipeline, scores=None, temperature=1.0, teacher=KNOWN) -> None:
    """Put what a study re-ranks into the store: by its teachers, and by students that score every candidate 7 if nothing else is said."""
    scores = scores or dict.fromkeys(KNOWN, 7.0)
    for row in this.baselines:
        if row.system == "teacher":
            for spec in this.evaluations(row.systems[-1], this.labels[row.pair]):
                ran(pipeline.store, spec, teacher)
    for cell, student in students(this):
        put(pipeline.store, student, {"temperature": temperature})
        for spec in this.evaluations(params.StudentSystem(student=student), cell.collection):
            ran(pipeline.store, spec, scores, values=(0.5 + 0.2 * student.seed, 0.25, 0.0))


RERANK = {"first_stages": [{"kind": "rerank", "retriever": "bm25", "depth": 100}], "measures": ["nDCG@10", "AP"]}


def test_a_query_has_its_value_the_teachers_entropy_and_the_divergence_from_it(tmp_path, pipeline):
    this = planned(tmp_path, grids=[GRID], overrides=[], evaluation=RERANK)
    reranked(this, pipeline)
    table = characteristics.by_query(this, pipeline).set_index(["cell", "query_id"])
    assert table.index.tolist() == [(cell, query) for cell in ("static-bm25-lce", "static-bm25-oracle-kl") for query in ("q1", "q2")]
    kl = table.loc["static-bm25-oracle-kl"]
    assert kl["value"].to_dict() == pytest.approx({"q1": 0.6, "q2": 0.25})  # means over seeds; AP is not the compared measure
    quarter = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    assert kl["pairwise_entropy"].to_dict() == pytest.approx({"q1": quarter, "q2": 1.0}, abs=1e-6)
    assert kl["listwise_entropy"].to_dict() == pytest.approx({"q1": quarter, "q2": 1.0}, abs=1e-6)  # of two documents they are the same
    assert kl["divergence"].to_dict() == pytest.approx({"q1": 0.75 * math.log(1.5) + 0.25 * math.log(0.5), "q2": 0.0}, abs=1e-6)
    assert table["first_stage"].unique().tolist() == ["bm25@100"]


def test_the_divergence_has_the_temperature_that_a_cell_learns_this_teacher_with(tmp_path, pipeline):
    grid = GRID | {"teachers": ["oracle", "cross"], "seeds": [0]}
    this = planned(tmp_path, grids=[grid], overrides=[], evaluation=RERANK)
    reranked(this, pipeline, scores={pair: score / 2 for pair, score in KNOWN.items()}, temperature=2.0)
    found = characteristics.by_query(this, pipeline).set_index(["cell", "query_id"])["divergence"]
    assert found["static-bm25-oracle-kl", "q1"] == pytest.approx(0.0, abs=1e-6)  # its scores are the oracle's over 2
    third = 1 / (1 + math.sqrt(3))
    by_hand = 0.75 * math.log(0.75 / (1 - third)) + 0.25 * math.log(0.25 / third)
    # LCE learns from no teacher, the other from another one, whose temperature says nothing about the oracle's scores
    assert found["static-bm25-lce", "q1"] == found["static-bm25-cross-kl", "q1"] == pytest.approx(by_hand, abs=1e-6)


def test_a_candidate_that_the_student_did_not_score_is_an_error_not_left_out(tmp_path, pipeline):
    this = planned(tmp_path, grids=[GRID], overrides=[], evaluation=RERANK)
    reranked(this, pipeline, scores={pair: 7.0 for pair in KNOWN if pair != ("q1", "d2")})
    with pytest.raises(ValueError, match="a student and the teacher ranked other candidates"):
        characteristics.by_query(this, pipeline)


def test_a_study_whose_baselines_have_no_teacher_has_nothing_query_by_query(tmp_path, pipeline):
    nothing = characteristics.by_query(planned(tmp_path, teachers={}, **TWO), pipeline)
    assert nothing.empty and {"value", "pairwise_entropy", "divergence"} <= set(nothing.columns)
