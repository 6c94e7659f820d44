"""Energy of a piece of work: measured where the machine can, never invented.

Four sources, each under its own name, so that no table mixes them unseen:

- ``zeus``: the energy counters of the NVIDIA GPUs and of the processor;
- ``zeus (GPU only)``: the GPUs' alone, where the processor has no counter to read: less than the work took;
- ``codecarbon (process)``: the processor's RAPL counters, read by codecarbon in its process mode;
- ``none``: nothing could be read, and why; :func:`estimate` then turns CPU seconds into joules, and :func:`label` says so.

A counter belongs to a whole chip: all that runs on the machine at the time is in it, also under codecarbon's process mode, which
apportions its own power model and no counter. Measured energies compare when the runs had the machine to themselves. Where codecarbon
finds no counter it takes power from a table of processors; that is an estimate, and is not used here. Its figure for memory always comes
from a model, and is left out.

Both libraries are optional (``pip install --require-hashes --no-deps -r locks/energy.txt``), and imported only where there is a counter.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import logging
import math
import os
import sys
import warnings
from pathlib import Path
from typing import Protocol, TypedDict

POWERCAP = Path("/sys/class/powercap")  # Linux: one folder a RAPL zone, of Intel and AMD processors alike
DEVICES = Path("/dev")
JOULES_PER_KWH = 3.6e6
WATTS_PER_CORE = 10.0

MEASURED = {
    "codecarbon (process)": "measured (codecarbon, process)",
    "zeus": "measured (zeus)",
    "zeus (GPU only)": "measured (zeus, GPU only)",
}

_INSTALL = "pip install --require-hashes --no-deps -r locks/energy.txt"
_SETTINGS = {
    "tracking_mode": "process",
    "measure_power_secs": 15,  # a server's counter wraps in about 15 minutes: it must be read often, not only at both ends
    "allow_multiple_runs": True,  # no lock file
    "output_methods": [],  # no emissions.csv
    "log_level": "critical",
    # What follows overrules a codecarbon.config of the user's: no request leaves the machine, and nothing but the counter is reported.
    "emissions_endpoint": None,
    "electricitymaps_api_token": None,
    "force_carbon_intensity_g_co2e_kwh": 0.0,
    "country_iso_code": None,
    "cloud_provider": None,
    "cloud_region": None,
    "region": None,
    "force_cpu_power": None,
    "force_mode_cpu_load": False,
    "rapl_include_dram": False,
    "rapl_prefer_psys": False,
    "pue": 1.0,
}


# --- measuring ------------------------------------------------------------------------------------------------------------------


class Measured(TypedDict):
    """What a meter read: joules and how, or None and why not."""

    joules: float | None
    method: str
    reason: str


class EnergyMeter:
    """Measure the energy of one artefact after the other, where a counter can be read.

    Made once per process (:func:`meter`), since loading a library takes a second where there is something to load it for; without a
    counter it takes a few file look-ups. Never raises: what fails in a library becomes method ``none`` with its message as the reason.
    One window at a time: :meth:`start` drops a window that is still open, as a failed artefact leaves it.

    Args:
        powercap: The folder with the RAPL zones.
        devices: The folder with the device files, ``nvidia0`` ...
    """

    def __init__(self, *, powercap: Path = POWERCAP, devices: Path = DEVICES) -> None:
        gpu, cpu = None, None
        no_gpu, no_cpu = "", _unreadable(powercap)
        if _gpu_visible(devices):
            gpu, no_gpu = _made("zeus", _Gpu)
        if not no_cpu:
            cpu, no_cpu = _made("codecarbon", functools.partial(_Processor, with_gpu=gpu is None))
        self._parts: list[_Part] = [part for part in (gpu, cpu) if part is not None]
        self._open, self._failure = False, ""
        self.method = ("zeus" if cpu else "zeus (GPU only)") if gpu else "codecarbon (process)" if cpu else "none"
        if gpu and cpu:
            self.reason = "counters of the GPUs and of the processor, other processes included"
        elif gpu:
            self.reason = f"counters of the GPUs alone, other processes included; {no_cpu}"
        elif cpu:
            self.reason = "; ".join(filter(None, ["counters of the processor, other processes included", no_gpu]))
        else:
            self.reason = "; ".join(filter(None, [no_gpu, no_cpu]))

    def start(self) -> None:
        """Open a window: the energy counts from here."""
        self._open, self._failure = True, ""
        for part in self._parts:
            try:
                with _quiet():
                    part.start()
            except Exception as error:  # a measurement must not break the run that it measures
                self._failure = self._failure or f"{part.name}: {_message(error)}"

    def read(self) -> Measured:
        """Close the window and return its energy.

        Returns:
            joules (None where nothing was measured), method (a key of ``MEASURED``, or ``none``), reason (why nothing was measured, or
            what the counters cover).
        """
        if not self._parts:
            return _nothing(self.reason)
        if not self._open:
            return _nothing("no window is open: call start() before the work and read() once after it")
        self._open, joules = False, 0.0
        for part in self._parts:
            try:
                with _quiet():
                    joules += part.read()
            except Exception as error:
                self._failure = self._failure or f"{part.name}: {_message(error)}"
        if self._failure:
            return _nothing(self._failure)
        if not (math.isfinite(joules) and joules > 0):
            return _nothing(f"the counters rose by {joules:g} J: the work was shorter than their step")
        return {"joules": joules, "method": self.method, "reason": self.reason}


def meter() -> EnergyMeter:
    """Return this process's meter, made on the first call (a forked process makes its own)."""
    return _meter(os.getpid())


@functools.cache
def _meter(process: int) -> EnergyMeter:
    return EnergyMeter()


class _Part(Protocol):
    name: str

    def start(self) -> None: ...

    def read(self) -> float: ...


class _Gpu:
    """The energy counters of the visible NVIDIA GPUs, through zeus, in joules.

    Zeus would read the processor too, but starts a helper process for it that imports the main module again: a script without
    ``if __name__ == "__main__"`` would run twice. :class:`_Processor` reads it instead.
    """

    name = "zeus"

    def __init__(self) -> None:
        from zeus.device import get_gpus  # pyright: ignore[reportMissingImports] (of the extra energy)
        from zeus.monitor import ZeusMonitor  # pyright: ignore[reportMissingImports]

        gpus = get_gpus()
        old = [index for index in range(len(gpus)) if not gpus.supports_get_total_energy_consumption(index)]
        if old or not len(gpus):  # without a counter zeus polls the power, from a helper process as well
            raise RuntimeError(f"GPU {old[0]} has no energy counter" if old else "no GPU is visible")
        self._monitor = ZeusMonitor(cpu_indices=[])

    def start(self) -> None:
        self._monitor.begin_window("artefact", sync_execution=_cuda_in_use(), restart=True)

    def read(self) -> float:
        return float(self._monitor.end_window("artefact", sync_execution=_cuda_in_use()).total_energy)


class _Processor:
    """The RAPL counters of the processor's packages, through codecarbon, in joules."""

    name = "codecarbon"

    def __init__(self, *, with_gpu: bool) -> None:
        logging.getLogger("codecarbon").disabled = True  # importing it sets its level and handler, so that neither can be set before
        import codecarbon  # pyright: ignore[reportMissingImports]

        self._library, self._with_gpu, self._tracker = codecarbon, with_gpu, None
        self._checked(self._new())  # also looks at the hardware once, which the library keeps for the next trackers

    def start(self) -> None:
        if self._tracker is not None:
            self._tracker.stop()
        self._tracker = self._new()
        self._tracker.start()

    def read(self) -> float:
        tracker, self._tracker = self._tracker, None
        if tracker is None:
            raise RuntimeError("the tracker did not start")
        tracker.stop()
        self._checked(tracker)
        used = getattr(tracker, "final_emissions_data", None)  # the library logs its errors and goes on
        if used is None:
            raise RuntimeError("the tracker gave no measurement")
        return (used.cpu_energy + (used.gpu_energy if self._with_gpu else 0.0)) * JOULES_PER_KWH

    def _new(self):
        return self._library.OfflineEmissionsTracker(**_SETTINGS)

    def _checked(self, tracker) -> None:
        """Refuse a tracker that falls back on a table of processors: its number would not be a measurement."""
        tracker.get_detected_hardware()
        if "intel_rapl" not in [getattr(hardware, "_mode", None) for hardware in tracker._hardware]:
            raise RuntimeError("it does not read the processor's counters here, and would estimate from a table")


def _made(name: str, make) -> tuple[_Part | None, str]:
    """Return a part and no reason, or no part and the reason."""
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        return None, f"{name} is not installed: {_INSTALL}"
    try:
        with _quiet():
            return make(), ""
    except Exception as error:
        return None, f"{name}: {_message(error)}"


def _unreadable(powercap: Path) -> str:
    """Say why no RAPL counter can be read; nothing if one can."""
    if not powercap.is_dir():
        return f"no readable energy counter: {powercap} is absent"
    why = f"{powercap} holds no intel-rapl zone"
    for counter in sorted(powercap.glob("intel-rapl*/energy_uj")):
        try:
            int(counter.read_text())
            return ""
        except (OSError, ValueError) as error:
            why = f"{counter}: {_message(error)}"
    return f"no readable energy counter: {why}"


def _gpu_visible(devices: Path) -> bool:
    """Whether the driver shows an NVIDIA GPU that this process may use; asking torch would cost seconds."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    return shown not in ("", "-1") and any(devices.glob("nvidia[0-9]*"))


def _cuda_in_use() -> bool:
    """Whether work may still be running on a GPU when Python has gone on; only then is there anything to wait for."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized()


@contextlib.contextmanager
def _quiet():
    """Keep what the libraries print and warn (a missing AMD driver, a short window) out of the run's own output."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _nothing(reason: str) -> Measured:
    return {"joules": None, "method": "none", "reason": reason}


# --- estimating -----------------------------------------------------------------------------------------------------------------


def estimate(
    cpu_seconds: float, gpu_seconds: float = 0.0, *, watts_per_core: float = WATTS_PER_CORE, gpu_watts: float | None = None
) -> float:
    """Estimate the energy of CPU and GPU seconds; whoever shows the number labels it an estimate.

    ``joules = cpu_seconds * watts_per_core + gpu_seconds * gpu_watts``

    The watts are those of one busy core with its share of memory and of the loss in the power supply. Server processors are rated at 4
    to 7 W a core: 280 W for 64 cores (AMD EPYC 7763, data sheet, 2021), 270 W for 40 (Intel Xeon Platinum 8380, data sheet, 2021). To
    this 8 GB of memory a core add 3 W, at 0.3725 W a GB (Lannelongue, Grealey and Inouye, "Green Algorithms", 2021), and a supply that
    loses a tenth makes 8 to 11 W of it. A laptop's core draws less at its rating, one core alone on an idle server far more. A core that
    runs two threads counts twice. The data centre's overhead is left out (PUE 1), and so is what was spent while waiting.

    Args:
        cpu_seconds: Seconds of busy cores, summed over cores.
        gpu_seconds: Seconds of busy GPUs, summed over GPUs.
        watts_per_core: Watts of one busy core.
        gpu_watts: Watts of one busy GPU, its rated board power for want of better; no default, since GPUs range from 70 to 700 W.

    Returns:
        Joules.

    Raises:
        ValueError: A number is negative or not finite, or there are GPU seconds and no ``gpu_watts``.

    Ten minutes of two cores, and a minute of a 300 W GPU:

    >>> estimate(1200)
    12000.0
    >>> estimate(1200, 60, gpu_watts=300)
    30000.0
    """
    given = {"cpu_seconds": cpu_seconds, "gpu_seconds": gpu_seconds, "watts_per_core": watts_per_core, "gpu_watts": gpu_watts}
    for name, number in given.items():
        if number is not None and not (math.isfinite(number) and number >= 0):
            raise ValueError(f"{name} is {number}; expected a number of at least 0")
    if gpu_seconds > 0 and gpu_watts is None:
        raise ValueError(f"gpu_seconds is {gpu_seconds} and gpu_watts is not given; give the watts of one busy GPU, from its data sheet")
    return float(cpu_seconds * watts_per_core + (gpu_seconds * gpu_watts if gpu_seconds > 0 and gpu_watts is not None else 0.0))


def label(
    record: Measured,
    cpu_seconds: float,
    gpu_seconds: float = 0.0,
    *,
    watts_per_core: float = WATTS_PER_CORE,
    gpu_watts: float | None = None,
) -> tuple[float, str]:
    """Return an artefact's joules and the words that say how they came about.

    Args:
        record: What :meth:`EnergyMeter.read` returned.
        cpu_seconds: As for :func:`estimate`, which is used where nothing was measured; likewise what follows.
        gpu_seconds: Seconds of busy GPUs.
        watts_per_core: Watts of one busy core.
        gpu_watts: Watts of one busy GPU.

    Returns:
        Joules, and ``measured (codecarbon, process)``, ``measured (zeus)``, ``measured (zeus, GPU only)`` where the processor's share is
        missing, or ``estimated (10 W a busy core)`` with the watts in use.

    Raises:
        ValueError: The record is none of a meter's, or as :func:`estimate`.

    >>> label({"joules": None, "method": "none", "reason": "..."}, 30.0)
    (300.0, 'estimated (10 W a busy core)')
    >>> label({"joules": 512.5, "method": "zeus", "reason": "..."}, 30.0)
    (512.5, 'measured (zeus)')
    >>> label({"joules": 512.5, "method": "zeus (GPU only)", "reason": "..."}, 30.0)
    (512.5, 'measured (zeus, GPU only)')
    """
    if absent := [key for key in ("joules", "method") if key not in record]:
        raise ValueError(f"the energy record has no {absent[0]!r}; expected what EnergyMeter.read() returns, found {sorted(record)}")
    joules, method = record["joules"], record["method"]
    if joules is not None:
        if method not in MEASURED:
            raise ValueError(f"{joules} J by method {method!r}; a measured energy has one of the methods {', '.join(MEASURED)}")
        if not (math.isfinite(joules) and joules >= 0):
            raise ValueError(f"joules is {joules}; expected a number of at least 0, or None where nothing was measured")
        return float(joules), MEASURED[method]
    if method != "none":
        raise ValueError(f"no joules by method {method!r}; expected method 'none' where nothing was measured")
    watts = f"{watts_per_core:g} W a busy core"
    if gpu_seconds > 0 and gpu_watts is not None:
        watts += f", {gpu_watts:g} W a busy GPU"
    return estimate(cpu_seconds, gpu_seconds, watts_per_core=watts_per_core, gpu_watts=gpu_watts), f"estimated ({watts})"
