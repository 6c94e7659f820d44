"""A study's folder: its frames, printed tables, charts and report."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from rd_utils import durable
from rd_utils.processor import cores
from rd_utils.report import forms, in_short, layout, page, pictures, sections
from rd_utils.report.findings import Findings
from rd_utils.study.node_files import write_record
from rd_utils.workflow.progress import LOGGER


def write(study: Findings) -> list[Path]:
    """Write a study's frames, tables, charts and report into its folder.

    Every frame goes into a Parquet file, those that a paper prints also under ``tables/`` as HTML, Markdown, CSV and LaTeX, the charts of
    all sections under ``charts/`` as JSON, SVG and PNG.

    Returns:
        The Parquet files and the report; a frame without rows is not written.
    """
    folder, frames = study.plan.folder, study.frames()
    shown = _drawn(sections.load_all(study))
    folder.mkdir(parents=True, exist_ok=True)
    parquet = [folder / f"{name}.parquet" for name in frames]
    for path, frame in zip(parquet, frames.values(), strict=True):
        with durable.replacing(path) as draft:
            frame.to_parquet(draft, index=False)
    files: list[Path] = []
    for stem, (table, caption) in _printed(study).items():
        files += forms.save_table(table, folder / "tables" / stem, caption=caption, label=f"tab:{stem}", highlight=stem.startswith("main"))
    figures = [block for section in shown for block in section.blocks if isinstance(block, page.Figure)]
    with ThreadPoolExecutor(cores()) as pool:
        stems = [folder / "charts" / _file_name(figure.name) for figure in figures]
        files += itertools.chain(*pool.map(pictures.save_chart, [figure.chart for figure in figures], stems))
    report = page.html_report(
        shown,
        f"Study {study.plan.study.name}",
        folder / "report.html",
        page.Imprint(study.plan.study.name, study.plan.report_version, study.notebooks.analysis),
        short=in_short.short(study),
    )
    write_record(study.plan, [*parquet, *files, report])
    LOGGER.info("wrote %s", report)
    return [*parquet, report]


def _drawn(shown: Sequence[page.Section]) -> list[page.Section]:
    """Return sections with their figures drawn, once for the page and for its files."""
    charts = iter(pictures.draw_all(block.chart for section in shown for block in section.blocks if isinstance(block, page.Figure)))

    def drawn(block: page.Table | page.Figure) -> page.Table | page.Figure:
        return block._replace(chart=next(charts)) if isinstance(block, page.Figure) else block

    return [section._replace(blocks=[drawn(block) for block in section.blocks]) for section in shown]


def _printed(study: Findings) -> dict[str, tuple[pd.DataFrame, str]]:
    """Return what a paper would print, with captions, by the name of its files."""
    printed = {}
    for pair in study.pairs.values():
        train, test = pair["collection"], pair["test_collection"]
        table = layout.main_table(study.summary, measures=study.plan.study.evaluation.measures, **pair)
        printed[_file_name(f"main {train} {test}")] = (
            table,
            f"Trained on {train}, tested on {test}: mean and standard deviation over seeds.",
        )
    if len(study.macro):
        caption = "Macro means over collections, and standard deviation over collections."
        printed["macro"] = (layout.macro_table(study.macro, study.measure), caption)
    if len(study.differences):
        caption = f"Paired differences in {study.measure}, with intervals and verdicts corrected by Holm's method."
        printed["differences"] = (layout.differences_table(study.differences).drop(columns=layout.DETAILS, errors="ignore"), caption)
    if len(study.across):
        printed["across"] = (layout.across_table(study.across), "Contrasts over collections, each counting once.")
    for name, part in study.matrix_parts():
        caption = f"Every pair of strategies, {name}: row minus column in {study.measure}; = equivalent, * different. Letters mark cliques."
        printed[_file_name(f"matrix {name}")] = (layout.matrix_table(part), caption)
    return printed


def _file_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
