"""The training loop: budget, order, accumulation, resuming, determinism, refusals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lexicons import make_lexicon
from transformers import BertConfig, BertModel

from rd_utils.models import GroupBatch, Student, build, tokenizer_of
from rd_utils.models.tokens import TokenTable, take, tokenize
from rd_utils.study import params
from rd_utils.study.params import Training
from rd_utils.training import loop
from rd_utils.training.groups import GroupTable, TrainingError, group_order
from rd_utils.training.loop import TrainingRecord, learning_rate_factor, train
from rd_utils.training.losses import LOSSES, group_loss
from rd_utils.training.trainer_losses import BiEncoderGroupLoss, CrossEncoderGroupLoss

WORDS = [f"w{i}" for i in range(40)]
STATIC = params.StaticBi(dimension=8)
SPARSE = params.StaticSparse(dimension=8, query_flops=0.02, document_flops=0.01, flops_warmup=0.5)
INTERACTION = params.InteractionCross(dimension=8)
BOTH = pytest.mark.parametrize("architecture", [STATIC, INTERACTION], ids=["static_bi", "interaction_cross"])
RATES = {"learning_rate": 1e-2, "embedding_learning_rate": 1e-2}


@pytest.fixture(scope="module")
def lexicon(tmp_path_factory) -> Path:
    return make_lexicon(tmp_path_factory.mktemp("lexicon"), WORDS, 8)


class Toy:
    """Queries w0 .. w9; the positive of query i has the word w(i + 10), which stands in no other document."""

    def __init__(self, lexicon: Path, n_groups: int = 24, group_size: int = 4) -> None:
        tokenizer = tokenizer_of(STATIC, lexicon)
        rng = np.random.default_rng(0)
        noise = [" ".join(rng.choice(WORDS[20:], size=rng.integers(3, 12))) for _ in range(30)]
        docs = [f"w{10 + i} {noise[i]}" for i in range(10)] + noise[10:]
        self.queries = tokenize([f"w{i}" for i in range(10)], tokenizer)
        self.docs = tokenize(docs, tokenizer)
        query_rows = np.arange(n_groups) % 10
        negatives = np.stack([rng.choice(20, size=group_size - 1, replace=False) + 10 for _ in range(n_groups)])
        scores = rng.normal(size=(n_groups, group_size)).astype(np.float32)
        scores[:, 0] += 3
        self.groups = GroupTable(query_rows, np.column_stack([query_rows, negatives]), scores)

    def train(self, student: Student, *, loss: str = "kl", seed: int = 0, training: Training | None = None, **options) -> TrainingRecord:
        training = training or Training(documents=160, queries_per_batch=4, **RATES)
        groups = options.pop("groups", self.groups)
        return train(student, self.queries, self.docs, groups, loss=loss, temperature=1.0, training=training, seed=seed, **options)


@pytest.fixture
def toy(lexicon) -> Toy:
    return Toy(lexicon)


@pytest.fixture(scope="module")
def checkpoint(lexicon, tmp_path_factory) -> params.BiEncoder:
    """A tiny BERT with dropout 0.1, so that a run depends on its random stream."""
    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = tokenizer_of(params.TinyBertBi(), lexicon)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(
            BertConfig(vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
        ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return params.BiEncoder(model=str(folder), pooling="mean")


def weights(student: Student) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in student.parameters()])


def test_the_learning_rate_rises_and_falls_linearly_and_is_never_zero() -> None:
    factors = [learning_rate_factor(step, steps=10, warmup_share=0.2) for step in range(10)]
    np.testing.assert_allclose(factors, [1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    assert learning_rate_factor(0, steps=4, warmup_share=0.0) == 1.0
    assert [learning_rate_factor(s, steps=3, warmup_share=1.0) for s in range(3)] == [0.25, 0.5, 0.75]


def test_the_schedules_share_their_warm_up_and_follow_their_formulae_after_it() -> None:
    factors = {schedule: [learning_rate_factor(s, 8, 0.25, schedule) for s in range(8)] for schedule in ("linear", "cosine", "constant")}
    assert all(values[:2] == [1 / 3, 2 / 3] for values in factors.values())
    np.testing.assert_allclose(factors["cosine"][2:], (1 + np.cos(np.pi * np.arange(6) / 6)) / 2)
    assert factors["cosine"][5] == pytest.approx(0.5) and factors["cosine"][7] > 0
    assert factors["constant"][2:] == [1.0] * 6
    with pytest.raises(ValueError, match="schedule is 'cosin'; choose from linear, cosine, constant"):
        learning_rate_factor(0, 8, 0.25, "cosin")


def test_a_run_follows_its_schedule(toy, lexicon) -> None:
    training = Training(documents=8 * 16, queries_per_batch=4, warmup_share=0.25, schedule="cosine", **RATES)
    record = toy.train(build(STATIC, seed=0, lexicon=lexicon), training=training)
    np.testing.assert_allclose(record.history["learning_rate"], [0.01 * learning_rate_factor(s, 8, 0.25, "cosine") for s in range(8)])


def test_the_order_of_groups_is_a_permutation_per_epoch_whatever_the_pieces_it_is_asked_in() -> None:
    whole = group_order(7, seed=3, start=0, count=21)
    for epoch in range(3):
        assert sorted(whole[7 * epoch : 7 * epoch + 7].tolist()) == list(range(7))
    pieces = np.concatenate([group_order(7, seed=3, start=start, count=3) for start in range(0, 21, 3)])
    np.testing.assert_array_equal(pieces, whole)
    assert not np.array_equal(whole[:7], whole[7:14])
    assert not np.array_equal(group_order(7, seed=4, start=0, count=21), whole)


def test_erratum_21_every_epoch_is_the_next_draw_of_every_base_group_and_draws_change_no_order() -> None:
    plain, drawn = (group_order(7, seed=3, start=0, count=35, draws=draws) for draws in (1, 3))
    np.testing.assert_array_equal(drawn % 7, plain)
    assert (drawn // 7).tolist() == np.repeat([0, 1, 2, 0, 1], 7).tolist()
    pieces = np.concatenate([group_order(7, seed=3, start=start, count=5, draws=3) for start in range(0, 35, 5)])
    np.testing.assert_array_equal(pieces, drawn)


def test_erratum_06_the_budget_counts_documents_with_accumulation(toy, lexicon) -> None:
    """100 documents at 2 x 3 groups x 4 documents = 24 a step: 5 steps, 120 documents."""
    student = build(STATIC, seed=0, lexicon=lexicon)
    training = Training(documents=100, queries_per_batch=2, accumulation_steps=3, **RATES)
    record = toy.train(student, training=training)
    assert (record.steps, record.documents_seen) == (5, 120)
    assert record.history["step"].tolist() == [1, 2, 3, 4, 5]
    assert record.history["documents_seen"].tolist() == [24, 48, 72, 96, 120]
    np.testing.assert_allclose(record.history["learning_rate"], 0.01 * np.array([1, 0.8, 0.6, 0.4, 0.2]))


def test_tokens_seen_are_those_of_every_text_of_every_group(toy, lexicon) -> None:
    record = toy.train(build(STATIC, seed=0, lexicon=lexicon), training=Training(documents=24 * 4, queries_per_batch=24))
    docs = toy.docs.lengths()[toy.groups.doc_rows].sum()
    assert record.tokens_seen == 24 + docs


def gradients_of_one_step(
    student: Student, toy: Toy, queries_per_batch: int, accumulation_steps: int, loss: str
) -> dict[str, torch.Tensor]:
    """Record the gradients that the optimiser sees."""
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        p.register_post_accumulate_grad_hook(lambda p, n=n: seen.__setitem__(n, p.grad.clone()))
        for n, p in student.named_parameters()
        if p.requires_grad
    ]
    training = Training(
        documents=32, queries_per_batch=queries_per_batch, accumulation_steps=accumulation_steps, max_gradient_norm=None, **RATES
    )
    record = toy.train(student, loss=loss, training=training)
    assert record.steps == 1
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("loss", list(LOSSES))
def test_accumulating_4_batches_of_2_gives_the_gradients_of_1_batch_of_8(loss, toy, lexicon) -> None:
    architecture = params.TinyBertBi(dimension=8, heads=2, feed_forward=8)
    once = gradients_of_one_step(build(architecture, seed=0, lexicon=lexicon), toy, 8, 1, loss)
    summed = gradients_of_one_step(build(architecture, seed=0, lexicon=lexicon), toy, 2, 4, loss)
    assert once.keys() == summed.keys()
    largest = max(float(g.abs().max()) for g in once.values())
    assert largest > 1e-3
    for key in once:
        torch.testing.assert_close(summed[key], once[key], rtol=0, atol=1e-5 * largest, msg=key)  # float32 rounds by 2e-7


def test_the_gradients_of_a_step_are_those_of_the_loss_on_its_groups(toy, lexicon) -> None:
    student = build(STATIC, seed=0, lexicon=lexicon)
    rows = group_order(24, seed=0, start=0, count=8)
    batch = GroupBatch(toy.queries, toy.docs, toy.groups.query_rows[rows], toy.groups.doc_rows[rows])
    group_loss("kl", student(batch), torch.from_numpy(toy.groups.teacher_scores[rows]), 1.0).backward()
    expected = student.model[0].embedding.weight.grad.clone()
    seen = gradients_of_one_step(build(STATIC, seed=0, lexicon=lexicon), toy, 8, 1, "kl")
    torch.testing.assert_close(seen["model.0.embedding.weight"], expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize(
    "kind", [params.TinyBertBi(dimension=8, heads=2, feed_forward=8, scale=0.5), params.TinyBertCross(dimension=8)], ids=["bi", "cross"]
)
def test_the_librarys_trainers_and_our_loop_give_the_same_gradients(kind, loss, toy, lexicon) -> None:
    """Our path from token tables against what sentence-transformers' trainers do with our loss modules and texts, in float64."""
    rows = group_order(24, seed=0, start=0, count=8)
    query_rows, doc_rows = toy.groups.query_rows[rows], toy.groups.doc_rows[rows]
    teacher = torch.from_numpy(toy.groups.teacher_scores[rows]).double()

    ours = build(kind, seed=0, lexicon=lexicon).double()
    value = group_loss(loss, ours(GroupBatch(toy.queries, toy.docs, query_rows, doc_rows)), teacher, 2.0)
    value.backward()

    def text(table, row):
        return " ".join(WORDS[token - 5] for token in table.row(row))

    theirs = build(kind, seed=0, lexicon=lexicon).double()
    columns = [[text(toy.queries, row) for row in query_rows]]
    columns += [[text(toy.docs, row) for row in doc_rows[:, column]] for column in range(doc_rows.shape[1])]
    if isinstance(kind, params.TinyBertBi):
        module = BiEncoderGroupLoss(theirs.model, loss, temperature=2.0, scale=0.5)
        other = module([theirs.model.preprocess(column) for column in columns], teacher)
    else:
        other = CrossEncoderGroupLoss(theirs.model, loss, temperature=2.0)(columns, teacher)
    other.backward()

    assert other.item() == pytest.approx(value.item(), rel=1e-10)
    expected = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    found = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys() and max(float(g.abs().max()) for g in expected.values()) > 1e-4
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-11, msg=name)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(toy, lexicon, checkpoint) -> None:
    for architecture in (STATIC, checkpoint):
        runs = []
        for seed, noise in ((5, 1), (5, 2), (6, 1)):
            torch.manual_seed(noise)
            student = build(architecture, seed=0, lexicon=lexicon)
            toy.train(student, seed=seed)
            runs.append(weights(student))
        assert torch.equal(runs[0], runs[1])
        assert not torch.equal(runs[0], runs[2])


def test_the_global_random_states_are_kept_and_the_student_is_given_back_as_it_was(toy, checkpoint) -> None:
    student = build(checkpoint, seed=0)
    attributes = set(student.__dict__)
    torch.manual_seed(11)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    toy.train(student, training=Training(documents=32, queries_per_batch=4, precision="bf16"))
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert not student.training and set(student.__dict__) == attributes
    assert all(p.dtype == torch.float32 and p.grad is None for p in student.parameters())


def test_losses_that_are_read_a_step_late_are_the_same_and_are_all_told_in_order(toy, checkpoint, monkeypatch) -> None:
    seen: dict[bool, list] = {}
    for late in (False, True):
        monkeypatch.setattr(loop, "_reads_late", lambda device, late=late: late)
        told: list[tuple] = []
        student = build(checkpoint, seed=0)
        record = toy.train(student, progress=lambda *step, told=told: told.append(step))
        seen[late] = [told, record.history, weights(student)]
    assert [step for step, _, _ in seen[True][0]] == list(range(1, 11)) and seen[True][0] == seen[False][0]
    assert seen[True][1].equals(seen[False][1]) and torch.equal(seen[True][2], seen[False][2])


def test_a_loss_that_is_no_number_and_read_late_names_its_step_and_reaches_no_checkpoint(toy, lexicon, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(loop, "_reads_late", lambda device: True)
    student = build(STATIC, seed=0, lexicon=lexicon)
    training = Training(documents=160, queries_per_batch=4, checkpoint_every=4, **RATES)

    def poison(step: int, steps: int, loss: float) -> None:
        if step == 2:  # told when step 3 is taken, so step 4, of the checkpoint, is the first without a number
            with torch.no_grad():
                student.model[0].embedding.weight.fill_(torch.nan)

    with pytest.raises(TrainingError, match="the loss is nan at step 4 of 10"):
        toy.train(student, training=training, progress=poison, checkpoint_folder=tmp_path)
    assert not list(tmp_path.iterdir())


class Killed(Exception):
    pass


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("which", ["static", "with dropout", "sparse", "late"])
def test_a_run_that_was_killed_and_resumed_ends_with_the_same_weights_bit_for_bit(
    which, precision, toy, lexicon, checkpoint, tmp_path
) -> None:
    architecture = {"static": STATIC, "sparse": SPARSE, "late": params.StaticLate(dimension=8)}.get(which, checkpoint)
    training = Training(documents=160, queries_per_batch=2, accumulation_steps=2, checkpoint_every=3, precision=precision, **RATES)
    whole = build(architecture, seed=0, lexicon=lexicon)
    expected = toy.train(whole, training=training)

    def kill(step: int, steps: int, loss: float) -> None:
        if step == 8:
            raise Killed

    with pytest.raises(Killed):
        toy.train(build(architecture, seed=0, lexicon=lexicon), training=training, checkpoint_folder=tmp_path, progress=kill)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    steps: list[int] = []
    resumed = build(architecture, seed=0, lexicon=lexicon)
    record = toy.train(resumed, training=training, checkpoint_folder=tmp_path, progress=lambda step, total, loss: steps.append(step))
    assert steps == [7, 8, 9, 10]  # the checkpoint was of step 6
    assert torch.equal(weights(resumed), weights(whole))
    assert record.history.equals(expected.history)
    assert (record.documents_seen, record.tokens_seen, record.steps) == (expected.documents_seen, expected.tokens_seen, 10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["flip", "cut", "emptied", "a folder"])
def test_a_damaged_checkpoint_is_said_and_the_training_begins_anew(toy, lexicon, tmp_path, caplog, how) -> None:
    training = Training(documents=160, queries_per_batch=4, checkpoint_every=3, **RATES)

    def kill(step, total, loss):
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toy.train(build(STATIC, seed=0, lexicon=lexicon), training=training, checkpoint_folder=tmp_path, progress=kill)
    path = tmp_path / "checkpoint.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.mkdir() if how == "a folder" else path.write_bytes({"flip": content, "cut": content[:-100], "emptied": b""}[how])
    steps, straight, again = [], build(STATIC, seed=0, lexicon=lexicon), build(STATIC, seed=0, lexicon=lexicon)
    with caplog.at_level("WARNING", logger="rd_utils"):
        toy.train(again, training=training, checkpoint_folder=tmp_path, progress=lambda step, total, loss: steps.append(step))
    assert f"the checkpoint {path} is damaged" in caplog.text and "so the training begins anew" in caplog.text
    toy.train(straight, training=training)
    assert steps[0] == 1 and not list(tmp_path.iterdir())
    for (name, one), other in zip(straight.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_a_checkpoint_of_another_run_is_refused(toy, lexicon, tmp_path) -> None:
    training = Training(documents=160, queries_per_batch=4, checkpoint_every=3, **RATES)

    def kill(step: int, steps: int, loss: float) -> None:
        if step == 4:
            raise Killed

    with pytest.raises(Killed):
        toy.train(build(STATIC, seed=0, lexicon=lexicon), training=training, checkpoint_folder=tmp_path, progress=kill)
    with pytest.raises(TrainingError, match="belongs to another run: seed differ"):
        toy.train(build(STATIC, seed=0, lexicon=lexicon), training=training, checkpoint_folder=tmp_path, seed=1)
    other = toy.groups._replace(teacher_scores=toy.groups.teacher_scores + 1)
    with pytest.raises(TrainingError, match="belongs to another run: groups differ"):
        toy.train(build(STATIC, seed=0, lexicon=lexicon), training=training, checkpoint_folder=tmp_path, groups=other)


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize("kind", ["static_bi", "interaction_cross"])
def test_the_loss_falls_and_the_positives_come_first_on_a_task_that_can_be_learnt(kind, loss, toy, lexicon) -> None:
    """Chance level of a positive coming first among 4 documents is 1/4; the loss of the untrained student is the first one."""
    architecture = STATIC if kind == "static_bi" else params.InteractionCross(dimension=8)
    student = build(architecture, seed=0, lexicon=lexicon)
    groups = toy.groups._replace(teacher_scores=np.tile(np.float32([3, 0, 0, 0]), (24, 1)))
    training = Training(documents=120 * 8 * 4, queries_per_batch=8, learning_rate=3e-2, weight_decay=0.0)
    record = toy.train(student, loss=loss, training=training, groups=groups)
    first, last = record.history["loss"].iloc[0], record.history["loss"].iloc[-10:].mean()
    assert last < 0.95 * first
    with torch.no_grad():
        scores = student(GroupBatch(toy.queries, toy.docs, groups.query_rows, groups.doc_rows))
    assert (scores.argmax(dim=1) == 0).float().mean() > 0.7


def test_distillation_without_teacher_scores_is_refused_before_anything_starts(toy, lexicon) -> None:
    student = build(STATIC, seed=0, lexicon=lexicon)
    before = weights(student).clone()
    with pytest.raises(TrainingError, match="the loss 'kl' distils a teacher, but the groups have no teacher scores"):
        toy.train(student, groups=toy.groups._replace(teacher_scores=None))
    holes = toy.groups.teacher_scores.copy()
    holes[5, 2] = holes[9, 0] = np.nan
    with pytest.raises(TrainingError, match="2 of 96 teacher scores are missing or not finite, the first is nan for document 2 of group 5"):
        toy.train(student, groups=toy.groups._replace(teacher_scores=holes))
    assert torch.equal(weights(student), before)
    assert toy.train(student, loss="lce", groups=toy.groups._replace(teacher_scores=None)).steps == 10


def test_fp16_on_a_cpu_is_refused_before_anything_starts(toy, lexicon) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has an accelerator, where fp16 works")
    with pytest.raises(ValueError, match="fp16 needs an accelerator, but the device is a cpu; use bf16"):
        toy.train(build(STATIC, seed=0, lexicon=lexicon), training=Training(documents=32, precision="fp16"))


class Batches:
    """Records the batches that a student scores in training mode."""

    def __init__(self, student: Student) -> None:
        self.seen: list[GroupBatch] = []
        student.register_forward_pre_hook(lambda module, inputs: self.seen.append(inputs[0]) if module.training else None)

    def doc_rows(self) -> np.ndarray:
        return np.concatenate([batch.doc_rows for batch in self.seen])


def rows_of(array: np.ndarray) -> list[list[int]]:
    return sorted(array.tolist())


# --- stopping early ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@BOTH
def test_a_run_that_stops_early_is_the_whole_run_up_to_there_bit_for_bit(architecture, schedule, toy, lexicon) -> None:
    """50 of 160 documents at 16 a step: 4 steps of 10."""
    budget = {"documents": 160, "queries_per_batch": 2, "accumulation_steps": 2, "schedule": schedule, **RATES}
    at: dict[int, torch.Tensor] = {}
    whole = build(architecture, seed=0, lexicon=lexicon)
    expected = toy.train(whole, training=Training(**budget), progress=lambda step, steps, loss: at.setdefault(step, weights(whole).clone()))
    stopped, seen = build(architecture, seed=0, lexicon=lexicon), []
    record = toy.train(stopped, training=Training(**budget, stop_at=50), progress=lambda step, steps, loss: seen.append((step, steps)))
    assert (record.steps, record.documents_seen, seen) == (4, 64, [(1, 4), (2, 4), (3, 4), (4, 4)])
    assert record.history.equals(expected.history.iloc[:4])
    assert torch.equal(weights(stopped), at[4]) and not torch.equal(at[4], at[10])


# --- draws ------------------------------------------------------------------------------------------------------------------------


def with_draws(groups: GroupTable, draws: int) -> GroupTable:
    """Put ``draws`` tables end to end, whose negatives differ."""
    docs = [np.column_stack([groups.doc_rows[:, :1], 10 + (groups.doc_rows[:, 1:] - 10 + 3 * draw) % 20]) for draw in range(draws)]
    scores = [groups.teacher_scores + np.float32(draw) for draw in range(draws)]
    return GroupTable(np.tile(groups.query_rows, draws), np.concatenate(docs), np.concatenate(scores), draws=draws)


@BOTH
def test_erratum_21_an_epoch_trains_on_one_draw_of_every_base_group(architecture, toy, lexicon) -> None:
    """24 base groups of 4 documents in 2 draws, 6 steps an epoch, 3 epochs: the draws 0, 1, 0."""
    groups = with_draws(toy.groups, 2)
    student = build(architecture, seed=0, lexicon=lexicon)
    batches = Batches(student)
    record = toy.train(student, training=Training(documents=3 * 24 * 4, queries_per_batch=4, **RATES), groups=groups)
    assert (record.steps, record.documents_seen) == (18, 288)
    found = batches.doc_rows().reshape(3, 24, 4)
    first, second = rows_of(groups.doc_rows[:24]), rows_of(groups.doc_rows[24:])
    assert first != second
    assert [rows_of(rows) for rows in found] == [first, second, first]


def test_equal_draws_train_as_one_draw_does_bit_for_bit(toy, lexicon) -> None:
    training = Training(documents=3 * 24 * 4, queries_per_batch=4, **RATES)
    runs = []
    for draws in (1, 2, 3):
        student = build(STATIC, seed=0, lexicon=lexicon)
        arrays = [np.concatenate([array] * draws) for array in toy.groups[:3]]
        toy.train(student, training=training, groups=GroupTable(*arrays, draws=draws))
        runs.append(weights(student))
    assert torch.equal(runs[0], runs[1]) and torch.equal(runs[0], runs[2])


def test_draws_that_do_not_match_are_refused(toy, lexicon) -> None:
    student = build(STATIC, seed=0, lexicon=lexicon)
    with pytest.raises(TrainingError, match="24 groups do not divide into 5 draws"):
        toy.train(student, groups=toy.groups._replace(draws=5))
    with pytest.raises(TrainingError, match="24 groups do not divide into 0 draws"):
        toy.train(student, groups=toy.groups._replace(draws=0))
    groups = with_draws(toy.groups, 2)
    by_query = np.argsort(groups.query_rows, kind="stable")
    groups = GroupTable(*(array[by_query] for array in groups[:3]), draws=2)
    with pytest.raises(TrainingError, match="draw 1 of group 0 has another query or positive than draw 0, as have 2[0-9] more; sort"):
        toy.train(student, groups=groups)


# --- texts of an epoch ------------------------------------------------------------------------------------------------------------


def test_texts_are_asked_for_once_per_epoch_and_are_those_that_are_trained_on(toy, lexicon) -> None:
    """5 groups a step of 24: epoch 1 begins at group 24, inside step 5 (groups 20 to 24), so that step 6 is the first with its texts."""
    rng = np.random.default_rng(1)
    epochs = []
    for _ in range(3):
        ids = rng.permutation(toy.docs.ids)
        epochs.append((toy.queries, TokenTable(ids=ids, offsets=toy.docs.offsets)))
    asked: list[int] = []

    def texts(epoch: int) -> tuple[TokenTable, TokenTable]:
        asked.append(epoch)
        return epochs[epoch]

    student = build(STATIC, seed=0, lexicon=lexicon)
    batches = Batches(student)
    toy.train(student, training=Training(documents=11 * 20, queries_per_batch=5, **RATES), texts=texts)
    assert asked == [0, 1, 2]
    used = [next(e for e, tables in enumerate(epochs) if tables[1] is batch.docs) for batch in batches.seen]
    assert used == [0] * 5 + [1] * 5 + [2]


@BOTH
def test_the_same_texts_every_epoch_change_nothing_and_others_do(architecture, toy, lexicon) -> None:
    training = Training(documents=200, queries_per_batch=4, **RATES)
    half = TokenTable(ids=np.where(np.arange(len(toy.docs.ids)) % 2, toy.docs.ids, 1), offsets=toy.docs.offsets)
    runs = []
    for texts in (None, lambda epoch: (toy.queries, toy.docs), lambda epoch: (toy.queries, half if epoch else toy.docs)):
        student = build(architecture, seed=0, lexicon=lexicon)
        record = toy.train(student, training=training, texts=texts)
        runs.append((weights(student), record.history["loss"].to_numpy()))
    assert torch.equal(runs[0][0], runs[1][0])
    np.testing.assert_array_equal(runs[0][1][:6], runs[2][1][:6])  # the first epoch
    assert not np.array_equal(runs[0][1][6:], runs[2][1][6:])


def test_texts_of_other_rows_are_refused(toy, lexicon) -> None:
    with pytest.raises(TrainingError, match=r"the texts of epoch 0 have \(30, 10\) rows \(queries, docs\); expected the \(10, 30\)"):
        toy.train(build(STATIC, seed=0, lexicon=lexicon), texts=lambda epoch: (toy.docs, toy.queries))


# --- groups drawn anew ------------------------------------------------------------------------------------------------------------


def hardest(toy: Toy, calls: list | None = None):
    """Draw as negatives what the student ranks highest among documents 10 to 29, with scores that name the draw."""

    def regroup(number: int, student: Student) -> GroupTable:
        if calls is not None:
            calls.append((number, student.training, torch.is_grad_enabled()))
        pool = np.arange(10, 30)
        query_rows = toy.groups.query_rows
        scores = student.score_pairs(toy.queries, toy.docs, np.repeat(query_rows, 20), np.tile(pool, len(query_rows))).reshape(-1, 20)
        negatives = pool[np.argsort(-scores, axis=1, kind="stable")[:, number : number + 3]]
        return GroupTable(query_rows, np.column_stack([query_rows, negatives]), toy.groups.teacher_scores + np.float32(number))

    return regroup


@BOTH
def test_groups_are_drawn_anew_every_so_many_steps_from_the_student_as_it_is(architecture, toy, lexicon) -> None:
    calls: list = []
    student = build(architecture, seed=0, lexicon=lexicon)
    batches = Batches(student)
    drawn: list[GroupTable] = []

    def regroup(number: int, student: Student) -> GroupTable:
        drawn.append(hardest(toy, calls)(number, student))
        return drawn[-1]

    toy.train(student, training=Training(documents=160, queries_per_batch=4, **RATES), regroup=regroup, regroup_every=3)
    assert calls == [(1, False, False), (2, False, False), (3, False, False)]
    assert not np.array_equal(drawn[0].doc_rows, drawn[1].doc_rows)
    order = group_order(24, seed=0, start=0, count=40).reshape(10, 4)
    for step, batch in enumerate(batches.seen):
        groups = [toy.groups, *drawn][step // 3]
        np.testing.assert_array_equal(batch.doc_rows, groups.doc_rows[order[step]])


def test_groups_that_stay_the_same_when_drawn_anew_change_nothing(toy, checkpoint) -> None:
    """With dropout: what a draw asks the random generator for reaches no step."""
    runs = []
    for options in ({}, {"regroup": lambda number, student: [torch.rand(3), toy.groups][1], "regroup_every": 2}):
        student = build(checkpoint, seed=0)
        toy.train(student, **options)
        runs.append(weights(student))
    assert torch.equal(*runs)


@pytest.mark.parametrize("killed_at", [5, 8])
@BOTH
def test_erratum_26_a_run_that_draws_anew_and_was_killed_resumes_bit_for_bit(architecture, killed_at, toy, lexicon, tmp_path) -> None:
    """Draws before the steps 5 and 9 (from 1), checkpoints after 3 and 6: resumed with the first groups, and with the draw of step 5."""
    training = Training(documents=160, queries_per_batch=4, checkpoint_every=3, **RATES)
    options = {"training": training, "regroup_every": 4, "texts": lambda epoch: (toy.queries, toy.docs)}
    whole = build(architecture, seed=0, lexicon=lexicon)
    expected = toy.train(whole, regroup=hardest(toy), **options)

    def kill(step: int, steps: int, loss: float) -> None:
        if step == killed_at:
            raise Killed

    with pytest.raises(Killed):
        student = build(architecture, seed=0, lexicon=lexicon)
        toy.train(student, regroup=hardest(toy), checkpoint_folder=tmp_path, progress=kill, **options)
    calls: list = []
    resumed = build(architecture, seed=0, lexicon=lexicon)
    record = toy.train(resumed, regroup=hardest(toy, calls), checkpoint_folder=tmp_path, **options)
    assert [number for number, *_ in calls] == ([1, 2] if killed_at == 5 else [2])
    assert torch.equal(weights(resumed), weights(whole))
    assert record.history.equals(expected.history)
    assert list(tmp_path.iterdir()) == []


def test_draws_that_do_not_fit_the_first_groups_are_refused(toy, lexicon) -> None:
    def attempt(drawn: GroupTable, **options) -> None:
        student = build(STATIC, seed=0, lexicon=lexicon)
        toy.train(student, **{"regroup": lambda number, student: drawn, "regroup_every": 2} | options)

    with pytest.raises(TrainingError, match=r"regroup 1 returned doc_rows of shape \(24, 3\) in 1 draws; expected \(24, 4\) in one"):
        attempt(GroupTable(toy.groups.query_rows, toy.groups.doc_rows[:, :3], toy.groups.teacher_scores[:, :3]))
    with pytest.raises(TrainingError, match="the groups have no teacher scores"):
        attempt(toy.groups._replace(teacher_scores=None))
    with pytest.raises(TrainingError, match="leave draws at 1"):
        attempt(toy.groups, groups=with_draws(toy.groups, 2))
    for options in ({"regroup_every": None}, {"regroup": None}, {"regroup_every": 0}):
        with pytest.raises(TrainingError, match="regroup_every is .*; give both, at least 1 step apart, or neither"):
            attempt(toy.groups, **options)


# --- in-batch negatives -----------------------------------------------------------------------------------------------------------

IN_BATCH = {"documents": 48, "queries_per_batch": 3, "in_batch_negatives": True}


def with_positives(toy: Toy, extra: tuple[tuple[int, int], ...] = ()) -> GroupTable:
    pairs = np.unique([query * 30 + doc for query, doc in (*((i, i) for i in range(10)), *extra)])
    return toy.groups._replace(positive_pairs=pairs)


def test_in_batch_negatives_are_the_other_groups_documents_without_any_known_positive_by_hand(toy, lexicon) -> None:
    """Query 0 has the positives 0, 1 and 29; query 1 the positive 1; the batch's documents are 0, 1, 12, 15, 20 and 29."""
    groups = GroupTable(np.array([0, 1]), np.array([[0, 12, 15], [1, 12, 29]]), positive_pairs=np.array([0, 1, 29, 31]))
    extra = {0: [20], 1: []}  # of the third group, which is query 0's too, with another positive
    groups = groups._replace(query_rows=np.array([0, 1, 0]), doc_rows=np.concatenate([groups.doc_rows, [[29, 20, 15]]]))
    student = build(STATIC, seed=0, lexicon=lexicon)

    def score(query: int, docs: list[int]) -> np.ndarray:
        return student.score_pairs(toy.queries, toy.docs, np.full(len(docs), query), np.array(docs)).astype(np.float64)

    denominators = [  # own group, then what is neither in it nor a positive of the query
        (0, [0, 12, 15], extra[0]),
        (1, [1, 12, 29], [0, 15, 20]),
        (0, [29, 20, 15], [12]),
    ]
    expected = np.mean([np.log(np.exp(score(q, own + rest)).sum()) - score(q, own[:1])[0] for q, own, rest in denominators])
    training = Training(documents=9, queries_per_batch=3, in_batch_negatives=True)
    record = toy.train(student, loss="lce", training=training, groups=groups)
    assert record.history["loss"].item() == pytest.approx(expected, rel=1e-5)
    assert record.documents_seen == 9


@pytest.mark.parametrize("loss", ["lce", "kl"])
def test_in_batch_negatives_change_the_contrastive_part_of_the_loss_alone(loss, toy, lexicon) -> None:
    options = {"hard_weight": 0.4} if loss == "kl" else {}
    groups = with_positives(toy, extra=((3, 15), (4, 22)))
    student = build(STATIC, seed=0, lexicon=lexicon)
    rows = group_order(24, seed=0, start=0, count=3)
    batch = GroupBatch(toy.queries, toy.docs, groups.query_rows[rows], groups.doc_rows[rows])
    with torch.no_grad():
        scores, others = student(batch, in_batch=True)
        for row, query in enumerate(batch.query_rows):
            for column, doc in enumerate(np.unique(batch.doc_rows)):
                if query * 30 + doc in groups.positive_pairs:
                    others[row, column] = -torch.inf
        teachers = torch.from_numpy(groups.teacher_scores[rows])
        expected = group_loss(loss, scores, teachers, others=others, smoothing=0.1, **options).item()
        without = group_loss(loss, scores, teachers, smoothing=0.1, **options).item()
    record = toy.train(student, loss=loss, training=Training(**IN_BATCH, **RATES), groups=groups, smoothing=0.1, **options)
    assert record.history["loss"].iloc[0] == pytest.approx(expected, rel=1e-5)
    assert expected > without + 0.01
    assert record.documents_seen == 48


def test_in_batch_negatives_without_what_they_need_are_refused_before_anything_starts(toy, lexicon) -> None:
    training, groups = Training(**IN_BATCH), with_positives(toy)
    student = build(STATIC, seed=0, lexicon=lexicon)
    before = weights(student).clone()
    with pytest.raises(TrainingError, match="positive_pairs is None; pass the sorted query_row"):
        toy.train(student, loss="lce", training=training)
    with pytest.raises(TrainingError, match="have no teacher scores for the loss 'kl'; use the loss lce, or give it a hard_weight"):
        toy.train(student, loss="kl", training=training, groups=groups)
    with pytest.raises(TrainingError, match="not for a cross-encoder"):
        toy.train(build(INTERACTION, seed=0, lexicon=lexicon), loss="lce", training=training, groups=groups)
    with pytest.raises(TrainingError, match="positive_pairs are not sorted"):
        toy.train(student, loss="lce", training=training, groups=groups._replace(positive_pairs=groups.positive_pairs[::-1]))
    for pairs, count, first in ((groups.positive_pairs[3:], 9, 0), (np.zeros(0, np.int64), 24, 0), (groups.positive_pairs[:9], 2, 9)):
        with pytest.raises(TrainingError, match=rf"positives of {count} of 24 groups are not among .*, the first of group {first}; make"):
            toy.train(student, loss="lce", training=training, groups=groups._replace(positive_pairs=pairs))
    assert torch.equal(weights(student), before)


# --- smoothing and hard labels ----------------------------------------------------------------------------------------------------


@BOTH
def test_smoothing_and_hard_weight_reach_the_loss(architecture, toy, lexicon) -> None:
    options = {"smoothing": 0.2, "hard_weight": 0.3}
    student = build(architecture, seed=0, lexicon=lexicon)
    rows = group_order(24, seed=0, start=0, count=4)
    with torch.no_grad():
        scores = student(GroupBatch(toy.queries, toy.docs, toy.groups.query_rows[rows], toy.groups.doc_rows[rows]))
    expected = group_loss("kl", scores, torch.from_numpy(toy.groups.teacher_scores[rows]), **options).item()
    record = toy.train(student, **options)
    assert record.history["loss"].iloc[0] == pytest.approx(expected, rel=1e-5)
    plain = toy.train(build(architecture, seed=0, lexicon=lexicon))
    assert abs(plain.history["loss"].iloc[0] - expected) > 1e-3


def test_a_checkpoint_of_other_targets_is_refused(toy, lexicon, tmp_path) -> None:
    def kill(step: int, steps: int, loss: float) -> None:
        if step == 4:
            raise Killed

    training = Training(documents=160, queries_per_batch=4, checkpoint_every=3, **RATES)
    with pytest.raises(Killed):
        toy.train(build(STATIC, seed=0, lexicon=lexicon), training=training, checkpoint_folder=tmp_path, progress=kill)
    with pytest.raises(TrainingError, match="belongs to another run: smoothing, hard_weight differ"):
        student = build(STATIC, seed=0, lexicon=lexicon)
        toy.train(student, training=training, checkpoint_folder=tmp_path, smoothing=0.1, hard_weight=0.1)


# --- refusals ---------------------------------------------------------------------------------------------------------------------


def test_malformed_groups_are_refused(toy, lexicon) -> None:
    student = build(STATIC, seed=0, lexicon=lexicon)
    docs = toy.groups.doc_rows.copy()
    docs[3, 1] = 99
    with pytest.raises(TrainingError, match="1 of 96 doc_rows are outside of a token table with 30 rows, the first is 99 in group 3"):
        toy.train(student, groups=toy.groups._replace(doc_rows=docs))
    with pytest.raises(TrainingError, match="no training groups"):
        toy.train(student, groups=GroupTable(np.zeros(0, int), np.zeros((0, 4), int), np.zeros((0, 4), np.float32)))
    with pytest.raises(TrainingError, match=r"doc_rows has shape \(24, 1\)"):
        toy.train(student, groups=toy.groups._replace(doc_rows=docs[:, :1]))
    with pytest.raises(TrainingError, match=r"teacher_scores has shape \(24, 3\)"):
        toy.train(student, groups=toy.groups._replace(teacher_scores=toy.groups.teacher_scores[:, :3]))
    with pytest.raises(ValueError, match="did you mean 'ranknet'"):
        toy.train(student, loss="ranknets")


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_step_and_the_remedy(toy, lexicon) -> None:
    student = build(STATIC, seed=0, lexicon=lexicon)

    def poison(step: int, steps: int, loss: float) -> None:
        if step == 2:
            with torch.no_grad():
                student.model[0].embedding.weight.fill_(torch.nan)

    with pytest.raises(TrainingError, match="the loss is nan at step 3 of 10 .*lower the learning rate"):
        toy.train(student, progress=poison)


def test_one_precision_after_another_works_in_one_process(toy, lexicon) -> None:
    losses = {}
    for precision in ("fp32", "bf16", "fp32"):
        training = Training(documents=160, queries_per_batch=4, precision=precision, **RATES)
        student = build(params.TinyBertBi(dimension=8, heads=2, feed_forward=8), seed=0, lexicon=lexicon)
        losses.setdefault(precision, []).append(toy.train(student, training=training).history["loss"].to_numpy())
    np.testing.assert_array_equal(losses["fp32"][0], losses["fp32"][1])
    assert not np.array_equal(losses["fp32"][0], losses["bf16"][0])
    np.testing.assert_allclose(losses["bf16"][0], losses["fp32"][0], rtol=0.05)


def test_token_tables_may_be_memory_mapped(toy, lexicon, tmp_path) -> None:
    toy.docs.save(tmp_path)
    direct, mapped = (build(STATIC, seed=0, lexicon=lexicon) for _ in range(2))
    toy.train(direct)
    toy.docs = TokenTable.load(tmp_path)
    toy.train(mapped)
    assert torch.equal(weights(direct), weights(mapped))


PROCESS = """
import sys
import numpy as np
import torch
from pathlib import Path
sys.path[:0] = {paths!r}
from test_loop import Toy, build, params, weights
from rd_utils.study.params import Training
folder = Path({folder!r})
student = build(params.TinyBertBi(dimension=8, heads=2, feed_forward=8), seed=0, lexicon=folder)
training = Training(documents=120, queries_per_batch=5, accumulation_steps=2, learning_rate=1e-3)
toy = Toy(folder)
every = np.repeat(np.arange(10), 30), np.tile(np.arange(30), 10)
before = student.score_pairs(toy.queries, toy.docs, *every)
record = toy.train(student, training=training)
after = student.score_pairs(toy.queries, toy.docs, *every)
import torch.distributed
rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
found = [weights(student), record.history["loss"].tolist(), record.tokens_seen, torch.from_numpy(before), torch.from_numpy(after)]
torch.save(found, folder / f"{{sys.argv[1]}}.{{rank}}.pt")
"""


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path) -> None:
    """Slices of 3 and 2 queries of each micro-batch of 5: unequal, so that a plain mean of means would differ."""
    make_lexicon(tmp_path, WORDS, 8)
    script = tmp_path / "run.py"
    script.write_text(PROCESS.format(paths=[str(Path(__file__).parent), *map(str, Path(__file__).parents[2:4])], folder=str(tmp_path)))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", str(script), "two"]
    for command in ([sys.executable, str(script), "one"], launch):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr[-3000:]
    one, first, second = (torch.load(tmp_path / f"{which}.pt") for which in ("one.0", "two.0", "two.1"))
    assert torch.equal(first[0], second[0])
    # not weights: one without effect on the loss (a bias of keys) has gradients of rounding alone, which Adam scales up
    np.testing.assert_allclose(first[4], one[4], rtol=0, atol=1e-2 * float((one[4] - one[3]).std()))
    np.testing.assert_allclose(first[1], one[1], rtol=1e-4)
    assert first[2] == second[2] == one[2]


def test_the_penalty_of_sparse_weights_is_in_the_loss_and_in_the_history_and_grows_to_its_weight(toy, lexicon) -> None:
    student = build(SPARSE, seed=0, lexicon=lexicon)
    training = Training(documents=160, queries_per_batch=4, learning_rate=1e-9)  # weights stay, nearly
    record = toy.train(student, training=training)
    plain = toy.train(
        build(SPARSE.model_copy(update={"query_flops": 0.0, "document_flops": 0.0}), seed=0, lexicon=lexicon), training=training
    )
    np.testing.assert_allclose(record.history["loss"] - plain.history["loss"], record.history["penalty"], atol=1e-6)
    assert (plain.history["penalty"] == 0).all() and "penalty" not in toy.train(
        build(STATIC, seed=0, lexicon=lexicon), training=training
    ).history
    order = group_order(len(toy.groups.query_rows), 0, 0, 40, 1).reshape(10, 4)
    for step, rows in enumerate(order):
        queries, docs = (
            student.encode(take(table, chosen.reshape(-1)), kind=kind).toarray()
            for table, chosen, kind in (
                (toy.queries, toy.groups.query_rows[rows], "query"), (toy.docs, toy.groups.doc_rows[rows], "document"),
            )
        )  # fmt: skip
        flops = 0.02 * (queries.mean(axis=0) ** 2).sum() + 0.01 * (docs.mean(axis=0) ** 2).sum()
        assert record.history["penalty"][step] == pytest.approx(min(1.0, step / 10 / 0.5) ** 2 * flops, rel=1e-4)
