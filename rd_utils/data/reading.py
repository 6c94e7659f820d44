"""Guards of the files that people write, which are read as they stand or refused: corpora, queries, qrels, runs, tables of scores.

A file is UTF-8, with or without a byte order mark, Windows line ends and a last newline, plain or gzip, whatever its name says. Ids are the
characters that stand there: ``NA`` is an id, a quotation mark a character, ``007`` not 7. Nothing is guessed, converted or left out: what
is no id, text, grade or score is an error that names the file, the line, the value and the remedy. All lines of a file that are wrong are
counted, and the first of them shown.

Text is read in blocks of lines. A block is checked as a whole, and gone through line by line only where something in it is wrong.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

BLOCK = 1 << 16  # bytes that are checked together, 8 at least; what stays in the cache of a core is faster by half
LONGEST_LINE = 1 << 26  # bytes
LONGEST_ID = 4096  # characters
SHOWN = 5  # wrong lines that a message shows; all are counted

_NO_ID = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ufeff]")
PARQUET = re.compile(rb"PAR1[^\t\n\r -~]")  # PAR1 alone may well begin an id
_GZIP = b"\x1f\x8b"
_FOREIGN = {
    PARQUET: "a Parquet file",
    re.compile(rb"PK\x03\x04"): "a zip archive",
    re.compile(rb"BZh[1-9]1AY&SY"): "compressed by bzip2",
    re.compile(rb"\xfd7zXZ"): "compressed by xz",
    re.compile(rb"\x28\xb5\x2f\xfd"): "compressed by zstd",
    re.compile(rb"ARROW1\x00"): "an Arrow file",
    re.compile(re.escape(_GZIP)): "compressed by gzip twice",
}
_WIDE = (b"\xff\xfe", b"\xfe\xff")  # the byte order marks of UTF-16; UTF-32 begins with one of them, or with NUL


class FileError(ValueError):
    """A file cannot be read as it stands; the message names it, the line, the value and the remedy."""


class Problems:
    """What is wrong with a file: the first lines in words, all of them counted.

    Args:
        path: of the file.
        error: what is raised.
        unit: what is counted: lines, or the rows of a table.
    """

    def __init__(self, path: Path, error: type[ValueError] = FileError, unit: str = "line") -> None:
        self.path, self.error, self.unit = Path(path), error, unit
        self.count = 0
        self.shown: list[str] = []

    def add(self, line: int, problem: str) -> None:
        """Note what is wrong with a line."""
        self.count += 1
        if self.count <= SHOWN:
            self.shown.append(f"{self.unit} {line}: {problem}")

    def check(self) -> None:
        """Raise what was noted, if anything was."""
        if self.count == 1:
            raise self.error(f"{self.path} {self.shown[0]}")
        if self.count:
            raise self.error(self._several())

    def _several(self) -> str:
        """Return the message on several lines; a remedy that all of them share is said once."""
        said, remedies = zip(*((found[0], found[2]) for found in (shown.rpartition("; ") for shown in self.shown)), strict=True)
        shared = len(set(remedies)) == 1
        lines = said if shared else self.shown
        more = [f"and {self.count - len(lines):,} more"] if self.count > len(lines) else []
        remedy = f"; {remedies[0]}" if shared else ""
        return "\n  ".join([f"{self.path}: {self.count:,} {self.unit}s are wrong{remedy}", *lines, *more])

    def refuse(self, problem: str, line: int | None = None) -> NoReturn:
        """Raise what makes the rest of the file worthless, after what was noted before."""
        place = f"{self.path}: " if line is None else f"{self.path} line {line}: "
        before = f"; before it {self.count:,} lines are wrong, the first is {self.shown[0]}" if self.count else ""
        raise self.error(place + problem + before) from None


def present(path: Path) -> Path | None:
    """Return a file, or where it is missing the same name with ``.gz``; None where both are."""
    for found in (path, path.with_name(f"{path.name}.gz")):
        if is_file(found):
            return found
    return None


def weight(path: Path) -> int:
    """Return about how many bytes a file holds, unpacked; a packed one is taken for a quarter."""
    with path.open("rb") as stream:
        return path.stat().st_size * (4 if stream.read(2) == _GZIP else 1)


def shown(value: object, most: int = 60) -> str:
    """Return a value as a message shows it: on one line, not too long, and without half a character.

    >>> shown("d" * 100, 12), shown(3.5)
    ("'dddddddddd…", '3.5')
    """
    if isinstance(value, bytes):
        value = value[: 4 * most].decode("utf-8", "replace")
    said = repr(value[: 2 * most] if isinstance(value, str) else value)
    return said if len(said) <= most else said[: most - 1] + "…"


# --- lines ------------------------------------------------------------------------------------------------------------------------


def blocks(problems: Problems) -> Iterator[tuple[int, bytes, str]]:
    """Yield a text file in blocks of whole lines: the number of the first line, and the block as bytes and as text, without a NUL.

    Raises:
        error: there is no such file, it is of another kind or encoding, damaged, or a line of it is too long.
    """
    line = 1
    with opened(problems) as stream:
        left = b""
        while True:
            try:
                part = stream.read(BLOCK)
            except (OSError, EOFError, zlib.error) as reason:
                problems.refuse(f"cannot be read ({reason}), the file is damaged or cut; copy or compress it again", line)
            if line == 1 and not left:
                part = _start(part, stream, problems)
            block = left + part
            end = len(block) if not part else max(block.rfind(b"\n"), block.rfind(b"\r", 0, -1)) + 1
            block, left = block[:end], block[end:]
            if len(left) > LONGEST_LINE:
                problems.refuse(f"is longer than {LONGEST_LINE >> 20} MiB; put line ends between the entries, or cut that text", line)
            if block:
                yield line, block, _text(block, line, problems)
                line += _line_ends(block)
            if not part:
                return


@contextmanager
def opened(problems: Problems) -> Iterator[io.BufferedReader]:
    """Open a file, or what gzip packed into it."""
    path = problems.path
    if not is_file(path):
        problems.refuse(f"there is no such file{_instead(path)}; put it there, or correct the path")
    try:
        stream = path.open("rb")
    except OSError as reason:
        problems.refuse(f"cannot be opened ({reason.strerror}); check who may read it")
    with stream:
        packed = stream.peek(2)[:2] == _GZIP
        yield io.BufferedReader(gzip.GzipFile(fileobj=stream), BLOCK) if packed else stream


def _instead(path: Path) -> str:
    """Return what stands in a file's place."""
    try:
        return ", it is a folder" if path.is_dir() else ", it is something else" if path.exists() else ""
    except (OSError, ValueError) as reason:
        return f" ({reason})"


def is_file(path: Path) -> bool:
    """Tell whether a regular file is there, whatever the name is."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _start(part: bytes, stream: io.BufferedReader, problems: Problems) -> bytes:
    """Return the first bytes of a file without byte order marks; refuse what is no UTF-8."""
    for magic, kind in _FOREIGN.items():
        if magic.match(part):
            problems.refuse(f"is {kind}, not lines of text; unpack or convert it (gzip is read as it is)")
    if part.startswith(_WIDE):
        problems.refuse("is UTF-16 or UTF-32 by its byte order mark; save it as UTF-8")
    while part.startswith(b"\xef\xbb\xbf"):
        part = part[3:] or stream.read(BLOCK)
    return part


def _text(block: bytes, line: int, problems: Problems) -> str:
    """Return a block as text; refuse it where it holds a NUL, or bytes that are not UTF-8."""
    nul = block.find(b"\0")
    if nul >= 0:
        wide = block.count(b"\0") * 4 >= len(block)
        remedy = "it looks like UTF-16 or UTF-32; save it as UTF-8" if wide else "the file is damaged or no text; take the NUL out"
        problems.refuse(f"holds a NUL character; {remedy}", line + _line_ends(block[:nul]))
    try:
        return block.decode("utf-8")
    except UnicodeDecodeError as reason:
        before = block[: reason.start]
        place = reason.start - max(before.rfind(b"\n"), before.rfind(b"\r"))
        problems.refuse(
            f"byte {place} (0x{block[reason.start]:02x}) is not UTF-8, perhaps Latin-1 or Windows-1252; save the file as UTF-8",
            line + _line_ends(before),
        )


def _line_ends(block: bytes) -> int:
    """Count line ends: ``\\n``, ``\\r\\n`` or ``\\r``."""
    returns = block.count(b"\r")
    return block.count(b"\n") + (returns - block.count(b"\r\n") if returns else 0)


def count_lines(path: Path, error: type[ValueError] = FileError) -> int:
    """Count the lines of a text file that are not blank."""
    return sum(sum(1 for line in block.splitlines() if line and not line.isspace()) for _, block, _ in blocks(Problems(path, error)))


# --- ids --------------------------------------------------------------------------------------------------------------------------


def id_problem(name: str) -> str | None:
    """Return what keeps a string from being an id, with the remedy; None where nothing does.

    >>> id_problem("NA"), id_problem("a b")
    (None, 'holds white space, which the TREC format cannot say; rename it wherever it stands')
    """
    if not name:
        return "is empty; give it a name"
    found = _NO_ID.search(name)
    if found:
        what = "white space" if found[0].isspace() else f"the invisible character U+{ord(found[0]):04X}"
        return f"holds {what}, which the TREC format cannot say; rename it wherever it stands"
    if len(name) > LONGEST_ID:
        return f"has {len(name):,} characters, more than the {LONGEST_ID:,} that an id may have; shorten it"
    return None


def are_ids(names: Sequence[str]) -> bool:
    """Tell whether all of some strings are ids."""
    return not names or (all(names) and _NO_ID.search("".join(names)) is None and max(map(len, names)) <= LONGEST_ID)
