"""How the columns of a table stand on a page: beside each other where there is room, else in parts one below the other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rd_utils.report.forms import Texts

WIDEST = 1000  # pixels of a table, beside the contents in a window of 1280
_HEAD, _CHARACTER, _PADDING = 7.8, 7.2, 13  # pixels of a bold and a plain character of a wide font, and beside an entry


def in_parts(texts: Texts, columns: Sequence[int], leading: list[int]) -> list[list[int]]:
    """Return the columns in as few parts as hold them in the page's width; further parts repeat those that name the rows.

    What a column needs is guessed from its longest text that does not break; a part has at least one column.
    """
    if sum(_needed(texts, place) for place in (*range(texts.n_labels), *columns)) <= WIDEST:
        return [list(columns)]
    return [[*leading, *part] for part in spread(texts, [place for place in columns if place not in leading], leading)]


def lead(texts: Texts, columns: Sequence[int], judged: set[int]) -> list[int]:
    """Return the columns that name the rows where no labels do: the words that a table begins with, at most half a page of them."""
    words = (place for place in columns if texts.n_labels == 0 and not texts.right[place] and place not in judged)
    leading = [place for number, place in enumerate(words) if place == number]
    while sum(_needed(texts, place) for place in leading) > WIDEST / 2:
        leading.pop()
    return leading


def spread(texts: Texts, columns: Sequence[int], leading: Sequence[int]) -> list[list[int]]:
    """Spread columns evenly over as few parts as have room for them beside what names the rows."""
    needed = {place: _needed(texts, place) for place in columns}
    if not needed:
        return []
    parts = _filled(needed, WIDEST - sum(_needed(texts, place) for place in (*range(texts.n_labels), *leading)))
    even = _filled(needed, sum(needed.values()) / len(parts) + max(needed.values()) / 2)
    return even if len(even) == len(parts) else parts


def _filled(needed: Mapping[int, float], room: float) -> list[list[int]]:
    """Fill one part after the other with the columns that it has room for.

    >>> _filled({0: 50.0, 1: 40.0, 2: 30.0}, 100)
    [[0, 1], [2]]
    """
    parts: list[list[int]] = [[]]
    for place, width in needed.items():
        if parts[-1] and sum(needed[each] for each in parts[-1]) + width > room:
            parts.append([])
        parts[-1].append(place)
    return parts


def _needed(texts: Texts, place: int) -> float:
    """Return about how many pixels a column needs."""
    words = [word for row in texts.rows for word in _words(row[place])]
    longest = _CHARACTER * max((min(len(word), 40) for word in words), default=0)
    return max(longest, *(_HEAD * len(word) for word in _words(texts.heads[place][-1]))) + _PADDING


def _words(text: str) -> list[str]:
    """Return what no line of a column breaks."""
    return re.split(r"[ /]|(?<=[A-Za-z]-)|(?<=_)", unbroken(text))


def unbroken(text: str) -> str:
    """Return an entry with no-break spaces where a line must not end: in an interval, at a sign."""
    return re.sub(r"\[[^]]*\]| [±>] |< ", lambda part: part[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
