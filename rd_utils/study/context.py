"""What stands around a parameter while it is validated: the study or the notebook that it is part of.

There a name stands for a named part of the study, and what a part leaves out (the training collection, the size of a group) is the whole's.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast, get_args, get_origin

from pydantic import AfterValidator, BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from rd_utils.study.bounds import nearest, shown

if TYPE_CHECKING:
    from rd_utils.study.kinds import Kind


class Misnamed(ValueError):
    """Something is named, or left to the whole, that cannot be had."""


class Unsound(Misnamed):
    """What is meant is not sound itself, which is said where it stands."""


class UnknownName(Misnamed):
    """A name that stands for nothing; ``choices`` are those that stand for something."""

    def __init__(self, name: str, choices: tuple[str, ...]) -> None:
        super().__init__(f"unknown name {shown(name)}{nearest(name, choices)}")
        self.name, self.choices = name, choices


class Impossible(NamedTuple):
    """What is put in the place of a part that cannot be made, with the reason."""

    reason: str


class Context:
    """A whole, for what stands inside it, as long as the ``with`` lasts.

    Args:
        model: the class of the whole; its fields of the form ``dict[Name, SomeKind]`` hold named parts.
        values: what was said.
        given: settings that are no field of the whole, such as a study's training collection.
    """

    def __init__(self, model: type[BaseModel], values: Mapping[str, Any], **given: object) -> None:
        self.model, self.values = model, values
        self._made: dict[tuple[str, str], object] = {(name, ""): value for name, value in given.items()}
        self._making: list[tuple[str, str]] = []
        self._circular: dict[tuple[str, str], str] = {}
        self._tokens: list[Token[Context | None]] = []

    def __enter__(self) -> Context:
        self._tokens.append(_CURRENT.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        _CURRENT.reset(self._tokens.pop())

    def names(self, table: str) -> tuple[str, ...] | None:
        """Return the names of the parts in a field of the whole; None where it has no such field, or no parts in it."""
        field = self.model.model_fields.get(table)
        parts = self.values.get(table, None if field is None or field.is_required() else {})
        return tuple(parts) if isinstance(parts, dict) else None

    def table_of(self, kind: type[Kind]) -> str | None:
        """Return the field in which parts of a family are named."""
        return next((field for field, family in _tables(self.model).items() if issubclass(kind, family)), None)

    def part(self, table: str, name: str) -> Kind:
        """Return a named part.

        Raises:
            Unsound: it is not sound, or is made from itself.
        """
        family, said = _tables(self.model)[table], self.values[table][name]
        return cast("Kind", self._value((table, name), family, {family.tag_field: name} if said == name else said))

    def setting(self, name: str) -> Any:
        """Return what the whole says of a field, or its default; None where it has no such field.

        Raises:
            Unsound: it is not sound, or is missing.
        """
        field = self.model.model_fields.get(name)
        if (name, "") in self._made or field is None:
            value = self._made.get((name, ""))
            if isinstance(value, Impossible):
                raise Unsound(value.reason)
            return value
        if name not in self.values:
            if field.is_required():
                raise Unsound(f"{name} is missing")
            return field.get_default()
        return self._value((name, ""), type_of(field), self.values[name])

    def _value(self, key: tuple[str, str], annotation: object, said: object) -> object:
        if key in self._making:
            self._say_way_round(self._making[self._making.index(key) :])
            raise Unsound("made from itself")
        if key not in self._made:
            self._making.append(key)
            try:
                self._made[key] = adapter(annotation).validate_python(said)
            except ValidationError:
                self._made[key] = Impossible("is not sound")
            finally:
                self._making.pop()
        made = self._made[key]
        if isinstance(made, Impossible):
            raise Unsound(made.reason)
        return made

    def _say_way_round(self, way: list[tuple[str, str]]) -> None:
        """Note a way on which parts are, in the end, made from themselves, at the first of them in alphabetical order."""
        settings = [key for key in way if not key[1]]
        if settings:
            self._circular[settings[0]] = f"{shown(self.values[settings[0][0]])} is made from what needs it itself; name another"
            return
        words = {key: f"{_tables(self.model)[key[0]].word} {key[1]}" for key in way}
        start = way.index(min(way, key=words.__getitem__))
        way = [*way[start:], *way[: start + 1]]
        self._circular[way[0]] = f"made from itself: {' -> '.join(words[key] for key in way)}; let one of them name another"

    def resolved(self) -> dict[str, Any]:
        """Return what was said with the named parts made, as far as they are sound."""
        values = dict(self.values)
        with self:
            for table in _tables(self.model):
                for name in self.names(table) or ():
                    try:
                        values[table] = values[table] | {name: self.part(table, name)}
                    except Unsound:
                        pass
        for (field, name), reason in self._circular.items():
            values[field] = values[field] | {name: Impossible(reason)} if name else Impossible(reason)
        return values


_CURRENT: ContextVar[Context | None] = ContextVar("_CURRENT", default=None)


def current() -> Context | None:
    """Return the whole that is being validated; None where a part stands alone."""
    return _CURRENT.get()


def type_of(field: FieldInfo) -> object:
    """Return a field's type with its bounds."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


@functools.cache
def adapter(annotation: object) -> TypeAdapter[object]:
    """Return what validates a value of a type."""
    return TypeAdapter(cast("type[object]", annotation))


@functools.cache
def _tables(model: type[BaseModel]) -> dict[str, type[Kind]]:
    """Return the families whose parts a model names, by field."""
    inside = {name: get_args(field.annotation)[-1] for name, field in model.model_fields.items() if get_origin(field.annotation) is dict}
    return {name: family for name, family in inside.items() if hasattr(family, "kinds")}


def named_in(table: str, *reserved: str) -> AfterValidator:
    """Return what refuses a name that is neither reserved nor in a field of the whole."""

    def check(name: str) -> str:
        context = current()
        names = None if context is None else context.names(table)
        if names is not None and name not in (*reserved, *names):
            raise UnknownName(name, (*reserved, *names))
        return name

    return AfterValidator(check)
