"""What is found in a folder, against counts by hand; that what is written is a study that runs; what is refused."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from rd_utils.exchange import new_study
from rd_utils.study import plan as planning
from rd_utils.study.params import ParameterError
from rd_utils.workflow.progress import untracked
from tests import commands
from tests.toys import write_words

SHARED = Path(__file__).resolve().parents[4] / "shared" / "collections"


@pytest.fixture
def toy(tmp_path):
    return write_words(tmp_path / "My Docs")


asked = functools.partial(commands.asked, new_study)


def test_what_is_found_is_counted(toy):
    found = new_study.look(str(toy), untracked)
    assert (found.name, found.docs, found.words, found.twice, found.shared) == ("my_docs", 61, (7.0, 7.0), 2, (0, 0))
    train, validation, test = (found.parts[use] for use in ("train", "validation", "test"))
    assert train.queries + validation.queries == 40 and validation.queries == 6 and test.queries == test.positives == 20
    assert train.positives + validation.positives == 41 and train.absent + validation.absent == 1
    assert test.words == 2 and test.unknown == pytest.approx(0.5)  # "unseen" stands in no document
    assert (found.analysis.stemmer, found.analysis.stopwords, found.analysis.words) == ("english", "english", "words")


def test_what_is_written_is_a_study_that_runs(toy, tmp_path):
    said = asked(toy, "--to", tmp_path / "own.yaml")
    plan = planning.load_plan(tmp_path / "own.yaml", inputs=True)
    (pair,) = plan.study.collections
    assert (len(plan.cells), sum(len(cell.students) for cell in plan.cells)) == (6, 18)
    assert pair.train.random_split.part == "train" and plan.study.search.validation.random_split.part == "validation"
    assert pair.test[0].split == "test" and pair.test[0].random_split is None
    assert {cell.strategy for cell in plan.cells} == {"corpus_random", "bm25", "dense"} and {cell.loss for cell in plan.cells} == {
        "lce",
        "kl",
    }
    for part in (
        "2 share their text",
        "judged, no document",
        "6 cells, 18 students",
        "core",
        "run it with: rd run ",
        "20 queries",
    ):
        assert part in said
    with pytest.raises(ParameterError, match="exists; name another file"):
        asked(toy, "--to", tmp_path / "own.yaml")


def test_one_split_is_divided_and_its_own_validation_is_taken(toy, tmp_path):
    (toy / "qrels" / "test.tsv").unlink()
    (toy / "qrels" / "train.tsv").rename(toy / "qrels" / "all.tsv")
    parts = new_study.look(str(toy), untracked).parts
    assert [part.collection.random_split.part for part in parts.values()] == ["train", "validation", "test"]
    assert [part.queries for part in parts.values()] == [24, 4, 12]
    for name, lines in (("train", range(20)), ("dev", range(20, 30)), ("test", range(30, 40))):
        (toy / "qrels" / f"{name}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"q{n}\td{n}\t1\n" for n in lines))
    (toy / "qrels" / "all.tsv").unlink()
    parts = new_study.look(str(toy), untracked).parts
    assert [part.collection.split for part in parts.values()] == ["train", "dev", "test"]
    assert [part.queries for part in parts.values()] == [20, 10, 10] and all(
        part.collection.random_split is None for part in parts.values()
    )


def test_a_folder_of_one_split_under_any_name_gets_a_study_with_its_cost(toy, tmp_path):
    (toy / "qrels" / "test.tsv").unlink()
    (toy / "qrels" / "train.tsv").rename(toy / "qrels" / "all.tsv")
    said = asked(toy, "--to", tmp_path / "own.yaml")
    assert "6 cells, 18 students" in said and "core" in said and "run it with: rd run " in said


def test_shared_queries_are_said_and_the_study_runs(toy, tmp_path):
    with (toy / "qrels" / "test.tsv").open("a") as file:
        file.writelines(f"q{n}\td{n}\t1\n" for n in range(15))
    said = asked(toy, "--to", tmp_path / "own.yaml")
    train, validation = new_study.look(str(toy), untracked).shared
    assert train + validation == 15 and validation and f"{train} are training and {validation} validation queries too" in said
    assert "shared_queries: allow" in (tmp_path / "own.yaml").read_text() and planning.load_plan(tmp_path / "own.yaml")


@pytest.mark.parametrize(
    "text, stemmer, kind",
    [
        ("Der Hund und die Katze sind nicht in dem Haus, das auf der Bank ist", "german", "words"),
        ("le chien et le chat ne sont pas dans la maison qui est sur la place", "french", "words"),
        ("собака и кошка не в доме, который на улице, но он был там", "russian", "words"),
        ("猫在垫子上睡觉", "none", "character_pairs"),
        ("alpha beta gamma", "english", "words"),
    ],
)
def test_the_language_is_told_by_script_and_stop_words(text, stemmer, kind):
    found = new_study.analysis_of([text])
    assert (found.stemmer, found.words) == (stemmer, kind)


@pytest.mark.parametrize("name, docs, queries", [("cosqa", 6267, (662, 117, 500)), ("stard", 1445, (762, 134, 647))])
def test_real_collections(name, docs, queries):
    if not (SHARED / name).is_dir():
        pytest.skip(f"the collection {name} is not here")
    found = new_study.look(str(SHARED / name), untracked)
    assert found.docs == docs and tuple(part.queries for part in found.parts.values()) == queries
    assert found.analysis.words == ("words" if name == "cosqa" else "character_pairs")


def test_what_it_refuses(toy, tmp_path):
    def refused(named: object) -> str:
        with pytest.raises(ParameterError) as error:
            asked(named, "--to", tmp_path / "own.yaml")
        assert not (tmp_path / "own.yaml").exists()
        return str(error.value)

    assert "there is no such folder" in refused(tmp_path / "missing")
    assert "it has no qrels" in refused(tmp_path)
    assert "did you mean 'beir/scifact'" in refused("beir/scifakt")
    (toy / "qrels" / "test.tsv").rename(toy / "qrels" / "later.tsv")
    assert "has the splits later, train; expected train and test" in refused(toy)
    (toy / "qrels" / "later.tsv").write_text("query-id\tcorpus-id\tscore\n")
    (toy / "qrels" / "later.tsv").rename(toy / "qrels" / "test.tsv")
    assert str(toy) in refused(toy)
    for path in (toy / "qrels").iterdir():
        path.unlink()
    assert "qrels holds no .tsv file" in refused(toy)
