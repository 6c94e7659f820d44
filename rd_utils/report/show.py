"""A study in a notebook: its frames, the sections of its report, and its folder."""

from __future__ import annotations

from pathlib import Path

from IPython.display import Markdown, display

from rd_utils.report import folder, forms, page, sections
from rd_utils.report.explore import Explored
from rd_utils.store import resolve_path
from rd_utils.study.plan import load_plan
from rd_utils.workflow.notebook import open_pipeline
from rd_utils.workflow.pipeline import Pipeline


class StudyReport(Explored):
    """A study whose sections a notebook shows, and which writes its report, beside the looks of :class:`Explored`."""

    def show(self, name: str, *, words: bool = True, tables: bool = True, figures: str | None = "") -> None:
        """Show a section of a study's report: its words, tables and charts, as the report has them.

        Args:
            name: That of the section, such as ``differences`` (:func:`rd_utils.report.sections.files`).
            words: Whether the paragraphs that lead it are shown.
            tables: Whether its tables are.
            figures: Only the figures whose names end so, such as the name of a pair of collections; None for no figure.

        Raises:
            ValueError: There is no such section.
        """
        section = sections.load(self, name)
        if not section.blocks:
            print(f"Nothing to show: the study has nothing for the section {section.title!r}.")
            return
        if words:
            display(Markdown("\n\n".join(section.paragraphs)))
        for block in section.blocks:
            if isinstance(block, page.Table):
                if tables:
                    display(forms.render(block.frame, "styler", caption=block.caption, digits=block.digits, highlight=block.highlight))
            elif figures is not None and block.name.endswith(figures):
                display(block.chart)

    def report(self) -> list[Path]:
        """Write the study's folder, its report, tables and charts: :func:`rd_utils.report.folder.write`."""
        return folder.write(self)


def load(path: str, base: str | None = None, pipeline: Pipeline | None = None) -> StudyReport:
    """Return a study, its artefacts read as they are asked for, and made where they are missing.

    Args:
        path: The study's file, relative to the project's root.
        base: A name in ``params/bases``, to run the study on another base than its own.
        pipeline: What :func:`rd_utils.workflow.notebook.open` gave; one is opened where there is none.

    Raises:
        ParameterError: The file says what cannot be, or is not there.
    """
    return StudyReport(load_plan(resolve_path(path), base), pipeline or open_pipeline())
