"""The sections of a study's report, one file each: what is written here is found without a list elsewhere.

A section's file says its place (``ORDER``), its ``TITLE``, whether it ``applies`` to a study, the ``words`` that lead it (paragraphs) and
its ``blocks``: tables and figures from top to bottom. It computes no statistic: all numbers are those of
:class:`rd_utils.report.findings.Findings`. The file's name is what :func:`load` and links within the report call the section.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Sequence
from typing import Protocol, cast

from altair.utils import schemapi

from rd_utils.report.findings import Findings
from rd_utils.report.page import Figure, Section, Table
from rd_utils.study.params import nearest


class SectionFile(Protocol):
    """What each file of this package has."""

    ORDER: int
    TITLE: str

    def applies(self, study: Findings) -> bool:
        """Tell whether a study has what the section shows."""
        ...

    def words(self, study: Findings) -> Sequence[str]:
        """Return the paragraphs that lead the section."""
        ...

    def blocks(self, study: Findings) -> Iterable[Table | Figure]:
        """Yield its tables and figures."""
        ...


def files() -> dict[str, SectionFile]:
    """Return every section's file by its name, in the report's order.

    >>> list(files())[:3]
    ['what_was_run', 'learning_rates', 'effectiveness']
    """
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    found = {name: cast(SectionFile, importlib.import_module(f"{__name__}.{name}")) for name in names}
    return dict(sorted(found.items(), key=lambda entry: entry[1].ORDER))


def load(study: Findings, name: str) -> Section:
    """Return one section of a study's report, made once, without blocks where it does not apply.

    Args:
        study: What the study's artefacts say.
        name: That of the section's file.

    Raises:
        ValueError: There is no such section.
    """
    known = files()
    if name not in known:
        raise ValueError(f"unknown section {name!r}{nearest(name, known)}")
    if name not in study.sections:
        with schemapi.debug_mode(False):  # Altair checks every part of a chart, which takes half the time; the tests do so instead
            study.sections[name] = _made(study, name, known[name])
    return study.sections[name]


def _made(study: Findings, name: str, file: SectionFile) -> Section:
    if not file.applies(study):
        return Section(file.TITLE)
    blocks = list(file.blocks(study))
    standing_for_it = any(isinstance(block, Table) and block.name == name for block in blocks)
    return Section(file.TITLE, file.words(study), blocks, name="" if standing_for_it else name)


def load_all(study: Findings) -> list[Section]:
    """Return the sections of a study's report; those without a table or figure are left out."""
    return [section for section in (load(study, name) for name in files()) if section.blocks]
