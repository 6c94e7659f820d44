"""Costs, from a store whose manifests say what the test says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from studies_on_disk import GRID, NAN, PAIRS, SCORES, SEARCH, SECONDS, bill, planned, put, put_all, students

from rd_utils.cost import costs as module
from rd_utils.store import Store, StoreError, identity, upstream, write_manifest
from rd_utils.study import params
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.workflow.progress import untracked

TEXTS = 8 + 8 + 4  # the tokens of documents and queries, and the lexicon
MINE = 1 + 2 + 16 + 32  # documents, queries, their candidates, groups
WALL = [f"{stage}_wall_seconds" for stage in module.STAGES]
KL, LCE, TAUGHT = "static-bm25-oracle-kl", "static-bm25-lce", "interaction-bm25-cross-kl"


@pytest.fixture
def pipeline(outputs):
    return Pipeline(Store(), track=untracked)


def costs_of(this, pipeline, *index, **options) -> pd.DataFrame:
    put_all(pipeline.store, this)
    return module.costs(this, pipeline, **options).set_index(list(index or ("cell", "seed")))


# --- stages -------------------------------------------------------------------------------------------------------------------


def test_a_cell_pays_once_for_each_thing_it_is_made_from_and_a_search_is_training(tmp_path, pipeline):
    costs = costs_of(planned(tmp_path, search=SEARCH), pipeline)
    searched = 16384 + 2 * (4096 + 1024) + 2 + 16 + 8  # two candidates; the validation queries, their candidates and tokens
    oracle = SCORES["oracle"]
    assert costs.loc[(KL, 0), WALL].tolist() == [MINE, oracle, 1024 + TEXTS + searched, 2 * 4096]
    # the search ran on the groups and scores of seed 0, which a student of seed 1 would not have needed otherwise
    assert costs.loc[(KL, 1), WALL].tolist() == [MINE, oracle, 1024 + TEXTS + searched + 32 + oracle, 2 * 4096]
    assert costs.loc[(LCE, 0), WALL].tolist() == [MINE, 0, 1024 + TEXTS + searched, 2 * 4096]
    cpu = costs[[name.replace("wall", "cpu") for name in WALL]]
    assert (cpu.to_numpy() == 2 * costs[WALL].to_numpy()).all()
    assert (costs["total_cpu_seconds"] == cpu.sum(axis=1)).all()


def test_a_cell_pays_for_its_trained_teacher_and_not_for_a_search_that_it_does_not_use(tmp_path, pipeline):
    costs = costs_of(planned(tmp_path, search=SEARCH), pipeline)
    # its teacher: an interaction model, trained on the same groups as seed 0
    assert costs.loc[(TAUGHT, 0), WALL[:3]].tolist() == [MINE, SCORES["trained"] + 1024, 1024 + TEXTS]
    assert costs.loc[(TAUGHT, 1), WALL[:3]].tolist() == [MINE, SCORES["trained"] + 1024 + 32, 1024 + TEXTS]


def test_a_cell_pays_for_its_trained_retriever_while_mining(tmp_path, pipeline):
    trained = {"kind": "dense", "architecture": "static", "strategy": "corpus_random"}
    grid = {"strategies": ["dense", "corpus_random"], "losses": ["lce"], "architectures": ["static"], "seeds": [0]}
    strategies = {"corpus_random": {"kind": "corpus_random"}, "dense": {"kind": "candidates", "retriever": "dense"}}
    retrievers = {"bm25": {"kind": "bm25"}, "dense": trained}
    this = planned(tmp_path, retrievers=retrievers, strategies=strategies, teachers={}, grids=[grid], overrides=[])
    costs = costs_of(this, pipeline, "cell")
    columns = ["mine_wall_seconds", "train_wall_seconds"]
    assert costs.loc["static-corpus_random-lce", columns].tolist() == [1 + 2 + 32, 1024 + TEXTS]
    assert costs.loc["static-dense-lce", columns].tolist() == [1 + 2 + 32 + 16 + (1024 + 32), 1024 + TEXTS]


def test_a_row_names_its_student_and_what_it_saw(tmp_path, pipeline):
    this = planned(tmp_path)
    costs = costs_of(this, pipeline)
    assert costs.index.tolist() == [(cell.name, seed) for cell in this.cells for seed in cell.students]
    (cell,) = [cell for cell in this.cells if cell.name == KL]
    row = costs.loc[(KL, 1)]
    assert row["identity"] == identity(cell.students[1]) and (pipeline.store.root.parent / row["manifest"]).is_file()
    assert (row["strategy"], row["loss"], row["teacher"]) == ("bm25", "kl", "oracle")
    assert (row["documents_seen"], row["tokens_seen"], row["peak_memory_mb"], row["parameters"]) == (10, 100, 1.0, "{}")


def test_an_artefact_that_is_missing_is_an_error(tmp_path, pipeline):
    this = planned(tmp_path)
    put_all(pipeline.store, this)
    (pipeline.store.folder(this.cells[0].students[0].groups) / "manifest.json").unlink()
    with pytest.raises(StoreError, match="the groups artefact .* does not exist"):
        module.costs(this, pipeline)


# --- pairs of a teacher -------------------------------------------------------------------------------------------------------

# One teacher re-ranks what negatives are drawn from, filters it, and labels the groups.
ASKED = {
    "retrievers": {
        "bm25": {"kind": "bm25"},
        "by_teacher": {"kind": "reranked", "retriever": "bm25", "from_depth": 100, "teacher": "oracle"},
    },
    "strategies": {
        "corpus_random": {"kind": "corpus_random"},
        "bm25": {"kind": "candidates", "retriever": "bm25"},
        "teacher": {"kind": "candidates", "retriever": "by_teacher", "depth": 50, "filter": {"teacher": "oracle", "value": 1.0}},
    },
    "grids": [GRID | {"strategies": ["teacher"], "seeds": [0]}],
    "overrides": [],
}


def asked(tmp_path, pipeline, reranked: int, filtered: int, labelled: int) -> pd.DataFrame:
    """Return the costs where a teacher re-ranked 400 pairs, filtered 200 of them and labelled 100, and scored so many of these anew."""
    this = planned(tmp_path, **ASKED)
    store = pipeline.store
    (student,) = [student for cell, student in students(this) if cell.loss == "kl"]
    candidates = next(
        spec for spec in upstream(student.groups).values() if spec.stage == "candidates" and spec.retriever.kind == "reranked"
    )
    scores = params.ScoresSpec(groups=student.groups, teacher=student.teacher)
    for spec, pairs, new in ((candidates, 400, reranked), (student.groups, 200, filtered), (scores, 100, labelled)):
        own = SECONDS[spec.stage] + new  # a pair of the oracle takes a second
        seconds = {"wall_seconds": float(own), "cpu_seconds": 2.0 * own}
        put(store, spec, scoring=[bill("oracle", pairs, new)], cost=seconds)
    return costs_of(this, pipeline, "loss")


def test_what_a_teacher_scores_is_charged_by_the_pair_whoever_scored_first(tmp_path, pipeline, monkeypatch):
    costs = asked(tmp_path, pipeline, reranked=400, filtered=0, labelled=0)
    mined = 1 + 2 + 16 + (16 + 400) + (32 + 200)  # BM25's candidates, the re-ranked ones, groups that a filter left
    assert costs.loc["kl", WALL].tolist() == [mined, 64 + 100, 1024 + TEXTS, 2 * 4096]
    assert costs.loc["lce", WALL].tolist() == [mined, 0, 1024 + TEXTS, 2 * 4096]
    monkeypatch.setenv("RD_OUTPUTS", str(tmp_path / "elsewhere"))
    for others in ((0, 200, 100), (150, 30, 7)):  # who came first says nothing about the cost
        again = asked(tmp_path, Pipeline(Store(), track=untracked), *others)
        pd.testing.assert_frame_equal(costs, again)


def test_teacher_calls_are_the_pairs_of_each_stage(tmp_path, pipeline):
    costs = asked(tmp_path, pipeline, reranked=400, filtered=0, labelled=0)
    calls = [f"{stage}_teacher_calls" for stage in (*module.STAGES, "total")]
    assert costs.loc["kl", calls].tolist() == [600, 100, 0, 0, 700]
    assert costs.loc["lce", calls].tolist() == [600, 0, 0, 0, 600]
    assert costs["shared_teacher_calls"].tolist() == [300, 400]  # two students share what was mined


def test_the_scores_of_a_search_are_training(tmp_path, pipeline):
    costs = costs_of(planned(tmp_path, search=SEARCH), pipeline)
    calls = [f"{stage}_teacher_calls" for stage in module.STAGES]
    assert costs.loc[(KL, 0), calls].tolist() == [0, PAIRS, 0, 0]  # the search's scores are the cell's own
    assert costs.loc[(KL, 1), calls].tolist() == [0, PAIRS, PAIRS, 0]
    assert costs.loc[(LCE, 1), calls].tolist() == [0, 0, 0, 0]


def test_pairs_whose_scores_are_no_longer_kept_cost_what_the_artefact_paid(tmp_path, pipeline):
    this = planned(tmp_path)
    put_all(pipeline.store, this)
    for shard in (pipeline.store.root / "pairs" / "trained").iterdir():
        shard.unlink()
    (pipeline.store.root / "pairs" / "trained").rmdir()
    costs = module.costs(this, pipeline).set_index(["cell", "seed"])
    assert costs.loc[(TAUGHT, 0), "score_wall_seconds"] == 64 + 1024 and costs.loc[(TAUGHT, 0), "score_teacher_calls"] == PAIRS
    assert not (pipeline.store.root / "pairs" / "trained").exists()  # looking costs up makes none


# --- shares -------------------------------------------------------------------------------------------------------------------


def test_shares_over_all_students_are_what_the_study_paid(tmp_path, pipeline):
    this = planned(tmp_path, search=SEARCH)
    costs = costs_of(this, pipeline)
    paid = {}
    for cell, student in students(this):
        for spec in (student, *this.evaluations(params.StudentSystem(student=student), cell.collection)):
            paid |= {identity(spec): spec} | ({} if spec.stage == "evaluation" else upstream(spec))
    charged = [SCORES[spec.teacher.kind] if spec.stage == "scores" else SECONDS[spec.stage] for spec in paid.values()]
    assert costs["shared_cpu_seconds"].sum() == pytest.approx(2 * sum(charged), abs=0.01)
    assert costs["shared_teacher_calls"].sum() == pytest.approx(PAIRS * sum(spec.stage == "scores" for spec in paid.values()), abs=0.01)
    assert (costs["shared_cpu_seconds"] < costs["total_cpu_seconds"]).all()


def test_costs_of_some_cells_are_those_rows_of_all(tmp_path, pipeline):
    this = planned(tmp_path)
    everything = costs_of(this, pipeline)
    some = module.costs(this, pipeline, cells={KL}).set_index(["cell", "seed"])
    assert some.index.tolist() == [(KL, 0), (KL, 1)]
    pd.testing.assert_frame_equal(some, everything.loc[[KL]])
    assert module.costs(this, pipeline, cells=set()).empty


# --- energy -------------------------------------------------------------------------------------------------------------------


def changed(pipeline, spec, **cost) -> None:
    """Change what a manifest says that an artefact cost."""
    manifest = pipeline.store.manifest(spec)
    manifest["cost"] |= cost
    write_manifest(pipeline.store.folder(spec), manifest)


def of(this, name, seed=0) -> params.StudentSpec:
    return next(cell for cell in this.cells if cell.name == name).students[seed]


def test_joules_that_no_counter_measured_are_estimated_from_busy_cores(tmp_path, pipeline):
    costs = costs_of(planned(tmp_path), pipeline)
    for stage in (*module.STAGES, "total"):
        assert costs[f"{stage}_joules"].to_numpy() == pytest.approx(10 * costs[f"{stage}_cpu_seconds"].to_numpy())
    assert set(costs["energy"]) == {"estimated (10 W a busy core)"}
    analysis = {"measure": "nDCG@10", "baseline_strategy": "corpus_random", "watts_per_core": 4.0}
    other = module.costs(planned(tmp_path, analysis=analysis), pipeline).set_index(["cell", "seed"])
    assert other["total_joules"].to_numpy() == pytest.approx(0.4 * costs["total_joules"].to_numpy())
    assert set(other["energy"]) == {"estimated (4 W a busy core)"}


def test_measured_joules_are_taken_as_they_are_wherever_pairs_were_scored(tmp_path, pipeline):
    this = planned(tmp_path)
    put_all(pipeline.store, this)
    student = of(this, KL)
    changed(pipeline, student, energy={"joules": 512.5, "method": "zeus", "reason": ""})
    scores = params.ScoresSpec(groups=student.groups, teacher=student.teacher)
    changed(pipeline, scores, energy={"joules": 100.0, "method": "codecarbon (process)", "reason": ""})
    costs = costs_of(this, pipeline)
    assert costs.loc[(KL, 0), "train_joules"] == pytest.approx(512.5 + 10 * 2 * TEXTS)
    assert costs.loc[(KL, 0), "score_joules"] == 100.0
    assert costs.loc[(KL, 0), "energy"] == "estimated (10 W a busy core) + measured (codecarbon, process) + measured (zeus)"
    assert costs.loc[(KL, 1), "energy"] == "estimated (10 W a busy core)"


def test_the_energy_of_an_accelerator_is_unknown_until_its_watts_are_given(tmp_path, pipeline):
    this = planned(tmp_path)
    put_all(pipeline.store, this)
    changed(pipeline, of(this, KL), gpu_seconds=10.0)
    costs = costs_of(this, pipeline)
    assert costs.loc[(KL, 0), ["train_gpu_seconds", "total_gpu_seconds"]].tolist() == [10.0, 10.0]
    assert np.isnan(costs.loc[(KL, 0), ["train_joules", "total_joules"]].astype(float)).all() and costs.loc[(KL, 0), "score_joules"] > 0
    assert costs.loc[(KL, 0), "energy"] == "estimated (10 W a busy core) + unknown: analysis.gpu_watts is not set"
    assert costs["total_joules"].isna().sum() == 1
    analysis = {"measure": "nDCG@10", "baseline_strategy": "corpus_random", "gpu_watts": 300.0}
    known = module.costs(planned(tmp_path, analysis=analysis), pipeline).set_index(["cell", "seed"])
    assert known.loc[(KL, 0), "train_joules"] == pytest.approx(10 * 2 * (1024 + TEXTS) + 300 * 10)
    assert known.loc[(KL, 0), "energy"] == "estimated (10 W a busy core) + estimated (10 W a busy core, 300 W a busy GPU)"


def test_measured_energy_needs_no_watts(tmp_path, pipeline):
    this = planned(tmp_path)
    put_all(pipeline.store, this)
    changed(pipeline, of(this, KL), gpu_seconds=10.0, energy={"joules": 7.0, "method": "zeus", "reason": ""})
    assert costs_of(this, pipeline).loc[(KL, 0), "train_joules"] == pytest.approx(7.0 + 10 * 2 * TEXTS)


# --- beside effectiveness -----------------------------------------------------------------------------------------------------


def test_effectiveness_stands_beside_cost_and_what_is_dominated_is_not_on_the_frontier():
    about = {"collection": "c", "test_collection": "t", "first_stage": "full", "measure": "AP", "system": "student"}
    about |= dict.fromkeys(module.DIMENSIONS, "") | {"target_entropy": NAN}
    cells = {"cheap": (0.40, 10.0), "dear": (0.50, 40.0), "worse": (0.45, 50.0), "worst": (0.30, 50.0)}
    summary = [about | {"cell": cell, "mean": mean, "sd": 0.01} for cell, (mean, _) in cells.items()]
    summary += [
        about | {"cell": "BM25", "system": "first_stage", "mean": 0.9, "sd": NAN},
        about | {"cell": "cheap", "measure": "RR", "mean": 0.1},
    ]
    costs = [
        {"collection": "c", "cell": cell, "seed": seed, "total_cpu_seconds": cost + seed, "shared_cpu_seconds": 1.0, "mine_joules": 0.0}
        for cell, (_, cost) in cells.items()
        for seed in (0, 2)
    ]
    points = module.points(pd.DataFrame(summary), pd.DataFrame(costs), "AP").set_index("cell")
    assert points["value"].to_dict() == {"cheap": 0.40, "dear": 0.50, "worse": 0.45, "worst": 0.30}
    assert points["total_cpu_seconds"].to_dict() == {"cheap": 11.0, "dear": 41.0, "worse": 51.0, "worst": 51.0}  # means over seeds
    assert points["on_frontier"].to_dict() == {"cheap": True, "dear": True, "worse": False, "worst": False} and "mine_joules" not in points
    (price,) = module.prices(points.reset_index(), step=0.1).to_dict("records")
    assert (price["best"], price["cheapest"], price["extra_cost"]) == ("dear", "cheap", 30.0)
