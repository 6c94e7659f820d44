"""A stage is a value: what names its artefacts, what they are made from, how they are made and how they are opened.

Every stage lies in a module of its own under :mod:`rd_utils.stages`. The graph is what stages declare as ``inputs``: ``make`` can open what
was declared and nothing else, so that an artefact's identity knows all that it is made from.
"""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rd_utils.files import StoreError
from rd_utils.study.kinds import Spec, named_within
from rd_utils.workflow.progress import Track

if TYPE_CHECKING:
    from rd_utils.cost.workload import Counter, Work
    from rd_utils.store import Draft, Store
    from rd_utils.store.manifests import Manifest
    from rd_utils.workflow.maker import Maker

S = TypeVar("S", bound=Spec)
T = TypeVar("T")
Inputs = dict[str, Spec]  # by role


def _as_folder(folder: Path, spec: Spec, given: Given) -> Path:
    return folder


def _nothing(spec: Spec, maker: Maker) -> None:
    return None


def _no_work(spec: Spec, counter: Counter) -> Work:
    raise NotImplementedError(f"the stage {spec.stage} does not say what its artefacts take; give it a `work`")


@dataclass(frozen=True)
class Stage(Generic[S, T]):
    """What one kind of artefact is.

    Attributes:
        name: of the stage, and of its folder in the store.
        version: to be raised when the same parameters give other bytes than before.
        spec: the class of its parameters.
        inputs: returns what an artefact is made from, by role.
        make: writes an artefact into a draft's folder, from what it is given; None where artefacts grow, and nothing makes one as a whole.
        read: opens an artefact from its folder; it is given the artefact's inputs too.
        keep: whether what was opened stays in memory.
        before: looks for what forbids an artefact before anything is made for it.
        libraries: modules that are imported before the cost is measured.
        work: returns what making an artefact takes, without the pairs that teachers score for it.
    """

    name: str
    version: int
    spec: type[S]
    inputs: Callable[[S], Inputs]
    make: Callable[[S, Given, Draft], None] | None = None
    read: Callable[[Path, S, Given], T] = _as_folder  # type: ignore[assignment]
    keep: bool = True
    before: Callable[[S, Maker], None] = _nothing
    libraries: tuple[str, ...] = ()
    work: Callable[[S, Counter], Work] = _no_work


AnyStage = Stage[Any, Any]


@functools.cache
def stages() -> dict[str, AnyStage]:
    """Return every stage by its name."""
    from rd_utils import stages as package

    modules = [importlib.import_module(f"{package.__name__}.{found.name}") for found in pkgutil.iter_modules(package.__path__)]
    every = [value for module in modules for value in vars(module).values() if isinstance(value, Stage)]
    return {stage.name: stage for stage in every}


def made_whole() -> dict[str, AnyStage]:
    """Return the stages whose artefacts are made once, by name."""
    return {name: stage for name, stage in stages().items() if stage.make is not None}


def stage_of(spec: Spec) -> AnyStage:
    """Return the stage of an artefact."""
    return stages()[spec.stage]


def inputs(spec: Spec) -> Inputs:
    """Return the artefacts that ``spec`` is made from, by role.

    They are remembered, equal ones as one object, but for a spec that names something by path, which is looked at again.
    """
    return stage_of(spec).inputs(spec) if named_within(spec) else _remembered_inputs(spec)


@functools.cache
def _remembered_inputs(spec: Spec) -> Inputs:
    return {role: _first(part) for role, part in stage_of(spec).inputs(spec).items()}


@functools.cache
def _first(spec: Spec) -> Spec:
    """Return the first of equal specs: what is the same object is compared at once."""
    return spec


class Given:
    """What an artefact may be made from: its inputs, each opened as its own stage reads it.

    Args:
        maker: opens artefacts.
        inputs: by role.
        prefix: of the roles that are meant, where a part of the artefact asks for its own.
        draft: of the artefact that is being made; None while one is opened.
    """

    def __init__(self, maker: Maker, inputs: Inputs, prefix: str = "", draft: Draft | None = None) -> None:
        self.maker, self._inputs, self._prefix, self.draft = maker, inputs, prefix, draft

    @property
    def store(self) -> Store:
        """Return where artefacts lie."""
        return self.maker.store

    @property
    def workers(self) -> int:
        """Return how many processes or threads may work at once: as many as OMP_NUM_THREADS says, or as there are cores."""
        asked = os.environ.get("OMP_NUM_THREADS", "")
        if asked.isdecimal() and int(asked):
            return int(asked)
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1

    @property
    def track(self) -> Track:
        """Return what shows progress."""
        return self.maker.track

    def __contains__(self, role: str) -> bool:
        """Tell whether there is an input of this role."""
        return f"{self._prefix}{role}" in self._inputs

    def __call__(self, stage: Stage[Any, T], role: str | None = None) -> T:
        """Return an input, opened; its role is its stage's name unless another is given.

        Raises:
            StoreError: it was not declared, or is of another stage.
        """
        return self.maker.open(self.spec(role or stage.name, stage))

    def open(self, role: str) -> Any:
        """Return an input by its role alone, for those whose stage rests on the asking one."""
        return self.maker.open(self._declared(role))

    def whole(self, stage: Stage[Any, T]) -> T:
        """Return an input of the artefact itself, where this is a part of it."""
        return Given(self.maker, self._inputs, draft=self.draft)(stage)

    def spec(self, role: str, stage: AnyStage) -> Spec:
        """Return what names an input of a stage."""
        found = self._declared(role)
        if found.stage != stage.name:
            raise StoreError(f"the input {self._prefix}{role} is of the stage {found.stage}, not {stage.name}; ask for what was declared")
        return found

    def _declared(self, role: str) -> Spec:
        found = self._inputs.get(f"{self._prefix}{role}")
        if found is None:
            raise StoreError(f"no input {self._prefix}{role} was declared; add it to the inputs of the stage or kind that asks for it")
        return found

    def manifest(self, role: str) -> Manifest:
        """Return the manifest of an input."""
        return self.maker.manifest(self._inputs[f"{self._prefix}{role}"])

    def part(self, prefix: str) -> Given:
        """Return the inputs whose roles begin with a prefix, without it."""
        return Given(self.maker, self._inputs, f"{self._prefix}{prefix}", self.draft)

    def once(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        """Return what ``make`` returns, kept in memory under a key beyond this artefact."""
        return self.maker.once(key, make)

    def latest(self, name: str, key: object, make: Callable[[], T], serves: Callable[[T], bool]) -> T:
        """Return what was made last under a name, where it serves; see :meth:`rd_utils.workflow.maker.Maker.latest`."""
        return self.maker.latest(name, key, make, serves)


def prefixed(prefix: str, parts: Inputs) -> Inputs:
    """Return inputs with a prefix before their roles."""
    return {f"{prefix}{role}": part for role, part in parts.items()}
