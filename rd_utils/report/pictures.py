"""A chart's picture and its files: what is drawn once, for the page and for whoever prints it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, cast

import altair as alt

from rd_utils import durable
from rd_utils.processor import cores
from rd_utils.report.drawing import Spec, chart_spec

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Drawn(NamedTuple):
    """A chart under :func:`rd_utils.report.drawing.theme`: its specification with all rows inside, and the SVG of it."""

    spec: Spec
    svg: str


class ChartFiles(NamedTuple):
    """The three files of a saved chart."""

    json: Path
    svg: Path
    png: Path


def vega_lite_version() -> str:
    """Return the Vega-Lite version of the installed Altair, as vl-convert names it (6.4 for v6.4.1)."""
    import vl_convert

    written = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    versions = vl_convert.get_vegalite_versions()
    if written not in versions:
        raise RuntimeError(
            f"altair {alt.__version__} writes Vega-Lite {written}, but the installed vl-convert-python "
            f"{version('vl-convert-python')} has only {', '.join(versions)}; install versions that fit each other"
        )
    return written


def _svg(spec: Spec) -> str:
    """Return the chart as SVG, its ids counted from 0: the converter goes on counting from one chart to the next."""
    import vl_convert

    svg = vl_convert.vegalite_to_svg(spec, vl_version=vega_lite_version())
    names = list(dict.fromkeys(re.findall(r'\bid="((?:clip|gradient_|pattern_)\d+)"', svg)))
    for index, name in enumerate(names):
        svg = re.sub(rf'(id="|url\(#){name}(?=["\)])', rf"\g<1>part{index}", svg)
    return svg


def draw(chart: alt.typing.ChartType | Drawn) -> Drawn:
    """Draw an Altair chart with its data inside, once for all that it is written to: one that is drawn stays as it is."""
    return chart if isinstance(chart, Drawn) else _with_svg(_spec(chart))


def draw_all(charts: Iterable[alt.typing.ChartType | Drawn]) -> list[Drawn]:
    """Draw charts as :func:`draw` does, side by side on the cores that there are."""
    specs = [chart if isinstance(chart, Drawn) else _spec(chart) for chart in charts]
    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(lambda drawn: drawn if isinstance(drawn, Drawn) else _with_svg(drawn), specs))


def _spec(chart: alt.typing.ChartType) -> Spec:
    return cast(Spec, _printable(chart_spec(chart)))


def _with_svg(spec: Spec) -> Drawn:
    return Drawn(spec, _svg(spec))


def _printable(value: object) -> object:
    """Return a specification with a replacement character for each control character of its texts: at a NUL the converter aborts."""
    if isinstance(value, dict):
        return {_printable(name): _printable(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_printable(part) for part in value]
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", value) if isinstance(value, str) else value


def save_chart(chart: alt.typing.ChartType | Drawn, path_stem: str | Path) -> ChartFiles:
    """Write a chart as ``<path_stem>.json``, ``.svg`` and ``.png`` (at double size), under :func:`rd_utils.report.drawing.theme`.

    The JSON is the same, byte for byte, for the same frame; SVG and PNG also depend on the machine's fonts.

    Args:
        chart: An Altair chart with its data inside, or what :func:`draw` made of one.
        path_stem: Where, without an ending; missing folders are made.

    Returns:
        The three paths.
    """
    import vl_convert

    stem = Path(path_stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    drawn = draw(chart)
    files = ChartFiles(*(stem.with_name(f"{stem.name}.{ending}") for ending in ChartFiles._fields))
    durable.write_text(files.json, json.dumps(drawn.spec, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    durable.write_text(files.svg, drawn.svg)
    durable.write_bytes(files.png, vl_convert.svg_to_png(drawn.svg, scale=2))
    return files
