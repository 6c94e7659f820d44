"""The definitions that a function or class of this package reaches, each with a hash of what it does.

Found from the sources alone: names of the module, imported names, modules' attributes, imports inside functions, ``self.m`` within a class;
a class that is reached counts with all its methods and bases. Comments, docstrings, annotations, logging and what an exception is told are
no part of a hash, nor is the module in which a name stands, so that moving a definition changes nothing.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPES = (*FUNCTIONS, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
SAID = {"LOGGER", "logging", "warnings"}  # whose calls are words to a person


class Name(NamedTuple):
    """Where a definition stands: ``bm25``, ``Index.load``; a module itself has no name."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass
class Module:
    """The names of a module: definitions at its top, and what is imported."""

    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, Name] = field(default_factory=dict)


class Sources:
    """The modules of a package.

    Args:
        folder: of the package; its name is that of the package.
    """

    def __init__(self, folder: Path) -> None:
        self.package = folder.name
        self.modules: dict[str, Module] = {}
        self._read: dict[Name, tuple[str, frozenset[Name]]] = {}
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            self.modules[name] = Module()
            tree = ast.parse(path.read_text(encoding="utf-8"))
            self._collect(tree.body, self.modules[name], name if path.stem == "__init__" else name.rpartition(".")[0])

    def _collect(self, body: Iterable[ast.stmt], module: Module, package: str) -> None:
        for node in body:
            if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
                module.definitions.setdefault(node.name, []).append(node)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                module.imports |= self.imported(node, package)
            elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    for name in ast.walk(target):
                        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                            module.definitions.setdefault(name.id, []).append(node)
            else:
                for inner in ("body", "orelse", "handlers", "finalbody"):
                    self._collect(getattr(node, inner, []), module, package)

    def imported(self, node: ast.Import | ast.ImportFrom, package: str) -> dict[str, Name]:
        """Return what an import of this package's modules or names binds; of other packages nothing."""
        found = {}
        for alias in node.names:
            if isinstance(node, ast.Import):
                top, _, module = alias.name.partition(".")
                if top == self.package:
                    found[alias.asname or top] = Name(module if alias.asname else "", "")
                continue
            parents = package.split(".") if package else []
            base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [node.module])]) if node.level else node.module or ""
            if not node.level:
                top, _, base = base.partition(".")
                if top != self.package:
                    continue
            inner = f"{base}.{alias.name}".lstrip(".")
            found[alias.asname or alias.name] = Name(inner, "") if inner in self.modules or not base else Name(base, alias.name)
        return found

    def find(self, module: str, name: str) -> Name | None:
        """Return where a module's name is defined, through imports; a module as such without a name; None for what is not the package's."""
        while True:
            if module not in self.modules:
                return None
            if name in self.modules[module].definitions:
                return Name(module, name)
            inner = f"{module}.{name}".lstrip(".")
            if inner in self.modules:
                return Name(inner, "")
            imported = self.modules[module].imports.get(name)
            if imported is None or not imported.name:
                return imported and (imported if imported.module in self.modules else self.find(*_split(imported.module)))
            module, name = imported

    def methods(self, place: Name) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
        """Return the methods of a class by name; nothing for what is no class."""
        nodes = [node for node in self.modules[place.module].definitions.get(place.name, []) if isinstance(node, ast.ClassDef)]
        return {inner.name: inner for node in nodes for inner in node.body if isinstance(inner, FUNCTIONS)}

    def bases(self, place: Name) -> list[Name]:
        """Return the classes of the package that a class is derived from, itself first, each before its own bases."""
        found = [place]
        for node in self.modules[place.module].definitions.get(place.name, []):
            for base in node.bases if isinstance(node, ast.ClassDef) else ():
                above = self._resolved(base, place.module)
                found += self.bases(above) if above is not None and above.name else []
        return list(dict.fromkeys(found))

    def _resolved(self, node: ast.expr, module: str) -> Name | None:
        if isinstance(node, ast.Name):
            return self.find(module, node.id)
        if isinstance(node, ast.Attribute) and (inside := self._resolved(node.value, module)) is not None and not inside.name:
            return self.find(inside.module, node.attr)
        return None

    def read(self, place: Name) -> tuple[str, frozenset[Name]]:
        """Return the hash of a definition, and what it refers to."""
        if place not in self._read:
            owner, _, method = place.name.partition(".")
            nodes: list[ast.AST] = (
                [self.methods(Name(place.module, owner))[method]] if method else [*self.modules[place.module].definitions[owner]]
            )
            reader = Reader(self, place.module, owner)
            text = "".join(reader.say(_opened(node)) for node in nodes)
            self._read[place] = hashlib.sha256(text.encode()).hexdigest()[:12], frozenset(reader.references)
        return self._read[place]

    def entries(self, place: Name) -> dict[str, list[Name]]:
        """Return what the entries of a constant dictionary refer to, by key."""
        (node,) = self.modules[place.module].definitions[place.name]
        written = getattr(node, "value", None)
        if not isinstance(written, ast.Dict):
            raise ValueError(f"{place} is no dictionary that is written out")
        found = {}
        for key, value in zip(written.keys, written.values, strict=True):
            reader = Reader(self, place.module, place.name)
            reader.say(value)
            found[ast.literal_eval(key or value)] = sorted(reader.references)
        return found

    def reached(self, roots: Iterable[Name], stop: Callable[[Name], bool]) -> dict[Name, str]:
        """Return the hash of every definition that the roots reach, and of the roots themselves.

        Args:
            roots: functions, methods, classes, constants.
            stop: tells what is not gone into, unless it is a root.
        """
        found: dict[Name, str] = {}
        waiting = list(roots)
        known = set(waiting)
        while waiting:
            place = waiting.pop()
            found[place], references = self.read(place)
            whole = [Name(place.module, f"{place.name}.{method}") for method in self.methods(place)]
            fresh = {name for name in {*references, *whole} - known if not stop(name)}
            known |= fresh
            waiting += fresh
        return found


def _opened(node: ast.AST) -> ast.AST:
    """Return what of a definition counts for those who refer to it.

    Of a stage it is how it is read, since its identity says what made it; of a type, which says what may be asked for, it is nothing.
    """
    value = getattr(node, "value", None)
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return node
    if isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1] == "Stage":
        return next((keyword.value for keyword in value.keywords if keyword.arg == "read"), ast.Constant(None))
    if isinstance(value, ast.Subscript) and ast.unparse(value.value) in ("Literal", "Annotated", "Union"):
        return ast.Constant(None)
    return node


def _split(module: str) -> tuple[str, str]:
    package, _, name = module.rpartition(".")
    return package, name


class Reader:
    """Says what a definition does, in a form that does not depend on its texts, and collects what of the package it refers to.

    Args:
        sources: of the package.
        module: in which it stands.
        owner: the class whose methods ``self`` has.
    """

    def __init__(self, sources: Sources, module: str, owner: str) -> None:
        self.sources, self.module, self.owner = sources, module, Name(module, owner)
        self.references: set[Name] = set()
        self._scopes: list[dict[str, Name | None]] = []  # local names, with what they import

    def say(self, node: ast.AST) -> str:
        """Return a node as text."""
        if self._is_silent(node):
            return ""
        if isinstance(node, ast.ClassDef):
            return self._say_class(node)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            return f"Raise({self.say(node.exc.func)})"
        if isinstance(node, ast.AnnAssign):
            return self.say(ast.Assign(targets=[node.target], value=node.value)) if node.value else self.say(node.target)
        if isinstance(node, ast.Name | ast.Attribute) and (place := self._refers(node)) is not None:
            return f"Name({place.name or place.module})"
        if not isinstance(node, SCOPES):
            return self._fields(node)
        self._scopes.append(dict(self._locals(node)))
        text = self._fields(node)
        self._scopes.pop()
        return text

    def _fields(self, node: ast.AST) -> str:
        left_out = {"annotation", "returns", "ctx", "kind", "type_comment", "type_ignores", "type_params"}
        left_out |= {"msg"} if isinstance(node, ast.Assert) else set()
        found = []
        for name, value in ast.iter_fields(node):
            if name in left_out or value is None or value == []:
                continue
            items = value if isinstance(value, list) else [value]
            said = [self.say(item) if isinstance(item, ast.AST) else repr(item) for item in items]
            found.append(f"{name}=[{' '.join(filter(None, said))}]")
        return f"{type(node).__name__}({','.join(found)})"

    def _say_class(self, node: ast.ClassDef) -> str:
        """Return a class without its methods, and without the fields of parameters, whose defaults are looked at by value."""
        of_parameters = any(base.name in ("Part", "BaseModel") for base in self.sources.bases(self.owner))
        kept = [
            inner for inner in node.body if not isinstance(inner, FUNCTIONS) and not (of_parameters and isinstance(inner, ast.AnnAssign))
        ]
        outside = [*node.bases, *node.keywords, *node.decorator_list]
        return f"Class({node.name},{','.join(map(self.say, outside))},{','.join(map(self.say, kept))})"

    def _is_silent(self, node: ast.AST) -> bool:
        """Tell whether a node is words to a person, or does nothing itself."""
        if isinstance(node, ast.Import | ast.ImportFrom):
            return True
        if not isinstance(node, ast.Expr):
            return False
        if isinstance(node.value, ast.Constant):
            return True
        called = node.value.func if isinstance(node.value, ast.Call) else None
        return isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id in SAID

    def _locals(self, scope: ast.AST) -> Iterator[tuple[str, Name | None]]:
        """Yield the names that a function, lambda or comprehension binds, and what those refer to that it imports."""
        arguments = getattr(scope, "args", None)
        waiting = [node for name, value in ast.iter_fields(scope) if name != "decorator_list" for node in _nodes(value)]
        if arguments is not None:
            yield from ((inner.arg, None) for inner in ast.walk(arguments) if isinstance(inner, ast.arg))
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.Import | ast.ImportFrom):
                bound = {alias.asname or alias.name.partition(".")[0]: None for alias in node.names}
                yield from (bound | self.sources.imported(node, self.module.rpartition(".")[0])).items()
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id, None
            elif isinstance(node, (*FUNCTIONS, ast.ClassDef)):
                yield node.name, None
            if not isinstance(node, (*SCOPES, ast.ClassDef)):
                waiting += ast.iter_child_nodes(node)

    def _refers(self, node: ast.expr) -> Name | None:
        """Return the definition or module that a name or attribute stands for, and note it; None for what is not the package's."""
        if isinstance(node, ast.Name):
            place = self._named(node.id)
        elif not isinstance(node, ast.Attribute):
            return None
        elif self._is_self(node.value):
            owners = [above for above in self.sources.bases(self.owner) if node.attr in self.sources.methods(above)]
            place = Name(owners[0].module, f"{owners[0].name}.{node.attr}") if owners else None
        else:
            inside = self._refers(node.value)
            place = self.sources.find(inside.module, node.attr) if inside is not None and not inside.name else None
        if place is not None and place.name:
            self.references.add(place)
        return place

    def _named(self, name: str) -> Name | None:
        for scope in reversed(self._scopes):
            if name in scope:
                bound = scope[name]
                return self.sources.find(*bound) if bound is not None and bound.name else bound
        return self.sources.find(self.module, name)

    def _is_self(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Call):
            return isinstance(node.func, ast.Name) and node.func.id == "super"
        return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _nodes(value: object) -> list[ast.AST]:
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, ast.AST)]
