"""YAML that people edit: one mapping a file, read as it stands, or refused with the file, the line and the remedy.

What is read is the core of YAML 1.2: ``true`` and ``false`` are the only truth values, ``yes``, ``no``, dates, ``1:30`` and ``010`` are
texts, ``1e-5`` and ``20_000`` are numbers. Tags are refused, so that a file makes nothing but mappings, lists, texts, numbers, truth values
and nulls; so are keys that are no texts, a key that stands twice, and aliases that multiply.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from rd_utils.store.paths import shipped
from rd_utils.study.bounds import SHOWN, shown
from rd_utils.study.explain import ParameterError, nearest

MOST_BYTES = 1 << 19
MOST_NESTED = 50
MOST_VALUES = 100_000  # with every alias written out


class Settings(NamedTuple):
    """What a file says.

    Attributes:
        path: of the file.
        values: the mapping.
        node: the same as YAML's own tree, which knows the lines.
    """

    path: Path
    values: dict[str, object]
    node: yaml.MappingNode

    def line_of(self, place: str) -> tuple[int, int]:
        """Return how many keys and positions of a place such as ``grids[0].seeds`` the file has, and the line of the last of them."""
        return _walk(self.node, re.sub(r"\[(\d+)\]", r".\1", place))


def read(path: str | Path, what: str) -> Settings:
    """Read a file that holds one mapping.

    Args:
        path: of the file.
        what: it is, for messages, such as ``study``.

    Raises:
        ParameterError: the file is missing, unreadable, too large, no UTF-8, no YAML, or holds something else than one mapping.
    """
    path = Path(path)
    text = _text(path, what)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise ParameterError(f"{path} is empty, expected a mapping of parameters")
        if not isinstance(node, yaml.MappingNode):
            found = "a list" if isinstance(node, yaml.SequenceNode) else f"a single value, {shown(node.value)}"
            raise ParameterError(f"{path} holds {found}, expected a mapping of parameters")
        _checked(node, {}, set())
        return Settings(path, loader.construct_document(node), node)
    except yaml.YAMLError as error:
        raise ParameterError(f"{path} is not valid YAML: {_said(error, text)}") from None


def _text(path: Path, what: str) -> str:
    try:
        if path.is_dir():
            there = sorted(entry.name for entry in path.glob("*.yaml"))
            raise ParameterError(f"{path} is a folder, no {what} file; name a file in it{_listed(there)}")
        if not path.is_file():
            folder = path.parent if path.parent.is_dir() else shipped("params")
            there = sorted(entry.name for entry in folder.glob("*.yaml"))
            raise ParameterError(f"no {what} file {shown(str(path))[1:-1]}{nearest(path.name, there)}")
        if path.stat().st_size > MOST_BYTES:
            raise ParameterError(f"{path} has {path.stat().st_size:,} bytes, too many for a {what} file, which has at most {MOST_BYTES:,}")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, ParameterError):
            raise
        raise ParameterError(f"{what} file {shown(str(path))[1:-1]} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ParameterError(f"{path} line {line} is no UTF-8, the byte {content[error.start]:#04x}; save the file as UTF-8") from None


def _listed(names: list[str]) -> str:
    return f" (choices: {', '.join(names)})" if names else ""


def _said(error: yaml.YAMLError, text: str) -> str:
    """Return what is wrong, with its line, on one line."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f"line {line}: the character {ascii(text[error.position])} cannot stand in YAML; take it out"
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = ", ".join(part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part)
    return (f"line {mark.line + 1}: " if mark is not None else "") + (problem or "cannot be parsed")


def _checked(node: yaml.Node, sizes: dict[int, int], above: set[int]) -> int:
    """Return how many values a node holds with its aliases written out.

    Raises:
        YAMLError: they are too many, a node is part of itself, a key is no text or stands twice, or a text holds half a character.
    """
    if id(node) in above:
        raise _problem("an alias stands for what it is part of", node)
    if id(node) not in sizes:
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            _check_keys([key for key, _ in node.value])
            parts = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = node.value
        elif re.search("[\ud800-\udfff]", node.value):
            raise _problem(f"{ascii(node.value)[:SHOWN]} holds half a character; write it whole", node)
        above.add(id(node))
        sizes[id(node)] = 1 + sum(_checked(part, sizes, above) for part in parts)
        above.discard(id(node))
    if sizes[id(node)] > MOST_VALUES:
        raise _problem(f"more than {MOST_VALUES:,} values, with every alias written out", node)
    return sizes[id(node)]


def _check_keys(keys: list[yaml.Node]) -> None:
    seen: set[str] = set()
    for key in keys:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
            found = shown(key.value) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
            raise _problem(f"the key {found} is no text; put it in quotes", key)
        if key.value in seen:
            raise _problem(f"the key {shown(key.value)} stands twice; delete one", key)
        seen.add(key.value)


def _problem(text: str, node: yaml.Node | yaml.Event) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=node.start_mark)


def _walk(node: yaml.Node, rest: str) -> tuple[int, int]:
    """Return how many steps of a place a tree has, and the line of the last."""
    deep, line = 0, node.start_mark.line + 1
    while rest:
        first, _, after = rest.partition(".")
        if isinstance(node, yaml.MappingNode):
            key, value = max(
                (pair for pair in node.value if f"{rest}.".startswith(f"{pair[0].value}.")),
                key=lambda pair: len(pair[0].value),
                default=(None, None),
            )
            if key is None or value is None:
                break
            node, line, rest = value, key.start_mark.line + 1, rest[len(key.value) + 1 :]
        elif isinstance(node, yaml.SequenceNode) and first.isdigit() and int(first) < len(node.value):
            node, rest = node.value[int(first)], after
            line = node.start_mark.line + 1
        else:
            break
        deep += 1
    return deep, line


class _Loader(yaml.SafeLoader):
    """The core schema of YAML 1.2 without tags, whose errors are YAML's own."""

    yaml_implicit_resolvers: dict[Any, Any] = {}
    nested = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if getattr(event, "tag", None) not in (None, "!"):
            raise _problem(f"the tag {shown(event.tag)} is not read; write plain values", event)
        self.nested += 1
        if self.nested > MOST_NESTED:
            raise _problem(f"nested more than {MOST_NESTED} deep; a study needs a few", event)
        node = super().compose_node(parent, index)
        self.nested -= 1
        return node


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9_]{0,39})", list("-+0123456789")),
    (
        "float",
        r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9]+)([eE][-+]?[0-9]{1,9})?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]{1,9}|[-+]?\.inf|\.nan",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)
