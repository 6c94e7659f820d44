"""What every test may ask for: the toy collection, real collections, and where to write."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from toys import write_toy

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(__file__).resolve().parent.parent
REAL = ROOT.parent / "shared" / "ir_datasets"  # local copies of real collections, where a machine has them
if REAL.is_dir():  # ir_datasets reads its home once, when it is imported, and writes to it
    _home = Path(tempfile.mkdtemp(prefix="ir_datasets_"))
    atexit.register(shutil.rmtree, _home, ignore_errors=True)
    shutil.copytree(REAL, _home, dirs_exist_ok=True, copy_function=shutil.copyfile)
    for _path in [_home, *_home.rglob("*")]:
        _path.chmod(0o755)
    os.environ["IR_DATASETS_HOME"] = str(_home)


# What takes longest, in this order: begun first, it does not keep one worker busy when the others are done.
LONGEST = (
    "tests/unit/training/test_launch.py tests/integration/test_end_to_end.py tests/integration/test_scale_run.py "
    "notebooks/05a_results.ipynb notebooks/05c_report.ipynb notebooks/05b_locality.ipynb tests/integration/test_grid.py "
    "tests/notebooks/test_browser.py tests/unit/test_kernels.py "
    "tests/faults/test_faults.py tests/unit/test_gpu.py tests/unit/models/test_models.py tests/unit/training/test_loop.py "
    "tests/unit/study/test_plan.py tests/unit/workflow/test_turns.py tests/unit/analysis/test_simulation.py "
    "tests/unit/test_scale.py tests/fuzz/test_fuzz_studies.py tests/integration/test_real_collection.py"
).split()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    first = {ROOT / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path, len(first)))


def pytest_collection_finish() -> None:
    gc.freeze()  # libraries and tests stay: no collection of garbage need look through them again


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return write_toy(tmp_path / "toy")


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty outputs folder that the store uses."""
    monkeypatch.setenv("RD_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def real_collections() -> Path:
    """The home of ir_datasets with local copies of SciFact and Vaswani."""
    if not REAL.is_dir():
        pytest.skip("no local copies of real collections beside the checkout (../shared/ir_datasets)")
    return Path(os.environ["IR_DATASETS_HOME"])


@pytest.fixture(scope="session")
def collections_in_folders() -> Path:
    """Real collections in BEIR layout, one a folder, in several languages."""
    folder = ROOT.parent / "shared" / "collections"
    if not folder.is_dir():
        pytest.skip("no real collections in folders beside the checkout (../shared/collections)")
    return folder
