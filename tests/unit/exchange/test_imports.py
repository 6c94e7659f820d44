"""What others ranked, scored or mined: ids are checked, what is left out is said, and a study mines and distils what comes in."""

from __future__ import annotations

import functools
import json

import numpy as np
import pandas as pd
import pytest
import yaml
from studies_on_disk import ROOT
from toys import DOCS, QUERIES

from rd_utils import __version__
from rd_utils.exchange import export, imports
from rd_utils.store import file_sha256
from rd_utils.study import plan as planning
from rd_utils.study.params import ParameterError
from rd_utils.study.specs import ScoresSpec
from rd_utils.workflow.pipeline import Pipeline
from tests import commands

STUDY, KL = "params/smallest.yaml", "static-bm25-oracle-kl"
SCORED, UNSCORED = ("parquet", "tuples", "lists", "flagembedding", "pylate"), ("tevatron", "margins", "triplets")
TEXTS = {key: f"{title} {text}".strip() for key, (title, text) in DOCS.items()}

asked = functools.partial(commands.asked, imports)


def lines(path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()]


def record(folder) -> dict:
    return json.loads((folder / export.PROVENANCE).read_text())


def jsonl(path, *rows: dict):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# --- groups: out and in again -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Export one cell's groups in every form; return where they lie, and the groups with their scores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RD_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        folder = tmp_path_factory.mktemp("exports")
        for name in (*SCORED, *UNSCORED):
            commands.asked(export, "groups", KL, folder / name, "--study", STUDY, "--to", name)
        student = min(next(cell for cell in planning.load_plan(STUDY).cells if cell.name == KL).students.items())[1]
        pipeline = Pipeline()
        scores = pipeline.group_scores(ScoresSpec(groups=student.groups, teacher=student.teacher))
        yield folder, pipeline.groups(student.groups).assign(scores=list(scores.astype(float)))


def of_groups(frame: pd.DataFrame) -> tuple[dict[str, set[str]], dict[tuple[str, str], float]]:
    """Return the negatives of every query, and the scores of all pairs."""
    negatives: dict[str, set[str]] = {}
    scores: dict[tuple[str, str], float] = {}
    for query, docs, own in zip(frame["query_id"], frame["doc_ids"], frame["scores"], strict=True):
        negatives.setdefault(query, set()).update(docs[1:])
        scores |= {(query, doc): score for doc, score in zip(docs, own, strict=True)}
    return negatives, scores


@pytest.mark.parametrize("form", (*SCORED, *UNSCORED))
def test_groups_come_back_with_the_same_negatives_and_scores(exported, tmp_path, form):
    folder, groups = exported
    negatives, scores = of_groups(groups)
    asked("groups", folder / form, "--to", tmp_path / "back", "--study", STUDY)
    back: dict[str, set[str]] = {}
    for query, _, doc, *_ in lines(tmp_path / "back" / "back.trec"):
        back.setdefault(query, set()).add(doc)
    assert back == negatives and record(tmp_path / "back")["left_out"] == {}
    if form in SCORED:
        table = pd.read_parquet(tmp_path / "back" / imports.SCORES)
        assert dict(zip(zip(table["query_id"], table["doc_id"], strict=True), table["score"], strict=True)) == scores
        assert record(tmp_path / "back")["scores_are"] == "the file's"
        assert all(float(score) == scores[query, doc] for query, _, doc, _, score, _ in lines(tmp_path / "back" / "back.trec"))
    else:
        assert not (tmp_path / "back" / imports.SCORES).exists()
        assert all(float(score) == 1 / int(rank) for _, _, _, rank, score, _ in lines(tmp_path / "back" / "back.trec"))


def test_a_study_draws_and_distils_what_was_imported(exported, tmp_path, outputs):
    folder, groups = exported
    said = asked("groups", folder / "lists", "--to", tmp_path / "mined", "--study", STUDY)
    pasted = yaml.safe_load("\n".join(line for line in said.splitlines() if line.startswith((" ", "retr", "stra", "teac"))))
    assert pasted["strategies"] == {"mined": {"kind": "candidates", "retriever": "mined", "depth": 15}}
    values = yaml.safe_load((ROOT / STUDY).read_text())
    for table, parts in pasted.items():
        values[table] |= parts
    values["grids"] = [{"strategies": ["mined"], "teachers": ["mined"], "losses": ["kl"], "architectures": ["static"], "seeds": [0]}]
    values["analysis"]["baseline_strategy"] = "mined"
    values.pop("overrides")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(values))
    plan = planning.load_plan(tmp_path / "study.yaml", inputs=True)
    (student,) = plan.cells[0].students.values()
    pipeline = Pipeline()
    scores = pipeline.group_scores(ScoresSpec(groups=student.groups, teacher=student.teacher))
    drawn = pipeline.groups(student.groups).assign(scores=list(scores.astype(float)))
    assert of_groups(drawn) == of_groups(groups)


# --- negatives ----------------------------------------------------------------------------------------------------------------------


def test_hard_negatives_by_system_become_a_run_file_a_system(toy, tmp_path, outputs):
    source = jsonl(
        tmp_path / "hard.jsonl",
        {"qid": "q1", "pos": ["d1"], "neg": {"bm25": ["d3", "d2", "d9"], "tas-b": ["d6"]}},
        {"qid": "q2", "pos": ["d4"], "neg": {"bm25": ["d5", "d1", "d1"], "tas-b": []}},
        {"qid": "q8", "pos": ["d1"], "neg": {"bm25": ["d2"]}},
    )
    said = asked("negatives", source, "--to", tmp_path / "hard", "--collection", toy, "--split", "train")
    assert lines(tmp_path / "hard" / "hard_bm25.trec") == [
        ["q1", "Q0", "d3", "1", "1.0", "hard_bm25"],
        ["q1", "Q0", "d2", "2", "0.5", "hard_bm25"],
        ["q2", "Q0", "d1", "1", "1.0", "hard_bm25"],
    ]  # d5 is a positive of q2 in the qrels
    assert lines(tmp_path / "hard" / "hard_tas-b.trec") == [["q1", "Q0", "d6", "1", "1.0", "hard_tas-b"]]
    found = record(tmp_path / "hard")
    assert found["left_out"] == {
        "the collection has no such document": {"pairs": 1, "first": ["d9"]},
        "the collection has no such query": {"pairs": 2, "first": ["q8"]},
        "a negative that the qrels call relevant": {"pairs": 1, "first": ["q2 d5"]},
    }
    assert found["sources"] == [{"name": "hard.jsonl", "size": source.stat().st_size, "sha256": file_sha256(source)}]
    assert found["scores_are"] == "1 / rank, by the order of the file" and found["version"] == __version__
    assert found["counts"]["pairs_read"] == 12 and found["counts"]["pairs of hard_bm25"] == 3
    for part in ("2 pairs: the collection has no such query, the first: 'q8'", "{kind: candidates, retriever: hard_tas-b, depth: 1}"):
        assert part in said
    asked("negatives", source, "--to", tmp_path / "one", "--collection", toy, "--system", "tas-b")
    assert [path.name for path in sorted((tmp_path / "one").iterdir())] == ["one.trec", export.PROVENANCE]
    with pytest.raises(ParameterError, match="--system: the file has no 'tas'; it has bm25, tas-b"):
        asked("negatives", source, "--to", tmp_path / "two", "--collection", toy, "--system", "tas")


def test_scores_of_hard_negatives_rank_them_and_are_kept(toy, tmp_path, outputs):
    def scored(**found: float) -> list[dict]:
        return [{"pid": doc, "ce-score": score} for doc, score in found.items()]

    source = jsonl(tmp_path / "hard.jsonl", {"qid": "q1", "pos": scored(d1=9.0), "neg": {"bm25": scored(d3=-2.5, d2=4.0)}})
    asked("negatives", source, "--to", tmp_path / "hard", "--collection", toy)
    assert [(row[2], row[4]) for row in lines(tmp_path / "hard" / "hard.trec")] == [("d2", "4.0"), ("d3", "-2.5")]
    table = pd.read_parquet(tmp_path / "hard" / imports.SCORES)
    assert table.values.tolist() == [["q1", "d1", 9.0], ["q1", "d3", -2.5], ["q1", "d2", 4.0]]


@pytest.fixture(scope="module")
def miner():
    """A bi-encoder of words with fixed random vectors."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = sorted({word for text in (*TEXTS.values(), *QUERIES.values()) for word in text.split()})
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(["[UNK]", *words])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    weights = np.random.default_rng(0).normal(size=(len(words) + 1, 16)).astype(np.float32)
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")


@pytest.mark.parametrize("output_format", ["triplet", "n-tuple", "labeled-pair", "labeled-list"])
@pytest.mark.parametrize("output_scores", [False, True])
@pytest.mark.parametrize("saved", ["parquet", "json", "disk"])
def test_what_mine_hard_negatives_returns_is_mapped_back_to_ids(toy, tmp_path, outputs, miner, output_format, output_scores, saved):
    datasets = pytest.importorskip("datasets")
    from sentence_transformers.util import mine_hard_negatives

    positives = [("q1", "d1"), ("q2", "d4"), ("q2", "d5")]
    pairs = datasets.Dataset.from_dict({"anchor": [QUERIES[q] for q, _ in positives], "positive": [TEXTS[d] for _, d in positives]})
    mined = mine_hard_negatives(
        pairs,
        miner,
        corpus=list(TEXTS.values()),
        num_negatives=2,
        range_max=4,
        output_format=output_format,
        output_scores=output_scores,
        verbose=False,
        use_faiss=False,
    )
    place = tmp_path / "mined" if saved == "disk" else tmp_path / f"mined.{saved}"
    {"disk": mined.save_to_disk, "json": mined.to_json, "parquet": mined.to_parquet}[saved](str(place))
    asked("negatives", place, "--to", tmp_path / "in", "--collection", toy, "--split", "train")
    queries, docs = ({text: key for key, text in texts.items()} for texts in (QUERIES, TEXTS))
    vectors = {text: vector for texts in (queries, docs) for text, vector in zip(texts, miner.encode([*texts]), strict=True)}
    cosine = miner.similarity_fn_name
    assert cosine == "cosine"
    expected = {}
    for query, own in (("q1", {"d1"}), ("q2", {"d4", "d5"})):
        others = [text for text, key in docs.items() if key not in own]
        near = sorted(others, key=lambda text: -float(miner.similarity(vectors[QUERIES[query]], vectors[text])))[:2]
        expected[query] = [docs[text] for text in near]
    found: dict[str, list[str]] = {}
    for query, _, doc, *_ in lines(tmp_path / "in" / "in.trec"):
        found.setdefault(query, []).append(doc)
    assert found == expected
    assert (tmp_path / "in" / imports.SCORES).exists() == output_scores
    if output_scores:
        table = pd.read_parquet(tmp_path / "in" / imports.SCORES)
        kept = {*positives, *((query, doc) for query, near in expected.items() for doc in near)}
        assert set(zip(table["query_id"], table["doc_id"], strict=True)) == kept
        for query, doc, score in table.itertuples(index=False):
            own = float(miner.similarity(vectors[QUERIES[query]], vectors[TEXTS[doc]]))
            assert score == pytest.approx(own, abs=1e-5)


def test_texts_are_found_white_space_and_case_aside_and_equal_ones_are_counted(toy, tmp_path, outputs):
    (toy / "corpus.jsonl").open("a").write(json.dumps({"_id": "d7", "title": "", "text": TEXTS["d6"]}) + "\n")
    row = {"query": "Cat  mat", "pos": [TEXTS["d1"].upper()], "neg": [f" {TEXTS['d6']}", "unheard of"]}
    said = asked("negatives", jsonl(tmp_path / "flag.jsonl", row), "--to", tmp_path / "in", "--collection", toy)
    assert [row[2] for row in lines(tmp_path / "in" / "in.trec")] == ["d6"]
    assert "1 pairs: the collection has no such document, the first: 'unheard of'" in said
    assert "1 pairs: another document has the same text, of which the first is taken" in said


def test_tevatrons_passages_are_known_by_their_docid(toy, tmp_path, outputs):
    passages = {"positive_passages": [{"docid": "d1", "title": "", "text": "x"}], "negative_passages": [{"docid": "d3"}, {"docid": "d6"}]}
    source = jsonl(tmp_path / "own.jsonl", {"query_id": "q1", "query": "cat mat"} | passages)
    asked("negatives", source, "--to", tmp_path / "in", "--collection", toy)
    assert [row[2] for row in lines(tmp_path / "in" / "in.trec")] == ["d3", "d6"]


# --- runs and scores ----------------------------------------------------------------------------------------------------------------

PAIRS = [("q1", "d1", 3.5), ("q1", "d2", -0.25), ("q2", "d4", 1e-7)]


def as_trec(path):
    path.write_text("".join(f"{query} Q0 {doc} 1 {score} x\n" for query, doc, score in PAIRS))


def as_triples(path):
    path.write_text("query\tdoc\tscore\n" + "".join(f"{query}\t{doc}\t{score}\n" for query, doc, score in PAIRS))


def as_jsonl(path):
    jsonl(path, *({"qid": query, "pid": doc, "score": score} for query, doc, score in PAIRS))


def as_parquet(path):
    pd.DataFrame(PAIRS, columns=["query-id", "corpus-id", "score"]).to_parquet(path)


def as_lists(path):
    jsonl(path, *({"query_id": query, "document_ids": [doc], "scores": [score]} for query, doc, score in PAIRS))


def as_rank_llm(path):
    of: dict[str, list[dict]] = {}
    for query, doc, score in PAIRS:
        of.setdefault(query, []).append({"docid": doc, "score": score, "doc": {"contents": "x"}})
    jsonl(path, *({"query": {"text": "x", "qid": query}, "candidates": found} for query, found in of.items()))


@pytest.mark.parametrize("write", [as_trec, as_triples, as_jsonl, as_parquet, as_lists, as_rank_llm])
def test_scores_of_every_form_become_a_teachers_file(toy, tmp_path, outputs, write):
    write(tmp_path / "source")
    said = asked("scores", tmp_path / "source", "--to", tmp_path / "llm", "--collection", toy)
    table = pd.read_parquet(tmp_path / "llm" / imports.SCORES)
    assert [tuple(row) for row in table.itertuples(index=False)] == PAIRS
    assert yaml.safe_load(said[said.index("teachers:") :]) == {
        "teachers": {"llm": {"kind": "file", "path": str(tmp_path / "llm" / imports.SCORES)}}
    }
    assert ("--by-rank takes 1 / rank instead" in said) == (write is as_rank_llm)


@pytest.mark.parametrize("write", [as_trec, as_jsonl, as_parquet, as_rank_llm])
def test_runs_of_every_form_become_a_retrievers_file(toy, tmp_path, outputs, write):
    write(tmp_path / "source")
    asked("run", tmp_path / "source", "--to", tmp_path / "in", "--name", "splade", "--collection", toy)
    assert lines(tmp_path / "in" / "splade.trec") == [
        ["q1", "Q0", "d1", "1", "3.5", "splade"],
        ["q1", "Q0", "d2", "2", "-0.25", "splade"],
        ["q2", "Q0", "d4", "1", "1e-07", "splade"],
    ]


def test_the_order_of_a_listwise_ranker_stands_for_scores_where_it_is_told_so(toy, tmp_path, outputs):
    candidates = [{"docid": doc, "score": 0.5, "doc": {}} for doc in ("d6", "d1", "d3")]
    source = jsonl(tmp_path / "source", {"query": {"text": "cat mat", "qid": "q1"}, "candidates": candidates})
    asked("scores", source, "--to", tmp_path / "in", "--collection", toy, "--by-rank")
    assert pd.read_parquet(tmp_path / "in" / imports.SCORES).values.tolist() == [["q1", "d6", 1.0], ["q1", "d1", 0.5], ["q1", "d3", 1 / 3]]
    bare = jsonl(tmp_path / "bare", {"query_id": "q1", "doc_ids": ["d6", "d1"]})
    asked("scores", bare, "--to", tmp_path / "order", "--collection", toy, "--by-rank")
    assert pd.read_parquet(tmp_path / "order" / imports.SCORES).values.tolist() == [["q1", "d6", 1.0], ["q1", "d1", 0.5]]


# --- refusals -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, row, said",
    [
        ("run", {"a": 1}, "is of no known form; its columns are a; expected for run: rank_llm's candidates, lists of ids"),
        ("run", {"qid": "q1", "pos": [], "neg": {}}, "which has no run"),
        (
            "scores",
            {"qid": "x", "pid": "y", "score": 1},
            "none of the 1 pairs is of the collection: the file has query 'x' and doc",
        ),
        ("scores", {"qid": "q1", "pid": "d1", "score": "high"}, "line 1: the score is 'high', no finite number"),
        (
            "scores",
            {"qid": "q1", "doc_ids": ["d1"]},
            "the file has no scores; have its order stand for them with --by-rank",
        ),
        ("negatives", {"query": "cat mat", "pos": ["d"], "neg": ["e"]}, "name the collection whose texts these are"),
        ("negatives", {"qid": "q1", "pos": [], "neg": {"x": ["d1"]}}, "nothing is left"),
        ("groups", {"query": "cat mat", "docs": ["a", "b"], "labels": [1.0]}, "line 1: labels holds 1, not one number for each of 2"),
        ("negatives", {"query": "cat mat", "doc": "a", "label": 0.5}, "expected 1 for a positive and 0 for a negative"),
    ],
)
def test_what_is_refused_says_line_and_remedy(toy, tmp_path, outputs, kind, row, said):
    with pytest.raises(ParameterError) as error:
        asked(kind, jsonl(tmp_path / "source", row), "--to", tmp_path / "in", "--collection", toy)
    assert said in str(error.value) and not (tmp_path / "in").exists()


def test_options_are_checked_before_files_are_read(toy, tmp_path, outputs):
    as_trec(tmp_path / "one")
    as_jsonl(tmp_path / "two")
    for options, said in (
        ((tmp_path / "one",), "where do the parts go?"),
        ((tmp_path / "one", "--to", tmp_path), "exists; name a folder that does not"),
        ((tmp_path / "one", "--to", tmp_path / "a b"), "is no name for a part of a study"),
        ((tmp_path / "one", "--to", tmp_path / "in"), "which collection is it of?"),
        ((tmp_path / "three", "--to", tmp_path / "in", "--collection", toy), "there is no such file"),
        ((toy, "--to", tmp_path / "in", "--collection", toy), "a folder without train.parquet"),
        ((tmp_path / "one", tmp_path / "two", "--to", tmp_path / "in", "--collection", toy), "these files are of several forms"),
    ):
        with pytest.raises(ParameterError) as error:
            asked("scores", *options)
        assert said in str(error.value)


def test_a_line_of_another_form_and_pairs_without_a_score_are_refused(toy, tmp_path, outputs):
    good = {"query_id": "q1", "doc_ids": ["d3", "d6"], "scores": [1, 0.5]}
    with pytest.raises(ParameterError, match="line 2: is not of the form lists of ids, as the first is; its columns are qid"):
        asked("run", jsonl(tmp_path / "source", good, {"qid": 1}), "--to", tmp_path / "in", "--collection", toy)
    bare = {"query_id": "q2", "doc_ids": ["d1"]}
    source = jsonl(tmp_path / "source", good, bare)
    with pytest.raises(ParameterError, match="1 of 3 pairs have no score, the first is q2 d1"):
        asked("run", source, "--to", tmp_path / "in", "--collection", toy)
    asked("run", source, "--to", tmp_path / "in", "--collection", toy, "--by-rank")
    assert [row[4] for row in lines(tmp_path / "in" / "in.trec")] == ["1.0", "0.5", "1.0"]


def test_a_pair_that_comes_again_with_another_score_keeps_its_first(toy, tmp_path, outputs):
    rows = ({"qid": "q1", "pid": "d3", "score": score} for score in (1.0, 1.0, 2.0))
    said = asked("scores", jsonl(tmp_path / "source", *rows), "--to", tmp_path / "in", "--collection", toy)
    assert pd.read_parquet(tmp_path / "in" / imports.SCORES)["score"].tolist() == [1.0]
    assert "1 pairs: the pair stands before with another score, which is taken, the first: 'q1 d3'" in said
