"""What a chart shows, in words: for who does not see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rd_utils.report.drawing import Spec, as_text, distinct

_NAMES_TOLD = 8  # of an axis


def told(spec: Spec, rows: Sequence[Mapping[str, object]]) -> str:
    """Say in words what a chart shows: what stands along its axes, what its colours tell apart, and its panels.

    Args:
        spec: A Vega-Lite specification.
        rows: Its data.

    >>> x, y = {"field": "value", "type": "quantitative", "title": "nDCG@10"}, {"field": "cell", "type": "nominal"}
    >>> told({"encoding": {"x": x, "y": y}}, [{"cell": "bm25", "value": 0.5}, {"cell": "dense", "value": 0.625}])
    'Across, nDCG@10: 0.5 to 0.625. Down, cell: bm25, dense.'
    >>> told({"encoding": {"x": x | {"title": ["difference", "in AP"]}}}, [{"value": 0.5}])
    'Across, difference in AP: 0.5 to 0.5.'
    """
    said: dict[tuple[str, str], str] = {}
    for channel, definition in _channels(spec):
        field = str(definition["field"])
        values = [row[field] for row in rows if row.get(field) is not None]
        if (channel, field) in said or not values:
            continue
        title = definition.get("title", field.replace("_", " "))
        title = " ".join(title) if isinstance(title, list) else as_text(title)  # a list has a line each
        said[channel, field] = f"{channel}{', ' if title else ''}{title}: {_range(definition, values)}."
    order = ("Panels", "Across", "Down", "Colour")
    return " ".join(said[key] for key in sorted(said, key=lambda key: order.index(key[0])))


def _range(definition: Spec, values: Sequence[object]) -> str:
    """Say which values there are: the ends of numbers, the names of others, in the chart's order."""
    if definition.get("type") == "quantitative":
        numbers = [value for value in values if isinstance(value, int | float)]
        return f"{min(numbers):.3g} to {max(numbers):.3g}" if numbers else "none"
    order = definition.get("sort")
    present = distinct(values)
    names = [name for name in map(as_text, order if isinstance(order, list) else ()) if name in present] or present
    more = len(names) - _NAMES_TOLD
    return ", ".join(names[:_NAMES_TOLD]) + (f" and {more} more" if more > 0 else "")


def _channels(spec: Spec) -> Iterator[tuple[str, Spec]]:
    """Yield what a specification encodes, with the word for its channel; the ends of intervals are no axis of their own."""
    facet = spec.get("facet", {})
    panels = [facet] if "field" in facet else list(facet.values())
    yield from (("Panels", panel) for panel in panels if isinstance(panel, dict) and "field" in panel)
    encoding = spec.get("encoding", {})
    for channel, word in (("x", "Across"), ("y", "Down"), ("color", "Colour")):
        definition = encoding.get(channel, {})
        if "field" in definition and "aggregate" not in definition and f"{channel}2" not in encoding:
            yield word, definition
    inside = [part for name in ("layer", "hconcat", "vconcat", "concat") for part in spec.get(name, ())]
    for part in [*inside, *([spec["spec"]] if "spec" in spec else [])]:
        yield from _channels(part)
