"""A study's tables from hand-made measures, and from a store whose manifests say what the test says."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats as scipy_stats

from rd_utils import analysis, params, plan, report, studies
from rd_utils.pipeline import Pipeline
from rd_utils.progress import untracked
from rd_utils.store import Store, identity, upstream

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = studies.AnalysisSettings(baseline_strategy="corpus_random", equivalence_margin=0.02)
NAN = float("nan")
PLAIN = {"strategy": "bm25", "teacher": "", "loss": "lce", "architecture": "static", "augmentation": "none", "cut": "all"}
PLAIN |= {"temperature": 1.0, "target_entropy": NAN}
TAUGHT = PLAIN | {"teacher": "t", "loss": "kl"}


def rows(cell, values, system="student", seeds=(0,), place="c", **dimensions):
    about = {"study": "s", "cell": cell, "system": system, "collection": f"{place}/train", "test_collection": f"{place}/test"}
    about |= PLAIN | dimensions | {"first_stage": "full", "measure": "nDCG@10"}
    return [about | {"seed": seed, "query_id": f"q{i}", "value": value + 0.01 * seed} for seed in seeds for i, value in enumerate(values)]


def test_results_average_queries_and_summary_averages_seeds():
    table = pd.DataFrame(rows("a", [0.2, 0.4], seeds=(0, 1, 2)))
    results = analysis.results(table)
    assert results["value"].round(6).tolist() == [0.3, 0.31, 0.32]
    assert list(results.columns) == analysis.RESULT_COLUMNS
    (row,) = analysis.summary(results).itertuples()
    assert (round(row.mean, 6), round(row.sd, 6), row.n_seeds) == (0.31, 0.01, 3)


def test_a_cell_of_several_collections_is_summed_up_on_each():
    table = pd.DataFrame(rows("a", [0.2, 0.4]) + rows("a", [0.6, 0.8], place="d"))
    summary = analysis.summary(analysis.results(table))
    assert summary[["collection", "mean"]].round(6).to_numpy().tolist() == [["c/train", 0.3], ["d/train", 0.7]]


# --- differences --------------------------------------------------------------------------------------------------------------


def test_contrasts_differ_in_one_thing_only():
    base = np.linspace(0.1, 0.9, 40)
    generator = np.random.default_rng(0)
    kl = {"loss": "kl", "teacher": "t"}
    table = pd.DataFrame(
        rows("r-lce", base, strategy="corpus_random")
        + rows("b-lce", base + 0.1 + 0.01 * generator.standard_normal(40))
        + rows("r-kl", base + 0.001 * generator.standard_normal(40), strategy="corpus_random", **kl)
        + rows("b-kl", base, **kl)
        + rows("BM25", base, system="first_stage", strategy="", loss="", architecture="")
    )
    found = analysis.differences(table, SETTINGS).set_index(["cell_before", "cell_after"])
    assert set(found.index) == {("r-lce", "b-lce"), ("r-kl", "b-kl"), ("r-lce", "r-kl"), ("b-lce", "b-kl")}
    assert found.loc[("r-lce", "b-lce"), "verdict"] == "different"
    assert found.loc[("r-lce", "b-lce"), "difference"] == pytest.approx(0.1, abs=0.005)
    assert found.loc[("r-kl", "b-kl"), "verdict"] == "equivalent"
    assert found.loc[("r-lce", "b-lce"), "contrast"] == "bm25 - corpus_random"
    assert (found["p_holm"] >= found["p_difference"]).all()


def contrasts(**cells):
    frame = pd.DataFrame.from_dict(cells, orient="index")[analysis.DIMENSIONS]
    return [tuple(found) for found in analysis._contrasts(frame, "corpus_random")]


def test_every_family_compares_with_its_plain_value_and_nothing_else_changes():
    found = contrasts(
        lce=PLAIN,
        kl=TAUGHT,
        random=TAUGHT | {"strategy": "corpus_random"},
        noise=TAUGHT | {"augmentation": "noise"},
        upper=TAUGHT | {"cut": "upper_half"},
        upper_lce=PLAIN | {"cut": "upper_half"},
        other=TAUGHT | {"teacher": "u"},
        hot=TAUGHT | {"temperature": 4.0},
        other_hot=TAUGHT | {"teacher": "u", "temperature": 4.0},
    )
    assert found == [
        ("strategy", "random", "kl", "bm25 - corpus_random"),
        ("loss", "lce", "kl", "kl - lce"),
        ("loss", "upper_lce", "upper", "kl - lce"),
        ("loss", "lce", "other", "kl - lce"),
        ("loss", "lce", "hot", "kl - lce"),
        ("loss", "lce", "other_hot", "kl - lce"),
        ("augmentation", "kl", "noise", "noise - none"),
        ("cut", "kl", "upper", "upper_half - all"),
        ("cut", "lce", "upper_lce", "upper_half - all"),
        ("teacher", "kl", "other", "u - t"),
        ("teacher", "hot", "other_hot", "u - t"),
        ("temperature", "kl", "hot", "4 - 1"),
        ("temperature", "other", "other_hot", "4 - 1"),
    ]


def test_a_missing_target_entropy_equals_a_missing_one_and_no_other():
    low, high = TAUGHT | {"target_entropy": 0.2}, TAUGHT | {"target_entropy": 0.7}
    found = contrasts(
        plain=TAUGHT,
        plain_random=TAUGHT | {"strategy": "corpus_random"},
        low=low,
        low_random=low | {"strategy": "corpus_random"},
        high=high,
        low_other=low | {"teacher": "u"},
    )
    assert found == [
        ("strategy", "plain_random", "plain", "bm25 - corpus_random"),
        ("strategy", "low_random", "low", "bm25 - corpus_random"),
        ("teacher", "low", "low_other", "u - t"),
    ]


def test_temperatures_of_a_study_with_target_entropies_still_set_teachers_apart():
    target = TAUGHT | {"target_entropy": 0.2}
    found = contrasts(one=TAUGHT, hot=TAUGHT | {"temperature": 4.0}, other=TAUGHT | {"teacher": "u"}, target=target)
    assert ("teacher", "one", "other", "u - t") in found
    assert not [pair for pair in found if pair[1:3] == ("hot", "other")]


def test_cells_with_other_seeds_are_not_compared():
    table = pd.DataFrame(
        rows("r", [0.1, 0.2, 0.3], strategy="corpus_random") + rows("b", [0.1, 0.2, 0.4], seeds=(0, 1))
        + rows("r", [0.1, 0.2, 0.3], strategy="corpus_random", place="d") + rows("b", [0.1, 0.2, 0.4], place="d")
    )  # fmt: skip
    found = analysis.differences(table, SETTINGS)
    assert found["collection"].tolist() == ["d/train"]
    assert found.attrs["skipped"] == 1


def test_holm_corrects_within_a_collection():
    generator = np.random.default_rng(1)
    cells = {"r": "corpus_random", "b": "bm25", "d": "dense"}
    table = [
        row
        for place in ("c", "d")
        for cell, strategy in cells.items()
        for row in rows(cell, generator.uniform(size=30), strategy=strategy, place=place)
    ]
    found = analysis.differences(pd.DataFrame(table), SETTINGS)
    assert len(found) == 4
    for _, part in found.groupby("collection"):
        smaller, larger = sorted(part["p_difference"])
        assert sorted(part["p_holm"]) == pytest.approx(sorted([min(1, 2 * smaller), max(min(1, 2 * smaller), larger)]))


# --- over collections ---------------------------------------------------------------------------------------------------------


def several_collections() -> pd.DataFrame:
    generator = np.random.default_rng(2)
    table = []
    for place, gain in (("c", 0.1), ("d", 0.2), ("e", 0.06)):
        base = generator.uniform(0.2, 0.6, size=30)
        table += rows("r", base, strategy="corpus_random", place=place)
        table += rows("b", base + gain + 0.01 * generator.standard_normal(30), place=place)
    return pd.DataFrame(table)


def test_across_is_a_t_interval_over_collections():
    differences = analysis.differences(several_collections(), SETTINGS)
    (row,) = analysis.across(differences, level=0.9).to_dict("records")
    expected = scipy_stats.ttest_1samp(differences["difference"], 0).confidence_interval(0.9)
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected))
    assert row["mean"] == pytest.approx(differences["difference"].mean())
    assert (row["n_collections"], row["n_positive"], row["different"], row["equivalent"]) == (3, 3, 3, 0)
    assert row["contrast"] == "bm25 - corpus_random" and np.isnan(row["target_entropy"])


def test_across_one_collection_has_no_interval_and_across_nothing_is_empty():
    differences = analysis.differences(several_collections(), SETTINGS)
    (row,) = analysis.across(differences[differences["collection"] == "c/train"]).to_dict("records")
    assert row["n_collections"] == 1 and np.isnan(row["low"]) and np.isnan(row["high"])
    nothing = analysis.across(analysis.differences(pd.DataFrame(rows("a", [0.1, 0.2])), SETTINGS))
    assert nothing.empty and set(report.ACROSS_COLUMNS) <= set(nothing.columns)


def test_across_keeps_cells_apart_that_differ_in_their_target_entropy_only():
    differences = analysis.differences(several_collections(), SETTINGS)
    both = pd.concat([differences, differences.assign(target_entropy=0.3, difference=-0.5)])
    table = analysis.across(both)
    assert table["n_collections"].tolist() == [3, 3] and table["mean"].iloc[1] == -0.5


def factorial(values: np.ndarray, loss: str = "kl") -> pd.DataFrame:
    """Results of values (strategies, target entropies, seeds)."""
    table = [
        row
        for s, h, seed in itertools.product(*map(range, values.shape))
        for row in rows(f"{s}-{h}", [values[s, h, seed]], teacher="t", loss=loss, strategy=f"s{s}", target_entropy=0.1 * (h + 1))
        if not row.update(seed=seed)
    ]
    return analysis.results(pd.DataFrame(table))


def test_two_way_by_hand():
    """Rows differ by 2, columns by 4, the interaction is 0, and seeds lie 1 above and below: sums of squares 8, 32, 0 and 8."""
    values = np.array([[[-1, 1], [3, 5]], [[1, 3], [5, 7]]], dtype=float)
    table = analysis.two_way(factorial(values)).set_index("source")
    assert table["sum_of_squares"].to_dict() == {"strategy": 8.0, "target_entropy": 32.0, "interaction": 0.0, "seeds": 8.0}
    assert table["share"].round(4).tolist() == [0.1667, 0.6667, 0.0, 0.1667]
    assert table["df"].tolist() == [1, 1, 1, 4]
    assert table.loc["strategy", "F"] == 4.0 and table.loc["interaction", "p"] == 1.0 and np.isnan(table.loc["seeds", "p"])


def test_two_way_agrees_with_statsmodels():
    import statsmodels.formula.api as smf
    from statsmodels.stats.anova import anova_lm

    generator = np.random.default_rng(3)
    values = generator.normal(size=(5, 6, 3)) + generator.normal(size=(5, 1, 1)) + generator.normal(size=(1, 6, 1))
    results = factorial(values)
    expected = anova_lm(smf.ols("value ~ C(strategy) * C(target_entropy)", results).fit())
    found = analysis.two_way(results)
    assert found["source"].tolist() == ["strategy", "target_entropy", "interaction", "seeds"]
    assert found["sum_of_squares"].to_numpy() == pytest.approx(expected["sum_sq"].to_numpy())
    assert found["df"].tolist() == expected["df"].tolist()
    assert found["F"].to_numpy()[:3] == pytest.approx(expected["F"].to_numpy()[:3])
    assert found["p"].to_numpy()[:3] == pytest.approx(expected["PR(>F)"].to_numpy()[:3])
    assert found["share"].sum() == pytest.approx(1)


def test_two_way_takes_each_loss_by_itself_and_leaves_cells_without_a_target_out():
    values = np.random.default_rng(4).normal(size=(2, 2, 2))
    results = pd.concat([factorial(values), factorial(values + 1, "ranknet"), analysis.results(pd.DataFrame(rows("lce", [0.1])))])
    found = analysis.two_way(results)
    assert found["loss"].tolist() == ["kl"] * 4 + ["ranknet"] * 4
    assert found["share"].to_numpy()[:4] == pytest.approx(found["share"].to_numpy()[4:])


def test_two_way_of_losses_lets_lce_have_no_teacher():
    table = []
    for strategy, seed, (loss, teacher) in itertools.product(("a", "b"), (0, 1), (("lce", ""), ("kl", "t"))):
        table += rows(f"{strategy}-{loss}", [0.1 * seed], strategy=strategy, loss=loss, teacher=teacher, seeds=(seed,))
    found = analysis.two_way(analysis.results(pd.DataFrame(table)), columns="loss")
    assert found["source"].tolist() == ["strategy", "loss", "interaction", "seeds"]
    assert found["share"].tolist()[3] == pytest.approx(1)


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (lambda r: ~((r["strategy"] == "s1") & (r["target_entropy"] > 0.15) & (r["seed"] == 1)), "not balanced: 1 of 8 combinations.*'s1'"),
        (lambda r: r["seed"] == 0, "has one seed only, 0; expected at least 2"),
        (lambda r: r["target_entropy"] < 0.15, "has one target_entropy only, 0.1"),
        (lambda r: r["strategy"] == "none", "no trained cell has both a strategy and a target_entropy"),
    ],
)
def test_two_way_refuses_what_is_no_balanced_factorial(keep, message):
    results = factorial(np.arange(8.0).reshape(2, 2, 2))
    with pytest.raises(ValueError, match=message):
        analysis.two_way(results[keep(results)])


def test_two_way_refuses_a_value_that_stands_twice_and_an_unknown_dimension():
    results = factorial(np.arange(8.0).reshape(2, 2, 2))
    with pytest.raises(ValueError, match="not balanced: 8 of 8 combinations do not have one value, the first is .* with 2"):
        analysis.two_way(pd.concat([results, results]))
    with pytest.raises(ValueError, match="'stragety' is no dimension; did you mean 'strategy'"):
        analysis.two_way(results, rows="stragety")


def test_the_spread_of_strategies_is_over_their_means():
    table = rows("r", [0.3], strategy="corpus_random", seeds=(0, 2)) + rows("b", [0.5]) + rows("d", [0.4], strategy="dense")
    table += rows("k", [0.9], **{"loss": "kl", "teacher": "t"}) + rows("u", [0.0], system="untrained", strategy="")
    (row,) = analysis.strategy_spread(analysis.results(pd.DataFrame(table))).to_dict("records")  # one strategy under kl has no spread
    assert (row["loss"], row["n_strategies"], row["lowest"], row["highest"]) == ("lce", 3, "corpus_random", "bm25")
    assert row["spread"] == pytest.approx(0.19)  # 0.5 - (0.30 + 0.32) / 2
    assert row["sd"] == pytest.approx(np.std([0.31, 0.5, 0.4], ddof=1))


# --- from a store -------------------------------------------------------------------------------------------------------------


SECONDS = {"docs": 1, "queries": 2, "lexicon": 4, "tokens": 8, "candidates": 16, "groups": 32, "scores": 64, "student": 1024}
SECONDS |= {"evaluation": 4096, "search": 16384, "vectors": 0, "description": 0}
EMBEDDED = {"source": "embedded", "profile": "smallest"}


@pytest.fixture
def pipeline(outputs):
    return Pipeline(Store(), track=untracked)


def planned(tmp_path, **changes) -> plan.Plan:
    values = yaml.safe_load((ROOT / "params" / "smallest.yaml").read_text()) | changes
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(values))
    return plan.load_plan(tmp_path / "study.yaml")


def put(store, spec, counts=None, dropped=None, **tables):
    """Put an artefact into the store as if it had been made in the seconds of its stage, and twice as many CPU seconds."""
    folder = store.folder(spec)
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet")
    cost = {"wall_seconds": SECONDS[spec.stage], "cpu_seconds": 2 * SECONDS[spec.stage], "peak_memory_mb": 1.0}
    manifest = {"cost": cost, "counts": counts or {}, "dropped": dropped or {}, "parameters": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def put_all(store, this):
    """Put everything into the store that the students of a plan and their evaluations are made from."""
    counts = {
        "scores": {"pairs": 100, "pairs_scored_now": 50},
        "student": {"documents_seen": 10, "tokens_seen": 100},
        "groups": {"groups": 20, "queries": 20},
        "evaluation": {"queries_judged": 3, "pairs_scored": 7},
    }
    systems = [(s, this.labels[row.pair]) for row in this.baselines for s in row.systems.values()]
    systems += [(params.StudentSystem(student=student), cell.collection) for cell in this.cells for student in cell.students.values()]
    for system, collection in systems:
        for evaluation in this.evaluations(system, collection):
            for spec in [*upstream(evaluation).values(), evaluation]:
                if not store.has(spec):
                    put(store, spec, counts.get(spec.stage))


SEARCH = {
    "architectures": {"static": {"learning_rates": [0.003, 0.01]}},
    "strategy": "bm25",
    "teacher": "oracle",
    "validation": EMBEDDED | {"split": "validation"},
    "first_stages": [{"kind": "rerank", "retriever": "bm25", "depth": 100}],
}


def test_a_cell_pays_once_for_each_thing_it_is_made_from_and_a_search_is_training(tmp_path, pipeline):
    this = planned(tmp_path, search=SEARCH)
    put_all(pipeline.store, this)
    costs = analysis.costs(this, pipeline).set_index(["cell", "seed"])
    pairs = 100 * 64 / 50  # all pairs of a cell, at what one pair cost
    texts = 8 + 8 + 4
    mine = 1 + 2 + 16 + 32
    searched = 16384 + 2 * (4096 + 1024) + 2 + 16 + 8  # two candidates; the validation queries, their candidates and tokens
    columns = ["mine_wall_seconds", "score_wall_seconds", "train_wall_seconds", "evaluate_wall_seconds"]
    assert costs.loc[("static-bm25-oracle-kl", 0), columns].tolist() == [mine, pairs, 1024 + texts + searched, 2 * 4096]
    # the search ran on the groups and scores of seed 0, which a student of seed 1 would not have needed otherwise
    assert costs.loc[("static-bm25-oracle-kl", 1), columns].tolist() == [mine, pairs, 1024 + texts + searched + 32 + pairs, 2 * 4096]
    assert costs.loc[("static-bm25-lce", 0), columns].tolist() == [mine, 0, 1024 + texts + searched, 2 * 4096]
    cpu = costs[[name.replace("wall", "cpu") for name in columns]]
    assert (cpu.to_numpy() == 2 * costs[columns].to_numpy()).all()
    assert (costs["total_cpu_seconds"] == cpu.sum(axis=1)).all()


def test_a_cell_pays_for_its_trained_teacher_and_not_for_a_search_that_it_does_not_use(tmp_path, pipeline):
    this = planned(tmp_path, search=SEARCH)
    put_all(pipeline.store, this)
    costs = analysis.costs(this, pipeline).set_index(["cell", "seed"])
    columns = ["mine_wall_seconds", "score_wall_seconds", "train_wall_seconds"]
    name = "interaction-bm25-cross-kl"  # its teacher: an interaction model, trained on the same groups as seed 0
    assert costs.loc[(name, 0), columns].tolist() == [51, 128 + 1024, 1024 + 20]
    assert costs.loc[(name, 1), columns].tolist() == [51, 128 + 1024 + 32, 1024 + 20]


def test_a_cell_pays_for_its_trained_retriever_while_mining(tmp_path, pipeline):
    trained = {"kind": "dense", "architecture": "static", "strategy": "corpus_random"}
    grid = {"strategies": ["dense", "corpus_random"], "losses": ["lce"], "architectures": ["static"], "seeds": [0]}
    strategies = {"corpus_random": {"kind": "corpus_random"}, "dense": {"kind": "candidates", "retriever": "dense"}}
    retrievers = {"bm25": {"kind": "bm25"}, "dense": trained}
    this = planned(tmp_path, retrievers=retrievers, strategies=strategies, teachers={}, grids=[grid], overrides=[])
    put_all(pipeline.store, this)
    costs = analysis.costs(this, pipeline).set_index("cell")
    columns = ["mine_wall_seconds", "train_wall_seconds"]
    assert costs.loc["static-corpus_random-lce", columns].tolist() == [1 + 2 + 32, 1024 + 20]
    assert costs.loc["static-dense-lce", columns].tolist() == [1 + 2 + 32 + 16 + (1024 + 32), 1024 + 20]


def test_scores_are_charged_at_the_rate_of_where_most_pairs_were_scored(tmp_path, pipeline):
    this = planned(tmp_path)
    put_all(pipeline.store, this)
    (cell,) = [cell for cell in this.cells if cell.name == "static-corpus_random-oracle-kl"]
    student = cell.students[1]
    spec = params.ScoresSpec(groups=student.groups, teacher=student.teacher)
    put(pipeline.store, spec, {"pairs": 100, "pairs_scored_now": 1})  # what is left is read, not scored: 64 s for one pair is no rate
    costs = analysis.costs(this, pipeline).set_index(["cell", "seed"])
    assert costs.loc[(cell.name, 1), "score_wall_seconds"] == 128.0


def test_learning_rates_name_the_studys_architecture_and_warn_at_the_end_of_the_list(tmp_path, pipeline):
    this = planned(tmp_path, search=SEARCH)
    for cell in this.cells:
        for student in cell.students.values():
            if student.search is not None:
                chosen = [False, True] if cell.loss == "kl" else [True, False]
                table = pd.DataFrame({"learning_rate": [0.003, 0.01], "nDCG@10": [0.5, 0.6], "chosen": chosen})
                put(pipeline.store, params.search_spec(student), search=table)
    rates = analysis.learning_rates(this, pipeline)
    assert rates[["architecture", "loss", "learning_rate", "nDCG@10", "chosen", "at_end"]].to_numpy().tolist() == [
        ["static", "lce", 0.003, 0.5, True, True],
        ["static", "lce", 0.01, 0.6, False, False],
        ["static", "kl", 0.003, 0.5, False, False],
        ["static", "kl", 0.01, 0.6, True, True],
    ]
    assert rates["search"].nunique() == 2
    report.search_chart(rates, "nDCG@10")
    assert analysis.learning_rates(planned(tmp_path), pipeline).empty


AUGMENTED = {
    "reference": "static",
    "augmentations": {"spans": {"document_span": 0.5}, "random_half": {"random_share": 0.5}},
    "strategies": {
        "corpus_random": {"kind": "corpus_random"},
        "anew": {"kind": "refreshed", "start": "bm25", "every": 2},
        "bm25": {"kind": "candidates", "retriever": "bm25", "depth": 100},
    },
    "cuts": {"upper": {"teacher": "oracle", "part": "upper_half"}},
    "overrides": [],
}
GRID = {"strategies": ["bm25"], "teachers": ["oracle"], "losses": ["lce", "kl"], "architectures": ["static"], "seeds": [0, 1]}


def describe(store, spec):
    """Put a description into the store: two groups before; after, as augmentation and the target leave them."""
    states = ["before"] if spec.augmentation == params.Augmentation() and spec.target_entropy is None else ["before", "after"]
    tables = [
        pd.DataFrame({"query_id": ["q1", "q2"], "diameter_q99": [0.2, 0.4 + 0.2 * spec.seed], "diameter": 0.5, "mean_distance": 0.1})
        .assign(density_ratio=[1.0, 3.0], pairwise_entropy=0.5 if state == "before" else spec.target_entropy or 0.25, state=state)
        for state in states
    ]  # fmt: skip
    temperature = 2.0 + spec.seed if spec.target_entropy else spec.temperature
    counts = {"temperature": temperature, "coverage a": 0.2, "coverage b": 0.4}
    put(store, spec, counts, description=pd.concat(tables, ignore_index=True))


def test_descriptions_are_of_groups_and_their_teacher_before_and_after(tmp_path, pipeline):
    grids = [GRID | {"augmentations": ["none", "spans"]}, GRID | {"losses": ["kl"], "target_entropies": [0.3]}]
    grids += [GRID | {"strategies": ["anew"]}]
    this = planned(tmp_path, **AUGMENTED, grids=grids)
    for cell in this.cells:
        for student in cell.students.values():
            describe(pipeline.store, this.description(cell, student))
    table = analysis.descriptions(this, pipeline)
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
    assert table["density_ratio"].tolist() == [2.0] * 5 and table["coverage"].to_numpy() == pytest.approx([0.3] * 5)
    assert table["solved_temperature"].tolist() == [1.0, 1.0, 1.0, 2.5, 2.5]
    report.locality_chart(table)
    report.description_table(table)


def test_a_study_without_a_reference_has_no_descriptions(tmp_path, pipeline):
    assert analysis.descriptions(planned(tmp_path), pipeline).empty


def test_groups_are_named_by_what_changed_them_and_counted_once(tmp_path, pipeline):
    grids = [
        GRID | {"strategies": ["anew", "bm25"], "augmentations": ["none", "spans", "random_half"]},
        GRID | {"cuts": ["upper"], "seeds": [0]},
    ]
    this = planned(tmp_path, **AUGMENTED, grids=grids)
    for cell in this.cells:
        for student in cell.students.values():
            counts, dropped = {"groups": 20 if cell.cut == "all" else 10}, {"groups_of_other_parts": 10} if cell.cut != "all" else {}
            put(pipeline.store, student.groups, counts, dropped)
            if student.teacher:
                scores = pd.DataFrame({"teacher_scores": [[0.0, 0.0], [50.0, 0.0]]})
                put(pipeline.store, params.ScoresSpec(groups=student.groups, teacher=student.teacher), scores=scores)
    groups = analysis.groups_made(this, pipeline)
    assert groups[["strategy", "seed", "groups"]].to_numpy().tolist() == [
        ["bm25", 0, 20], ["bm25", 1, 20], ["bm25 random_half", 0, 20], ["bm25 random_half", 1, 20], ["bm25 upper", 0, 10],
    ]  # fmt: skip
    assert groups["groups_of_other_parts"].fillna(0).tolist() == [0, 0, 0, 0, 10]
    entropies = analysis.group_entropies(this, pipeline)
    assert entropies[["strategy", "teacher"]].to_numpy().tolist() == [
        [name, "oracle"] for name in ("bm25", "bm25 random_half", "bm25 upper")
    ]
    assert entropies["pairwise_entropy"].to_numpy() == pytest.approx([0.5] * 3)  # one pair undecided, one certain
    assert entropies["collection"].unique().tolist() == this.labels
    report.entropy_chart(entropies)


def test_histories_are_averaged_over_stretches_of_steps(tmp_path, pipeline):
    this = planned(tmp_path)
    for cell in this.cells:
        for student in cell.students.values():
            step = np.arange(1, 11)
            table = pd.DataFrame({"step": step, "documents_seen": 16 * step, "loss": 1.0 * step, "learning_rate": 0.1})
            put(pipeline.store, student, history=table)
    first = analysis.histories(this, pipeline, points=5).query("cell == 'static-bm25-oracle-kl' and seed == 0")
    assert first["step"].tolist() == [2, 4, 6, 8, 10] and first["loss"].tolist() == [1.5, 3.5, 5.5, 7.5, 9.5]
    assert first["recipe"].unique().tolist() == ["static · kl · oracle"]
    assert len(analysis.histories(this, pipeline).query("cell == 'static-bm25-lce' and seed == 0")) == 10


# --- the study's folder -------------------------------------------------------------------------------------------------------


def measured(this: plan.Plan) -> pd.DataFrame:
    """Values per query of everything in a plan, drawn."""
    generator = np.random.default_rng(5)
    parts = [
        pd.DataFrame({"query_id": [f"q{n}" for n in range(12)], "measure": measure, "value": generator.uniform(size=12)})
        .assign(**keys, test_collection=spec.collection.label, first_stage=spec.first_stage.label)
        for keys, system in analysis._systems(this)
        for spec in this.evaluations(system, keys["collection"])
        for measure in this.study.evaluation.measures
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def test_the_report_of_a_study_of_everything_has_every_section(tmp_path, pipeline):
    pairs = [
        {"train": EMBEDDED | {"split": "train", "seed": seed}, "test": [EMBEDDED | {"split": "test", "seed": seed}]} for seed in (13, 14)
    ]
    grids = [GRID | {"strategies": ["corpus_random", "bm25"]}]
    grids += [GRID | {"strategies": ["corpus_random", "bm25"], "losses": ["kl"], "target_entropies": [0.3, 0.6]}]
    evaluation = {"first_stages": [{"retriever": "bm25"}], "measures": ["nDCG@10"]}
    this = planned(tmp_path, **AUGMENTED, grids=grids, collections=pairs, search=SEARCH, evaluation=evaluation)
    put_all(pipeline.store, this)
    for cell in this.cells:
        for student in cell.students.values():
            describe(pipeline.store, this.description(cell, student))
            rates = pd.DataFrame({"learning_rate": [0.003, 0.01], "nDCG@10": [0.5, 0.6], "chosen": [False, True]})
            put(pipeline.store, params.search_spec(student), search=rates)
    per_query = measured(this)
    results = analysis.results(per_query)
    summary, differences = analysis.summary(results), analysis.differences(per_query, this.study.analysis)
    tables = {
        "results": results,
        "per_query": per_query,
        "summary": summary,
        "differences": differences,
        "cells": analysis.costs(this, pipeline),
        "across": analysis.across(differences),
        "learning_rates": analysis.learning_rates(this, pipeline),
        "descriptions": analysis.descriptions(this, pipeline),
        "entropies": pd.DataFrame(),
        "variance": analysis.two_way(results),
        "strategy_spread": analysis.strategy_spread(results),
    }
    name = this.study.collections[1].test[0].label
    charts = {
        f"effectiveness {name}": report.effectiveness_chart(summary, results, measure="nDCG@10", test_collection=name),
        f"cost {name}": report.cost_chart(summary, tables["cells"], measure="nDCG@10", test_collection=name),
        f"surface {name}": report.surface_chart(summary, "nDCG@10", test_collection=name),
    }
    written = analysis.write(this, pipeline, tables, charts)
    assert [path.name for path in written] == [f"{name}.parquet" for name in tables if name != "entropies"] + ["report.html"]
    page = written[-1].read_text()
    titles = ["What was run", "Learning rates", "Effectiveness", "Differences", "Across collections", "Strategy and entropy as factors"]
    titles += ["Locality and entropy", "Cost", "Where each number comes from"]  # "Training" has nothing to show
    assert [f"{n} {title}</h2>" in page for n, title in enumerate(titles, start=1)] == [True] * len(titles)
    assert "8 cells with the seeds 0, 1 on 2 training collections: 32 students" in page
    assert page.count("<figure id=") == len(charts)
    assert {path.suffix for path in (this.folder / "charts").iterdir()} == {".json", ".svg", ".png"}
    pd.testing.assert_frame_equal(pd.read_parquet(this.folder / "across.parquet"), tables["across"])


def test_the_report_of_one_collection_has_no_section_across_and_a_missing_table_is_named(tmp_path, pipeline):
    this = planned(tmp_path)
    put_all(pipeline.store, this)
    per_query = measured(this)
    results = analysis.results(per_query)
    tables = {"results": results, "per_query": per_query, "summary": analysis.summary(results)}
    tables["differences"] = analysis.differences(per_query, this.study.analysis)
    with pytest.raises(ValueError, match="tables lacks cells; expected results, per_query, summary, differences, cells"):
        analysis.write(this, pipeline, tables, {})
    written = analysis.write(this, pipeline, tables | {"cells": analysis.costs(this, pipeline)}, {})
    page = written[-1].read_text()
    assert "Differences</h2>" in page and "Across collections</h2>" not in page and "Learning rates</h2>" not in page
    judged = analysis.judged(this, pipeline)
    assert judged.to_dict("records") == [
        {"test_collection": this.study.collections[0].test[0].label, "first_stage": stage, "queries_judged": 3}
        for stage in ("bm25@100", "full")
    ]
    assert identity(this.cells[0].students[0]) in page


def test_a_grid_with_one_target_entropy_is_no_factorial_and_others_are_found():
    one = pd.DataFrame([{"strategy": s, "target_entropy": 0.4, "seed": seed, "value": 0.5} for s in ("a", "b") for seed in (0, 1)])
    grid = itertools.product(("a", "b"), (0.2, 0.8), (0, 1))
    two = pd.DataFrame([{"strategy": s, "target_entropy": h, "seed": seed, "value": h + 0.01 * seed} for s, h, seed in grid])
    frames = []
    for architecture, frame in (("bi", one), ("cross", two)):
        plain = {"teacher": "t", "loss": "kl", "augmentation": "none", "cut": "all", "temperature": 1.0, "architecture": architecture}
        where = {"collection": "c", "test_collection": "t", "first_stage": "full", "measure": "AP", "system": "student"}
        frames.append(frame.assign(**plain, **where))
    found = analysis.factorials(pd.concat(frames, ignore_index=True))
    assert found["architecture"].unique().tolist() == ["cross"] and len(found) == 4
    assert found.set_index("source").loc["target_entropy", "share"] > 0.99
    assert analysis.factorials(frames[0]).empty
