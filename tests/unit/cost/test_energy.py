"""Energy: every source faked, the real libraries where they are installed, and no invented number."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
import types

import pytest

from rd_utils.cost import energy
from rd_utils.cost.energy import EnergyMeter

NOTHING = "no readable energy counter: "


@pytest.fixture(autouse=True)
def own_state(monkeypatch):
    """No GPU is hidden, and the library's logger and this process's meter are as before the test."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(logging.getLogger("codecarbon"), "disabled", False)
    energy._meter.cache_clear()
    yield
    energy._meter.cache_clear()


@pytest.fixture
def powercap(tmp_path):
    """A folder as of a server with one package, in microjoules, and a link as the kernel makes it."""
    zone = tmp_path / "powercap" / "intel-rapl" / "intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "energy_uj").write_text("1000000\n")
    (zone / "max_energy_range_uj").write_text("262143328850\n")
    (tmp_path / "powercap" / "intel-rapl:0").symlink_to("intel-rapl/intel-rapl:0")
    return tmp_path / "powercap"


@pytest.fixture
def no_gpu(tmp_path):
    (tmp_path / "dev").mkdir()
    return tmp_path / "dev"


@pytest.fixture
def a_gpu(no_gpu):
    (no_gpu / "nvidia0").write_text("")
    return no_gpu


@pytest.fixture
def codecarbon(monkeypatch):
    """A codecarbon whose artefacts all take 36 J in the processor, 72 J in the GPU and 360 J in its model of the memory."""
    library = types.ModuleType("codecarbon")
    library.made, library.mode, library.fail = [], "intel_rapl", {}

    class OfflineEmissionsTracker:
        def __init__(self, **settings):
            print("noise on the output")
            logging.getLogger("codecarbon").critical("noise in the log")
            self.settings, self.state, self._hardware = settings, "made", []
            library.made.append(self)

        def get_detected_hardware(self):
            self._hardware = [types.SimpleNamespace(), types.SimpleNamespace(_mode=library.mode)]

        def start(self):
            if "start" in library.fail:
                raise library.fail["start"]
            self.state = "running"

        def stop(self):
            if "stop" in library.fail:
                raise library.fail["stop"]
            self.state = "stopped"
            if not library.fail.get("silently"):
                self.final_emissions_data = types.SimpleNamespace(cpu_energy=1e-5, gpu_energy=2e-5, ram_energy=1e-4, energy_consumed=1.3e-4)

    library.OfflineEmissionsTracker = OfflineEmissionsTracker
    monkeypatch.setitem(sys.modules, "codecarbon", library)
    return library


@pytest.fixture
def zeus(monkeypatch):
    """A zeus with one GPU that takes 50 J a window."""
    library = types.ModuleType("zeus")
    library.counter, library.monitors, library.calls, library.joules = [True], [], [], 50.0

    class Gpus:
        def __len__(self):
            return len(library.counter)

        def supports_get_total_energy_consumption(self, index):
            return library.counter[index]

    class ZeusMonitor:
        def __init__(self, **settings):
            library.monitors.append(settings)

        def begin_window(self, key, **settings):
            library.calls.append(("begin", key, settings))

        def end_window(self, key, **settings):
            library.calls.append(("end", key, settings))
            return types.SimpleNamespace(total_energy=library.joules, gpu_energy={0: library.joules})

    device, monitor = types.ModuleType("zeus.device"), types.ModuleType("zeus.monitor")
    device.get_gpus, monitor.ZeusMonitor = Gpus, ZeusMonitor
    for name, module in (("zeus", library), ("zeus.device", device), ("zeus.monitor", monitor)):
        monkeypatch.setitem(sys.modules, name, module)
    return library


@pytest.fixture
def absent(monkeypatch):
    """Say which libraries are not installed, whatever this machine has."""
    find = energy.importlib.util.find_spec

    def hide(*names):
        for name in names:
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setattr(energy.importlib.util, "find_spec", lambda name: None if name in names else find(name))

    return hide


def measured(meter: EnergyMeter) -> dict:
    meter.start()
    return meter.read()


# --- nothing to measure with ---


def test_without_a_counter_the_reason_names_it(tmp_path, no_gpu, codecarbon):
    missing = tmp_path / "sys"
    assert measured(EnergyMeter(powercap=missing, devices=no_gpu)) == {
        "joules": None,
        "method": "none",
        "reason": f"{NOTHING}{missing} is absent",
    }
    missing.mkdir()
    assert measured(EnergyMeter(powercap=missing, devices=no_gpu))["reason"] == f"{NOTHING}{missing} holds no intel-rapl zone"
    assert codecarbon.made == []


def test_a_counter_that_cannot_be_read_is_none(powercap, no_gpu, codecarbon, monkeypatch):
    counter = powercap / "intel-rapl:0" / "energy_uj"
    read = type(counter).read_text

    def refuse(path, *arguments, **keywords):  # a file mode would not stop root
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(type(counter), "read_text", refuse)
        record = measured(EnergyMeter(powercap=powercap, devices=no_gpu))
    assert record == {"joules": None, "method": "none", "reason": f"{NOTHING}{counter}: Permission denied"}
    counter.write_text("no number")
    assert measured(EnergyMeter(powercap=powercap, devices=no_gpu))["reason"].startswith(f"{NOTHING}{counter}: invalid literal")
    assert codecarbon.made == []


def test_one_readable_zone_is_enough(powercap, no_gpu, codecarbon):
    (powercap / "intel-rapl:1").mkdir()
    (powercap / "intel-rapl:1" / "energy_uj").write_text("unreadable")
    (powercap / "intel-rapl").joinpath("enabled").write_text("1")
    assert EnergyMeter(powercap=powercap, devices=no_gpu).method == "codecarbon (process)"


def test_a_library_that_is_not_installed_is_named_with_the_remedy(powercap, no_gpu, absent):
    absent("codecarbon")
    record = measured(EnergyMeter(powercap=powercap, devices=no_gpu))
    reason = "codecarbon is not installed: pip install --require-hashes --no-deps -r locks/energy.txt"
    assert record == {"joules": None, "method": "none", "reason": reason}


def test_a_meter_without_counters_imports_starts_and_asks_nothing(tmp_path, no_gpu):
    code = (
        "import sys, pathlib; from rd_utils.cost.energy import EnergyMeter; "
        "sys.addaudithook(lambda event, _: event in ('subprocess.Popen', 'os.system', 'socket.connect') and print(event)); "
        f"meter = EnergyMeter(powercap=pathlib.Path({str(tmp_path / 'absent')!r}), devices=pathlib.Path({str(no_gpu)!r})); "
        "meter.start(); meter.read(); "
        "print([name for name in ('torch', 'codecarbon', 'zeus', 'pandas', 'numpy', 'pynvml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_the_meter_is_one_a_process(monkeypatch):
    first = energy.meter()
    assert energy.meter() is first
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as a fork would see it
    assert energy.meter() is not first


# --- codecarbon ---


def test_codecarbon_gives_the_counters_energy_in_joules(powercap, no_gpu, codecarbon, capfd):
    """1e-5 kWh of the processor and 2e-5 of the GPU are 108 J; the 1e-4 of memory come from a model, and are left out."""
    meter = EnergyMeter(powercap=powercap, devices=no_gpu)
    record = measured(meter)
    assert record["joules"] == pytest.approx(108.0)
    assert record["method"] == "codecarbon (process)"
    assert record["reason"] == "counters of the processor, other processes included"
    assert measured(meter) == record
    assert capfd.readouterr() == ("", "")


def test_codecarbon_writes_no_file_asks_nobody_and_reads_the_counters_alone(powercap, no_gpu, codecarbon):
    measured(EnergyMeter(powercap=powercap, devices=no_gpu))
    assert len(codecarbon.made) == 2  # one looks at the hardware, one measures
    for tracker in codecarbon.made:
        settings = tracker.settings
        assert settings["tracking_mode"] == "process"
        assert (settings["output_methods"], settings["emissions_endpoint"], settings["allow_multiple_runs"]) == ([], None, True)
        assert (settings["force_cpu_power"], settings["force_mode_cpu_load"], settings["pue"]) == (None, False, 1.0)


@pytest.mark.parametrize("mode", ["cpu_load", "constant", None])
def test_a_table_of_processors_is_no_measurement(powercap, no_gpu, codecarbon, mode):
    codecarbon.mode = mode
    record = measured(EnergyMeter(powercap=powercap, devices=no_gpu))
    assert (record["joules"], record["method"]) == (None, "none")
    assert record["reason"] == "codecarbon: it does not read the processor's counters here, and would estimate from a table"


def test_a_counter_lost_on_the_way_is_no_measurement(powercap, no_gpu, codecarbon):
    meter = EnergyMeter(powercap=powercap, devices=no_gpu)
    codecarbon.mode = "cpu_load"
    assert measured(meter)["reason"].endswith("would estimate from a table")


@pytest.mark.parametrize("where", ["start", "stop"])
def test_a_failure_in_the_library_is_the_reason_and_the_next_artefact_is_measured(powercap, no_gpu, codecarbon, where):
    meter = EnergyMeter(powercap=powercap, devices=no_gpu)
    codecarbon.fail = {where: RuntimeError("the counter went backwards")}
    assert measured(meter) == {"joules": None, "method": "none", "reason": "codecarbon: the counter went backwards"}
    codecarbon.fail = {}
    assert measured(meter)["joules"] == pytest.approx(108.0)


def test_a_failure_that_the_library_swallows_is_none(powercap, no_gpu, codecarbon):
    meter = EnergyMeter(powercap=powercap, devices=no_gpu)
    codecarbon.fail = {"silently": True}
    assert measured(meter)["reason"] == "codecarbon: the tracker gave no measurement"


def test_a_library_that_cannot_be_imported_is_none(powercap, no_gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    assert measured(EnergyMeter(powercap=powercap, devices=no_gpu))["reason"].startswith("codecarbon: import of codecarbon halted")


def test_an_open_window_is_closed_by_the_next(powercap, no_gpu, codecarbon):
    """A failed artefact is never read: its tracker must not run on beside the next one's."""
    meter = EnergyMeter(powercap=powercap, devices=no_gpu)
    meter.start()
    meter.start()
    assert [tracker.state for tracker in codecarbon.made] == ["made", "stopped", "running"]
    assert meter.read()["joules"] == pytest.approx(108.0)
    assert meter.read() == {
        "joules": None,
        "method": "none",
        "reason": "no window is open: call start() before the work and read() once after it",
    }


# --- zeus ---


def test_zeus_gives_the_gpus_and_codecarbon_the_processor(powercap, a_gpu, zeus, codecarbon):
    """50 J by zeus and 36 J of the processor; the 72 J that codecarbon saw in the GPU are the same energy again."""
    meter = EnergyMeter(powercap=powercap, devices=a_gpu)
    record = measured(meter)
    assert record == {
        "joules": pytest.approx(86.0),
        "method": "zeus",
        "reason": "counters of the GPUs and of the processor, other processes included",
    }
    assert zeus.monitors == [{"cpu_indices": []}]  # zeus reads a processor from a helper process, which runs the main module again
    assert [call[:2] for call in zeus.calls] == [("begin", "artefact"), ("end", "artefact")]
    assert zeus.calls[0][2]["restart"] is True


def test_zeus_without_a_processor_counter_says_so(tmp_path, a_gpu, zeus):
    record = measured(EnergyMeter(powercap=tmp_path / "absent", devices=a_gpu))
    assert (record["joules"], record["method"]) == (50.0, "zeus (GPU only)")
    assert record["reason"] == f"counters of the GPUs alone, other processes included; {NOTHING}{tmp_path / 'absent'} is absent"


def test_a_gpu_without_zeus_is_left_to_codecarbon(powercap, a_gpu, codecarbon, absent):
    absent("zeus")
    record = measured(EnergyMeter(powercap=powercap, devices=a_gpu))
    assert (record["joules"], record["method"]) == (pytest.approx(108.0), "codecarbon (process)")
    assert record["reason"].endswith("; zeus is not installed: pip install --require-hashes --no-deps -r locks/energy.txt")


def test_a_gpu_and_neither_library_gives_both_reasons(powercap, a_gpu, absent):
    absent("zeus", "codecarbon")
    install = "is not installed: pip install --require-hashes --no-deps -r locks/energy.txt"
    assert measured(EnergyMeter(powercap=powercap, devices=a_gpu))["reason"] == f"zeus {install}; codecarbon {install}"


@pytest.mark.parametrize(("counter", "message"), [([True, False], "zeus: GPU 1 has no energy counter"), ([], "zeus: no GPU is visible")])
def test_a_gpu_without_a_counter_is_not_polled(tmp_path, a_gpu, zeus, counter, message):
    zeus.counter = counter
    assert measured(EnergyMeter(powercap=tmp_path / "absent", devices=a_gpu))["reason"].startswith(message + "; " + NOTHING)
    assert zeus.monitors == []


@pytest.mark.parametrize("shown", ["", "-1"])
def test_a_hidden_gpu_is_no_gpu(tmp_path, a_gpu, zeus, monkeypatch, shown):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert EnergyMeter(powercap=tmp_path / "absent", devices=a_gpu).method == "none"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert EnergyMeter(powercap=tmp_path / "absent", devices=a_gpu).method == "zeus (GPU only)"


def test_half_a_sum_is_no_sum(powercap, a_gpu, zeus, codecarbon):
    meter = EnergyMeter(powercap=powercap, devices=a_gpu)
    codecarbon.fail = {"stop": RuntimeError("gone")}
    assert measured(meter) == {"joules": None, "method": "none", "reason": "codecarbon: gone"}


@pytest.mark.parametrize("joules", [0.0, -3.0, float("nan")])
def test_a_counter_that_did_not_move_measured_nothing(tmp_path, a_gpu, zeus, joules):
    zeus.joules = joules
    record = measured(EnergyMeter(powercap=tmp_path / "absent", devices=a_gpu))
    assert (record["joules"], record["method"]) == (None, "none")
    assert record["reason"] == f"the counters rose by {joules:g} J: the work was shorter than their step"


@pytest.mark.parametrize("initialised", [False, True])
def test_the_gpu_is_waited_for_only_where_cuda_is_in_use(tmp_path, a_gpu, zeus, monkeypatch, initialised):
    torch = types.SimpleNamespace(cuda=types.SimpleNamespace(is_initialized=lambda: initialised))
    monkeypatch.setitem(sys.modules, "torch", torch)
    measured(EnergyMeter(powercap=tmp_path / "absent", devices=a_gpu))
    assert [call[2]["sync_execution"] for call in zeus.calls] == [initialised, initialised]
    monkeypatch.delitem(sys.modules, "torch")
    assert energy._cuda_in_use() is False


# --- the real libraries ---


@pytest.fixture
def offline(monkeypatch):
    """Count the attempts to reach another machine, and let none through."""
    attempts = []

    def refuse(self, address, *arguments):
        attempts.append(address)
        raise OSError("this test is offline")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return attempts


def test_the_real_codecarbon_reads_a_counter(powercap, no_gpu, offline, monkeypatch, tmp_path, capfd):
    """7 J between both readings of a counter that stands in for the machine's, read by the library itself."""
    if any(energy.DEVICES.glob("nvidia[0-9]*")):
        pytest.skip("this machine's GPU would be in the sum")
    cpu = pytest.importorskip("codecarbon.core.cpu")
    from codecarbon.core import hardware_cache

    capfd.readouterr()
    hardware_cache.clear_cache()
    monkeypatch.setattr(cpu, "_get_candidate_bases", lambda folder: [str(powercap)])
    monkeypatch.setattr(cpu.IntelRAPL, "_setup_rapl", lambda self: self._fetch_rapl_files())
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    meter = EnergyMeter(powercap=powercap, devices=no_gpu)
    meter.start()
    time.sleep(0.1)
    (powercap / "intel-rapl:0" / "energy_uj").write_text("8000000\n")
    record = meter.read()
    hardware_cache.clear_cache()
    assert record["method"] == "codecarbon (process)", record["reason"]
    assert record["joules"] == pytest.approx(7.0, rel=1e-5)
    assert sorted(tmp_path.iterdir()) == before
    assert offline == []
    assert capfd.readouterr() == ("", "")


def test_the_real_codecarbon_without_a_counter_is_none(powercap, no_gpu, offline, monkeypatch):
    cpu = pytest.importorskip("codecarbon.core.cpu")
    from codecarbon.core import hardware_cache

    hardware_cache.clear_cache()
    monkeypatch.setattr(cpu, "_get_candidate_bases", lambda folder: [])
    record = measured(EnergyMeter(powercap=powercap, devices=no_gpu))
    hardware_cache.clear_cache()
    assert (record["joules"], record["method"]) == (None, "none")
    assert "would estimate from a table" in record["reason"]
    assert offline == []


def test_the_real_zeus_without_a_driver_is_none(tmp_path, a_gpu, offline):
    device = pytest.importorskip("zeus.device")
    try:
        device.get_gpus()
    except Exception as error:
        message = str(error)
    else:
        pytest.skip("this machine has a GPU")
    record = measured(EnergyMeter(powercap=tmp_path / "absent", devices=a_gpu))
    assert (record["joules"], record["method"]) == (None, "none")
    assert record["reason"] == f"zeus: {message}; {NOTHING}{tmp_path / 'absent'} is absent"
    assert offline == []


# --- estimates and labels ---

NONE = {"joules": None, "method": "none", "reason": "no counter"}


def test_estimates_by_hand():
    assert energy.estimate(0.0) == 0.0
    assert energy.estimate(3600.0) == 36_000.0  # a core-hour is 10 Wh
    assert energy.estimate(100, watts_per_core=4.5) == 450.0
    assert energy.estimate(100, 20, gpu_watts=300) == 7_000.0
    assert energy.estimate(100, 0, gpu_watts=300) == energy.estimate(100) == 1_000.0
    assert isinstance(energy.estimate(1), float)


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((10, 5), {}, "gpu_seconds is 5 and gpu_watts is not given"),
        ((-1,), {}, "cpu_seconds is -1; expected a number of at least 0"),
        ((float("nan"),), {}, "cpu_seconds is nan"),
        ((1, float("inf")), {"gpu_watts": 1}, "gpu_seconds is inf"),
        ((1,), {"watts_per_core": -10}, "watts_per_core is -10"),
        ((1, 1), {"gpu_watts": -1}, "gpu_watts is -1"),
    ],
)
def test_an_estimate_refuses_what_it_cannot_multiply(arguments, settings, message):
    with pytest.raises(ValueError, match=message):
        energy.estimate(*arguments, **settings)
    with pytest.raises(ValueError, match=message):
        energy.label(NONE, *arguments, **settings)


def test_a_label_says_how_the_joules_came_about():
    assert energy.label({"joules": 7.5, "method": "codecarbon (process)"}, 100) == (7.5, "measured (codecarbon, process)")
    assert energy.label({"joules": 7.5, "method": "zeus"}, 100, 50) == (7.5, "measured (zeus)")
    assert energy.label({"joules": 7.5, "method": "zeus (GPU only)"}, 100, 50) == (7.5, "measured (zeus, GPU only)")
    assert energy.label(NONE, 100) == (1000.0, "estimated (10 W a busy core)")
    assert energy.label(NONE, 100, watts_per_core=4.5) == (450.0, "estimated (4.5 W a busy core)")
    assert energy.label(NONE, 100, 20, gpu_watts=300) == (7000.0, "estimated (10 W a busy core, 300 W a busy GPU)")
    assert energy.label(NONE, 100, gpu_watts=300) == (1000.0, "estimated (10 W a busy core)")


def test_every_method_of_a_meter_has_a_label(powercap, a_gpu, zeus, codecarbon, monkeypatch, tmp_path):
    assert energy.label(measured(EnergyMeter(powercap=powercap, devices=a_gpu)), 1)[1] == "measured (zeus)"
    gpu_only = measured(EnergyMeter(powercap=tmp_path / "absent", devices=a_gpu))
    assert energy.label(gpu_only, 1) == (50.0, "measured (zeus, GPU only)")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert energy.label(measured(EnergyMeter(powercap=powercap, devices=a_gpu)), 1)[1] == "measured (codecarbon, process)"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"joules": 3.0}, "the energy record has no 'method'"),
        ({}, "the energy record has no 'joules'"),
        (
            {"joules": 3.0, "method": "none"},
            r"3.0 J by method 'none'; a measured energy has one of the methods codecarbon \(process\), zeus, zeus \(GPU only\)",
        ),
        ({"joules": None, "method": "zeus"}, "no joules by method 'zeus'"),
        ({"joules": float("nan"), "method": "zeus"}, "joules is nan"),
        ({"joules": -1.0, "method": "zeus"}, "joules is -1.0"),
    ],
)
def test_a_label_refuses_what_no_meter_gave(record, message):
    with pytest.raises(ValueError, match=message):
        energy.label(record, 10)
