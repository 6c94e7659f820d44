"""What is wrong with parameters, in words: one line per offender, with its place, the nearest valid name and the remedy.

:func:`parse` validates; :func:`attempt` also returns what is sound of values that are not, so that all problems are told at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, TypeGuard, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from rd_utils.study.bounds import nearest, shown
from rd_utils.study.context import Misnamed, UnknownName, Unsound, adapter, type_of
from rd_utils.study.kinds import Kind, Part, tag_of

P = TypeVar("P", bound=Part)
ErrorDetails = Mapping[str, Any]  # one of pydantic's errors


class ParameterError(ValueError):
    """Parameters that cannot be run; the message names the offender and the remedy."""


def known(name: str, choices: Collection[str], where: str) -> None:
    """Raise a ValueError that lists the choices and the nearest one unless ``name`` is among them."""
    if name not in choices:
        raise ValueError(f"{where}: unknown name {shown(name)}{nearest(name, choices)}")


def parse(model: type[P], values: Mapping[str, object], where: str) -> P:
    """Validate ``values`` as ``model``, and what it stands for: the artefacts that it names.

    Raises:
        ParameterError: one line per offender, with the nearest valid name.
    """
    parsed, problems = attempt(model, values)
    if problems or not isinstance(parsed, model):
        raise ParameterError(listed(where, problems))
    return parsed


def attempt(model: type[P], values: Mapping[str, object]) -> tuple[P | SimpleNamespace | None, list[str]]:
    """Validate ``values`` as ``model``, and what it stands for.

    Returns:
        The parameters and no problem; or what of them is sound (see :func:`sound`), and the problems.
    """
    try:
        parsed = model.model_validate(values)
    except ValidationError as error:
        return cast("SimpleNamespace | None", sound(model, values)), problems_of(error, model)
    try:
        getattr(parsed, "specs", list)()
    except ValidationError as error:
        return parsed, problems_of(error, model)
    return parsed, []


def explain(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """Turn a validation error into one line per offender, naming the nearest valid name."""
    return listed(where, problems_of(error, model))


def listed(where: str, problems: Iterable[str]) -> str:
    """Return problems as one message: how many, then each on a line of its own.

    >>> print(listed("study x", ["training.documents: required, but missing"]))
    study x: 1 problem
      training.documents: required, but missing
    """
    lines = list(dict.fromkeys(problems))
    return f"{where}: {len(lines)} problem{'s' if len(lines) != 1 else ''}\n  " + "\n  ".join(lines)


def sound(annotation: object, value: object) -> object:
    """Return what of a value is as its type wants it: the value itself, or the sound parts of it, with None in place of the others."""
    try:
        return adapter(annotation).validate_python(value)
    except ValidationError:
        pass
    options = [option for option in options_of(annotation) if option is not type(None)]
    tags = {value.get(key) for key in ("kind", "source") if isinstance(value.get(key), str)} if isinstance(value, dict) else set()
    tagged = [option for option in options if tag_of(option) in tags] if len(options) > 1 else options
    if len(tagged) != 1:
        return None
    (option,) = tagged
    if isinstance(option, type) and issubclass(option, Part) and isinstance(value, dict):
        return SimpleNamespace(
            **{
                name: sound(type_of(field), value[name]) if name in value else None if field.is_required() else field.get_default()
                for name, field in option.model_fields.items()
            }
        )
    inside = [argument for argument in get_args(option) if argument is not Ellipsis]
    if get_origin(option) is dict and isinstance(value, dict):
        return {name: sound(inside[1], item) for name, item in value.items()}
    if get_origin(option) is tuple and isinstance(value, list):
        return tuple(sound(inside[0], item) for item in value)
    return None


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return what is wrong, each as ``place: problem; remedy`` without the place where it is the whole."""
    items = [(item, *_place(model, item["loc"])) for item in error.errors()]
    deeper = {item["loc"][:end] for item, _, _ in items for end in range(len(item["loc"]))}
    items = [each for each in items if each[0]["type"] != "too_short" or each[0]["loc"] not in deeper]  # short because of what is inside
    misnamed = {place for item, place, _ in items if isinstance(_raised(item), Misnamed)}
    problems: list[str] = []
    for item, place, options in items:
        beside = [other["type"] for other, where, _ in items if other is not item and where.startswith(place)]
        if isinstance(_raised(item), Unsound) or (item["type"] == "literal_error" and place in misnamed):
            continue  # what is meant is wrong where it stands; a name was meant
        if item["type"] == "literal_error" and beside and not isinstance(item["input"], str):
            continue  # a part was meant, whose own mistakes are listed
        if item["type"] in _NO_MAPPING | {"tuple_type"} and isinstance(item["input"], str) and "literal_error" in beside:
            continue  # one line says what may stand here, name or part
        text = _problem(item, place, options)
        problems += text.split("\n") if not place else [f"{place}: {text}"]
    return list(dict.fromkeys(problems))


def _raised(item: ErrorDetails) -> Exception | None:
    """Return the error of one of our own checks; None of others."""
    return item.get("ctx", {}).get("error") if item["type"] == "value_error" else None


_NO_MAPPING = {"model_type", "model_attributes_type", "dict_type", "union_tag_not_found"}
_BOUNDS = {
    "greater_than",
    "greater_than_equal",
    "less_than",
    "less_than_equal",
    "finite_number",
    "string_type",
    "string_too_long",
}


def _problem(item: ErrorDetails, place: str, options: list[object]) -> str:
    """Return what is wrong with one value, and what is right.

    Args:
        item: as pydantic lists it.
        place: where the value stands.
        options: what may stand there.
    """
    kind, value, context, raised = item["type"], item["input"], item.get("ctx", {}), _raised(item)
    if isinstance(raised, UnknownName):
        names = [name for option in options if get_origin(option) is Literal for name in get_args(option)]
        return f"unknown name {shown(raised.name)}{nearest(raised.name, [*names, *raised.choices])}"
    if kind == "extra_forbidden":
        name = str(item["loc"][-1])
        return f"unknown parameter {shown(name)}{nearest(name, sorted(_fields_of(options)))}"
    if kind == "missing":
        return "required, but missing"
    if kind == "union_tag_invalid":
        return f"unknown {context['discriminator'].strip(chr(39))} {shown(context['tag'])}{_suggested(context['tag'], options)}"
    if kind == "literal_error" or (kind in _NO_MAPPING and _choices(options)):
        if isinstance(value, dict):
            tag = "source" if any("source" in part.model_fields for part in options if _is_part(part)) else "kind"
            return f"a {tag} is missing{nearest('', _choices(options))}"
        parts = " is no mapping" if kind in _NO_MAPPING else " is not a valid value"
        return f"{shown(value)}{parts}{_suggested(value, options, place)}"
    if kind in _NO_MAPPING:
        return f"{shown(value)} is no mapping{nearest('', sorted(_fields_of(options)))}"
    if kind == "tuple_type":
        return f"{shown(value)} is no list; write [...]"
    if kind in _BOUNDS:
        return f"{item['msg']}, not {shown(value)}"
    return item["msg"].removeprefix("Value error, ")


def _suggested(value: object, options: list[object], place: str = "") -> str:
    """Return a clause that says how a value is written where its meaning is plain, and what else may stand there."""
    choices = _choices(options)
    tags = {tag_of(part): part for part in options if _is_part(part)}
    written = ""
    if isinstance(value, str) and place and value in tags:
        written = _written(value, tags[value])
    elif isinstance(value, str) and place:
        inside = (
            f"{{kind: {tag}, {field}: {_written(value, part)}}}"
            for tag, model in tags.items()
            for field in model.model_fields
            for part in options_of(model.model_fields[field].annotation)
            if _is_part(part) and tag_of(part) == value
        )
        written = next(inside, "")
    if not written:
        return nearest(str(value), choices)
    papermill = f"with papermill -y '{{{place}: {written}}}'; " if "." not in place else ""
    return f"; write {written} ({papermill}choices: {', '.join(map(str, choices))})"


def _written(tag: str, model: type[BaseModel]) -> str:
    key = "kind" if "kind" in model.model_fields else "source"
    needed = [f"{name}: ..." for name, field in model.model_fields.items() if field.is_required()]
    return "{" + ", ".join([f"{key}: {tag}", *needed]) + "}"


def _is_part(option: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(option, type) and issubclass(option, BaseModel)


def _choices(options: list[object]) -> list[object]:
    """Return the names that a place may hold, and the kinds of the parts that it may hold."""
    names = [name for option in options if get_origin(option) is Literal for name in get_args(option)]
    return names + [tag_of(part) for part in options if _is_part(part) and tag_of(part) is not None]


def _fields_of(options: list[object]) -> set[str]:
    return {name for part in options if _is_part(part) for name in _fields(part)}


def _fields(part: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return a part's fields, with those by which it may be said in short."""
    short = part.short if issubclass(part, Kind) else None
    return (short.model_fields if short else {}) | part.model_fields


def options_of(annotation: object) -> list[object]:
    """Return what an annotation may be, each: classes, a family's kinds, literals, tuples and mappings."""
    if get_origin(annotation) is Annotated:
        return options_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [option for argument in get_args(annotation) for option in options_of(argument)]
    if isinstance(annotation, type) and issubclass(annotation, Kind) and tag_of(annotation) is None:
        return list(annotation.kinds.values())
    return [annotation]


def _place(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[str, list[object]]:
    """Return a place of a validation error as people write it, and what may stand there; of an unknown parameter, what it stands in."""
    options: list[object] = [model]
    place = ""
    for number, part in enumerate(location):
        if location[number + 1 :] == ("[key]",):  # the key of a mapping itself is wrong
            keys = [get_args(option)[0] for option in options if get_origin(option) is dict]
            return f"{place}.{part}".lstrip("."), [inner for key in keys for inner in options_of(key)]
        tagged: list[object] = [option for option in options if _is_part(option) and tag_of(option) == part]
        inside = [inner for option in options for argument in _arguments(option, part) for inner in options_of(argument)]
        if tagged and (len(options) > 1 or not inside):
            options = tagged  # the kind of what stands here, which is no step
            continue
        if inside:
            options = inside
        elif isinstance(part, str) and "[" in part:
            continue  # what pydantic calls one of several types
        place = f"{place}[{part}]" if isinstance(part, int) else f"{place}.{part}".lstrip(".")
    return place, options


def _arguments(option: object, part: int | str) -> list[object]:
    """Return what stands at a field, position or key of a type; nothing where it has no such."""
    if _is_part(option):
        return [_fields(option)[part].annotation] if part in _fields(option) else []
    inside = [argument for argument in get_args(option) if argument is not Ellipsis]
    if get_origin(option) is tuple and isinstance(part, int) and inside:
        return [inside[part] if 1 < len(inside) > part else inside[0]]
    return inside[1:] if get_origin(option) is dict else []
