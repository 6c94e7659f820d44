"""What the report says in one section, shown in a notebook."""

from __future__ import annotations

from IPython.display import Markdown, display

from rd_utils.report import forms, page, sections
from rd_utils.report.findings import Findings


def show(study: Findings, name: str, *, words: bool = True, tables: bool = True, figures: str | None = "") -> None:
    """Show a section of a study's report: its words, tables and charts, as the report has them.

    Args:
        study: What the study's artefacts say.
        name: That of the section, such as ``differences`` (:func:`rd_utils.report.sections.files`).
        words: Whether the paragraphs that lead it are shown.
        tables: Whether its tables are.
        figures: Only the figures whose names end so, such as the name of a pair of collections; None for no figure.

    Raises:
        ValueError: There is no such section.
    """
    section = sections.load(study, name)
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
