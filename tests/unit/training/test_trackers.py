"""Losses reach the trackers that are asked for, and a tracker that fails costs no training."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import pytest

from rd_utils.study.params import ParameterError
from rd_utils.training import reporting

event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")


def told(folder: Path) -> list[tuple[int, float]]:
    """Return the steps and losses in the files that TensorBoard reads: records of a length, its checksum, the data, their checksum."""
    found = []
    for path in folder.rglob("events.out.*"):
        data = path.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            event = event_pb2.Event.FromString(data[12 : 12 + size])
            found += [(event.step, value.simple_value) for value in event.summary.value if value.tag == "loss"]
            data = data[16 + size :]
    return sorted(found)


def train(steps: int, run: str = "training") -> list[int]:
    """Tell so many losses; return the steps that progress was told of."""
    heard = []
    with reporting.reporting(run, lambda done, *_: heard.append(done)) as tell:
        for step in range(1, steps + 1):
            tell(step, steps, 1.0 / step)
    return heard


def test_nothing_is_reported_unasked(outputs, monkeypatch):
    monkeypatch.delenv(reporting.TO, raising=False)
    assert train(3) == [1, 2, 3] and not outputs.exists()


def test_tensorboard_gets_every_loss(outputs, monkeypatch):
    monkeypatch.setenv(reporting.TO, "tensorboard")
    assert train(5, "static_bi, kl, seed 0, 1a2b") == [1, 2, 3, 4, 5]
    assert told(outputs / "tensorboard" / "static_bi, kl, seed 0, 1a2b") == [(n, pytest.approx(1.0 / n)) for n in range(1, 6)]


def test_of_a_long_training_it_gets_some_and_the_last(outputs, monkeypatch):
    monkeypatch.setenv(reporting.TO, "tensorboard")
    assert len(train(1_001)) == 1_001
    steps = [step for step, _ in told(outputs / "tensorboard")]
    assert len(steps) <= reporting.TOLD + 1 and steps[-1] == 1_001


def test_a_tracker_that_fails_costs_no_training(outputs, monkeypatch, caplog):
    """Its folder cannot be made: a file stands there."""
    monkeypatch.setenv(reporting.TO, "tensorboard")
    outputs.mkdir()
    (outputs / "tensorboard").write_text("in the way")
    monkeypatch.setattr(reporting.LOGGER, "propagate", True)
    with caplog.at_level(logging.WARNING, "rd_utils"):
        assert train(3) == [1, 2, 3]
    assert "nothing more is reported to tensorboard: " in caplog.text


@pytest.mark.parametrize(("names", "message"), [("tensorbord", "did you mean 'tensorboard'"), ("tensorboard, wand", "'wand'")])
def test_a_tracker_that_is_unknown_is_told_at_once(names, message):
    with pytest.raises(ParameterError, match=f"no such tracker.*{message}|{message}: no such tracker"):
        reporting.trackers(names)


def test_one_that_is_not_installed_is_told_with_the_remedy(monkeypatch):
    monkeypatch.setitem(reporting.NEEDS, "wandb", ("no_such_package",))
    with pytest.raises(ParameterError, match="wandb: it is not installed; pip install no_such_package"):
        reporting.trackers("wandb")
    assert reporting.trackers("") == [] and reporting.trackers(" tensorboard ,") == ["tensorboard"]
