"""Collections: the sources, and what is refused."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from typing import ClassVar, NamedTuple

import pandas as pd
import pyarrow as pa
import pytest

from rd_utils.cost import workload
from rd_utils.data import collections
from rd_utils.data.collections import CollectionError
from rd_utils.data.runs import read_run
from rd_utils.store import Store
from rd_utils.study import params
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.workflow.progress import untracked


def folder(path, split="train", **changes):
    return params.FolderCollection(path=str(path), split=split, **changes)


def test_a_beir_folder_joins_title_and_text_and_keeps_ids_as_strings(toy):
    docs = collections.read_docs(folder(toy))
    assert docs["doc_id"].tolist() == ["d1", "d2", "d3", "d4", "d5", "d6"]
    assert docs["text"].tolist()[0] == "Cats the cat sat on the mat"
    assert docs["text"].tolist()[3] == "stock markets fell sharply"


def test_queries_are_those_of_the_split(toy):
    queries, qrels = collections.read_queries(folder(toy, "train"))
    assert queries["query_id"].tolist() == ["q1", "q2"]
    assert qrels.values.tolist() == [["q1", "d1", 1], ["q2", "d4", 1], ["q2", "d5", 1]]
    queries, qrels = collections.read_queries(folder(toy, "test"))
    assert queries["query_id"].tolist() == ["q1", "q3"]
    assert collections.positives(qrels)["doc_id"].tolist() == ["d3", "d2"]


def test_max_queries_keeps_the_first_by_id_and_their_qrels(toy):
    queries, qrels = collections.read_queries(folder(toy, max_queries=1))
    assert queries["query_id"].tolist() == ["q1"]
    assert set(qrels["query_id"]) == {"q1"}


def test_skipped_queries_and_kept_ones_cut_a_split_into_parts(toy):
    with (toy / "qrels" / "train.tsv").open("a") as stream:
        stream.write("q3\td3\t1\n")
    parts = [folder(toy, max_queries=1), folder(toy, skip_queries=1, max_queries=1), folder(toy, skip_queries=2)]
    read = [collections.read_queries(part) for part in parts]
    assert [queries["query_id"].tolist() for queries, _ in read] == [["q1"], ["q2"], ["q3"]]
    assert [qrels["doc_id"].tolist() for _, qrels in read] == [["d1"], ["d4", "d5"], ["d3"]]


def test_skipping_every_query_is_refused(toy):
    with pytest.raises(CollectionError, match="skip_queries leaves none of 2 queries; lower it"):
        collections.read_queries(folder(toy, skip_queries=2))


def test_skipped_queries_are_those_of_an_ir_datasets_split_that_sort_first(real_collections):
    name = "beir/scifact/train"
    all_of_them = collections.read_queries(params.IrDatasetsCollection(id=name))[0]["query_id"].sort_values().tolist()
    validation = collections.read_queries(params.IrDatasetsCollection(id=name, max_queries=60))[0]["query_id"]
    training = collections.read_queries(params.IrDatasetsCollection(id=name, skip_queries=60))[0]["query_id"]
    assert (sorted(validation), sorted(training)) == (all_of_them[:60], all_of_them[60:])


def test_a_query_limit_of_the_embedded_collection_keeps_its_graded_qrels():
    queries, qrels = collections.read_queries(params.EmbeddedCollection(max_queries=3))
    everything = collections.read_queries(params.EmbeddedCollection())[1]
    assert len(queries) == 3
    assert qrels.values.tolist() == everything[everything["query_id"].isin(queries["query_id"])].values.tolist()


def test_integer_ids_in_files_become_strings(toy):
    (toy / "corpus.jsonl").write_text('{"_id": 7, "text": "seven"}\n')
    assert collections.read_docs(folder(toy))["doc_id"].tolist() == ["7"]


def test_a_repeated_id_is_refused(toy):
    (toy / "corpus.jsonl").write_text('{"_id": "d1", "text": "a"}\n{"_id": "d1", "text": "b"}\n')
    with pytest.raises(CollectionError, match="doc_id stand twice, the first is 'd1'"):
        collections.read_docs(folder(toy))


def test_a_broken_line_is_named(toy):
    (toy / "corpus.jsonl").write_text('{"_id": "d1", "text": "a"}\n{broken\n')
    with pytest.raises(CollectionError, match="corpus.jsonl line 2: is not valid JSON: .* at character 2 of '{broken'; expected"):
        collections.read_docs(folder(toy))


def test_a_field_that_is_missing_is_named(toy):
    (toy / "corpus.jsonl").write_text('{"_id": "d1", "txt": "a"}\n')
    with pytest.raises(CollectionError, match="corpus.jsonl line 1: has no field 'text', only _id, txt; expected"):
        collections.read_docs(folder(toy))


def test_a_text_that_is_null_is_no_word(toy, monkeypatch):
    (toy / "corpus.jsonl").write_text('{"_id": "d1", "text": "a"}\n{"_id": "d2", "text": null}\n')
    with pytest.raises(CollectionError, match="corpus.jsonl line 2: the field 'text' of 'd2' is null; give it a value"):
        collections.read_docs(folder(toy))
    (toy / "corpus.jsonl").write_text('{"_id": null, "text": "a"}\n')
    with pytest.raises(CollectionError, match="corpus.jsonl line 1: the field '_id' is null"):
        collections.read_docs(folder(toy))
    (toy / "corpus.jsonl").write_text('{"_id": "d1", "title": null, "text": ""}\n')
    assert collections.read_docs(folder(toy))["text"].tolist() == [""]

    class Text(NamedTuple):
        doc_id: str | None
        text: str | None

        def default_text(self):
            return self.text

    class Source:
        docs: ClassVar[list[Text]] = [Text("d1", "a"), Text("d2", None)]

        def docs_iter(self):
            return iter(self.docs)

        def docs_count(self):
            return len(self.docs)

    monkeypatch.setattr(collections, "_ir_dataset", lambda name: Source())
    with pytest.raises(CollectionError, match="the document 'd2' has no text; give it one"):
        collections.read_docs(params.IrDatasetsCollection(id="vaswani"))
    Source.docs[:] = [Text(None, "a b c")]
    with pytest.raises(CollectionError, match="a document has no id, its text begins 'a b c'"):
        collections.read_docs(params.IrDatasetsCollection(id="vaswani"))


def test_a_split_that_is_missing_lists_those_there(toy):
    with pytest.raises(CollectionError, match="did you mean 'train'"):
        collections.check_source(folder(toy, "trian"))


def test_qrels_of_a_query_without_text_are_refused(toy):
    with (toy / "qrels" / "train.tsv").open("a") as stream:
        stream.write("q9\td1\t1\n")
    with pytest.raises(CollectionError, match="train.tsv line 5: the query 'q9' has no text in queries.jsonl; add it"):
        collections.read_queries(folder(toy))


def test_an_unknown_ir_datasets_id_names_the_nearest():
    with pytest.raises(CollectionError, match="did you mean 'beir/scifact/train'"):
        collections.check_source(params.IrDatasetsCollection(id="beir/scifact/trian"))


def test_an_ir_datasets_id_without_queries_is_refused():
    with pytest.raises(CollectionError, match="has no qrels"):
        collections.read_queries(params.IrDatasetsCollection(id="beir/scifact"))


def test_scifact_has_its_published_size_and_titles(real_collections):
    import ir_datasets

    docs = collections.read_docs(params.IrDatasetsCollection(id="beir/scifact"))
    queries, qrels = collections.read_queries(params.IrDatasetsCollection(id="beir/scifact/test"))
    assert (len(docs), len(queries), len(qrels)) == (5183, 300, 339)
    first = next(ir_datasets.load("beir/scifact").docs_iter())
    assert docs["text"][0].startswith(first.title)


def test_a_collection_that_cannot_be_downloaded_says_so(monkeypatch):
    import requests

    def fail(*arguments, **options):
        raise requests.exceptions.ConnectionError("no route")

    monkeypatch.setattr(collections, "_ir_dataset", lambda name: type("Dataset", (), {"docs_iter": fail, "docs_count": lambda self: 1})())
    with pytest.raises(CollectionError, match="could not be read or downloaded.*IR_DATASETS_HOME"):
        collections.read_docs(params.IrDatasetsCollection(id="beir/scifact"))


def test_documents_are_written_as_they_are_read_and_mapped_into_memory(toy, tmp_path, monkeypatch):
    lines = (toy / "corpus.jsonl").read_text() + '{"_id": "d10", "text": ""}\n{"_id": "d0", "text": "déjà vu"}\n'
    (toy / "corpus.jsonl").write_text(lines)
    whole = collections.read_docs(folder(toy))
    monkeypatch.setattr(collections, "BATCH", 3)
    written = collections.write_docs(folder(toy), tmp_path / "docs.arrow")
    mapped = collections.open_docs(tmp_path / "docs.arrow")
    pd.testing.assert_frame_equal(mapped, whole)
    assert mapped["text"].dtype == "str" and mapped["doc_id"].tolist() == ["d1", "d2", "d3", "d4", "d5", "d6", "d10", "d0"]
    assert (written.documents, written.without_text) == (8, 1)
    assert written.ties.tolist() == [1, 3, 4, 5, 6, 7, 2, 0]  # d0 < d1 < d10 < d2
    assert [batch.num_rows for batch in collections.doc_batches(folder(toy))] == [3, 3, 2]


def test_ids_that_stand_twice_are_found_across_batches(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(collections, "BATCH", 2)
    (toy / "corpus.jsonl").write_text("".join(f'{{"_id": "d{n}", "text": ""}}\n' for n in (9, 8, 7, 9, 1, 7, 7)))
    for read in (lambda: collections.read_docs(folder(toy)), lambda: collections.write_docs(folder(toy), tmp_path / "x.arrow")):
        with pytest.raises(
            CollectionError, match="3 values of doc_id stand twice, the first is 'd9' in .*corpus.jsonl in lines 1 and 4; ids"
        ):
            read()
    (toy / "corpus.jsonl").write_text("\n")
    with pytest.raises(CollectionError, match="no doc was read"):
        collections.write_docs(folder(toy), tmp_path / "x.arrow")


def test_memory_does_not_grow_with_the_texts(tmp_path):
    text = "word " * 400
    (tmp_path / "corpus.jsonl").write_text("".join(f'{{"_id": "{n}", "text": "{text}"}}\n' for n in range(20_000)))  # 40 MB
    code = """
import sys
from typing import ClassVar, NamedTuple
from pathlib import Path
from rd_utils.data import collections
from rd_utils.study import params
collections.BATCH = 1000
def anonymous():
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("RssAnon"))
here = Path(sys.argv[1])
before, most = anonymous(), 0.0
def watched(iterable, description, total):
    global most
    for number, item in enumerate(iterable):
        if not number % 500:
            most = max(most, anonymous())
        yield item
collections.write_docs(params.FolderCollection(path=str(here)), here / "docs.arrow", watched)
docs = collections.open_docs(here / "docs.arrow")
assert len(docs) == 20_000 and docs["text"].str.len().sum() == 20_000 * 1999
print(most - before, anonymous() - before)
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=300, check=True)
    assert max(map(float, done.stdout.split())) < 25, done.stdout


def test_tables_are_made_in_parts_and_come_back_mapped(tmp_path, monkeypatch):
    rows = [(f"d{i}", f"text {i} " * 1000) for i in range(7)]
    whole = collections._frame(iter(rows), ["doc_id", "text"])
    monkeypatch.setattr(collections, "BATCH", 3)
    parts = collections._frame(iter(rows), ["doc_id", "text"])
    pd.testing.assert_frame_equal(parts, whole)
    assert collections._frame(iter([]), ["query_id", "relevance"]).dtypes.astype(str).tolist() == ["str", "int64"]
    collections.write_table(parts, tmp_path, "docs")
    before = pa.total_allocated_bytes()
    back = collections.read_table(tmp_path, "docs")
    assert back["text"].str.len().sum() == 49_000 and pa.total_allocated_bytes() - before < 4_000  # of the texts nothing is copied
    pd.testing.assert_frame_equal(back, whole)
    whole.to_parquet(tmp_path / "other.parquet")
    pd.testing.assert_frame_equal(collections.read_table(tmp_path, "other"), whole)


def split_queries(folder_path, n, **changes):
    """Write n queries, of which every third repeats another's text in other letters, and read a random part of them."""
    texts = [f"TEXT  {i}" if i % 3 == 0 else f"text {i}" if i % 3 == 1 else f"text {i - 2}" for i in range(n)]
    lines = [json.dumps({"_id": f"q{i}", "text": text}) + "\n" for i, text in enumerate(texts)]
    (folder_path / "queries.jsonl").write_text("".join(lines))
    (folder_path / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\td1\t1\n" for i in range(n)))
    return collections.read_queries(folder(folder_path, **changes))


def test_random_parts_are_disjoint_complete_and_share_no_text(toy):
    read = {part: split_queries(toy, 30, random_split={"part": part, "shares": [0.5, 0.3, 0.2], "seed": 3}) for part in params.SPLIT_PARTS}
    ids = {part: set(queries["query_id"]) for part, (queries, _) in read.items()}
    assert set.union(*ids.values()) == {f"q{i}" for i in range(30)} and sum(map(len, ids.values())) == 30
    texts = {part: set(collections.plain_texts(queries["text"])) for part, (queries, _) in read.items()}
    assert [len(texts[part]) for part in params.SPLIT_PARTS] == [10, 6, 4]  # of 20 distinct texts
    assert not texts["train"] & texts["test"] and not texts["train"] & texts["validation"] and not texts["validation"] & texts["test"]
    assert all(set(qrels["query_id"]) == ids[part] for part, (_, qrels) in read.items())


def test_a_random_part_is_the_same_everywhere_and_another_with_another_seed(toy):
    """Of the SHA-256 of "0 text 0", "0 text 1", "0 text 3" ... (by sha256sum), those of 3, which q3 and q5 share, and 1 come last."""
    own = {"part": "test", "shares": [0.75, 0.0, 0.25]}
    first = split_queries(toy, 12, random_split=own)[0]["query_id"].tolist()
    assert first == ["q1", "q3", "q5"]
    assert split_queries(toy, 12, random_split=own | {"seed": 1})[0]["query_id"].tolist() != first


def test_windows_count_within_a_random_part(toy):
    own = {"part": "train", "shares": [0.5, 0.0, 0.5]}
    part = sorted(split_queries(toy, 12, random_split=own)[0]["query_id"])
    assert split_queries(toy, 12, random_split=own, skip_queries=1, max_queries=2)[0]["query_id"].sort_values().tolist() == part[1:3]


def test_a_part_that_no_query_falls_into_is_refused(toy):
    with pytest.raises(CollectionError, match="no query falls into the part 'validation', a share of 0.1 of 2 distinct texts; raise"):
        split_queries(toy, 2, random_split={"part": "validation", "shares": [0.8, 0.1, 0.1]})


# --- files as they stand ------------------------------------------------------------------------------------------------------------


def write_folder(path, docs, queries, qrels, split="train"):
    """Write a collection in BEIR layout, of (id, text) pairs and rows of qrels."""
    (path / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", docs), ("queries", queries)):
        (path / f"{name}.jsonl").write_text("".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in rows), encoding="utf-8")
    lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in qrels)]
    (path / "qrels" / f"{split}.tsv").write_text("\n".join(lines), encoding="utf-8")  # without a last newline
    return folder(path, split)


def everything(source):
    queries, qrels = collections.read_queries(source)
    return collections.read_docs(source).values.tolist(), queries.values.tolist(), qrels.values.tolist()


ODD = ["NA", "null", "nan", "None", "N/A", "NaN", "NULL", "n/a", "#N/A", "<NA>", "-inf", '"a', 'b"', '"c"', "007", "1e5", "0x1", "true"]


def test_ids_are_read_as_they_stand_in_all_three_files(tmp_path):
    docs, queries = ([(name, f"text {i}") for i, name in enumerate(names)] for names in (ODD, ODD[::-1]))
    qrels = [[query_id, doc_id, 1] for (query_id, _), (doc_id, _) in zip(queries, docs, strict=True)]
    found = everything(write_folder(tmp_path / "c", docs, queries, qrels))
    assert found == (list(map(list, docs)), list(map(list, queries)), qrels)


def test_a_document_called_na_is_ranked_judged_and_trained_on(tmp_path):
    """From the file to the measure: NA is the only relevant document of q1, and BM25 finds it first."""
    docs = [("NA", "salt lake"), ("nan", "lake trout"), ("d3", "iron ore"), ("d4", "tin mine")]
    source = write_folder(tmp_path / "c", docs, [("null", "salt lake"), ("q2", "iron")], [("null", "NA", 1), ("q2", "d3", 1)])
    made = Pipeline(Store(tmp_path / "store"), track=untracked)
    plain = params.BM25(stemmer="none", stopwords="none")
    stage = params.FirstStage(kind="full", retriever=plain, depth=4)
    spec = params.EvaluationSpec(system=params.FirstStageSystem(), collection=source, first_stage=stage, measures=("RR@10",))
    assert made.frame(spec, "per_query")[["query_id", "value"]].values.tolist() == [["null", 1.0], ["q2", 1.0]]
    assert read_run(made.build(spec) / "run.trec")["doc_id"].tolist() == ["NA", "nan", "d3"]
    strategy = params.FromCandidates(retriever=plain, draw="top", depth=4)
    groups = made.groups(params.GroupsSpec(collection=source, strategy=strategy, group_size=2, shortage=params.CorpusRandom(), seed=0))
    assert {query_id: docs[0] for query_id, docs in zip(groups["query_id"], groups["doc_ids"], strict=True)} == {"null": "NA", "q2": "d3"}
    assert all(
        "NA" not in list(docs)[1:] for query_id, docs in zip(groups["query_id"], groups["doc_ids"], strict=True) if query_id == "null"
    )


@pytest.mark.parametrize("packed", ["plain", "gzip under a plain name", "with .gz alone"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_marks_line_ends_and_packing_change_nothing(toy, packed, ends):
    expected = everything(folder(toy))
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv"):
        path = toy / name
        content = b"\xef\xbb\xbf" + path.read_text().replace("\n", ends + ends).rstrip().encode()
        path.write_bytes(gzip.compress(content) if packed != "plain" else content)
        if packed == "with .gz alone":
            path.rename(toy / f"{name}.gz")
    assert everything(folder(toy)) == expected
    collections.check_source(folder(toy))
    assert own_names(collections.own_tests(folder(toy))) == ["toy/test"]
    assert workload.listed(folder(toy))[:3] == (6, 2, 3)


def own_names(found):
    return [test.label for test in found]


def test_trec_qrels_in_a_folder_are_read(toy):
    expected = everything(folder(toy, "test"))
    (toy / "qrels" / "test.tsv").write_text("q3 0 d3 2\nq3 0 d2 1\nq1 0 d2 0\n")
    assert everything(folder(toy, "test")) == expected


def test_half_a_character_is_refused_by_line_and_id(toy):
    (toy / "corpus.jsonl").write_text('{"_id": "d1", "text": "a"}\n{"_id": "d2", "text": "cut \\ud83d"}\n')
    with pytest.raises(CollectionError, match=r"corpus.jsonl line 2: the field 'text' of 'd2' holds half a character \(\\ud83d"):
        collections.read_docs(folder(toy))


def test_every_check_names_its_file_and_line_at_once(toy):
    (toy / "corpus.jsonl").write_text('{"_id": "d 1", "text": "a"}\n[]\n')
    (toy / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\tgood\nq1\td2\n")
    with pytest.raises(CollectionError) as error:
        collections.check_source(folder(toy))
    message = str(error.value)
    assert "corpus.jsonl: 2 lines are wrong" in message and "line 1: the _id 'd 1' holds white space" in message
    assert (
        "train.tsv: 2 lines are wrong" in message and "line 2: the grade 'good'" in message and "line 3: 'q1\\td2' has 2 fields" in message
    )
    with pytest.raises(CollectionError, match="none: there is no such folder; put the collection there"):
        collections.check_source(folder(toy / "none"))
    (toy / "corpus.jsonl").unlink()
    (toy / "queries.jsonl").unlink()
    with pytest.raises(CollectionError, match="no file corpus.jsonl and no queries.jsonl; a BEIR folder needs it"):
        collections.check_source(folder(toy))


def test_large_files_are_checked_by_their_first_lines(toy, monkeypatch):
    monkeypatch.setattr(collections, "CHEAP_CORPUS", 10)
    monkeypatch.setattr(collections, "CHEAP_QUERIES", 10)
    monkeypatch.setattr(collections, "FIRST_LINES", 3)
    lines = (toy / "corpus.jsonl").read_text().splitlines()
    (toy / "corpus.jsonl").write_text("\n".join([*lines, "broken"]))
    collections.check_source(folder(toy))
    (toy / "corpus.jsonl").write_text("\n".join([*lines[:2], "broken", *lines]))
    with pytest.raises(CollectionError, match="corpus.jsonl line 3: is not valid JSON"):
        collections.check_source(folder(toy))


def test_qrels_without_a_positive_are_refused(toy):
    (toy / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t0\nq1\td2\t-1\n")
    with pytest.raises(CollectionError, match="toy/train: none of 2 qrels is above 0, so nothing is relevant"):
        collections.read_queries(folder(toy))


def test_positives_that_are_no_documents_are_counted_and_refused_where_all_are(toy, tmp_path):
    with (toy / "qrels" / "test.tsv").open("a") as stream:
        stream.write("q3\tgone\t1\nq2\tgone\t1\n")
    made = Pipeline(Store(tmp_path / "store"), track=untracked)
    stage = params.FirstStage(kind="full", retriever=params.BM25(stemmer="none", stopwords="none"), depth=4)
    spec = params.EvaluationSpec(system=params.FirstStageSystem(), collection=folder(toy, "test"), first_stage=stage, measures=("RR@10",))
    counts = made.manifest(spec)["counts"]
    assert (counts["positives_not_in_collection"], counts["queries_without_positive_in_collection"]) == (2, 1)
    (toy / "qrels" / "other.tsv").write_text("query-id\tcorpus-id\tscore\nq1\t1\t1\nq3\t2\t1\n")
    message = "toy/other: none of the 2 positives of the qrels is a document of the collection, the first is '1', the first document 'd1'"
    with pytest.raises(CollectionError, match=message):
        collections.check_source(folder(toy, "other"))
    with pytest.raises(CollectionError, match=message):
        made.build(spec.model_copy(update={"collection": folder(toy, "other")}))


def test_ids_and_texts_of_ir_datasets_pass_the_same_guards(monkeypatch):
    class Source:
        def docs_iter(self):
            yield from (Record(*row) for row in self.rows)

        def docs_count(self):
            return 1

    class Record(NamedTuple):
        doc_id: str
        text: str

        def default_text(self):
            return self.text

    monkeypatch.setattr(collections, "_ir_dataset", lambda name: Source())
    for rows, message in (
        ([("a", "b"), ("c d", "e")], "the id 'c d' holds white space, which the TREC format cannot say"),
        ([("a", "b"), ("c", "\ud83d")], "the text of 'c' holds half a character"),
    ):
        monkeypatch.setattr(Source, "rows", rows, raising=False)
        with pytest.raises(CollectionError, match=message):
            collections.read_docs(params.IrDatasetsCollection(id="vaswani"))


# --- the test set that belongs to a training set ----------------------------------------------------------------------------------


def ir(name, **changes):
    return params.IrDatasetsCollection(id=name, **changes)


@pytest.mark.parametrize(
    ("collection", "expected"),
    [
        (params.EmbeddedCollection(seed=5, max_queries=3), ["embedded-smallest-additive-5/test"]),
        (params.EmbeddedCollection(split="test"), []),
        (ir("beir/scifact/train", skip_queries=2, max_queries=9), ["beir/scifact/test"]),
        (ir("beir/scifact"), ["beir/scifact/test"]),
        (ir("beir/scifact/test"), []),  # what is trained on tests nothing
        (ir("vaswani"), []),
        (ir("msmarco-passage/train"), []),
        (params.PseudoQueries(documents=ir("vaswani")), ["vaswani"]),
        (params.PseudoQueries(documents=ir("beir/scifact")), ["beir/scifact/test"]),
        (params.PseudoQueries(documents=params.EmbeddedCollection(split="test")), ["embedded-smallest-additive-13/test"]),
    ],
)
def test_a_collection_names_its_own_test_set_where_one_is_known(collection, expected):
    assert [test.label for test in collections.own_tests(collection)] == expected


def test_a_folders_own_test_set_is_its_split_test_where_the_folder_has_one(toy, tmp_path):
    (test,) = collections.own_tests(folder(toy, max_queries=1))
    assert test == folder(toy, "test")
    assert collections.own_tests(folder(toy, "test")) == ()
    assert collections.own_tests(folder(tmp_path)) == ()
