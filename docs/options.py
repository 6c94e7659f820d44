"""The pages of options: what the kinds of every family say of themselves, with what each needs, what it suits, and a line of a study.

Fields, choices, bounds, defaults and docstrings are read from the classes; ``options.yaml`` adds what a class cannot know. A kind without
an entry there is a KeyError, so that no kind goes without words.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pandas as pd
import yaml
from pydantic_core import PydanticUndefined

from rd_utils.study.params import (
    LOSSES,
    Architecture,
    Collection,
    DenseIndex,
    Encoder,
    Kind,
    Part,
    Retriever,
    Spec,
    Strategy,
    Teacher,
    tag_of,
)
from rd_utils.training.losses import Loss

FAMILIES: dict[str, type[Kind]] = {
    "strategies": Strategy,
    "retrievers": Retriever,
    "indexes": DenseIndex,
    "teachers": Teacher,
    "architectures": Architecture,
    "sources": Collection,
}
PAGES = {base: f"{family}.md" for family, base in FAMILIES.items()} | {DenseIndex: "retrievers.md", Encoder: "architectures.md"}
WORDS: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


# --- how a field is said ------------------------------------------------------------------------------------------------------------


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _bounds(metadata: list[Any]) -> str:
    said: dict[str, list[tuple[float, str]]] = {"least": [], "most": []}
    for end, name, word in (("least", "ge", "at least"), ("least", "gt", "above"), ("most", "le", "at most"), ("most", "lt", "below")):
        values = [getattr(each, name) for each in metadata if getattr(each, name, None) is not None]
        said[end] += [(value, f"{word} {_number(value)}") for value in values if value < 1e6]  # beyond lies nothing sensible
    shown = [max(said["least"])[1]] if said["least"] else []
    shown += [min(said["most"])[1]] if said["most"] else []
    return "".join(f", {each}" for each in shown)


def may_be(annotation: Any, metadata: list[Any] = []) -> str:  # noqa: B006
    """Return in words what a field takes.

    >>> may_be(int), may_be(Literal["a", "b"]), may_be(Teacher | None), may_be(tuple[Retriever, ...])
    ('a whole number', '`a`, `b`', 'a [teacher](teachers.md), or nothing', 'a list; each: a [retriever](retrievers.md)')
    """
    if get_origin(annotation) in (Union, UnionType):
        inside = [each for each in get_args(annotation) if each is not type(None)]
        return " or ".join(may_be(each) for each in inside) + (", or nothing" if len(inside) < len(get_args(annotation)) else "")
    if hasattr(annotation, "__metadata__"):
        every = [bound for each in annotation.__metadata__ for bound in getattr(each, "metadata", [each])]
        return may_be(annotation.__origin__, every)
    if get_origin(annotation) is Literal:
        names = [f"`{each}`" for each in get_args(annotation)]
        return ", ".join(names if len(names) <= 10 else [*names[:3], f"{len(names) - 4} more", names[-1]])
    if get_origin(annotation) is tuple:
        inside = get_args(annotation)
        return f"a list; each: {may_be(inside[0])}" if Ellipsis in inside else f"{len(inside)} values; each: {may_be(inside[0])}"
    if isinstance(annotation, type) and issubclass(annotation, Kind):
        page = next(
            (PAGES[family] for family in annotation.__mro__ if family in PAGES),
            "architectures.md" if issubclass(annotation, Encoder) else "",
        )
        word = tag_of(annotation) or (
            annotation.word if annotation.word != "part" else "bi-encoder" if issubclass(annotation, Encoder) else "index"
        )
        article = "an" if word[0] in "aeiou" else "a"
        return f"{article} [{word.split(' that ')[0]}]({page})" if page else f"{article} {word}"
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return "fields: " + ", ".join(f"`{name}`" for name in annotation.model_fields)
    return {int: "a whole number", float: "a number", str: "a text", bool: "`true` or `false`"}[annotation] + _bounds(metadata)


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "needed"
    if isinstance(value, Kind):
        return f"`{value.tag}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return "–" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def fields(model: type[Part]) -> pd.DataFrame:
    """Return a row a field of a kind, its tag left out."""
    rows = [
        (f"`{name}`", may_be(field.annotation, field.metadata), _default(field.default))
        for name, field in model.model_fields.items()
        if name not in ("kind", "source")
    ]
    return pd.DataFrame(rows, columns=["field", "may be", "if left out"])


# --- pages --------------------------------------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Return a docstring as Markdown.

    >>> plain("As :class:`rd_utils.a.B` says, ``top`` takes the best.")
    'As `B` says, `top` takes the best.'
    """
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?([\w]+)`", r"`\1`", inspect.cleandoc(text))
    return text.replace("``", "`")


def said(model: type[Kind]) -> str:
    """Return what a kind says of itself."""
    return plain(model.__doc__ or "")


def _long(model: type[Kind]) -> list[str]:
    """Return the fields of a kind that its short form stands for: what names an artefact or a system whole."""
    found = [(name, field.annotation) for name, field in model.model_fields.items() if field.is_required()]
    return [name for name, kind in found if isinstance(kind, type) and issubclass(kind, (Spec, Encoder))]


def _words(family: str, tag: str) -> tuple[str, str]:
    words = WORDS[family][tag]
    return WORDS["have"][words["have"]], words["suits"]


def _line(example: dict[str, Any]) -> str:
    """Return a part as a line of YAML."""
    return yaml.safe_dump(example, default_flow_style=True, sort_keys=False, width=10_000).strip()


def overview(family: str) -> pd.DataFrame:
    """Return a row a kind: what it is, who can use it, and what it suits."""
    rows = [(f"[{tag}](#{tag})", *_words(family, tag)) for tag in FAMILIES[family].kinds]
    return pd.DataFrame(rows, columns=["kind", "you have", "suits"])


def page(family: str) -> Iterator[str | pd.DataFrame]:
    """Yield the blocks of a page: the overview, and then every kind with a line of a study and its fields."""
    yield overview(family)
    for tag, model in FAMILIES[family].kinds.items():
        yield f"### {tag}"
        yield said(model)
        yield f"```yaml\n{_line(WORDS[family][tag]['example'])}\n```"
        if model.short is not None:
            yield f"A study or notebook may say these instead of {' and '.join(f'`{name}`' for name in _long(model))}:"
            yield fields(model.short)
            yield "Its own fields:"
        if len(known := fields(model)):
            yield known


def losses() -> Iterator[str | pd.DataFrame]:
    """Yield the blocks of the page of losses."""
    rows = [(f"[{name}](#{name})", *_words("losses", name)) for name in LOSSES]
    yield pd.DataFrame(rows, columns=["loss", "you have", "suits"])
    for name, loss in LOSSES.items():
        yield f"### {name}"
        yield _of_loss(loss)


def _of_loss(loss: Loss) -> str:
    first, *rest = plain(loss.function.__doc__ or "").split("\n\n")
    more = [each for each in rest[:1] if not each.startswith(("Args:", "Returns:"))]
    uses = f"Teacher: {'needed' if loss.needs_teacher else 'none'}. Temperature: {'yes' if loss.uses_temperature else 'changes nothing'}."
    return "\n\n".join([first, f"`{loss.formula}`", *more, f"{uses} Source: {loss.source}."])


def usable() -> pd.DataFrame:
    """Return a row a thing that one may have: the kinds that it is enough for, beside those above it."""
    rows = []
    for have, words in WORDS["have"].items():
        found = {
            family: [tag for tag, said in WORDS[family].items() if said["have"] == have]
            for family in WORDS
            if family not in ("have", "indexes")
        }
        linked = {family: ", ".join(f"[{tag}]({family}.md#{tag})" for tag in tags) for family, tags in found.items() if tags}
        rows.append((words, "; ".join(f"*{family}*: {names}" for family, names in linked.items())))
    return pd.DataFrame(rows, columns=["you have", "you can use"])
