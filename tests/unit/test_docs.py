"""The pages say what the data say: tables and numbers, links, commands, and the study that the README shows."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path

import pytest
import yaml

from benchmarks.environments import ENVIRONMENTS
from docs import tables, website
from rd_utils import __main__ as command_line
from rd_utils.companions import recipes
from rd_utils.study.plan import load_plan

ROOT = Path(__file__).resolve().parents[2]
OTHERS = ("CHANGELOG.md", "benchmarks/README.md", "outputs/README.md")
PAGES = [*tables.pages(), *(ROOT / name for name in OTHERS)]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
README = TEXTS["README.md"]
A_TABLE, A_NUMBER = re.compile(r"<!-- table: (\S+) -->\n(.*?)\n<!-- end -->", re.S), re.compile(r"<!-- n: (\S+) -->(.*?)<!-- /n -->", re.S)
SHOWN_TABLES = [(page, *found) for page, text in TEXTS.items() for found in A_TABLE.findall(text)]
SHOWN_NUMBERS = [(page, *found) for page, text in TEXTS.items() for found in A_NUMBER.findall(text)]


# --- tables and numbers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "name", "committed"), SHOWN_TABLES, ids=[f"{page}:{name}" for page, name, _ in SHOWN_TABLES])
def test_a_table_holds_cell_by_cell_what_its_data_give(page, name, committed):
    wanted = tables.TABLES[name]("../" if "/" in page else "")
    assert [line.split("|") for line in committed.splitlines()] == [line.split("|") for line in wanted.splitlines()], "run make tables"


@pytest.mark.parametrize(("page", "name", "committed"), SHOWN_NUMBERS, ids=[f"{page}:{name}" for page, name, _ in SHOWN_NUMBERS])
def test_a_number_of_a_sentence_is_what_its_data_give(page, name, committed):
    assert committed == str(tables.NUMBERS[name]()), "run make tables"


def test_every_marked_place_is_closed_and_every_table_and_number_has_a_place():
    for text in TEXTS.values():
        assert text.count("<!-- table: ") == text.count("<!-- end -->") and text.count("<!-- n: ") == text.count("<!-- /n -->")
    assert {name for _, name, _ in SHOWN_TABLES} == set(tables.TABLES)
    assert {name for _, name, _ in SHOWN_NUMBERS} == set(tables.NUMBERS)
    assert (ROOT / recipes.SHIPPED).read_text(encoding="utf-8") == tables.shipped_advice(), "run make tables"
    assert sum(text.count("<!-- table: ") + text.count("<!-- n: ") for text in TEXTS.values()) == len(SHOWN_TABLES) + len(SHOWN_NUMBERS)


def test_numbers_are_said_as_the_examples_say():
    failed, attempted = doctest.testmod(tables)
    assert failed == 0 and attempted >= 3


def test_a_number_that_was_typed_by_hand_is_overwritten():
    typed = "In <!-- n: seeds-queries-cross -->3 %<!-- /n --> of pairs.\n\n<!-- table: seed_against_seed -->\n| bi | 99 % |\n<!-- end -->\n"
    written = tables.rendered(typed, "../")
    assert "In <!-- n: seeds-queries-cross -->32 %<!-- /n --> of pairs." in written
    assert "99 %" not in written and "|cross-encoder|overqueries|784|32|" in written.replace(" ", "")
    assert tables.rendered(written, "../") == written
    with pytest.raises(KeyError, match="no-such"):
        tables.rendered("<!-- n: no-such -->1<!-- /n -->", "")


@pytest.mark.parametrize("path", sorted(tables.DATA.glob("*.csv")), ids=lambda path: path.stem)
def test_data_say_what_they_are_and_where_they_come_from(path):
    head = tables.source(path.stem)
    assert set(head) == {"study", "version", "date", "command", "measure"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", head["version"]) and re.fullmatch(r"\d{4}-\d\d-\d\d", head["date"])
    for study in re.findall(r"params/[\w/]+\.yaml", head["study"] + head["command"]):
        assert (ROOT / study).is_file(), study
    assert len(tables.data(path.stem)) >= 2


def test_the_table_of_studies_lists_every_study_that_ships():
    paths = [path.relative_to(ROOT / "params") for path in (ROOT / "params").rglob("*.yaml")]
    found = {path.with_suffix("").as_posix() for path in paths if path.parts[0] != "own"}
    alike = ("claims/", "scaling/", "tasks/")  # one grid on many collections: counted below the table
    assert set(tables.data("studies")["study"]) == {name for name in found if not name.startswith(("bases/", "profiles/", *alike))}
    below = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    for folder in alike:
        assert f"{sum(name.startswith(folder) for name in found)} studies in [params/{folder[:-1]}]" in below


@pytest.mark.parametrize("name", ["smallest", "smallest_cluster", "tour", "paper/msmarco"])
def test_the_table_of_studies_counts_cells_and_students(name):
    plan, row = load_plan(ROOT / "params" / f"{name}.yaml"), tables.data("studies").set_index("study").loc[name]
    assert (len(plan.cells), sum(len(cell.students) for cell in plan.cells)) == (int(row["cells"]), int(row["students"]))


# --- links, commands, and the README ------------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(page: str, text: str) -> list[str]:
    """Return the links of a page that lead to no file of the project, or to no heading of a page."""
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        if target.startswith(("https://", "http://")):
            continue
        path = ((ROOT / page).parent / target).resolve() if target else ROOT / page
        if not path.exists() or (anchor and anchor not in anchors(path.read_text(encoding="utf-8"))):
            found.append(link)
    return found


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page):
    assert broken(page, TEXTS[page]) == []


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").rglob("*.ipynb")), ids=lambda path: path.stem)
def test_links_of_a_notebook_lead_somewhere(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert broken(path.relative_to(ROOT).as_posix(), text) == []


def test_a_link_that_leads_nowhere_is_found():
    assert anchors("# One, two\n```\n# no heading\n```\n## BM25's `k1`") == {"one-two", "bm25s-k1"}
    assert broken("docs/index.md", "[a](no.md) [b](cost.md#no-such) [c](#no-such) [d](cost.md#before) [e](../README.md)") == [
        "no.md", "cost.md#no-such", "#no-such",
    ]  # fmt: skip


def test_messages_that_are_explained_are_still_said():
    """Each fragment between what a message fills in stands in the code, where a line may end within a sentence."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (*(ROOT / "rd_utils").rglob("*.py"), ROOT / "Makefile"))
    code = re.sub(r'"\s*\n\s*f?"', "", sources)
    messages = re.findall(r"^\| `([^`]+)`[^|]*\|", TEXTS["docs/troubleshooting.md"], re.M)
    fragments = [part for message in messages for part in re.split(r"\.\.\.|\'\w+\'|\d[\d.]*", message) if len(part.strip()) >= 10]
    assert len(messages) >= 8 and len(fragments) >= 8
    assert [part for part in fragments if part.strip() not in code] == []


def test_readers_of_exports_are_named_in_the_versions_that_the_tests_run():
    for form, package in {"tevatron": "tevatron", "flagembedding": "FlagEmbedding", "pylate": "PyLate"}.items():
        pinned = dict(requirement.split("==") for requirement in ENVIRONMENTS[form].requirements)
        version = {name.lower(): version for name, version in pinned.items()}[package.lower()]
        assert f"| `{form}` | {package} {version}: " in TEXTS["docs/export.md"]


def test_every_page_is_listed():
    pages = {f"docs/{path.stem}" for path in (ROOT / "docs").glob("*.md")} - {"docs/index"}
    below = [name for names in website.tree().values() for name in names]
    assert pages <= set(below) and len(below) == len(set(below))
    notebooks = {path.relative_to(ROOT).with_suffix("").as_posix() for path in (ROOT / "notebooks").rglob("*.ipynb")}
    assert notebooks == {name for name in below if name.startswith("notebooks/")}


@pytest.mark.parametrize("page", TEXTS)
def test_commands_exist_and_studies_that_they_name_are_there(page, capsys):
    with pytest.raises(SystemExit):
        command_line.main(["--help"])
    commands = set(re.search(r"\{([\w,-]+)\}", capsys.readouterr().out)[1].split(","))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    code = "\n".join("".join(found) for found in re.findall(r"^```\w*\n(.*?)^```$|`([^`\n]+)`|^    ([^\n]+)$", TEXTS[page], re.S | re.M))
    assert set(re.findall(r"\bmake ([a-z-]+)", code)) <= targets
    assert set(re.findall(r"(?:python -m rd_utils|(?:^|&& )rd) ([a-z]+)", code, re.M)) <= commands
    for name in re.findall(r"params/[\w/]+\.yaml", code):
        assert name.startswith("params/own/") or (ROOT / name).is_file(), name  # a reader's own


def test_the_readme_is_a_front_door():
    words = re.sub(r"<!--.*?-->|https?://\S+|\(\S+\)", "", README).split()
    assert len(words) < 900
    assert "`make test` runs what continuous integration runs" in README
    (picture,) = (path for path in re.findall(r"!\[[^]]+\]\((\S+)\)", README) if not path.startswith("docs/badges/"))
    assert (ROOT / picture).stat().st_size < 300_000


def test_the_study_of_the_readme_is_valid_and_as_large_as_it_says(tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.S)
    assert len(text.splitlines()) == 10
    (tmp_path / "bases").symlink_to(ROOT / "params" / "bases")
    path = tmp_path / f"{yaml.safe_load(text)['name']}.yaml"
    path.write_text(text)
    plan = load_plan(path)
    students = sum(len(cell.students) for cell in plan.cells)
    assert f"params/own/{path.name}` runs it: {len(plan.cells)} cells, {students} students" in " ".join(README.split())
