"""The site: it builds without a warning or a network, its links hold, its charts can be drawn; options say what the classes say."""

from __future__ import annotations

import doctest
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from docs import options, website
from rd_utils.study.params import LOSSES
from rd_utils.study.plan import load_plan

ROOT = Path(__file__).resolve().parents[2]
NEEDED = [name for name in ("sphinx", "myst_nb", "pydata_sphinx_theme") if importlib.util.find_spec(name) is None]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if NEEDED:
        pytest.skip(f"not installed: {', '.join(NEEDED)}; the extra docs has them")
    target = tmp_path_factory.mktemp("docs") / "site"
    code = (
        "import socket, sys\n"
        "def no(*_): raise OSError('a network was asked for')\n"
        "socket.socket.connect = no\n"
        "from pathlib import Path\n"
        "from docs import website\n"
        "sys.exit(website.main(Path(sys.argv[1])))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, str(target)], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 problems" in done.stdout
    return target


def test_every_page_and_notebook_is_on_the_site(site):
    names = [path.relative_to(ROOT).with_suffix(".html") for folder in ("docs", "notebooks") for path in (ROOT / folder).rglob("*.*")
             if path.suffix in (".md", ".ipynb") and not any(part.startswith(".") for part in path.parts)]  # fmt: skip
    assert len(names) > 40 and [name for name in names if not (site / name).is_file()] == []
    assert "rd_utils.training.losses.kl" in (site / "docs" / "api" / "training.html").read_text(encoding="utf-8")
    assert "ranknet" in (site / "searchindex.js").read_text(encoding="utf-8")


def test_every_chart_of_a_notebook_is_on_its_page_with_its_picture(site):
    notebook, page = ROOT / "notebooks" / "10_claims.ipynb", site / "notebooks" / "10_claims.html"
    outputs = [output for cell in json.loads(notebook.read_text())["cells"] for output in cell.get("outputs", [])]
    charts = sum(any(kind.startswith(website.CHART) for kind in output.get("data", {})) for output in outputs)
    text = page.read_text(encoding="utf-8")
    assert text.count('<div class="rd-chart"') == text.count('src="data:image/png;base64,') == charts > 0
    assert "_static/drawn.js" in text and "_static/drawn.js" not in (site / "docs" / "cost.html").read_text(encoding="utf-8")
    assert ".rd-chart" in (site / "_static" / "drawn.js").read_text(encoding="utf-8")


def test_what_is_wrong_with_a_page_is_found(tmp_path):
    (tmp_path / "b.html").write_text('<h1 id="one">B</h1>')
    (tmp_path / "a.html").write_text(
        '<a href="b.html#one"></a><a href="b.html#two"></a><a href="c.html"></a><a href="https://example.org"></a><a href="#"></a>'
        '<img src="https://example.org/a.png"><script src="//example.org/a.js"></script><link rel="stylesheet" href="http://example.org/a.css">'
        '<style>@import "https://example.org/b.css"; p { background: url(data:image/png;base64,AA) }</style><iframe src="b.html"></iframe>'
    )
    (tmp_path / "a.css").write_text("@font-face { src: url('https://example.org/f.woff') } p { background: url(x.png) }")
    found = website.check(tmp_path)
    assert (found.pages, found.links) == (2, 5)
    assert found.problems == [
        "a.html: b.html#two has no such anchor",
        "a.html: c.html leads nowhere",
        "a.html: loads https://example.org/a.png",
        "a.html: loads //example.org/a.js",
        "a.html: loads http://example.org/a.css",
        "a.html: loads https://example.org/b.css",
        "a.css: loads https://example.org/f.woff",
    ]


@pytest.mark.parametrize("module", [options, website], ids=["options", "website"])
def test_examples_hold(module):
    failed, attempted = doctest.testmod(module)
    assert failed == 0 and attempted > 0


def test_messages_are_read_from_what_is_raised():
    found = dict(website.messages("study"))
    assert found["… is no number"] == "write one, without quotes"
    assert all(len(website.messages(room)) > 3 for room in website.ASKED)


def test_words_are_those_of_the_kinds_there_are():
    assert set(options.WORDS) == {"have", "losses", *options.FAMILIES}
    for family, base in options.FAMILIES.items():
        assert set(options.WORDS[family]) == set(base.kinds), family
    assert set(options.WORDS["losses"]) == set(LOSSES)
    assert {words["have"] for family, kinds in options.WORDS.items() if family != "have" for words in kinds.values()} == set(
        options.WORDS["have"]
    )


def test_every_example_of_an_option_is_what_a_study_may_say(tmp_path, monkeypatch):
    """All examples as parts of one study, which validates parts that no grid uses too."""
    words = {
        family: {f"example_{tag}": dict(said["example"]) for tag, said in options.WORDS[family].items()} for family in options.FAMILIES
    }
    indexes = {f"by_{tag}": {"kind": "dense", "architecture": "bi", "index": said} for tag, said in words.pop("indexes").items()}
    sources = words.pop("sources")
    monkeypatch.chdir(tmp_path)
    for tag in ("bi_encoder", "cross_encoder"):  # a folder of a reader's, of which no more than its place is looked at here
        words["architectures"][f"example_{tag}"] |= {"model": "some/model"}
    words["teachers"]["example_loaded"] |= {"model": "some/model"}
    study = {"name": "examples", "base": "embedded", "question": "Are the examples valid?"} | words
    study["retrievers"] |= indexes
    study["grids"] = [{"strategies": ["bm25"], "losses": ["kl"], "teachers": ["teacher"], "architectures": ["bi"], "seeds": [0]}]
    (tmp_path / "bases").symlink_to(ROOT / "params" / "bases")
    path = tmp_path / "examples.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    assert len(load_plan(path).cells) == 1
    for example in sources.values():
        assert options.Collection._chosen(example).source == example["source"]
