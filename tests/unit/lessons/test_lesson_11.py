"""The numbers of lesson 11, by plain mathematics; what it says of its folders, by reading their files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from rd_utils.lessons import lesson_11, toy


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RD_OUTPUTS", str(tmp_path))
    return tmp_path


def test_the_broken_folder_has_the_four_faults_that_lesson_11_names() -> None:
    folder = lesson_11.BROKEN
    ids, texts = zip(*folder.documents, strict=True)
    assert [name for name in dict.fromkeys(ids) if ids.count(name) > 1] == ["b3"]
    assert {name for name, text in folder.documents if texts.count(text) > 1} == {"a2", "a5"}
    labels = [row for qrels in folder.qrels.values() for row in qrels]
    assert [(query, document) for query, document, _ in labels if document not in ids] == [("q2", "f9")]
    said = {name: text.lower().split() for name, text in folder.queries}
    assert [(a, b) for a in said for b in said if a < b and said[a] == said[b]] == [("q1", "q5")]
    assert "q1" in {query for query, _, _ in folder.qrels["train"]} and "q5" in {query for query, _, _ in folder.qrels["test"]}
    assert toy.grades()["q1"]["a2"] == 3  # so a copy of it is as good an answer


def test_the_exercises_by_hand() -> None:
    reach = 1.96 * math.sqrt(0.25 * 0.75 / 20)
    assert lesson_11.EXERCISES["five of twenty"].value == pytest.approx([0.25, reach]) and reach == pytest.approx(0.19, abs=5e-3)
    assert math.sqrt(0.25 * 0.75 / 20) == pytest.approx(0.0968, abs=5e-5)
    n = lesson_11.EXERCISES["enough negatives"].value
    assert 1.96 * math.sqrt(0.25 * 0.75 / n) == pytest.approx(0.05) and round(n, -1) == 290


def test_a_folder_is_written_in_the_layout_that_it_says(outputs: Path) -> None:
    place = lesson_11.write("broken", lesson_11.BROKEN)
    assert place == outputs / "lessons" / "broken"
    rows = [json.loads(line) for line in (place / "corpus.jsonl").read_text().splitlines()]
    assert [(row["_id"], row["text"]) for row in rows] == list(lesson_11.BROKEN.documents)
    assert (place / "qrels" / "test.tsv").read_text().splitlines() == ["query-id\tcorpus-id\tscore", "q3\tb1\t1", "q5\ta2\t1"]


def test_the_package_refuses_two_of_the_faults_one_after_the_other(outputs: Path) -> None:
    folder = lesson_11.BROKEN
    said = lesson_11.refused(lesson_11.of_splits(lesson_11.write("broken", folder)))
    assert "'b3' in broken/corpus.jsonl in lines 12 and 13" in said and str(outputs) not in said
    mended = folder._replace(documents=[row for row in folder.documents if "violin" not in row[1]])
    said = lesson_11.refused(lesson_11.of_splits(lesson_11.write("mended", mended)))
    assert "the first is 'q5', there 'q1'" in said and str(outputs) not in said
    whole = mended._replace(qrels=dict(mended.qrels) | {"test": mended.qrels["test"][:1]})
    assert lesson_11.refused(lesson_11.of_splits(lesson_11.write("whole", whole))) == ""


def test_the_descriptions_are_real_prose_each_once_and_not_the_sentence_that_asks_for_it() -> None:
    folder = lesson_11.descriptions()
    texts, sentences = dict(folder.documents), dict(folder.queries)
    assert len(texts) == len(sentences) == len(set(texts.values())) == len(set(sentences.values())) == len(folder.qrels["all"]) == 300
    for query, document, relevance in folder.qrels["all"]:
        assert query == f"q.{document}" and relevance == 1 and sentences[query] not in texts[document]
        assert 20 <= len(texts[document].split()) <= 90 and 4 <= len(sentences[query].split()) <= 14
    assert lesson_11.descriptions(20).documents == folder.documents[:20]


def test_180_of_the_queries_are_for_training_and_90_for_testing(outputs: Path) -> None:
    place = lesson_11.write("descriptions", lesson_11.descriptions())
    said = lesson_11.found(place).splitlines()
    counted = {line.split()[0]: line.split()[1] for line in said if line.strip().startswith(("train", "validation", "test"))}
    assert counted == {"train": "180", "validation": "30", "test": "90"} and "0 share their text" in said[0]
    shares = lesson_11.at_random(place)["collection"]["random_split"]["shares"]
    assert shares == [0.6, 0.1, 0.3]
