"""Groups as other trainers read them: their texts and scores are the store's, and sentence-transformers trains on them."""

from __future__ import annotations

import functools
import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from rd_utils.exchange import export
from rd_utils.store import StoreError
from rd_utils.study import plan as planning
from rd_utils.study.params import ParameterError, StudentSystem
from rd_utils.study.specs import ScoresSpec
from rd_utils.workflow.pipeline import Pipeline
from tests import commands

STUDY, KL, LCE = "params/smallest.yaml", "static-bm25-oracle-kl", "static-bm25-lce"


asked = functools.partial(commands.asked, export)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Export the groups of one cell in every form; return the folders by form, and the groups by texts and scores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RD_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        patch.setattr(export, "AT_ONCE", 7)  # several parts
        folders = {name: tmp_path_factory.mktemp("exports") / name for name in export.FORMATS}
        for name, folder in folders.items():
            asked("groups", KL, folder, "--study", STUDY, "--to", name)
        student = min(next(cell for cell in planning.load_plan(STUDY).cells if cell.name == KL).students.items())[1]
        pipeline = Pipeline()
        frame = pipeline.groups(student.groups)
        scores = pipeline.group_scores(ScoresSpec(groups=student.groups, teacher=student.teacher))
        queries = pipeline.queries(student.groups.collection).set_index("query_id")["text"]
        docs = pipeline.docs(student.groups.collection).set_index("doc_id")["text"]
        yield folders, frame.assign(query=queries.loc[frame["query_id"]].tolist(), scores=list(scores)), docs


def read(folder) -> pd.DataFrame:
    return pd.read_parquet(folder / "train.parquet")


def test_every_form_holds_the_same_texts_and_scores(exported):
    folders, groups, docs = exported
    texts = [[docs[doc_id] for doc_id in ids] for ids in groups["doc_ids"]]
    scores = np.stack(groups["scores"]).astype(float)
    n, size = scores.shape
    assert n > 7 and size > 2

    rows = read(folders["parquet"])
    assert rows["query_id"].tolist() == groups["query_id"].tolist()
    assert [list(ids) for ids in rows["doc_ids"]] == [list(ids) for ids in groups["doc_ids"]]
    assert [list(own) for own in rows["docs"]] == texts and np.array_equal(np.stack(rows["scores"]), scores)

    rows = read(folders["lists"])
    assert rows["query"].tolist() == groups["query"].tolist()
    assert [list(own) for own in rows["docs"]] == texts and np.array_equal(np.stack(rows["labels"]), scores)

    rows = read(folders["tuples"])
    assert rows.columns.tolist() == ["query", "positive", *(f"negative_{number}" for number in range(1, size)), "label"]
    assert rows.iloc[:, 1:-1].to_numpy().tolist() == texts and np.array_equal(np.stack(rows["label"]), scores)

    rows = read(folders["margins"])
    assert len(rows) == n * (size - 1) and rows["negative"].tolist() == [text for own in texts for text in own[1:]]
    assert rows["positive"].tolist() == [own[0] for own in texts for _ in own[1:]]
    assert np.allclose(rows["label"].to_numpy().reshape(n, -1), scores[:, :1] - scores[:, 1:], rtol=0, atol=1e-12)
    assert read(folders["triplets"]).equals(rows[["query", "positive", "negative"]])

    rows = [json.loads(line) for line in (folders["tevatron"] / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["query"] for row in rows] == groups["query"].tolist()
    assert [[passage["text"] for passage in row["positive_passages"] + row["negative_passages"]] for row in rows] == texts
    assert [row["positive_passages"][0]["docid"] for row in rows] == [ids[0] for ids in groups["doc_ids"]]

    rows = [json.loads(line) for line in (folders["flagembedding"] / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["pos"] + row["neg"] for row in rows] == texts
    assert np.array_equal([row["pos_scores"] + row["neg_scores"] for row in rows], scores)

    rows = read(folders["pylate"])
    assert [list(ids) for ids in rows["document_ids"]] == [list(ids) for ids in groups["doc_ids"]]
    table = pd.read_parquet(folders["pylate"] / "documents.parquet")
    assert dict(table.itertuples(index=False)) == {doc_id: docs[doc_id] for ids in groups["doc_ids"] for doc_id in ids}
    table = pd.read_parquet(folders["pylate"] / "queries.parquet")
    assert dict(table.itertuples(index=False)) == dict(zip(groups["query_id"], groups["query"], strict=True))


def test_what_was_exported_says_what_it_is(exported):
    folders, groups, _ = exported
    for name, folder in folders.items():
        said = json.loads((folder / export.PROVENANCE).read_text(encoding="utf-8"))
        assert (said["study"], said["cell"], said["format"]) == ("smallest", KL, name)
        assert said["counts"] == {
            "groups": len(groups), "queries": groups["query_id"].nunique(), "documents_a_group": len(groups["doc_ids"].iloc[0])
        }  # fmt: skip
        assert said["scores"]["parameters"]["kind"] == "oracle" and len(said["groups"]["identity"]) > 8
        assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    "form, loss", [("triplets", "MultipleNegativesRankingLoss"), ("margins", "MarginMSELoss"), ("tuples", "DistillKLDivLoss")]
)
def test_sentence_transformers_trains_a_bi_encoder_on_them(exported, tmp_path, form, loss):
    datasets = pytest.importorskip("datasets")
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments, losses
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    data = datasets.load_dataset("parquet", data_files=str(exported[0][form] / "train.parquet"), cache_dir=str(tmp_path), split="train")
    words = sorted({word for column in ("query", "positive") for text in data[column] for word in text.split()})
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(["[UNK]", *words])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu")
    before = model[0].embedding.weight.detach().clone()
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=2, per_device_train_batch_size=4, report_to=[], save_strategy="no", use_cpu=True
    )
    trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, loss=getattr(losses, loss)(model))
    assert np.isfinite(trainer.train().training_loss)
    assert not np.array_equal(before.numpy(), model[0].embedding.weight.detach().numpy())


def test_sentence_transformers_trains_a_cross_encoder_on_lists(exported, tmp_path):
    datasets = pytest.importorskip("datasets")
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import ListNetLoss
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]))
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 31}
    BertForSequenceClassification(BertConfig(**sizes, num_labels=1)).save_pretrained(tmp_path)
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    data = datasets.load_dataset("parquet", data_files=str(exported[0]["lists"] / "train.parquet"), cache_dir=str(tmp_path), split="train")
    model = CrossEncoder(str(tmp_path), device="cpu", max_length=32)
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=2, per_device_train_batch_size=2, report_to=[], save_strategy="no", use_cpu=True
    )
    trainer = CrossEncoderTrainer(model=model, args=arguments, train_dataset=data, loss=ListNetLoss(model))
    assert np.isfinite(trainer.train().training_loss)


def test_a_cell_without_a_teacher_has_groups_and_takes_a_named_one(exported, tmp_path):
    said = asked("groups", LCE, tmp_path / "plain", "--study", STUDY, "--to", "tuples")
    assert "groups of" in said and "label" not in read(tmp_path / "plain").columns
    asked("groups", LCE, tmp_path / "scored", "--study", STUDY, "--to", "lists", "--teacher", "oracle")
    assert read(tmp_path / "scored")["labels"].map(len).nunique() == 1


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("groups", KL, "new"), "--to is missing; (choices: triplets"),
        (("student", KL, "."), ". exists"),
        (("student", "bm25", "new"), "bm25 is a row of study smallest that it does not train"),
        (("groups", KL, "new", "--to", "list"), "there is no format 'list'; did you mean 'lists'?"),
        (("groups", KL, ".", "--to", "lists"), ". exists; name a folder that does not"),
        (("groups", "static-bm25-kl", "new", "--to", "lists"), "did you mean"),
        (("groups", LCE, "new", "--to", "lists"), "has no teacher; name one with --teacher"),
        (("groups", LCE, "new", "--to", "lists", "--teacher", "orakle"), "did you mean 'oracle'?"),
        (("groups", KL, "new", "--to", "lists", "--seed", 99), "not 99"),
        (("groups", KL, "new", "--to", "lists", "--collection", "x"), "is not trained on 'x'"),
    ],
)
def test_what_it_refuses_before_anything_is_made(monkeypatch, tmp_path, arguments, said):
    monkeypatch.setattr(Pipeline, "build", lambda *_: pytest.fail("something was made"))
    with pytest.raises(ParameterError) as error:
        asked(*arguments, "--study", STUDY)
    assert said in str(error.value)


# --- students -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train and evaluate one cell, and export one of its students; return its folder, its spec and the plan."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RD_OUTPUTS", str(tmp_path_factory.mktemp("trained")))
        folder = tmp_path_factory.mktemp("students") / "student"
        with pytest.raises(StoreError, match="seed 0, is not trained yet; `rd run params/smallest.yaml` trains it"):
            asked("student", LCE, folder, "--study", STUDY)
        plan, pipeline = planning.load_plan(STUDY), Pipeline()
        cell = next(cell for cell in plan.cells if cell.name == LCE)
        bm25 = next(row for row in plan.baselines if row.name == "BM25")
        systems = [StudentSystem(student=student) for student in cell.students.values()]
        for spec in (spec for system in (*systems, *bm25.systems.values()) for spec in plan.evaluations(system, cell.collection)):
            pipeline.build(spec)
        asked("student", LCE, folder, "--study", STUDY)
        yield folder, cell.students[0], pipeline


def test_an_exported_student_gives_the_scores_of_its_runs(trained):
    from sentence_transformers import SentenceTransformer

    folder, spec, pipeline = trained
    model = SentenceTransformer(str(folder), device="cpu")
    queries, docs = pipeline.queries(spec.groups.collection), pipeline.docs(spec.groups.collection)
    own = pipeline.student(spec)
    query, doc = queries["text"].iloc[0], docs["text"].iloc[3]
    tables = (own.model.tokenizer, [query], [doc])
    from rd_utils.models.tokens import tokenize

    ours = own.score_pairs(*(tokenize(texts, tables[0]) for texts in tables[1:]), np.array([0]), np.array([0]))
    theirs = model.encode_query([query]) @ model.encode_document([doc]).T
    assert float(ours[0]) == pytest.approx(spec.architecture.scale * float(theirs[0, 0]), rel=1e-5)


def test_its_card_says_recipe_measures_and_verdicts(trained):
    from huggingface_hub import ModelCard

    folder, spec, pipeline = trained
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "sentence-transformers" and card.data.pipeline_tag == "sentence-similarity"
    results = {(one.dataset_type, one.dataset_config, one.metric_type): one.metric_value for one in card.data.eval_results}
    plan = planning.load_plan(STUDY)
    for evaluation in plan.evaluations(StudentSystem(student=spec), plan.labels[0]):
        frame = pd.read_parquet(pipeline.store.folder(evaluation) / "per_query.parquet")
        for measure, values in frame.groupby("measure")["value"]:
            place = evaluation.collection.label, evaluation.first_stage.label, measure
            assert results[place] == pytest.approx(values.mean(), abs=1e-6)
            half = scipy_stats.t(len(values) - 1).ppf(0.975) * values.std(ddof=1) / len(values) ** 0.5
            assert f"{values.mean() - half:.4f} to {values.mean() + half:.4f}" in card.content
    for part in (
        "SentenceTransformer(",
        "| lce ",
        "none: labels",
        "| bm25, candidates, groups of 16",
        "CPU s",
        pipeline.store.manifest(spec)["identity"],
    ):
        assert part in card.content
