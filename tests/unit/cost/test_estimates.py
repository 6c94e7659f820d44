"""What a study will cost: sizes, lengths, pairs and sums by hand; measured, benchmarked, assumed and unknown rates."""

from __future__ import annotations

import csv
import io
import json
import socket
import time

import numpy as np
import pytest
from studies_on_disk import EMBEDDED, GRID, ROOT, planned, put

from rd_utils.__main__ import main
from rd_utils.cost import devices, estimates
from rd_utils.cost.estimates import Cost
from rd_utils.cost.workload import Counter, Known, demanded
from rd_utils.processor import Processor, processor
from rd_utils.store import Store, write_manifest
from rd_utils.study import params, plan
from rd_utils.study.params import ParameterError

H200 = devices.GPUS["h200"]
CORE = devices.Device(name="cpu", gpu=False, peak={"fp32": 1e11}, bandwidth=1.6e10, train=0.4, infer=0.5, here=True)
SMALLEST = params.EmbeddedCollection()
ORACLE = params.Oracle()
MSMARCO = params.IrDatasetsCollection(id="msmarco-passage/train/triples-small")
BERT = params.BiEncoder(model="bert-base-uncased", pooling="cls")
BERT_PIECES = params.ModelTokenizer(model="bert-base-uncased")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def counter(store):
    return Counter(Known(store))


def bm25_groups(seed: int = 0, **changes) -> params.GroupsSpec:
    return params.GroupsSpec(collection=SMALLEST, strategy=params.FromCandidates(depth=100, **changes), seed=seed)


def estimated(study, store, device=CORE, benchmarks=()):
    return estimates.estimate(study, store, device, list(benchmarks))


# --- sizes and lengths ------------------------------------------------------------------------------------------------------------


def test_sizes_are_those_of_the_catalogue(counter):
    assert counter.known.sizes(MSMARCO) == (8_841_823, 808_731, 532_761)
    judged = counter.known.sizes(params.IrDatasetsCollection(id="msmarco-passage/trec-dl-2019/judged"))
    assert judged == (8_841_823, 43, 1601 + 1804 + 697)
    part = counter.known.sizes(params.IrDatasetsCollection(id="beir/scifact/train", skip_queries=60, max_queries=300))
    assert part == (5183, 300, pytest.approx(919 * 300 / 809, rel=0.1))
    assert counter.known.sizes(SMALLEST) == (1200, 300, 300)
    pseudo = params.PseudoQueries(documents=SMALLEST, queries=70)
    assert counter.known.sizes(pseudo) == (1200, 70, 70)


def test_the_lines_of_a_folder_are_counted(counter, tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a"}\n{"_id": "b"}\n\n{"_id": "c"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q"}\n{"_id": "of another split"}\n')
    (tmp_path / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t1\nq\tb\t0\n")
    assert counter.known.sizes(params.FolderCollection(path=str(tmp_path))) == (3, 1, 1)


def test_assumed_lengths_are_framed_and_cut(counter):
    assert counter.known.lengths("docs", MSMARCO, BERT_PIECES).mean == pytest.approx(75.6, abs=0.1)
    assert counter.known.lengths("docs", MSMARCO, BERT_PIECES, special=2).mean == pytest.approx(77.6, abs=0.1)
    assert counter.known.lengths("docs", MSMARCO, BERT_PIECES, cut=64, special=2) == (64, 64**2)


def test_lengths_come_from_a_token_table_where_there_is_one(store):
    tokens = params.TokensSpec(of="queries", collection=MSMARCO, tokenizer=BERT_PIECES)
    with store.draft(tokens) as draft:
        np.save(draft.folder / "offsets.npy", np.array([0, 4, 14, 44]))
    found = Known(store).lengths("queries", MSMARCO, BERT_PIECES, cut=16, special=2)
    assert found == (pytest.approx((6 + 12 + 16) / 3), pytest.approx((36 + 144 + 256) / 3))


# --- work -------------------------------------------------------------------------------------------------------------------------


def test_a_published_student_by_hand(counter):
    groups = params.GroupsSpec(collection=MSMARCO, strategy=params.CorpusRandom(), group_size=16)
    training = params.Training(documents=24_000_000, queries_per_batch=8, accumulation_steps=2, precision="fp16")
    work = counter.work(params.StudentSpec(groups=groups, loss="lce", architecture=BERT, training=training))
    query, doc = 5.96 * 1.35 + 2, 55.98 * 1.35 + 2
    assert work.documents == 24_000_000
    assert work.tokens == pytest.approx(1_500_000 * (query + 16 * doc))
    by_parameter = 3 * 2 * 85e6 * work.tokens  # 6 operations a parameter and token, of which the last layer saves some
    assert 0.92 * by_parameter < work.flops.matrix < 1.0 * by_parameter
    assert work.disk == 4 * 109_482_240


def test_a_student_that_stops_early_sees_fewer_documents(counter):
    training = params.Training(documents=20_000, stop_at=5_000, queries_per_batch=32)
    student = params.StudentSpec(groups=bm25_groups(), loss="lce", architecture=params.StaticBi(), training=training)
    assert counter.work(student).documents == 10 * 32 * 16  # 9.8 steps of 512 documents, rounded up


def test_pairs_of_independent_draws_by_hand(counter):
    scores = [params.ScoresSpec(groups=bm25_groups(seed), teacher=ORACLE) for seed in (0, 1)]
    random = [params.ScoresSpec(groups=params.GroupsSpec(collection=SMALLEST, strategy=params.CorpusRandom()), teacher=ORACLE)]
    key = (ORACLE, SMALLEST)
    assert demanded(scores, counter)[key] == pytest.approx(300 + 300 * 100 * (1 - 0.85**2))
    assert demanded(scores + random, counter)[key] == pytest.approx(300 + 300 * 100 * (1 - 0.85**2) + 15 * 300)
    top = [params.ScoresSpec(groups=bm25_groups(draw="top"), teacher=ORACLE)]
    assert demanded(top, counter)[key] == pytest.approx(300 + 300 * 15)


def test_a_pool_that_is_scored_whole_costs_its_groups_nothing_more(counter):
    reranked = params.Reranked(retriever=params.BM25(), from_depth=200, teacher=ORACLE)
    lists = params.CandidatesSpec(collection=SMALLEST, retriever=reranked, depth=100)
    of_list = params.GroupsSpec(collection=SMALLEST, strategy=params.FromCandidates(retriever=reranked, depth=100))
    scores = [params.ScoresSpec(groups=groups, teacher=ORACLE) for groups in (bm25_groups(), of_list)]
    assert demanded([lists, *scores], counter) == {(ORACLE, SMALLEST): 300 * 200 + 300}
    keep = params.FalseNegativeFilter(teacher=ORACLE, value=1.0)
    filtered = bm25_groups(filter=keep)
    assert demanded([filtered, params.ScoresSpec(groups=filtered, teacher=ORACLE)], counter) == {(ORACLE, SMALLEST): 300 * 100 + 300}


def test_every_member_of_an_ensemble_scores_and_a_file_does_not(counter):
    calibration = bm25_groups()
    both = params.EnsembleTeacher(members=(ORACLE, params.BM25Teacher()), calibration=calibration)
    assert [work.kind for work in counter.pairs(both, SMALLEST, 10)] == ["pairs oracle", "pairs bm25"]
    assert counter.pairs(params.FileTeacher(path="scores.parquet"), SMALLEST, 10) == []


def test_an_inverted_file_is_priced_by_the_cells_that_it_looks_into(counter):
    """Of 300 queries and 1,200 documents of 768 numbers: all of them, or the centres, a quarter of them, and 200 queries' recall."""
    encoder = params.UntrainedSystem(architecture=params.StaticBi(dimension=768), collection=SMALLEST)
    flat, cells = (
        counter.work(params.CandidatesSpec(collection=SMALLEST, retriever=params.Dense(encoder=encoder, **index), depth=10))
        for index in ({}, {"index": params.IVFPQ(nlist=16, nprobe=4, m=48)})
    )
    assert (flat.kind, cells.kind) == ("candidates dense", "candidates dense ivf_pq")
    per_product, candidates = 2 * 768 / 3e10, 300 * 10 * 8e-6
    assert flat.cpu_seconds == pytest.approx(candidates + 300 * 1200 * per_product)
    assert cells.cpu_seconds == pytest.approx(candidates + (300 * (16 + 1200 / 4) + 200 * 1200) * per_product)
    assert cells.memory - flat.memory == 1200 * (8 + 48)
    assert flat.disk == cells.disk == 300 * 10 * (4 + 8)
    neighbours = params.NeighboursSpec(collection=SMALLEST, retriever=params.Dense(encoder=encoder, index=params.IVFOnDisk()), depth=10)
    assert counter.work(neighbours).kind == "neighbours dense ivf_on_disk"


def test_bm25_is_priced_as_measured(counter):
    """11 CPU seconds for a million passages of 30 words, and 0.3 ms a query and million documents."""
    million = MSMARCO.model_copy(update={"id": "msmarco-passage"})
    docs, words = 8_841_823, 55.98
    index = counter.work(params.IndexSpec(collection=million, retriever=params.BM25()))
    assert index.cpu_seconds == pytest.approx(11 * docs / 1e6 * words / 30, rel=0.02)
    found = counter.work(params.CandidatesSpec(collection=MSMARCO, retriever=params.BM25(), depth=10))
    assert found.cpu_seconds == pytest.approx(808_731 * (docs / 1e6 * 3e-4 + 10 * 8e-6))


# --- studies ----------------------------------------------------------------------------------------------------------------------


def test_an_empty_store_leaves_everything_and_the_sums_agree(tmp_path, store):
    study = planned(tmp_path)
    found = estimated(study, store)
    total = found.total
    assert total.done == 0 and total.left_core_seconds == total.core_seconds > 0 == total.gpu_seconds
    assert total.basis == "assumed" and not total.unknown
    assert total.artefacts == len(study.specs()) + len(study.nodes) + len(demanded(study.specs(), Counter(Known(store))))
    students = sum(len(cell.students) for cell in study.cells)
    assert found.stages["train"].artefacts == students
    own = sum((cost for _, cost in found.cells.values()), start=Cost())
    beside = [row for row in study.baselines for spec in row.systems.values() for _ in study.evaluations(spec, study.labels[row.pair])]
    shared = ("train", "describe", "evaluate")
    assert own.artefacts == sum(found.stages[name].artefacts for name in shared) - len(beside)
    assert own.tokens < sum(found.stages[name].tokens for name in shared)
    assert total.joules == pytest.approx(10.0 * total.core_seconds)  # watts a core, as the study's analysis has them
    assert set(found.assumed) == {"embedded-smallest-additive-13/train", "embedded-smallest-additive-13/test"}


def test_only_the_first_notebook_imports_where_the_others_can_be_forked(tmp_path, store, monkeypatch):
    study = planned(tmp_path)
    every = len(study.nodes) * estimates.START_SECONDS

    def starts(device=CORE):
        return estimated(study, store, device).stages["start"].core_seconds

    assert starts() == pytest.approx(estimates.START_SECONDS + (len(study.nodes) - 1) * estimates.FORKED_SECONDS)
    assert starts(CORE.model_copy(update={"here": False})) == pytest.approx(every)  # a cluster's jobs start one by one
    monkeypatch.setattr(estimates.kernels, "supported", lambda: False)
    assert starts() == pytest.approx(every)


def test_what_was_measured_sets_the_rate_and_is_not_left(tmp_path, store):
    study = planned(tmp_path)
    cell = study.cells[0]
    first = cell.students[0]
    with store.draft(first) as draft:
        draft.counts |= {"documents_seen": 20480}
    record = store.manifest(first)
    record["cost"] |= {"cpu_seconds": 2.0, "gpu_seconds": 0.0}
    write_manifest(store.folder(first), record)
    found = estimated(study, store)
    same = [c for c in study.cells if c.architecture == cell.architecture]
    assert found.stages["train"].bases["measured"] == pytest.approx(2.0 * sum(len(c.students) for c in same))
    own = found.cells[cell.name][1]
    assert own.done == 1 and own.core_seconds - own.left_core_seconds == pytest.approx(2.0)
    assert "measured" not in found.cells["interaction-bm25-lce"][1].bases
    elsewhere = estimated(study, store, H200)  # the store's seconds are of another device
    assert "measured" not in elsewhere.total.bases and elsewhere.stages["train"].done == 1


def test_a_manifest_of_other_parameters_or_without_a_teachers_bill_is_passed_over(tmp_path, store):
    study = planned(tmp_path)
    student, scores = study.cells[0].students[0], next(spec for spec in study.specs() if spec.stage == "scores")
    put(store, student)
    put(store, scores)
    old = store.folder(scores) / "manifest.json"
    record = json.loads(old.read_text()) | {"parameters": scores.model_dump(mode="json")}
    del record["scoring"]
    old.write_text(json.dumps(record))
    assert estimated(study, store).total.basis == "assumed"


def test_a_teachers_pairs_take_what_they_took_before(tmp_path, store):
    study = planned(tmp_path)
    scores = next(spec for spec in study.specs() if spec.stage == "scores" and spec.teacher.kind == "oracle")
    bill = {"teacher": "oracle", "pairs": 100, "scored_now": 50, "wall_seconds": 5.0, "cpu_seconds": 10.0}
    put(store, scores, scoring=[bill], cost={"cpu_seconds": 11.0})
    write_manifest(store.folder(scores), store.manifest(scores) | {"parameters": scores.model_dump(mode="json")})
    counter, prices = Counter(Known(store)), estimates.Prices(CORE, [])
    prices.learn(counter.known, counter)
    (work,) = counter.pairs(scores.teacher, scores.groups.collection, 1000)
    assert prices.price(work, study.study.analysis).core_seconds == pytest.approx(1000 * 10.0 / 50)


def test_a_benchmark_of_the_device_sets_the_share_of_its_peak(tmp_path, store):
    entry = {"device": "h200", "precision": "fp16", "work": "train", "kind": "bi", "layers": 12, "hidden": 768, "tokens": 80.0}
    entry |= {"documents_per_second": 9000.0, "flops_per_second": 4.945e14, "share_of_peak": 0.5, "remark": "kept"}
    other = entry | {"layers": 2, "hidden": 128, "share_of_peak": 0.01}
    (tmp_path / "a.json").write_text(json.dumps({"throughput": [entry, other, entry | {"device": "a100", "share_of_peak": 0.9}]}))
    (tmp_path / "b.json").write_text("[1, 2]")
    entries = devices.read_benchmarks(tmp_path)
    assert len(entries) == 3
    prices = estimates.Prices(H200, entries)
    groups = params.GroupsSpec(collection=MSMARCO, strategy=params.CorpusRandom())
    training = params.Training(documents=24_000_000, precision="fp16")
    student = params.StudentSpec(groups=groups, loss="lce", architecture=BERT, training=training)
    work = Counter(Known(store)).work(student)
    cost = prices.price(work, planned(tmp_path).study.analysis)
    assert cost.basis == "benchmark"
    assert cost.gpu_seconds == pytest.approx(work.flops.matrix / (0.5 * 989e12))
    assert cost.joules == pytest.approx(700 * cost.gpu_seconds + 10 * cost.core_seconds)
    (tmp_path / "c.json").write_text(json.dumps({"throughput": [{"device": "h200"}]}))
    with pytest.raises(ParameterError, match=r"throughput\[0\].*\n.*precision: required"):
        devices.read_benchmarks(tmp_path)


def test_an_unknown_model_is_named_and_left_out_until_it_was_measured(tmp_path, store):
    unheard = {"kind": "bi_encoder", "model": "someone/unheard-of", "pooling": "mean"}
    grid = GRID | {"architectures": ["unheard"]}
    changes = {"architectures": {"static": {"kind": "static_bi"}, "unheard": unheard}, "grids": [grid], "overrides": []}
    study = planned(tmp_path, **{**changes, "teachers": {"oracle": {"kind": "oracle"}}})
    found = estimated(study, store)
    assert found.stages["train"].unknown == {"the shape of someone/unheard-of": 4}
    assert found.stages["train"].core_seconds == found.stages["train"].flops == 0
    assert "someone/unheard-of" in estimates.show(found) and found.stages["train"].basis == "unknown"
    student = study.cells[0].students[0]
    with store.draft(student) as draft:
        draft.counts |= {"documents_seen": 20480}
    record = store.manifest(student)
    record["cost"] |= {"cpu_seconds": 30.0, "gpu_seconds": 0.0}
    write_manifest(store.folder(student), record)
    measured = estimated(study, store).stages["train"]
    assert not measured.unknown and measured.core_seconds == pytest.approx(4 * 30.0)


@pytest.mark.parametrize("name", ["msmarco", "beir"])
def test_the_published_studies_are_planned_in_seconds_without_a_network(name, store, monkeypatch):
    def refuse(*arguments, **named):
        raise AssertionError("planning asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    before = time.process_time()
    study = plan.load_plan(ROOT / "params" / "paper" / f"{name}.yaml")
    found = estimated(study, store, H200)
    assert time.process_time() - before < 60
    train = found.stages["train"]
    assert not found.total.unknown and train.artefacts == sum(len(cell.students) for cell in study.cells)
    mean = train.flops / train.artefacts
    assert 8e17 < mean < 1.3e18  # 24 million documents of some 80 tokens, 6 operations for each of 85 million parameters
    assert train.gpu_seconds == pytest.approx(train.flops / (0.30 * 989e12), rel=0.03)
    assert list(found.helpers) == ["cross_encoder-bm25-lce"]  # the teacher
    assert found.total.gpu_seconds < 100 * 3600 and found.total.core_seconds > 0


# --- devices and output -----------------------------------------------------------------------------------------------------------


def test_a_device_is_named_or_described(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "_visible_gpu", lambda: None)
    monkeypatch.setattr(devices, "core_peak", lambda: 1e11)
    assert devices.device_of("h200") == H200
    assert devices.device_of("cpu") == devices.device_of(None) and devices.device_of(None).peak["fp32"] == 1e11
    for instructions, bf16 in (("avx2", 1e10), ("avx512", 1e11), ("amx", 1e11)):
        own = Processor("amd", 25, 1, instructions)
        monkeypatch.setattr(devices, "processor", lambda own=own: own)
        assert devices.device_of("cpu").name == own.kind and devices.device_of("cpu").peak["bf16"] == bf16
    own = tmp_path / "own.yaml"
    own.write_text("{name: own, peak: {fp16: 1.0e14}, bandwidth: 1.0e12, watts: 300}")
    assert devices.device_of(str(own)).peak == {"fp16": 1e14}
    own.write_text("{name: own, peak: {fp16: 1.0e14}, bandwith: 1.0e12}")
    with pytest.raises(ParameterError, match="did you mean 'bandwidth'"):
        devices.device_of(str(own))
    with pytest.raises(ParameterError, match="did you mean 'h200'"):
        devices.device_of("h2000")


def test_this_machines_gpu_is_recognised(monkeypatch):
    monkeypatch.setattr(devices, "_visible_gpu", lambda: "NVIDIA A100-SXM4-80GB")
    assert devices.device_of(None) == devices.GPUS["a100"].model_copy(update={"here": True})
    assert devices.device_of("a100").here and not devices.device_of("h200").here
    monkeypatch.setattr(devices, "_visible_gpu", lambda: "Some GPU")
    with pytest.raises(ParameterError, match="Some GPU is not listed"):
        devices.device_of(None)


@pytest.mark.parametrize("seconds", [0.05, 0.0])
def test_a_cores_peak_is_measured_however_little_time_there_is(seconds, monkeypatch):
    assert 1e8 < devices.core_peak.__wrapped__(seconds) < 1e13
    clock = iter([0.0, 0.0, 0.0, 2.0])  # a coarse one stands still during the first products
    monkeypatch.setattr(devices.time, "process_time", lambda: next(clock))
    assert devices.core_peak.__wrapped__(0.0) == 4 * 2 * 768**3 / 2.0


def test_a_precision_that_the_device_lacks_is_an_error_on_a_gpu_and_said_on_a_core(store):
    study = plan.load_plan(ROOT / "params" / "paper" / "msmarco.yaml")
    with pytest.raises(ParameterError, match="old has no peak in fp16"):
        estimated(study, store, devices.Device(name="old", peak={"fp32": 1e13}, bandwidth=1e12, watts=100))
    assert "does not compute in fp16" in estimates.show(estimated(study, store, CORE))


def test_csv_and_json_say_the_same_and_the_text_is_short(tmp_path, store):
    study = planned(tmp_path)
    found = estimated(study, store)
    from_json = json.loads(estimates.show(found, "json"))
    from_csv = list(csv.DictReader(io.StringIO(estimates.show(found, "csv"))))
    assert [row["name"] for row in from_json] == [row["name"] for row in from_csv]
    assert {row["level"] for row in from_json} == {"study", "stage", "cell"}
    total, stages = from_json[0], [row for row in from_json if row["level"] == "stage"]
    assert total["core_seconds"] == pytest.approx(sum(row["core_seconds"] for row in stages), abs=0.01)
    assert float(from_csv[0]["core_seconds"]) == total["core_seconds"]
    text = estimates.show(found, cores=2)
    assert len(text.splitlines()) < 25 and max(map(len, text.splitlines())) < 200
    assert "static: 4 cells, 8 students of 20,000 documents" in text
    assert all(name in estimates.show(found, cells=True) for name in found.cells)


def test_the_command_prints_each_format_and_refuses_what_it_does_not_know(outputs, capsys, monkeypatch):
    monkeypatch.setattr(devices, "core_peak", lambda: 1e11)
    study = str(ROOT / "params" / "smallest.yaml")
    assert main(["plan", study, "--device", "a100", "--cores", "4"]) == 0
    assert "on one a100 and 4 cores" in capsys.readouterr().out
    assert main(["plan", study, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["device"] == processor().kind
    assert main(["plan", study, "--device", "abacus"]) == 2
    assert "unknown device 'abacus'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["plan", study, "--cores", "0"])


def test_the_embedded_profiles_query_words_are_as_generated():
    from rd_utils.data import synthetic

    known = Known(Store())
    found = synthetic.generate("smallest", splits=("train",))
    words = [len(text.split()) for text in found.queries["train"]["text"]]
    docs = [len(text.split()) for text in found.docs["text"]]
    assert known.words(params.EmbeddedCollection(**EMBEDDED)) == (
        pytest.approx(np.mean(words), rel=0.2),
        pytest.approx(np.mean(docs), rel=0.35),
    )
