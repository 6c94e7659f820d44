"""Collections in Parquet files and in a hub's layouts become a folder that says the same, and a study of it runs."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from rd_utils.exchange import as_folder, new_study
from rd_utils.study.params import ParameterError
from rd_utils.study.plan import load_plan
from rd_utils.workflow.progress import untracked
from tests.commands import asked
from tests.toys import write_words

CARD = """\
---
configs:
- config_name: corpus
  data_files: [{split: corpus, path: corpus.parquet}]
- config_name: queries
  data_files: [{split: queries, path: queries.parquet}]
- config_name: %s
  data_files: [{split: train, path: qrels/train.parquet}, {split: test, path: qrels/test.parquet}]
---
"""


@pytest.fixture
def beir(tmp_path) -> Path:
    return write_words(tmp_path / "beir")


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def as_parquet(beir: Path, place: Path, names: dict[str, str] | None = None) -> Path:
    """Write the same collection as Parquet files, its columns renamed."""
    (place / "qrels").mkdir(parents=True)
    for part in ("corpus", "queries"):
        pd.DataFrame(lines(beir / f"{part}.jsonl")).rename(columns=names or {}).to_parquet(place / f"{part}.parquet")
    for path in (beir / "qrels").glob("*.tsv"):
        pd.read_csv(path, sep="\t").rename(columns=names or {}).to_parquet(place / "qrels" / f"{path.stem}.parquet")
    return place


def same(folder: Path, beir: Path) -> None:
    assert all(lines(folder / f"{part}.jsonl") == lines(beir / f"{part}.jsonl") for part in ("corpus", "queries"))
    assert {path.name: path.read_text() for path in (folder / "qrels").iterdir()} == {
        path.name: path.read_text() for path in (beir / "qrels").iterdir()
    }


@pytest.mark.parametrize(
    "names", [None, {"_id": "id", "query-id": "qid", "corpus-id": "docid", "score": "relevance"}], ids=["beir", "other"]
)
def test_parquet_files_say_the_same(beir, tmp_path, names):
    source, target = as_parquet(beir, tmp_path / "tables", names), tmp_path / "data" / "tables"
    assert as_folder.folder_of(str(source), target, untracked) == target
    same(target, beir)
    record = json.loads((target / "provenance.json").read_text())
    assert record["rows"] == {"corpus": 61, "queries": 60, "qrels/test": 20, "qrels/train": 43}
    assert len(record["files"]) == 4 and all(len(digest) == 64 for digest in record["files"].values())


def test_a_split_in_several_files_is_one(beir, tmp_path):
    source = as_parquet(beir, tmp_path / "tables")
    whole = pd.read_parquet(source / "qrels" / "train.parquet")
    for number, part in enumerate((whole.iloc[:20], whole.iloc[20:])):
        part.to_parquet(source / "qrels" / f"train-{number:05}-of-00002.parquet")
    (source / "qrels" / "train.parquet").unlink()
    same(as_folder.folder_of(str(source), tmp_path / "new", untracked), beir)


@pytest.mark.parametrize("config", ["default", "qrels"])
def test_a_hubs_layout_is_read_by_its_library(beir, tmp_path, config, monkeypatch):
    """The data set's own card names the configurations, as on the hub; here it lies on the disk."""
    source = as_parquet(beir, tmp_path / "hub")
    (source / "README.md").write_text(CARD % config)
    monkeypatch.setattr(as_folder, "_source", lambda named: as_folder._of_hub)
    target = as_folder.folder_of(str(source), tmp_path / "new", untracked)
    same(target, beir)
    assert json.loads((target / "provenance.json").read_text())["fingerprints"].keys() == {
        "corpus/corpus", "queries/queries", "qrels/train", "qrels/test"
    }  # fmt: skip


def test_a_study_of_it_is_written_and_valid(beir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    as_parquet(beir, tmp_path / "tables")
    said = asked(new_study, "tables")
    assert said.startswith("tables lies in data/tables now, in BEIR's layout\n") and "61 documents" in said
    assert "path: data/tables" in (tmp_path / "params" / "own" / "tables.yaml").read_text()
    assert load_plan(tmp_path / "params" / "own" / "tables.yaml", inputs=True).study.name == "tables"
    with pytest.raises(ParameterError, match="exists; `rd new .*data/tables` takes what is there"):
        asked(new_study, "tables")


def test_what_is_wrong_is_named_and_nothing_stays(beir, tmp_path):
    source, target = as_parquet(beir, tmp_path / "tables", {"text": "words"}), tmp_path / "new"
    with pytest.raises(ParameterError, match="corpus has no column text or body .*; it has _id, words; rename one"):
        as_folder.folder_of(str(source), target, untracked)
    source = as_parquet(beir, tmp_path / "grades")
    pd.DataFrame({"query-id": ["q1"], "corpus-id": ["d1"], "score": [0.5]}).to_parquet(source / "qrels" / "train.parquet")
    with pytest.raises(ParameterError, match="grade 0.5; expected a whole number"):
        as_folder.folder_of(str(source), target, untracked)
    (source / "queries.parquet").unlink()
    with pytest.raises(ParameterError, match=r"no queries.parquet and no queries/\*.parquet"):
        as_folder.folder_of(str(source), target, untracked)
    assert not target.exists()


def test_names_of_others_are_left_alone(beir, tmp_path):
    for named in (str(beir), "beir/scifact", "vaswani", str(tmp_path / "nowhere"), "./no/where"):
        assert as_folder.folder_of(named, tmp_path / "never", untracked) is None


def test_a_name_of_nothing_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ParameterError, match="no/such: no folder, no id of ir_datasets, and as a hub's data set it cannot be read"):
        as_folder.folder_of("no/such", tmp_path / "never", untracked)
