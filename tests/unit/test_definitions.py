"""Which definitions a function reaches, and what of them a hash rests on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.definitions import Name, Sources


def package(folder: Path, **modules: str) -> Sources:
    """Write a package of modules (``mining__bm25`` is ``mining/bm25.py``) and read it."""
    for name, text in modules.items():
        path = folder / "room" / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        (path.parent / "__init__.py").touch()
    return Sources(folder / "room")


def reached(sources: Sources, *roots: str, stop=lambda place: False) -> dict[str, str]:
    names = [Name(*root.split(":")) for root in roots]
    return {str(place): digest for place, digest in sources.reached(names, stop).items()}


IMPORTS = [
    ("from room import b", "b.g()"),
    ("from room import b as other", "other.g()"),
    ("from room.b import g", "g()"),
    ("from room.b import g as h", "h()"),
    ("from . import b", "b.g()"),
    ("from .b import g", "g()"),
    ("import room.b", "room.b.g()"),
    ("import room.b as other", "other.g()"),
]


@pytest.mark.parametrize(("line", "call"), IMPORTS)
def test_a_call_is_followed_however_it_is_imported_and_hashes_to_the_same(tmp_path, line, call):
    b = "LIMIT = 3\ndef g():\n    return LIMIT\ndef unused():\n    return 1\n"
    at_the_top = package(tmp_path / "one", a=f"{line}\ndef f():\n    return {call}\n", b=b)
    inside = package(tmp_path / "two", a=f"def f():\n    {line}\n    return {call}\n", b=b)
    assert reached(at_the_top, "a:f") == reached(inside, "a:f")
    assert set(reached(inside, "a:f")) == {"a.f", "b.g", "b.LIMIT"}
    usual = package(tmp_path / "three", a="from room.b import g\ndef f():\n    return g()\n", b=b)
    assert reached(usual, "a:f") == reached(inside, "a:f")


def test_a_moved_definition_keeps_its_hash(tmp_path):
    g = "def g():\n    return 1\n"
    before = reached(package(tmp_path / "one", a="from room.b import g\ndef f():\n    return g()\n", b=g), "a:f")
    after = reached(package(tmp_path / "two", a="from room.mining import c\ndef f():\n    return c.g()\n", mining__c=g), "a:f")
    assert (before["a.f"], before["b.g"]) == (after["a.f"], after["mining.c.g"])


def test_a_name_that_another_module_passes_on_is_found_where_it_is_defined(tmp_path):
    sources = package(
        tmp_path, a="from room.b import g\ndef f():\n    return g()\n", b="from room.c import g\n", c="def g():\n    return 1\n"
    )
    assert set(reached(sources, "a:f")) == {"a.f", "c.g"}


CLASS = """
class Above:
    size = 1
    def shared(self): return helper()
class Kept(Above):
    def one(self): return self.two() + self.size
    def two(self): return super().shared()
    def three(self): return 3
def helper(): return 1
def f(): return Kept()
"""


def test_a_class_that_is_named_counts_with_all_its_methods_and_a_method_with_those_it_calls(tmp_path):
    sources = package(tmp_path, a=CLASS)
    every = {"a.Kept", "a.Kept.one", "a.Kept.two", "a.Kept.three", "a.Above", "a.Above.shared", "a.helper"}
    assert set(reached(sources, "a:f")) == every | {"a.f"}
    assert set(reached(sources, "a:Kept.one")) == {"a.Kept.one", "a.Kept.two", "a.Above.shared", "a.helper"}
    assert set(reached(sources, "a:f", stop=lambda place: place.name == "Above")) == (every | {"a.f"}) - {"a.Above"}


LOCAL = [
    "def f(g): return g()",
    "def f():\n    g = str\n    return g()",
    "def f(): return [g() for g in (str,)]",
    "def f(): return (lambda g: g())(str)",
    "def f():\n    from os import getcwd as g\n    return g()",
]


@pytest.mark.parametrize("local", LOCAL)
def test_a_local_name_is_no_name_of_the_module(tmp_path, local):
    assert set(reached(package(tmp_path, a=f"{local}\ndef g():\n    return 1\n"), "a:f")) == {"a.f"}


def test_a_name_is_the_modules_beside_a_scope_in_which_it_is_local(tmp_path):
    text = "def f(): return [g for g in ()], g()\ndef g():\n    return 1\n"
    assert set(reached(package(tmp_path, a=text), "a:f")) == {"a.f", "a.g"}


BEFORE = '''
import logging
LOGGER = logging.getLogger()
def f(x: int) -> int:
    """One."""
    count: int = 1
    if x < 0:
        raise ValueError(f"{x} is below 0")
    LOGGER.info("at %s", x)
    assert x, "none"
    return x + count
'''
SAME = {
    "comment": ("count: int = 1", "count: int = 1  # why"),
    "docstring": ('"""One."""', '"""Two,\n    at length."""'),
    "no docstring": ('    """One."""\n', ""),
    "annotations": ("(x: int) -> int", "(x: float)"),
    "annotation inside": ("count: int = 1", "count = 1"),
    "what is raised says": ('f"{x} is below 0"', 'f"{x} is negative; give " + str(1)'),
    "what is logged": ('"at %s", x', '"now at %s of %s", x, 3'),
    "what an assertion says": ('x, "none"', "x"),
    "unused helper": ("def f(", "def helper():\n    return 2\ndef f("),
    "quotes and spaces": ("return x + count", "return (\n        x +  count\n    )"),
}
OTHER = {
    "constant": ("count: int = 1", "count: int = 2"),
    "condition": ("x < 0", "x <= 0"),
    "kind of error": ("ValueError", "TypeError"),
    "default": ("(x: int)", "(x: int = 3)"),
    "assertion": ('assert x, "none"', 'assert not x, "none"'),
    "operation": ("return x + count", "return x - count"),
}


@pytest.mark.parametrize(
    ("change", "same"), [(SAME[key], True) for key in SAME] + [(OTHER[key], False) for key in OTHER], ids=[*SAME, *OTHER]
)
def test_what_a_hash_rests_on(tmp_path, change, same):
    assert change[0] in BEFORE
    before = reached(package(tmp_path / "one", a=BEFORE), "a:f")["a.f"]
    after = reached(package(tmp_path / "two", a=BEFORE.replace(*change)), "a:f")["a.f"]
    assert (before == after) is same


OF_PARAMETERS = """
from pydantic import BaseModel
class Part(BaseModel):
    a: int = 1
class Own(Part):
    b: int = FIELD
    def f(self): return RESULT
class Plain:
    b: int = FIELD
"""


def test_of_parameters_the_fields_are_left_out_and_of_another_class_they_count(tmp_path):
    found = []
    for field, result in (("1", "1"), ("2", "1"), ("1", "2")):
        text = OF_PARAMETERS.replace("FIELD", field).replace("RESULT", result)
        found.append(reached(package(tmp_path / f"{field}{result}", a=text), "a:Own", "a:Plain"))
    assert found[0]["a.Own"] == found[1]["a.Own"] and found[0]["a.Plain"] != found[1]["a.Plain"]
    assert found[0]["a.Own.f"] != found[2]["a.Own.f"]


STAGE = """
def make(): return 1
def read(): return 2
GROUPS = Stage(name="groups", make=make, read=read)
def f(given): return given(GROUPS)
"""


def test_of_a_stage_what_reads_it_counts_for_others(tmp_path):
    assert set(reached(package(tmp_path, a=STAGE), "a:f")) == {"a.f", "a.GROUPS", "a.read"}


def test_a_choice_that_is_added_to_a_type_changes_nothing(tmp_path):
    text = 'from typing import Literal, get_args\nChoice = Literal["one"]\ndef f(): return get_args(Choice)\n'
    before = reached(package(tmp_path / "one", a=text), "a:f")
    assert before == reached(package(tmp_path / "two", a=text.replace('"one"', '"one", "two"')), "a:f")


def test_the_entries_of_a_dictionary(tmp_path):
    sources = package(tmp_path, a="def f(): return 1\ndef g(): return 2\nALL: dict[str, object] = {'f': f, 'g': (g, f)}\n")
    assert sources.entries(Name("a", "ALL")) == {"f": [Name("a", "f")], "g": [Name("a", "f"), Name("a", "g")]}
