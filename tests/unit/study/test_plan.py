"""Plans: cells, nodes, and the studies that ship."""

from __future__ import annotations

import csv
import functools
import json
import re
from pathlib import Path

import pytest
import yaml

from rd_utils.__main__ import main
from rd_utils.analysis import questions
from rd_utils.cost import devices
from rd_utils.processor import processor
from rd_utils.store import identity, upstream
from rd_utils.study import node_files, nodes, params, plan, studies
from rd_utils.study.params import ParameterError

ROOT = Path(__file__).resolve().parents[3]
STUDIES = sorted(path for path in (ROOT / "params").rglob("*.yaml") if not {"bases", "profiles", "own"} & set(path.parts))
NOTEBOOKS = {
    "01_mine": params.MineParameters,
    "02_score": params.ScoreParameters,
    "03_train": params.TrainParameters,
    "04_evaluate": params.EvaluateParameters,
    "05c_report": params.AnalyseParameters,
    "06_search": params.SearchParameters,
}
load = functools.cache(plan.load_plan)  # a plan is read only, and two tests look at each


def identities(specs) -> set[str]:
    return {identity(spec) for spec in specs}


def made_by(planned: plan.Plan) -> dict[str, str]:
    """Return the notebook that first makes each artefact."""
    return {identity(spec): node.notebook for node in reversed(planned.nodes) for spec in node.artefacts}


def is_whole(planned: plan.Plan) -> None:
    """Check that nodes make all students, descriptions and evaluations, in an order in which each finds what it needs."""
    made = made_by(planned)
    cells = [(cell, student) for cell in planned.cells for student in cell.students.values()]
    assert identities(student for _, student in cells) <= set(made)
    descriptions = [planned.description(cell, student) for cell, student in cells]
    assert (None in descriptions) == (planned.study.reference is None)
    assert identities(filter(None, descriptions)) <= set(made)
    wanted = [(params.StudentSystem(student=student), cell.collection) for cell, student in cells]
    wanted += [(system, planned.labels[row.pair]) for row in planned.baselines for system in row.systems.values()]
    evaluations = [spec for system, collection in wanted for spec in planned.evaluations(system, collection)]
    assert identities(evaluations) == {key for key, notebook in made.items() if notebook == "04_evaluate"}
    before: set[str] = set()
    for node in planned.nodes:
        assert set(node.needs) <= before, f"{node.name} needs what comes later"
        before.add(node.id)
    assert len(before) == len({node.name for node in planned.nodes}) == len(planned.nodes)
    missing = {spec.stage for spec in planned.specs() if spec.stage in MADE_BY and identity(spec) not in made}
    assert not missing, f"no node makes some of the {missing}"


MADE_BY = {"groups": "01_mine", "scores": "02_score", "search": "06_search"}


def out_of_order(planned: plan.Plan) -> set[tuple[str, str]]:
    """Return (node, later node) where a node needs groups, scores, a search, or a student of a node of its own that comes later."""
    place = {identity(spec): number for number, node in reversed(list(enumerate(planned.nodes))) for spec in node.artefacts}
    of_cells = identities(student for cell in planned.cells for student in cell.students.values())
    found = set()
    for number, node in enumerate(planned.nodes):
        for spec in node.artefacts:
            for key, part in upstream(spec).items():
                if place.get(key, 0) > number and key not in of_cells and part.stage in (*MADE_BY, "student"):
                    found.add((node.name, planned.nodes[place[key]].name))
    return found


def needs_its_folder(path: Path) -> None:
    """Skip a study of the claims whose collection, no part of this repository, does not lie beside ``params``."""
    for folder in re.findall(r"path: (collections/[\w-]+)", path.read_text(encoding="utf-8")):
        if not (ROOT / folder).is_dir():
            pytest.skip(f"{folder} is not there; docs/protocol.md says which collections are read from folders")


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: str(path.relative_to(ROOT / "params")))
def test_every_study_that_ships_is_valid_and_plans(path):
    needs_its_folder(path)
    is_whole(load(path))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: str(path.relative_to(ROOT / "params")))
def test_every_nodes_parameters_are_what_its_notebook_accepts(path):
    needs_its_folder(path)
    for node in load(path).nodes:
        says_its_artefacts(node)


def says_its_artefacts(node: nodes.Node) -> None:
    parsed = params.parse(NOTEBOOKS[node.notebook], json.loads(json.dumps(node.parameters)), node.name)
    if node.notebook == "01_mine":
        said = [parsed.groups(seed) for seed in parsed.seeds]
    elif node.notebook == "02_score":
        said = [parsed.scores(seed) for seed in parsed.seeds]
    elif node.notebook == "03_train":
        said = [*parsed.students().values(), *parsed.descriptions().values(), *parsed.behaviours().values()]
    elif node.notebook == "04_evaluate":
        said = parsed.evaluations()
    else:
        said = [params.search_spec(student) for student in parsed.students] if node.notebook == "06_search" else []
    assert identities(said) == identities(node.artefacts)


def test_the_published_protocol_is_stated_exactly():
    study = studies.load_study(ROOT / "params" / "paper" / "msmarco.yaml")
    training = study.training
    (pair,) = study.collections
    assert pair.train.id == "msmarco-passage/train/triples-small"
    assert study.group_size == 16
    assert training.steps(16) == 93_750
    assert (training.queries_per_batch, training.accumulation_steps, training.learning_rate) == (8, 2, 1e-5)
    assert (training.warmup_share, training.precision) == (0.1, "fp16")
    teacher = study.teachers["electra"]
    assert (teacher.student.groups.strategy, teacher.student.training.documents) == (study.strategies["bm25"], 532_761 * 16)
    assert teacher.student.architecture == study.architectures["electra_cross"]
    bm25 = study.retrievers["bm25"]
    assert (bm25.k1, bm25.b, study.strategies["bm25"].depth) == (1.2, 0.75, 200)
    bi, cross = study.architectures["bert_bi"], study.architectures["electra_cross"]
    assert (bi.model, bi.pooling, bi.similarity) == ("bert-base-uncased", "cls", "dot")
    assert (cross.model, cross.labels) == ("google/electra-base-discriminator", 2)
    assert set(study.evaluation.measures) == {"nDCG@10", "AP(rel=2)"}
    assert {c.id for c in pair.test} == {f"msmarco-passage/trec-dl-20{year}/judged" for year in (19, 20)}
    (grid,) = study.grids
    assert {"corpus_random", "bm25"} <= set(grid.strategies) and set(grid.losses) == {"lce", "ranknet", "margin_mse", "kl"}
    assert len(load(ROOT / "params" / "paper" / "msmarco.yaml").cells) == 2 * 4 * len(grid.strategies)


@pytest.mark.parametrize("base", ["embedded", "scifact", "vaswani", "documented"])
def test_an_ablation_runs_on_every_base_by_one_argument(base):
    planned = plan.load_plan(ROOT / "params" / "ablations" / "augment_inputs.yaml", base)
    is_whole(planned)
    assert planned.study.name == ("augment_inputs" if base == "embedded" else f"augment_inputs_{base}")
    assert planned.folder.name == planned.study.name
    analyse = planned.nodes[-1]
    assert analyse.parameters == {"study": "params/ablations/augment_inputs.yaml", "base": base}
    source = {"scifact": "ir_datasets", "vaswani": "pseudo_queries"}.get(base, base)
    assert {cell.collection for cell in planned.cells} == {pair.train.label for pair in planned.study.collections}
    assert planned.study.collections[0].train.source == source


def changed(tmp_path, change, of="smallest.yaml") -> Path:
    values = yaml.safe_load((ROOT / "params" / of).read_text())
    change(values)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_lce_has_one_cell_however_many_teachers_there_are(tmp_path):
    def change(values):
        values["grids"] = [values["grids"][0] | {"teachers": ["oracle", "cross"]}]
        values["overrides"] = []

    names = [cell.name for cell in plan.load_plan(changed(tmp_path, change)).cells]
    assert names.count("static-bm25-lce") == 1
    assert {"static-bm25-oracle-kl", "static-bm25-cross-kl"} <= set(names)


def test_an_override_reaches_its_cells_only_and_one_that_meets_none_is_refused(tmp_path):
    def change(values):
        values["overrides"].append({"when": {"loss": "kl", "strategy": "bm25"}, "set": {"learning_rate": 0.5, "temperature": 2.0}})

    cells = {cell.name: next(iter(cell.students.values())) for cell in plan.load_plan(changed(tmp_path, change)).cells}
    assert cells["static-bm25-oracle-kl-T2"].training.learning_rate == 0.5
    assert cells["static-corpus_random-oracle-kl"].training.learning_rate == 0.01
    assert cells["static-bm25-lce"].training.learning_rate == 0.01
    with pytest.raises(ParameterError, match="meets no cell"):
        plan.load_plan(changed(tmp_path, lambda v: v["overrides"].append({"when": {"loss": "ranknet"}, "set": {"learning_rate": 1.0}})))


def test_packing_changes_no_artefact(tmp_path):
    def packed(most):
        def change(values):
            values["grids"][0]["seeds"] = [0, 1, 2]
            values["workflow"] = {"students_per_node": most}

        planned = plan.load_plan(changed(tmp_path, change))
        students = [sum(spec.stage == "student" for spec in node.artefacts) for node in planned.nodes if node.notebook == "03_train"]
        assert sum(students) == sum(len(cell.students) for cell in planned.cells)
        described = [planned.description(cell, student) for cell in planned.cells for student in cell.students.values()]
        return max(students), {identity(spec) for node in planned.nodes for spec in node.artefacts}, described

    largest, artefacts, described = packed(12)
    assert largest > 3
    for most in (1, 2, 3):  # fewer than a cell has seeds, which are split then, and as many
        assert packed(most) == (most, artefacts, described)


def test_searches_are_packed_by_their_candidates(tmp_path):
    (tmp_path / "bases").symlink_to(ROOT / "params" / "bases")

    def packed(most):
        path = changed(tmp_path, lambda values: values.__setitem__("workflow", {"students_per_node": most}), "embedded.yaml")
        artefacts = [node.artefacts for node in plan.load_plan(path).nodes if node.notebook == "06_search"]
        for node in artefacts:
            assert len(node) == 1 or sum(len(search.candidates) for search in node) <= most
            assert len({search.candidates[0].architecture.kind for search in node}) == 1
        return len(artefacts), {identity(search) for node in artefacts for search in node}

    (alone, searches), (some, same), (together, again) = packed(1), packed(12), packed(1000)
    assert searches == same == again
    assert alone == len(searches) > some > together == 2  # the architectures


def test_two_studies_share_what_they_have_in_common(tmp_path):
    first = plan.load_plan(ROOT / "params" / "smallest.yaml")
    second = plan.load_plan(changed(tmp_path, lambda values: values["grids"][0].__setitem__("seeds", [0, 1, 2])))
    own, other = ({identity(spec) for spec in p.specs()} for p in (first, second))
    assert own < other


def test_an_unknown_measure_or_model_folder_is_refused_before_anything_starts(tmp_path):
    def measure(values):
        values["evaluation"]["measures"] = ["nDCG@10", "nDGC@10"]

    with pytest.raises(ParameterError, match="unknown measure 'nDGC@10'; did you mean 'nDCG@10'"):
        plan.load_plan(changed(tmp_path, measure))

    def model(values):
        values["architectures"]["static"] = {"kind": "bi_encoder", "model": "./no/such/folder"}

    with pytest.raises(ParameterError, match="no folder ./no/such/folder"):
        plan.load_plan(changed(tmp_path, model))


def test_check_and_plan_print_and_mistakes_end_with_2(outputs, tmp_path, capsys, monkeypatch):
    assert main(["check", str(ROOT / "params" / "smallest.yaml")]) == 0
    assert "6 cells, 12 students" in capsys.readouterr().out
    monkeypatch.setattr(devices, "core_peak", lambda: 1e11)
    assert main(["plan", str(ROOT / "params" / "smallest.yaml"), "--cells"]) == 0
    printed = capsys.readouterr().out
    assert "interaction-bm25-cross-kl" in printed and "assumed" in printed
    assert main(["check", str(tmp_path / "none.yaml")]) == 2
    assert "no study file" in capsys.readouterr().err


def test_check_and_plan_say_what_a_study_can_show_and_formats_for_programs_say_nothing_else(outputs, capsys, monkeypatch):
    study = str(ROOT / "params" / "smallest.yaml")
    monkeypatch.setattr(devices, "core_peak", lambda: 1e11)
    notes = [f"note: {line}" for line in questions.before(plan.load_plan(study))]
    assert len(notes) == 3 and "2 of 6 cells have no cell of corpus_random beside them" in notes[0]
    assert main(["check", study]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == notes
    assert main(["plan", study]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")] == notes
    assert main(["plan", study, "--format", "json"]) == 0
    assert {row["device"] for row in json.loads(capsys.readouterr().out)} == {processor().kind}
    assert main(["plan", study, "--format", "csv"]) == 0
    header, *lines = csv.reader(capsys.readouterr().out.splitlines())
    assert header[:2] == ["level", "name"] and lines and all(len(line) == len(header) for line in lines)


def test_prepare_sets_aside_a_notebook_whose_artefacts_are_gone(outputs):
    planned = plan.load_plan(ROOT / "params" / "smallest.yaml")
    node_files.prepare(planned)
    node = planned.nodes[0]
    folder = node_files.node_folder(node.id)
    assert yaml.safe_load((folder / "parameters.yaml").read_text()) == node.parameters
    (folder / "notebook.ipynb").write_text("{}")
    node_files.prepare(planned)
    assert not (folder / "notebook.ipynb").exists()


# --- one entry of every kind ------------------------------------------------------------------------------------------------------

TINY = {"documents": 64, "queries_per_batch": 2, "learning_rate": 0.01}


def every_kind(values) -> None:
    """Make the smallest study name one entry of every kind, on two collections."""
    other = {"source": "embedded", "seed": 14}
    values["collections"] = [values["collections"], {"train": other | {"split": "train"}, "test": [other | {"split": "test"}]}]
    values["retrievers"] |= {
        "untrained": {"kind": "dense", "architecture": "static"},
        "dense": {"kind": "dense", "architecture": "static", "strategy": "corpus_random", "training": TINY, "seed": 7},
        "pool": {"kind": "pooled", "retrievers": ["bm25", "dense"], "at_most": 20},
        "by_teacher": {"kind": "reranked", "retriever": "pool", "from_depth": 40, "teacher": "strong"},
    }
    values["strategies"] |= {
        "dense": {"kind": "candidates", "retriever": "dense", "depth": 40},
        "hard": {"kind": "candidates", "retriever": "by_teacher", "depth": 40, "filter": {"teacher": "strong", "value": 1.0}},
        "graph": {"kind": "graph", "retriever": "untrained", "depth": 40},
        "narrow": {"kind": "diameter_targeted", "retriever": "bm25", "depth": 40, "quantile": 0.1},
        "refreshed": {"kind": "refreshed", "start": "dense", "every": 4},
    }
    values["teachers"] |= {
        "strong": {"kind": "trained", "architecture": "interaction", "strategy": "dense", "training": TINY, "seed": 5},
        "bi": {"kind": "encoder", "architecture": "static"},
        "lexical": {"kind": "bm25", "retriever": "bm25"},
        "all": {"kind": "ensemble", "members": ["bi", "lexical", "strong"], "strategy": "bm25"},
    }
    values["augmentations"] = {"noisy": {"noise": 1.0}, "random": {"random_share": 0.5}}
    values["cuts"] = {"low": {"teacher": "all", "part": "lower_half"}}
    values |= {"reference": "static", "shortage": "corpus_random", "group_size": 4, "overrides": [], "draws": 2}
    values["search"] = {
        "architectures": {"static": {"learning_rates": [0.01, 0.1]}},
        "strategy": "narrow",
        "teacher": "all",
        "validation": {"source": "embedded", "split": "validation"},
        "first_stages": [{"retriever": "bm25", "depth": 20}],
    }
    values["grids"] = [
        {
            "strategies": ["corpus_random", "hard", "graph", "narrow", "refreshed"],
            "teachers": ["all"],
            "losses": ["lce", "kl"],
            "architectures": ["static"],
            "cuts": ["all", "low"],
            "seeds": [0, 1],
        },
        {
            "strategies": ["hard"],
            "teachers": ["all"],
            "losses": ["kl"],
            "architectures": ["static"],
            "target_entropies": [0.2, 0.8],
            "augmentations": ["none", "noisy", "random"],
            "seeds": [0, 1],
        },
        {"strategies": ["bm25"], "losses": ["lce"], "architectures": ["interaction"], "seeds": [0]},
    ]


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> plan.Plan:
    return plan.load_plan(changed(tmp_path_factory.mktemp("full"), every_kind))


def test_a_study_of_every_kind_is_whole_and_its_nodes_say_what_they_make(full):
    is_whole(full)
    for node in full.nodes:
        says_its_artefacts(node)


def test_every_collection_has_the_same_cells_and_its_own_students(full):
    labels = ["embedded-smallest-additive-13/train", "embedded-smallest-additive-14/train"]
    assert full.labels == labels
    names = [[cell.name for cell in full.cells if cell.collection == label] for label in labels]
    assert names[0] == names[1] and len(names[0]) == 5 * 2 * 2 + 2 * 3 + 1
    by_name = {(cell.collection, cell.name): cell.students[0] for cell in full.cells}
    for name in names[0]:
        first, second = (by_name[label, name] for label in labels)
        assert first.groups.collection != second.groups.collection and first.loss == second.loss
    for cell in full.cells:
        student = next(iter(cell.students.values()))
        tested = {spec.collection.seed for spec in full.evaluations(params.StudentSystem(student=student), cell.collection)}
        assert tested == {student.groups.collection.seed}
    assert {row.pair for row in full.baselines} == {0, 1}


def test_cells_are_named_by_what_makes_them_differ(full):
    names = {cell.name for cell in full.cells}
    assert {
        "static-hard-lce",
        "static-hard-all-kl",
        "static-hard-all-kl-low",
        "static-hard-all-kl-H0.2",
        "static-hard-all-kl-H0.8-noisy",
        "static-hard-all-kl-H0.8-random",
        "static-refreshed-lce-low",
        "interaction-bm25-lce",
    } <= names
    solved = next(cell for cell in full.cells if cell.name == "static-hard-all-kl-H0.8-noisy")
    assert (solved.temperature, solved.target_entropy, solved.augmentation) == (1.0, 0.8, "noisy")
    plain = next(cell for cell in full.cells if cell.name == "static-hard-all-kl")
    assert plain.target_entropy != plain.target_entropy  # NaN where the temperature was given


def test_students_that_retrieve_or_teach_and_searches_have_nodes_before_what_needs_them(full):
    place = {node.id: number for number, node in enumerate(full.nodes)}
    maker = {identity(spec): node for node in reversed(full.nodes) for spec in node.artefacts}
    for label, study in zip(full.labels, full.studies, strict=True):
        retriever, teacher = study.retrievers["dense"].encoder.student, study.teachers["strong"].student
        assert (retriever.seed, teacher.seed) == (7, 5)
        for student, needs_it in ((retriever, teacher.groups), (teacher, study.groups("hard", 0))):
            node, later = maker[identity(student)], maker[identity(needs_it)]
            assert node.notebook == "03_train" and place[node.id] < place[later.id] and node.id in later.needs
            assert label.replace("/", "_") in node.name
    searches = [node for node in full.nodes if node.notebook == "06_search"]
    (search,) = searches
    assert len(search.artefacts) == 2  # one for each loss, on the first collection
    users = {spec.stage: node for node in full.nodes for spec in node.artefacts if search.id in node.needs}
    assert {"student", "evaluation"} <= set(users)
    assert all(place[search.id] < place[node.id] for node in full.nodes if search.id in node.needs)


@pytest.mark.parametrize("path", ["smallest.yaml", "ablations/teachers.yaml", "embedded.yaml", "scifact_grid.yaml"])
def test_every_node_comes_after_those_that_make_what_it_needs(path):
    assert out_of_order(load(ROOT / "params" / path)) == set()


def test_the_nodes_of_a_study_of_every_kind_are_in_order(full):
    assert out_of_order(full) == set()


def test_each_loss_is_searched_on_its_own_and_only_where_the_study_says_so(full):
    students = {cell.name: cell.students[0] for cell in full.cells}
    assert students["interaction-bm25-lce"].search is None
    lce, kl = (params.search_spec(students[name]) for name in ("static-hard-lce", "static-hard-all-kl"))
    assert identity(lce) != identity(kl)
    assert identity(params.search_spec(students["static-graph-all-kl"])) == identity(kl)
    assert identity(params.search_spec(students["static-hard-all-kl-H0.2"])) == identity(kl)


def test_other_rates_change_the_searched_students_only(tmp_path, full):
    def change(values):
        every_kind(values)
        values["search"]["architectures"]["static"]["learning_rates"] = [0.01, 0.1, 0.3]

    other = plan.load_plan(changed(tmp_path, change))
    for before, after in zip(full.cells, other.cells, strict=True):
        same = identity(before.students[0]) == identity(after.students[0])
        assert same == (before.architecture == "interaction"), before.name


def test_an_overrides_learning_rate_is_not_searched(tmp_path):
    def change(values):
        every_kind(values)
        values["overrides"] = [{"when": {"strategy": "graph"}, "set": {"learning_rate": 0.5}}]

    for cell in plan.load_plan(changed(tmp_path, change)).cells:
        student = next(iter(cell.students.values()))
        assert (student.search is None) == (cell.strategy == "graph" or cell.architecture == "interaction")


def test_a_cut_is_of_every_strategys_own_groups(full):
    for cell in full.cells:
        groups = cell.students[0].groups
        assert (groups.cut is not None) == (cell.cut == "low")
        assert groups.draws == (1 if cell.strategy == "refreshed" else 2)


def test_a_loss_without_a_teacher_is_described_with_the_teacher_of_its_groups(full):
    cells = {cell.name: cell for cell in full.cells if cell.collection == full.labels[0]}
    lce, kl = cells["static-hard-lce"], cells["static-hard-all-kl"]
    assert full.description(lce, lce.students[0]).teacher == kl.students[0].teacher
    assert full.description(kl, kl.students[1]).groups == kl.students[1].groups
    alone = cells["interaction-bm25-lce"]
    assert full.description(alone, alone.students[0]).teacher is None


def test_a_student_is_probed_with_the_teacher_that_its_groups_are_described_with():
    study = load(ROOT / "params" / "smallest.yaml")
    for cell in study.cells:
        for student in cell.students.values():
            probed = study.behaviour(cell, student)
            assert probed.student == student and probed.probe == study.study.probe
            assert probed.teacher == study.description(cell, student).teacher
    trained = [node for node in study.nodes if node.notebook == "03_train"]
    assert sum(artefact.stage == "behaviour" for node in trained for artefact in node.artefacts) == sum(
        len(cell.students) for cell in study.cells
    )


def test_a_file_of_scores_is_no_row_of_the_table(tmp_path):
    def change(values):
        values["teachers"]["file"] = {"kind": "file", "path": "no.parquet"}
        values["teachers"]["both"] = {"kind": "ensemble", "members": ["file", "oracle"], "strategy": "bm25"}
        values["grids"][0]["teachers"] = ["oracle", "file", "both"]

    rows = [row.name for row in plan.load_plan(changed(tmp_path, change)).baselines]
    assert "teacher oracle" in rows and "teacher file" not in rows and "teacher both" not in rows


@pytest.mark.parametrize("kind", ["teachers", "retrievers"])
def test_a_file_that_is_missing_is_named_by_check_and_by_prepare_but_not_needed_to_plan(outputs, tmp_path, capsys, kind):
    place = tmp_path / "elsewhere"

    def change(values):
        if kind == "teachers":
            values["teachers"]["file"] = {"kind": "file", "path": str(place)}
            values["grids"][0]["teachers"] = ["file"]
        else:
            values["retrievers"]["file"] = {"kind": "run_file", "path": str(place), "name": "file"}
            values["strategies"]["bm25"]["retriever"] = "file"

    path = changed(tmp_path, change)
    assert main(["plan", str(path)]) == 0
    capsys.readouterr()
    for command in ("check", "prepare"):
        assert main([command, str(path)]) == 2
        assert f"no file {place}; put it there" in capsys.readouterr().err
    place.write_text("q1 Q0 d1 1 high mine\n")
    assert main(["check", str(path)]) == 2
    assert f"{place} line 1: the score 'high' of query 'q1', document 'd1' is no finite number" in capsys.readouterr().err
    place.write_text("q1 Q0 d1 1 2.5 mine\n")
    assert main(["check", str(path)]) == 0


def test_the_same_collection_twice_or_two_of_one_name_are_refused(tmp_path):
    def twice(values):
        values["collections"] = [values["collections"]] * 2

    with pytest.raises(ParameterError, match="two training collections are the same"):
        plan.load_plan(changed(tmp_path, twice))

    def tests(values):
        values["collections"]["test"] *= 2

    with pytest.raises(ParameterError, match="two test collections have the same name"):
        plan.load_plan(changed(tmp_path, tests))

    def stages(values):
        values["evaluation"]["first_stages"] *= 2

    with pytest.raises(ParameterError, match="two first stages have the same name"):
        plan.load_plan(changed(tmp_path, stages))


def test_one_grid_that_makes_a_cell_twice_is_refused(tmp_path):
    def change(values):
        values["grids"][0] |= {"losses": ["kl"], "temperatures": [1.0, 2.0]}
        values["overrides"] = [{"when": {"loss": "kl"}, "set": {"temperature": 2.0}}]

    with pytest.raises(ParameterError, match=r"grids\[0\] makes the cell static-corpus_random-oracle-kl-T2 twice"):
        plan.load_plan(changed(tmp_path, change))


def test_two_grids_add_seeds_to_one_cell(tmp_path):
    def change(values):
        values["grids"].append(values["grids"][0] | {"strategies": ["bm25"], "seeds": [1, 5]})

    cells = {cell.name: cell for cell in plan.load_plan(changed(tmp_path, change)).cells}
    assert sorted(cells["static-bm25-lce"].students) == [0, 1, 5]
    assert sorted(cells["static-corpus_random-lce"].students) == [0, 1]


def test_a_bases_override_may_meet_no_cell_but_a_studys_own_may_not(tmp_path):
    values = yaml.safe_load((ROOT / "params" / "smallest.yaml").read_text())
    values["overrides"].append({"when": {"loss": "ranknet"}, "set": {"learning_rate": 1.0}})
    own = {key: values.pop(key) for key in ("name", "question", "grids")} | {"base": "below"}
    (tmp_path / "bases").mkdir()
    (tmp_path / "bases" / "below.yaml").write_text(yaml.safe_dump(values))
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(own))
    assert len(plan.load_plan(path).cells) == 6
    path.write_text(yaml.safe_dump({key: value for key, value in (values | own).items() if key != "base"}))
    with pytest.raises(ParameterError, match=r"overrides\[1\] meets no cell: \{'loss': 'ranknet'\}"):
        plan.load_plan(path)


def test_losses_without_a_use_for_a_temperature_have_one_cell_whatever_the_dials(tmp_path):
    def change(values):
        values["grids"] = [values["grids"][0] | {"losses": ["lce", "ranknet_thresholded", "kl"], "temperatures": [1.0, 4.0]}]
        values["overrides"] = []

    names = [cell.name for cell in plan.load_plan(changed(tmp_path, change)).cells if cell.strategy == "bm25"]
    assert sorted(names) == [
        "static-bm25-lce",
        "static-bm25-oracle-kl",
        "static-bm25-oracle-kl-T4",
        "static-bm25-oracle-ranknet_thresholded",
    ]


# --- combinations that no cell can have -------------------------------------------------------------------------------------------


def refreshed_cross(values):
    values["strategies"]["refreshed"] = {"kind": "refreshed", "start": "bm25", "every": 2}
    values["grids"][1]["strategies"] = ["refreshed"]


def oracle_elsewhere(values):
    values["collections"]["train"] = {"source": "ir_datasets", "id": "beir/scifact/train"}


def in_batch_distilled(values):
    values["overrides"].append({"when": {"loss": "kl"}, "set": {"in_batch_negatives": True}})


def retriever_without_its_teacher(values):
    values["retrievers"]["dense"] = {"kind": "dense", "architecture": "static", "strategy": "bm25", "loss": "kl"}
    values["strategies"]["bm25"]["retriever"] = "dense"
    values["retrievers"]["dense"]["strategy"] = "corpus_random"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (refreshed_cross, "refresh draws from what the student retrieves"),
        (oracle_elsewhere, "the oracle knows the embedded collection only"),
        (in_batch_distilled, "in_batch_negatives has no teacher scores for the loss 'kl'"),
        (retriever_without_its_teacher, "the loss 'kl' distils a teacher, but none is given"),
    ],
)  # fmt: skip
def test_a_combination_that_no_student_can_have_is_refused_with_the_reason(tmp_path, capsys, change, message):
    assert main(["check", str(changed(tmp_path, change))]) == 2
    assert message in capsys.readouterr().err


def dense_of_a_cross_encoder(values):
    values["retrievers"]["dense"] = {"kind": "dense", "architecture": "interaction"}
    values["strategies"]["bm25"]["retriever"] = "dense"


def graph_of_a_pool(values):
    values["retrievers"]["pool"] = {"kind": "pooled", "retrievers": ["bm25", "bm25"]}
    values["strategies"]["bm25"] = {"kind": "graph", "retriever": "pool"}


def shortage_by_diameter(values):
    values["strategies"]["narrow"] = {"kind": "diameter_targeted", "retriever": "bm25", "quantile": 0.5}
    values |= {"reference": "static", "shortage": "narrow"}


def searched(**changes):
    def change(values):
        search = {"architectures": {"static": {"learning_rates": [0.01, 0.1]}}, "strategy": "bm25", "teacher": "oracle"}
        search |= {"validation": {"source": "embedded", "split": "validation"}, "first_stages": [{"retriever": "bm25"}]}
        values["search"] = search | changes

    return change


@pytest.mark.parametrize(
    ("change", "offender"),
    [
        (dense_of_a_cross_encoder, "interaction"),
        (graph_of_a_pool, "pool"),
        (shortage_by_diameter, "narrow"),
        (searched(validation={"source": "ir_datasets", "id": "beir/scifact/trian"}), "beir/scifact/train"),
        (searched(measure="nDGC@10"), "nDCG@10"),
    ],
    ids=["dense", "graph", "shortage", "validation", "measure"],
)  # fmt: skip
def test_what_no_notebook_can_make_is_refused_before_anything_starts(outputs, tmp_path, capsys, change, offender):
    assert main(["check", str(changed(tmp_path, change))]) == 2
    assert offender in capsys.readouterr().err


def test_in_batch_negatives_beside_a_distilled_loss_can_be_searched(tmp_path):
    def change(values):
        searched()(values)
        values["augmentations"] = {"hard": {"hard_weight": 0.5}}
        values["grids"] = [values["grids"][0] | {"losses": ["kl"], "augmentations": ["hard"]}]
        values["overrides"] = [{"when": {"loss": "kl"}, "set": {"in_batch_negatives": True}}]

    is_whole(plan.load_plan(changed(tmp_path, change)))


def test_an_augmentation_and_a_cut_of_the_same_name_make_no_common_cell(tmp_path):
    def change(values):
        values["augmentations"] = {"lower_half": {"noise": 1.0}}
        values["cuts"] = {"lower_half": {"teacher": "oracle", "part": "lower_half"}}
        grid = values["grids"][0] | {"losses": ["kl"]}
        values["grids"] = [grid | {"augmentations": ["lower_half"]}, grid | {"cuts": ["lower_half"], "seeds": [5]}]
        values["overrides"] = []

    with pytest.raises(ParameterError, match="two different cells would be called static-corpus_random-oracle-kl-lower_half"):
        plan.load_plan(changed(tmp_path, change))


def test_a_search_on_queries_of_other_documents_is_refused(tmp_path):
    elsewhere = {"source": "embedded", "profile": "smallest", "seed": 14, "split": "validation"}
    with pytest.raises(ParameterError, match="search.validation is embedded-smallest-additive-14/validation, of other documents"):
        plan.load_plan(changed(tmp_path, searched(validation=elsewhere)))


def test_random_documents_in_corpus_random_groups_are_no_cell(tmp_path):
    def change(values):
        values["augmentations"] = {"mixed": {"random_share": 0.5}}
        values["grids"] = [values["grids"][0] | {"augmentations": ["mixed"]}]
        values["overrides"] = []

    with pytest.raises(ParameterError, match="random documents change nothing in the groups of corpus_random"):
        plan.load_plan(changed(tmp_path, change))


def test_the_report_is_made_again_when_a_description_changes(tmp_path):
    planned = plan.load_plan(changed(tmp_path, lambda values: values.__setitem__("reference", "static")))
    last = planned.nodes[-1]
    makers = {node.id for node in planned.nodes for spec in node.artefacts if spec.stage == "description"}
    assert last.notebook == "05c_report" and makers <= set(last.needs)


def test_lce_is_described_with_the_teacher_of_its_neighbours_however_it_is_packed(tmp_path):
    def change(values, packed):
        values["reference"] = "static"
        values["workflow"] = {"students_per_node": packed}

    for packed in (1, 12):
        planned = plan.load_plan(changed(tmp_path, lambda values, packed=packed: change(values, packed)))
        cell = next(cell for cell in planned.cells if cell.name == "static-bm25-lce")
        assert planned.description(cell, cell.students[0]).teacher == params.Oracle()


def test_what_the_workflow_reads_of_the_nodes_is_what_was_planned(outputs):
    planned = plan.load_plan(ROOT / "params" / "smallest.yaml")
    read = node_files.read_nodes(node_files.write_nodes(planned))
    assert [(n.id, n.name, n.notebook, n.needs) for n in read.values()] == [(n.id, n.name, n.notebook, n.needs) for n in planned.nodes]
