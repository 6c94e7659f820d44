"""What a manifest says of an artefact: the forms of what stands in ``manifest.json``."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from rd_utils.cost.energy import Measured


class Link(TypedDict):
    """An artefact that another is made from."""

    stage: str
    identity: str


class Charge(TypedDict):
    """What a teacher scored for an artefact: pairs used, those that had no score before, and what these took."""

    teacher: str
    pairs: int
    scored_now: int
    wall_seconds: float
    cpu_seconds: float


class Spent(TypedDict):
    """What making an artefact took; ``processes`` are those that made it for the process that wrote it."""

    wall_seconds: float
    cpu_seconds: float
    gpu_seconds: float
    energy: Measured
    peak_memory_mb: float
    peak_memory_of: str
    processes: NotRequired[list[Spent]]


class Surroundings(TypedDict):
    """Where an artefact was made: the revision, the packages and the machine."""

    git: dict[str, str | bool | None]
    packages: dict[str, str | None]
    machine: dict[str, str | int | None]


class Manifest(Surroundings):
    """A manifest; of earlier versions only what :func:`rd_utils.store.damage.read_manifest` looks for is sure to be there."""

    stage: str
    identity: str
    parameters: dict[str, object]
    inputs: dict[str, Link]
    seed: int | None
    versions: NotRequired[dict[str, int]]
    content: dict[str, str]
    counts: dict[str, int | float]
    dropped: dict[str, int]
    cost: Spent
    scoring: list[Charge]
    files: dict[str, str]
    sizes: dict[str, int]
    node: str | None
    checksum: NotRequired[str]
    code: NotRequired[str]
    adopted: NotRequired[dict[str, str | bool]]
