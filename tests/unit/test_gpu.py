"""The measurements of a GPU machine: their arithmetic, their texts, and everything once in small on a CPU."""

import json

import numpy as np
import pytest
import torch

from benchmarks import gpu
from rd_utils.cost import devices, flops
from rd_utils.models import packed
from rd_utils.models.tokens import tokenize
from rd_utils.processor import processor

LENGTHS = 100_000


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    path = tmp_path_factory.mktemp("gpu") / "found.json"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert gpu.main(["--device", "cpu", "--tiny", "--out", str(path), "--sections", "bi,scoring,profile,agreement,variants"]) == 0
    finally:
        torch.set_num_threads(threads)
    return json.loads(path.read_text())


def test_lengths_have_the_mean_and_the_limits_they_are_asked_for():
    lengths = gpu.lengths_of(LENGTHS, gpu.MEAN_LENGTH, gpu.SPREAD, 8, gpu.MAX_LENGTH, np.random.default_rng(0))
    assert lengths.min() >= 8 and lengths.max() == gpu.MAX_LENGTH
    assert 73 < lengths.mean() < gpu.MEAN_LENGTH  # the cut takes one token off
    assert np.mean(lengths == gpu.MAX_LENGTH) < 0.03


def test_every_word_is_one_token_of_a_vocabulary_of_berts_size():
    made = gpu.tokenizer()
    assert len(made) == 30_522
    assert (made.pad_token_id, made.unk_token_id, made.cls_token_id, made.sep_token_id, made.mask_token_id) == (0, 100, 101, 102, 103)
    ids = [gpu.FIRST_WORD, 5_000, gpu.VOCABULARY - 1]
    assert tokenize([" ".join(map(gpu.word, ids))], made).ids.tolist() == ids
    assert made(gpu.word(2_000)).input_ids == [101, 2_000, 102]


def test_without_a_gpu_it_refuses_and_says_what_can_be_done(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert "--device cpu --tiny" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        gpu.main(["--device", "cpu"])
    assert "add --tiny" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        gpu.main(["--sections", "bis"])
    assert "no section 'bis'" in capsys.readouterr().err


def test_it_names_the_packages_that_are_missing(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "NEEDED", ("torch", "no_such_package"))
    assert gpu.main(["--device", "cpu", "--tiny"]) == 2
    assert "this needs no_such_package" in capsys.readouterr().out


def test_what_fails_or_comes_too_late_is_named_with_the_reason(tmp_path):
    session = gpu.Session("cpu", gpu.SMALL, True, tmp_path, until=-1.0)
    assert gpu.attempt(session, 5, dict)["error"] == "left out: 0 s were left, and it takes about 5"
    session.until = float("inf")

    def fail() -> dict:
        raise MemoryError("too large\nand more")

    assert gpu.attempt(session, 5, fail) == {"error": "MemoryError: too large"}
    with pytest.raises(RuntimeError, match="ended after 1 steps"):
        session.measure(lambda tick: tick(), 16)


def test_the_operations_are_those_of_the_texts(tmp_path):
    session = gpu.Session("cpu", gpu.SMALL, False, tmp_path, until=float("inf"))
    lengths = np.full(3, 7), np.array([73, 71])
    session.found |= dict(zip(("queries", "docs"), map(of_lengths, lengths), strict=True))
    bert = flops.KNOWN["bert-base-uncased"]
    shape = flops.Shape(**bert.__dict__ | {"first_row": True})
    each, tokens = gpu.work_of(session, "bi")
    expected = flops.encoder(shape, 9).matrix / 16 + (flops.encoder(shape, 75).matrix + flops.encoder(shape, 73).matrix) / 2
    assert tokens == 74 and each == pytest.approx(expected)
    answer = session.costs({"documents_per_second": 100.0}, 5e9, "fp32")
    assert answer["hours"] == pytest.approx(12e6 / 100 / 3600)
    assert answer["share_of_peak"] == pytest.approx(5e11 / session.spec.peak["fp32"])


def of_lengths(lengths):
    from rd_utils.models.tokens import TokenTable

    return TokenTable(np.ones(lengths.sum(), dtype=np.int32), np.concatenate([[0], np.cumsum(lengths)]))


def test_scores_are_compared_by_hand():
    reference = np.array([[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    scores = np.array([[4.0, 3.5, 2.0, 1.0], [1.0, 3.0, 2.0, 4.0]])
    answer = gpu.compare_scores(reference, scores, k=2)
    assert answer["spearman"] == pytest.approx((1.0 + 0.8) / 2)  # 1 - 6 * 2 / (4 * 15)
    assert (answer["top_2_overlap"], answer["equal_top_2"], answer["largest_difference"]) == (0.75, 0.5, 1.0)
    assert answer["spread"] == pytest.approx(np.sqrt(1.25))


def test_the_tiny_form_measures_every_way_or_names_why_not(found):
    ways = found["sections"]["bi"]["ways"]
    for name in ("ours bf16, 1 queries", "ours bf16, 2 queries", "ours bf16, 1 queries, KL", "transformers padded bf16, 1 queries"):
        assert len(ways[name]["all"]) == gpu.SMALL.repeats
        assert ways[name]["documents_per_second"] == pytest.approx(np.median(ways[name]["all"]))
    for name, answer in ways.items():
        assert ("error" in answer) != ("all" in answer), name
    assert ways["rankers bf16, 1 queries, 0 workers"].get("error", "rankers is not installed").endswith("rankers is not installed")
    assert "all" in found["sections"]["scoring"]["ways"]["CrossEncoder.predict minilm, batches of 8"]
    variants = found["sections"]["variants"]["ways"]
    assert {f"multiple of {n}, 1 queries" for n in (16, 32, 64, 180)} <= {name for name, answer in variants.items() if "all" in answer}
    assert [row["line"].split(",")[0] for row in found["lines"]] == ["bi-encoder training", "teacher scoring", "teacher scoring"]
    assert found["lines"][0]["ratio"] > 0 and found["goals"][0]["hours"] > 0


def test_the_throughputs_are_what_the_estimates_read(found, tmp_path):
    (tmp_path / "found.json").write_text(json.dumps(found))
    entries = devices.read_benchmarks(tmp_path)
    assert {(entry.work, entry.kind, entry.precision) for entry in entries} == {
        ("train", "bi", "bf16"),
        ("train", "bi", "fp32"),
        ("infer", "cross", "bf16"),
    }
    assert all(entry.device == processor().kind and entry.layers == 2 and entry.hidden == 32 for entry in entries)


def test_fp32_agrees_with_itself_and_the_profile_adds_up(found):
    for kind in ("bi", "cross"):
        same = found["sections"]["agreement"][kind]["fp32 on cpu"]
        assert same["spearman"] == pytest.approx(1.0) and same["equal_top_10"] == 1.0 and same["largest_difference"] == 0.0
        near = found["sections"]["agreement"][kind]["bf16 on cpu"]
        assert 0 < near["largest_difference"] < 3 * near["spread"] and near["spearman"] > 0.5
        profile = found["sections"]["profile"][kind]
        assert 0 < sum(event["ms_per_step"] for event in profile["top"]) <= profile["busy_ms_per_step"] * 1.0001
        assert profile["launches_per_step"] == 0


def test_what_a_variant_changes_is_as_before_afterwards():
    before = packed.MULTIPLE, packed.MULTIPLE_ON_ACCELERATOR, packed._Layer.__call__
    with pytest.raises(KeyError), gpu.multiple_of(64):
        assert packed.MULTIPLE == packed.MULTIPLE_ON_ACCELERATOR == 64
        raise KeyError
    with gpu.compiled_layers():
        assert packed._Layer.__call__ is not before[2]
    assert before == (packed.MULTIPLE, packed.MULTIPLE_ON_ACCELERATOR, packed._Layer.__call__)


def test_the_layer_that_is_compiled_computes_what_the_engine_does(monkeypatch):
    from transformers import BertConfig, BertModel

    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    torch.manual_seed(0)
    model = BertModel(BertConfig(vocab_size=50, **gpu.TINY)).eval()
    stream = packed.lay_out(of_lengths(np.array([3, 9, 5])), pad=0)
    encoder = packed.PackedEncoder(model)
    for first_only in (False, True):
        expected = encoder(stream, first_only=first_only)
        with gpu.compiled_layers():
            torch.testing.assert_close(encoder(stream, first_only=first_only), expected, rtol=0, atol=1e-6)
