"""The benchmark's harness: turns, ratios, the table, the results file, the missing. No peer is needed."""

from __future__ import annotations

import functools
import json
import sys
import threading
import time

import numpy as np
import pytest

from benchmarks import __main__ as main
from benchmarks import environments, harness, roofline
from benchmarks.harness import Family, Line, Way, WorkerError
from benchmarks.peers.common import Paced
from rd_utils.cost import devices
from rd_utils.processor import Processor, processor


class Fake:
    """A worker that answers by a table, and notes who was asked in which order."""

    asked: list[tuple[str, int]] = []
    started: list[str] = []

    def __init__(self, way: Way, short: bool) -> None:
        if way.environment == "nowhere":
            raise WorkerError("not installed; run make bench-setup")
        self.way, self.versions = way, {"fake": "1"}
        Fake.started.append(way.name)

    def ask(self, command):
        Fake.asked.append((self.way.name, command["repeat"]))
        if self.way.name == "breaks" and command["repeat"] == 1:
            raise WorkerError("KeyError: 'x'")
        rate = self.way.settings["rates"][command["repeat"] + 1]
        return {"rate": rate, "seconds": 1 / rate, "scores": [1.0, self.way.settings.get("second", 2.0)]}

    def close(self):
        pass


@pytest.fixture(autouse=True)
def fresh():
    Fake.asked, Fake.started = [], []


def family(**more):
    ways = (
        Way("ours", "", {"rates": [1, 4, 6, 8]}),
        Way("slow", "", {"rates": [9, 2, 2, 2], "second": 2.5}),
        Way("fast", "", {"rates": [9, 2, 3, 5]}),
        Way("breaks", "", {"rates": [1, 100, 100, 100]}),
        Way("absent", "", {}, environment="nowhere"),
    )
    lines = (
        Line("speed", "rate", "1/s", ("ours",), ("slow", "fast", "breaks", "absent"), 2.0, known_absent=(("java", "needs Java"),)),
        Line("time", "seconds", "s", ("ours",), ("slow", "fast"), 2.1, higher=False),
    )
    return Family("f", "a family", ways, lines, **{"repeats": 3, "command": lambda repeat, short: {"short": short}, **more})


def run(made=None, short=False):
    made = made or family()
    return made, harness.run_family(made, short, start=Fake, say=lambda line: None)


def test_ways_take_turns_after_a_warm_up():
    run()
    assert [name for name, repeat in Fake.asked if repeat == 0] == ["ours", "slow", "fast", "breaks"]
    repeats = [repeat for _, repeat in Fake.asked]
    assert repeats == sorted(repeats) and repeats[0] == -1
    assert sorted(Fake.started) == ["breaks", "fast", "ours", "slow"]


def test_two_ways_at_a_time_start_and_warm_up_and_one_is_measured(monkeypatch):
    both, measured = threading.Barrier(2), threading.Lock()
    ask = Fake.ask

    def meet(self, command):
        if command["repeat"] < 0:
            both.wait(timeout=120)  # broken, if one comes alone
        else:
            assert measured.acquire(blocking=False)
            time.sleep(0.01)
            measured.release()
        return ask(self, command)

    monkeypatch.setattr(Fake, "ask", meet)
    _, found = run()
    assert [len(found["ways"][name]["answers"]) for name in ("ours", "slow", "fast")] == [3, 3, 3]


def test_a_fresh_way_starts_anew_for_every_repeat():
    ways = (Way("ours", "", {"rates": [1, 4, 6, 8]}, fresh=True),)
    _, found = run(Family("f", "a family", ways, (), repeats=3, command=lambda repeat, short: {}))
    assert Fake.started == ["ours"] * 3
    assert [answer["rate"] for answer in found["ways"]["ours"]["answers"]] == [4, 6, 8]


def test_the_warm_up_is_dropped_and_the_short_form_has_its_own_repeats():
    _, found = run()
    assert [answer["rate"] for answer in found["ways"]["ours"]["answers"]] == [4, 6, 8]
    _, found = run(short=True)
    assert found["repeats"] == 1 and len(found["ways"]["ours"]["answers"]) == 1


def test_ratios_are_within_repeats_and_the_best_peer_is_the_one_to_beat():
    made, found = run()
    speed, time = (harness.compare(line, found) for line in made.lines)
    assert speed["ours_median"] == 6 and speed["best_peer"] == "fast" and speed["medians"]["fast"] == 3
    assert speed["ratios"]["fast"]["all"] == [2.0, 2.0, 1.6]
    assert (speed["ratio"], speed["ratios"]["fast"]["least"], speed["ratios"]["fast"]["most"]) == (2.0, 1.6, 2.0)
    assert speed["reached"] is True
    # less is better: the peer's seconds over ours
    assert time["best_peer"] == "fast" and time["ratio"] == pytest.approx(2.0) and time["reached"] is False


def test_the_short_form_shows_that_a_row_runs_and_has_no_ratios():
    made, found = run(short=True)
    row = harness.compare(made.lines[0], found, short=True)
    assert row["ours_median"] == 4 and row["best_peer"] == "breaks" and row["peers"] == ["slow", "fast", "breaks"]
    assert row["ratios"] == {} and row["ratio"] is row["reached"] is None
    lines = harness.table([row]).splitlines()
    assert "4.00 (ours)" in lines[1] and "2.00 (slow)" in lines[2] and "2.00 (fast)" in lines[3] and " to " not in "".join(lines[1:4])


def test_a_line_without_an_answer_of_ours_or_of_any_peer_is_an_error(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(environments, "ROOT", tmp_path)  # that the command names its file by
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(harness, "run_family", functools.partial(harness.run_family, start=Fake))

    def results(*ways: str) -> int:
        whole = family()
        lines = (Line("speed", "rate", "1/s", ("ours",), ("slow", "absent"), 2.0),)
        monkeypatch.setattr(main, "families", lambda: [Family("f", "a family", whole.ways, lines, repeats=3, command=whole.command)])
        return main.main(["--ways", ",".join(ways)] if ways else [])

    assert results() == 0
    assert results("ours", "absent") == 1
    assert "speed was not measured: slow: not among the ways that were run; absent: not installed" in capsys.readouterr().out


@pytest.mark.parametrize("instructions, asked", [("avx2", 0), ("avx512", 4), ("amx", 4)])
def test_bf16_is_run_where_the_processor_multiplies_it_and_is_no_error_elsewhere(monkeypatch, instructions, asked):
    monkeypatch.setattr(harness, "processor", lambda: Processor("amd", 25, 1, instructions))
    half = {"rates": [1, 4, 6, 8], "precision": "bf16"}
    ways = Way("ours bf16", "", half), Way("peer bf16", "", half), Way("peer hinted", "", {"rates": [1, 1, 1, 1], "hint": "bf16"})
    line = Line("half", "rate", "1/s", ("ours bf16",), ("peer bf16", "peer hinted"), 1.0)
    _, found = run(Family("f", "a family", ways, (line,), repeats=3, command=lambda repeat, short: {}))
    row = harness.compare(line, found)
    assert len([name for name, _ in Fake.asked if name == "ours bf16"]) == asked and harness.not_measured([row]) == []
    assert row["elsewhere"] is (asked == 0) and (
        row["ratio"] == 1.0 if asked else "no instructions for bf16" in row["missing"]["peer hinted"]
    )


def test_the_best_of_several_of_ours_counts():
    made, found = run()
    line = Line("best", "rate", "1/s", ("slow", "ours"), ("fast",), None)
    row = harness.compare(line, found)
    assert row["ours"] == "ours" and row["reached"] is None


def test_rates_can_be_compared_by_cpu_seconds():
    answers = {"ours": [{"n_per_second": 1.0, "n_per_cpu_second": 9.0}], "peer": [{"n_per_second": 2.0, "n_per_cpu_second": 3.0}]}
    found = {"ways": {name: {"answers": of_way, "error": None} for name, of_way in answers.items()}}
    line = Line("rate", "n_per_second", "1/s", ("ours",), ("peer",), 1.0)
    assert harness.compare(line, found)["ratio"] == 0.5 and harness.compare(line, found, cpu=True)["ratio"] == 3.0


def test_the_missing_are_named_with_their_reasons():
    made, found = run()
    row = harness.compare(made.lines[0], found)
    assert row["missing"] == {"java": "needs Java", "breaks": "KeyError: 'x'", "absent": "not installed; run make bench-setup"}
    assert found["ways"]["breaks"]["answers"] == []  # half a measurement is none
    text = harness.table([row])
    for reason in row["missing"].values():
        assert reason in text


def test_data_that_cannot_be_had_is_named_too():
    def prepare(short):
        raise OSError("no network")

    made, found = run(family(prepare=prepare))
    row = harness.compare(made.lines[0], found)
    assert row["ours"] is None and row["reached"] is None
    assert row["missing"]["ours"] == "no data: OSError: no network"
    assert "missing" in harness.table([row])


def test_ways_agree_on_scores_with_the_first():
    _, found = run()
    assert found["agreement"] == {"ours": 0.0, "slow": 0.5, "fast": 0.0, "breaks": 0.0}
    assert all("scores" not in answer for way in found["ways"].values() for answer in way["answers"])


def test_table_has_a_line_for_every_peer():
    made, found = run()
    rows = [harness.compare(line, found) for line in made.lines]
    rows[0]["roofline"] = {"share": 0.43}
    lines = harness.table(rows).splitlines()
    assert lines[0].split()[:2] == ["row", "ours"]
    assert "speed [1/s]" in lines[1] and "6.00 (ours)" in lines[1] and "3.00 (fast)" in lines[1] and "yes" in lines[1] and "43%" in lines[1]
    assert "2.00 (slow)" in lines[2] and "3.00 (2.00 to 4.00)" in lines[2]
    assert "NO" in next(line for line in lines if line.startswith("time"))


def test_results_file(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    made, found = run()
    rows = [harness.compare(line, found) for line in made.lines]
    stored = json.loads(harness.write_results("x", False, {"f": found}, rows, 12.34).read_text())
    assert stored["schema"] == harness.SCHEMA and stored["form"] == "full" and stored["seconds"] == 12.3
    assert {"processor", "cores", "memory_gb", "instruction_sets"} <= set(stored["machine"])
    assert {"torch", "rd-utils"} <= set(stored["versions"]) and stored["date"][:2] == "20"
    assert stored["allocator"] == harness.malloc() and "mmap_threshold" in stored["allocator"] and stored["threads"] == 1
    way = stored["families"]["f"]["ways"]["ours"]
    assert [answer["rate"] for answer in way["answers"]] == [4, 6, 8] and way["versions"] == {"fake": "1"} and way["settings"]
    assert [row["line"] for row in stored["lines"]] == ["speed", "time"] and stored["machine"]["kind"] == processor().kind


def test_a_full_run_tells_the_estimates_what_this_kind_of_processor_reached(tmp_path):
    made = family(precisions={"ours": "fp32"}, work=("train", "bi"))
    shape = {"layers": 2, "dimension": 4, "feed_forward": 8}
    one = shape | {"flops": 2e9, "seconds": 1.0, "documents_per_second": 64.0, "tokens_per_text": 40.5}
    found = {"ways": {"ours": {"answers": [one] * 2, "roofline": {"gflops": 2.0, "share": 0.5}}}}
    rates = main.throughput(made, found)
    (tmp_path / "own.json").write_text(json.dumps({"throughput": rates}))
    (entry,) = devices.read_benchmarks(tmp_path)
    assert entry.device == processor().kind and (entry.flops_per_second, entry.share_of_peak, entry.hidden) == (2e9, 0.5, 4)
    assert main.throughput(family(), found) == []


def test_roofline_is_what_was_needed_over_the_peak():
    class Peak(Fake):
        def ask(self, command):
            assert command["shapes"][0] == [10, 4, 12] and command["precision"] == "fp32"
            return {"gflops": 4.0}

    made = family(precisions={"ours": "fp32"})
    answers = [{"flops": 2e9, "seconds": 1.0, "tokens_per_step": 10, "dimension": 4, "feed_forward": 8}] * 2
    found = {"ways": {"ours": {"answers": answers}}}
    rows = [{"ours": "ours"}, {"ours": None}]
    main.add_roofline(made, found, rows, start=Peak)
    assert rows[0]["roofline"]["share"] == pytest.approx(0.5) and "roofline" not in rows[1]


def test_flops_by_hand():
    # 3 tokens in two texts, width 2, feed-forward 4: 6*3*4 + 4*2*(1+4) + 2*3*4 + 4*3*2*4 a layer
    layer = 72 + 40 + 24 + 96
    size = {"dimension": 2, "feed_forward": 4}
    assert roofline.transformer_flops([1, 2], layers=2, **size) == 2 * layer
    assert roofline.transformer_flops([1, 2], layers=2, training=True, **size) == 6 * layer
    # the last layer for two first tokens: 4*3*4 + 2*2*4 + 4*2*3 + 2*2*4 + 4*2*2*4
    assert roofline.transformer_flops([1, 2], layers=2, first_token_only=True, **size) == layer + 48 + 16 + 24 + 16 + 64


def test_a_worker_answers_and_its_failures_have_reasons(tmp_path, monkeypatch):
    (tmp_path / "echo.py").write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(environments.ROOT)!r})\n"
        "from benchmarks.worker import serve\n"
        "def make(settings):\n"
        "    if settings.get('fail'): raise ImportError('no such library')\n"
        "    def answer(command):\n"
        "        print('noise')\n"
        "        if command['x'] < 0: raise ValueError('x is negative')\n"
        "        if command['x'] == 7: sys.exit(3)\n"
        "        return {'twice': 2 * command['x']}\n"
        "    return answer\n"
        "serve(make, ('numpy', 'no-such-thing'))\n"
    )
    monkeypatch.setattr(harness, "surroundings", lambda: {"PYTHONPATH": str(tmp_path)})
    worker = harness.Worker(Way("echo", "echo"), False)
    assert worker.versions == {"numpy": np.__version__, "no-such-thing": "absent"}
    assert worker.ask({"x": 2}) == {"twice": 4}
    with pytest.raises(WorkerError, match="ValueError: x is negative"):
        worker.ask({"x": -1})
    assert worker.ask({"x": 3}) == {"twice": 6}
    with pytest.raises(WorkerError, match="ended with 3"):
        worker.ask({"x": 7})
    worker.close()
    with pytest.raises(WorkerError, match="ImportError: no such library"):
        harness.Worker(Way("echo", "echo", {"fail": True}), False)


def test_environments_say_why_they_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    assert str(environments.python_of("project")) == sys.executable
    with pytest.raises(FileNotFoundError, match="make bench-setup"):
        environments.python_of("rankers")
    (tmp_path / "rankers.failed").write_text("cannot be installed: no wheel")
    with pytest.raises(FileNotFoundError, match="no wheel"):
        environments.python_of("rankers")
    with pytest.raises(WorkerError, match="no wheel"):
        harness.Worker(Way("w", "m", environment="rankers"), False)
    with pytest.raises(FileNotFoundError, match="choose from"):
        environments.python_of("rankrs")


def test_paced_training_stops_between_repeats():
    steps = []

    def train(tick):
        for step in range(6):
            steps.append(step)
            tick()

    paced = Paced(train, batch=8, group_size=16)
    assert paced.advance(1)["documents"] == 128 and steps == [0]
    answer = paced.advance(3)
    assert answer["documents"] == 384 and steps == [0, 1, 2, 3] and answer["documents_per_second"] == pytest.approx(384 / answer["seconds"])
    with pytest.raises(RuntimeError, match="ended after 6 steps"):
        paced.advance(5)


def test_all_rows_are_well_formed():
    every = main.families()
    assert len({made.name for made in every}) == len(every)
    for made in every:
        names = [way.name for way in made.ways]
        assert len(set(names)) == len(names) and made.repeats >= 1
        for line in made.lines:
            assert set(line.ours) | set(line.peers) <= set(names) and line.ours and not set(line.ours) & set(line.peers)
        for way in made.ways:
            assert way.environment == environments.PROJECT or way.environment in environments.ENVIRONMENTS
            json.dumps(way.settings)
        assert set(made.precisions) <= set(names)
    lines = [line.name for made in every for line in made.lines]
    assert len(set(lines)) == len(lines)


def test_an_unknown_row_is_refused(capsys):
    with pytest.raises(SystemExit):
        main.main(["--rows", "bi_shrt"])
    assert "bi_shrt" in capsys.readouterr().err
