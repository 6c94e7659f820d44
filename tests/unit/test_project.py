"""The project's own files agree: imports, dependencies, environment, and the lock, which is what make installs."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rd_utils.__main__ import main
from rd_utils.workflow import lock

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAIN = [Requirement(text) for text in PROJECT["dependencies"]]
DEV = [Requirement(text) for text in PROJECT["optional-dependencies"]["dev"]]
DOCS = [Requirement(text) for text in PROJECT["optional-dependencies"]["docs"]]
CLUSTER = [Requirement(text) for text in PROJECT["optional-dependencies"]["cluster"]]
ENERGY = [Requirement(text) for text in PROJECT["optional-dependencies"]["energy"]]
IMPORT_NAMES = {"ir-datasets": "ir_datasets", "ir-measures": "ir_measures", "pystemmer": "Stemmer", "pyyaml": "yaml", "faiss-cpu": "faiss"}
IMPORT_NAMES |= {"huggingface-hub": "huggingface_hub", "ipython": "IPython", "pillow": "PIL", "scikit-learn": "sklearn"}
IMPORT_NAMES |= {"sentence-transformers": "sentence_transformers", "vl-convert-python": "vl_convert"}
NOT_IMPORTED = {"jsonschema", "jupyterlab", "snakemake"}  # programs


def by_name(requirements):
    return {canonicalize_name(r.name): r for r in requirements}


def locked(*names: str) -> dict[str, str]:
    parts = [lock.read(ROOT / name) for name in names or ("constraints.txt", "locks/build.txt")]
    return {name: version for part in parts for name, (version, _) in part.items()}


def imported() -> set[str]:
    found = set()
    for path in (ROOT / "rd_utils").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"rd_utils"}


def test_what_is_imported_is_declared_and_what_is_declared_is_used():
    names = {IMPORT_NAMES.get(name, name.replace("-", "_")): name for name in by_name(MAIN)}
    optional = set(by_name(ENERGY))
    assert imported() <= set(names) | optional, imported() - set(names)
    assert optional <= imported()
    assert {names[n] for n in names} - {names[n] for n in imported() - optional} == NOT_IMPORTED


def test_environment_yml_says_the_same_as_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert f"python{PROJECT['requires-python']}" in conda
    assert {"make", "git", "pip"} <= set(conda)
    assert pip == ["--requirement locks/build.txt", "--requirement locks/cuda.txt", "--requirement constraints.txt"]


def test_the_lock_pins_every_dependency_within_its_range():
    pins = locked()
    for name, requirement in by_name(MAIN + DEV + DOCS).items():
        assert name in pins, f"{name} is not locked; run make lock"
        assert requirement.specifier.contains(pins[name]), (name, pins[name], str(requirement.specifier))


def test_the_lock_is_what_is_installed():
    differing = {}
    for name, version in locked().items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform
        if installed.split("+")[0] != version:
            differing[name] = (installed, version)
    assert not differing, f"installed and locked versions differ: {differing}; run make clean, then make test"


def test_the_cluster_extra_holds_the_plugin_of_every_profile():
    wanted = set()
    for path in (ROOT / "params" / "profiles").glob("*/config.yaml"):
        profile = yaml.safe_load(path.read_text())
        wanted.add(f"snakemake-executor-plugin-{profile['executor']}")
        if "default-storage-provider" in profile:
            wanted.add(f"snakemake-storage-plugin-{profile['default-storage-provider']}")
    assert wanted == set(by_name(CLUSTER))
    assert not wanted & set(locked())  # like energy's, these are not what make installs


@pytest.mark.parametrize(("extra", "wanted"), [("cluster", CLUSTER), ("energy", ENERGY)])
def test_every_extra_is_locked(extra, wanted):
    pins = locked(f"locks/{extra}.txt")
    for name, requirement in by_name(wanted).items():
        assert requirement.specifier.contains(pins[name]), (name, pins[name], str(requirement.specifier))


@pytest.mark.parametrize("name", lock.FILES)
def test_every_line_of_the_lock_is_a_pin_or_a_hash_and_every_pin_has_one(name):
    lines = (ROOT / name).read_text().splitlines()
    pin, digest = re.compile(r"[a-z0-9-]+==[\w.!+]+( ; [^\\]+)? \\"), re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
    assert lines[0].startswith("# ") and all(pin.fullmatch(line) or digest.fullmatch(line) for line in lines[1:])
    found = lock.read(ROOT / name)
    assert sum(bool(pin.fullmatch(line)) for line in lines) == len(found) > 0
    assert all(hashes for _, hashes in found.values())


def test_the_build_of_pytorch_for_cpus_is_of_the_locked_version():
    assert locked("locks/cpu.txt") == {"torch": f"{locked()['torch']}+cpu"}


def test_no_package_stands_in_two_files_that_are_installed_together():
    both = [name for file in ("locks/build.txt", "constraints.txt", "locks/cuda.txt") for name in lock.read(ROOT / file)]
    assert len(both) == len(set(both))


def test_a_file_that_is_not_in_the_lock_is_refused(tmp_path):
    """A wheel of our own under a locked name and version."""
    version, hashes = lock.read(ROOT / "constraints.txt")["stopwordsiso"]
    wheel = tmp_path / f"stopwordsiso-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("stopwordsiso.py", "")
        info = f"stopwordsiso-{version}.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: stopwordsiso\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    own = hashlib.sha256(wheel.read_bytes()).hexdigest()
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--isolated",
        "install",
        "--no-index",
        "--find-links",
        str(tmp_path),
        "--no-deps",
        "--require-hashes",
    ]
    for digest, passes in ((own, True), (sorted(hashes)[0], False)):
        (tmp_path / "lock.txt").write_text(f"stopwordsiso=={version} --hash=sha256:{digest}\n")
        target = tmp_path / digest
        done = subprocess.run([*pip, "--target", str(target), "-r", str(tmp_path / "lock.txt")], capture_output=True, text=True)
        assert (done.returncode == 0) == passes == (target / "stopwordsiso.py").is_file(), done.stderr


def test_a_lock_is_read_as_it_is_written(tmp_path):
    one, two = "one==1.0 ; sys_platform == 'linux' \\", "two-b==2.post1 \\"
    hashes = [f"    --hash=sha256:{letter * 64}" for letter in "abc"]
    (tmp_path / "some.txt").write_text("\n".join(["# Head.", one, f"{hashes[0]} \\", hashes[1], two, hashes[2], ""]))
    assert lock.read(tmp_path / "some.txt") == {"one": ("1.0", {"a" * 64, "b" * 64}), "two-b": ("2.post1", {"c" * 64})}


def test_without_uv_the_lock_says_what_to_do(tmp_path):
    with pytest.raises(lock.LockError, match="no program no-such-uv; run make lock"):
        lock.write(ROOT, uv="no-such-uv")


def test_installed_plugins_are_within_the_ranges_of_the_cluster_extra():
    for name, requirement in by_name(CLUSTER).items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        assert requirement.specifier.contains(installed), (name, installed, str(requirement.specifier))


def test_make_installs_under_the_lock():
    makefile = (ROOT / "Makefile").read_text()
    assert "LOCKED := --quiet --require-hashes --no-deps --no-build-isolation\n" in makefile
    rule = makefile[makefile.index("$(VENV)/.ready: ") :].split("\n\n")[0]
    installs = [line.partition("pip install ")[2].partition(" 2>")[0].strip() for line in rule.splitlines() if "pip install" in line]
    assert installs == [
        *(f"$(LOCKED) --requirement {name}" for name in list(lock.FILES)[:4]),
        "--quiet --no-deps --no-build-isolation --editable .",
    ]
    others = [line for line in makefile.replace(rule, "").splitlines() if "pip install" in line and "$(LOCKED)" not in line]
    assert len(others) == 1 and "pip install --quiet uv" in others[0]  # the tool that writes the lock, in an environment of its own


def test_the_pages_install_under_the_lock():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    lines = [line for page in pages for line in re.findall(r"pip install -[^\n`&]*", page.read_text())]
    assert len(lines) >= 3
    for line in lines:
        assert "--require-hashes --no-deps -r locks/" in line or line.strip() == "pip install --no-deps --no-build-isolation -e .", line


def test_jupyterlab_asks_for_a_token_and_listens_to_this_machine_alone(monkeypatch):
    monkeypatch.delenv("JUPYTER_TOKEN", raising=False)
    commands = []
    monkeypatch.setattr(subprocess, "call", lambda command, **_: commands.append(command) or 0)
    assert main(["lab", "--originals"]) == 0 and "-m rd_utils lab" in (ROOT / "Makefile").read_text()
    options = [word for word in commands[0][commands[0].index("jupyterlab") + 1 :] if word.startswith("--")]
    app = pytest.importorskip("jupyter_server.serverapp").ServerApp()  # which jupyterlab stands on
    app.parse_command_line(options)
    assert app.ip == "127.0.0.1"
    provider = app.identity_provider_class(parent=app)
    assert provider.auth_enabled and len(provider.token) >= 32 and provider.token_generated


UNPICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
RUNS = {"eval", "exec", "compile", "__import__"}


def unsafe(source: str) -> list[str]:
    """Return what code does that would run or unpickle what it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in UNPICKLES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNPICKLES:
            found += [node.module for alias in node.names if not alias.name.endswith("Error")]
        elif isinstance(node, ast.Call):
            called, options = ast.unparse(node.func), {each.arg: ast.unparse(each.value) for each in node.keywords}
            last = called.rpartition(".")[2]
            if called in RUNS or called in {"os.system", "os.popen", "pd.read_pickle", "pd.eval"} or last in {"read_pickle", "unsafe_load"}:
                found.append(called)
            if options.get("shell", "False") != "False" or options.get("allow_pickle", "False") != "False":
                found.append(ast.unparse(node))
            if called == "torch.load" and options.get("weights_only") != "True":
                found.append(ast.unparse(node))
            if called in {"yaml.load", "yaml.load_all", "yaml.full_load"} and options.get("Loader") not in SAFE_LOADERS:
                found.append(ast.unparse(node))
    return found


SAFE_LOADERS = {"yaml.SafeLoader", "yaml.CSafeLoader", "_Loader"}
HOSTILE_CODE = (
    "import pickle", "from joblib import load", "eval(text)", "np.load(path, allow_pickle=True)", "torch.load(path)",
    "torch.load(path, weights_only=False)", "yaml.load(text, Loader=yaml.Loader)", "yaml.load(text)", "subprocess.run(text, shell=True)",
    "os.system(text)", "pd.read_pickle(path)", "yaml.unsafe_load(text)",
)  # fmt: skip


@pytest.mark.parametrize("code", HOSTILE_CODE)
def test_what_would_run_what_it_reads_is_found(code):
    assert unsafe(code)


def test_nothing_is_unpickled_or_run_from_what_is_read():
    from rd_utils.study import yaml_files

    assert issubclass(yaml_files._Loader, yaml.SafeLoader)
    notebooks = [json.loads(path.read_text()) for path in (ROOT / "notebooks").rglob("*.ipynb")]
    cells = ["".join(cell["source"]) for notebook in notebooks for cell in notebook["cells"] if cell["cell_type"] == "code"]
    files = [path for folder in ("rd_utils", "benchmarks") for path in (ROOT / folder).rglob("*.py") if ".peers" not in path.parts]
    sources = [path.read_text() for path in files]
    assert len(sources) > 50 and len(cells) > 50
    for source in (*sources, *("\n".join(line for line in cell.splitlines() if not line.startswith(("%", "!"))) for cell in cells)):
        assert unsafe(source) == []


def test_the_command_rd_is_this_package_and_begins_at_once():
    assert PROJECT["scripts"] == {"rd": "rd_utils.__main__:main"}
    code = "import sys; from rd_utils.__main__ import main; sys.argv = ['rd', '--help']\ntry: main()\nfinally: print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert told.stdout.startswith("usage: rd ") and not {"numpy", "pandas", "torch", "pydantic"} & set(told.stdout.splitlines()[-1].split())
