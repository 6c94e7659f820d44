"""The documented collection: real text without a download, from the sources of Python packages that the lock file pins.

Two tasks are made of the functions of numpy, scipy, scikit-learn, networkx, statsmodels and pandas, the first also of the standard library:

- ``code_search``: a query is the first sentence of a function's docstring, its positive the code of the function;
- ``see_also``: a query is a function's documentation, its positives are the documentation of the functions that its section "See Also"
  refers to. The standard library has no such sections, so it has no part in it.

Sources are parsed, never imported, and read in the order of their names. Nothing depends on locale, platform or the order of a folder; what
decides the texts are the versions of the packages, and for the standard library that of Python, so these are part of the identity of all
that is made of them (see :class:`rd_utils.data.sources.DocumentedCollection`).

What is a function here: one that is defined at the top of a module and documented, under a public name. A name is public where it does not
begin with an underscore and its module's ``__all__`` lists it; or, in a module without one and without an underscore in its path; or where
the ``__init__`` of a package without an underscore in its path imports it from its module or a package above that. In a package with an
underscore in its path only the last counts. A function is where it is defined, so re-exports and aliases add nothing.

What would give an answer away is removed, and counted (:attr:`Made.dropped`):

- from code: its docstring and those within it, comments, decorators, and the function's own name wherever it stands (``_`` stands for it);
- functions whose code still says the query's sentence;
- functions of one code: they are one document, and where they lie in several splits they are left out;
- sentences of more than three functions, or of functions in several splits: these are templates. Of up to three in one split they are one
  query with several positives;
- from sentences and documentation: the signature that some begin with;
- from documentation: the sections "See Also" of all texts, directives and sentences that say the same;
- functions of one documentation: only the first of them stays.

A function's module decides its split (:func:`split_of`): by a hash of the module's name, so that a new module moves no other. In
``see_also`` no function is a query and a document at once, or each query would find its own text first; and a query with a positive
in another split is left out, so that no positive of one split is one of another, nor an answer in the corpus that is not judged.
"""

from __future__ import annotations

import ast
import functools
import gc
import hashlib
import importlib.util
import itertools
import re
import sys
import sysconfig
import tokenize
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from rd_utils.store.outside import PYTHON, package_version

Task = Literal["code_search", "see_also"]
Split = Literal["train", "validation", "test"]

IMPORT_NAMES = {  # of each distribution
    "networkx": "networkx",
    "numpy": "numpy",
    "pandas": "pandas",
    "scikit-learn": "sklearn",
    "scipy": "scipy",
    "statsmodels": "statsmodels",
}
SKIPPED = frozenset(  # parts of paths: tests, builds, and what others wrote and a package carries along
    "tests test testing conftest.py setup.py __config__ distutils externals _external vendored _vendor _vendored _examples".split()
)
SKIPPED_LIBRARY = frozenset(  # of the standard library: programs, tables, what systems patch or pack apart, what later versions lack
    "antigravity asynchat asyncore cgi cgitb crypt distutils encodings ensurepip idlelib imghdr imp lib2to3 mailcap msilib nntplib pipes "
    "pydoc_data site smtpd sndhdr sunau sysconfig telnetlib this tkinter turtle turtledemo uu venv xdrlib".split()
)
PINNED = {  # versions that the counts in docs/collections.md, and the sizes below, are of
    "networkx": "3.6.1",
    "numpy": "2.4.6",
    "pandas": "3.1.1",
    PYTHON: "CPython 3.11.7",
    "scikit-learn": "1.9.1",
    "scipy": "1.17.1",
    "statsmodels": "0.15.0",
}
SIZES: dict[tuple[str, str], tuple[int, int, int]] = {  # documents, queries, positives
    ("code_search", "train"): (4192, 2273, 2321),
    ("code_search", "validation"): (4192, 670, 694),
    ("code_search", "test"): (4192, 957, 988),
    ("see_also", "train"): (3068, 603, 842),
    ("see_also", "validation"): (3068, 169, 258),
    ("see_also", "test"): (3068, 199, 281),
}
WORDS = {"code_search": (9.1, 91.9), "see_also": (323.1, 233.8)}  # means of a query and a document, between white space
SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}
SHORTEST_SENTENCE, LONGEST_SENTENCE = 4, 40  # words of a query
SHORTEST_TEXT = 10  # words of a documentation
STATEMENTS = 2  # that a code has at least, nested ones counted
OF_A_SENTENCE = 3  # functions that may have it

_SIGNATURE = re.compile(r"\s*(?:[\w.]+\s*=\s*)?(?:[\w.]+\.)?(?P<name>\w+)\s*\([^()]*(?:\([^()]*\)[^()]*)*\)(?:\s*->\s*[^\n]+)?\s*(?:\n|$)")
_ROLE = re.compile(r":[\w:]+:`[~!]?([^`]+)`")
_SENTENCE_END = re.compile(r"(?<![.\s](?:e\.g|i\.e)\.)(?<!\bvs\.)(?<!\bcf\.)(?<=[.!?])\s+(?=[^a-z\s])")
_SEE_ALSO = re.compile(r"^See Also\n-+[ \t]*\n(?P<names>.*?)(?=^[^\n]+\n[-=]{3,}[ \t]*$|\Z)", re.DOTALL | re.MULTILINE | re.IGNORECASE)
_DIRECTIVE = re.compile(r"^([ \t]*)\.\. seealso::[^\n]*(?:\n(?:[ \t]*$|\1[ \t]+[^\n]*$))*", re.MULTILINE)
_SAYS_SO = re.compile(r"\(?\bsee also\b(?:(?!\n\s*\n).)*?(?:\.\)?(?=\s|$)|(?=\n\s*\n)|\Z)", re.DOTALL | re.IGNORECASE)
_COMMENT = re.compile(
    r"""(?P<string>\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|\#[^\n]*""", re.DOTALL
)
_NAME = re.compile(r"[A-Za-z_][\w.]*")
_WORDS = re.compile(r"\w+")
_NICKNAMES = {"np": "numpy", "pd": "pandas", "nx": "networkx", "sp": "scipy", "sm": "statsmodels"}


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class SourceError(ValueError):
    """The sources of a package are not there; the message names it and the remedy."""


class Function(NamedTuple):
    """A documented public function.

    Attributes:
        module: where it is defined, such as ``scipy.linalg._basic``.
        name: its own.
        unit: what is split as a whole: the folder of its module, or a top module of the standard library.
        documentation: its docstring, without the indentation of the source.
        code: what :func:`bare_code` leaves of its source.
        statements: how many there are in it and its blocks, the docstring not counted.
    """

    module: str
    name: str
    unit: str
    documentation: str
    code: str
    statements: int

    @property
    def id(self) -> str:
        """Return the path by which it is known."""
        return f"{self.module}.{self.name}"


class Made(NamedTuple):
    """What a task is made of.

    Attributes:
        docs: doc_id, text.
        queries: query_id, text, of each split.
        qrels: query_id, doc_id, relevance (1), of each split.
        functions: how many public, documented functions there are.
        dropped: how many functions, sentences, references or queries were left out, by reason.
    """

    docs: pd.DataFrame
    queries: dict[str, pd.DataFrame]
    qrels: dict[str, pd.DataFrame]
    functions: int
    dropped: Counter[str]


# --- sources ----------------------------------------------------------------------------------------------------------------------


class Source(NamedTuple):
    """A file of a package: what its module is called, what it is split with, and whether it is an ``__init__``."""

    path: Path
    module: str
    unit: str

    @property
    def is_package(self) -> bool:
        """Tell whether the module is a package."""
        return self.path.name == "__init__.py"


def folder_of(package: str) -> Path:
    """Return where the modules of a distribution lie, without importing them.

    Raises:
        SourceError: it is not installed, or not as files.
    """
    if package == PYTHON:
        return Path(sysconfig.get_path("stdlib"))
    name = IMPORT_NAMES.get(package, package)
    found = importlib.util.find_spec(name)
    if found is None:
        raise SourceError(f"the documented collection is made of sources of {package}, which is not installed; pip install {package}")
    if found.origin is None or not found.origin.endswith(".py") or not Path(found.origin).is_file():
        raise SourceError(
            f"{package} has no source files, of which the documented collection is made; pip install --force-reinstall {package}"
        )
    return Path(found.origin).parent


def sources_of(package: str) -> list[Source]:
    """Return the files of a distribution in the order of their modules' names.

    Of the standard library these are the public modules that every platform has, without tests, programs (idlelib, turtledemo, lib2to3,
    ensurepip), tables (encodings, pydoc_data), what systems pack by itself or patch (tkinter, turtle, site, sysconfig, venv) and what later
    versions of Python lack.
    """
    folder = folder_of(package)
    if package != PYTHON:
        found = [_source(path, folder.parent) for path in folder.rglob("*.py")]
    else:
        names = [name for name in sys.stdlib_module_names if not name.startswith("_") and name not in SKIPPED_LIBRARY]
        files = [folder / f"{name}.py" for name in names] + [path for name in names for path in (folder / name).rglob("*.py")]
        found = [_source(path, folder) for path in files if path.is_file()]
        found = [source._replace(unit=source.module.split(".")[0]) for source in found]
    return sorted((source for source in found if not _is_skipped(source)), key=lambda source: source.module)


def _source(path: Path, root: Path) -> Source:
    parts = path.relative_to(root).with_suffix("").parts
    return Source(path, ".".join(parts[:-1] if parts[-1] == "__init__" else parts), ".".join(parts[:-1]))


def _is_skipped(source: Source) -> bool:
    parts = source.module.split(".")
    return any(part in SKIPPED or part.startswith("test_") for part in (*parts, source.path.name))


def split_of(unit: str) -> str:
    """Return the split of a module's functions: where the SHA-256 of its unit's name, as a share, falls among the splits' shares."""
    place = int(hashlib.sha256(unit.encode()).hexdigest()[:8], 16) / 16**8
    ends = itertools.accumulate(SHARES.values())
    return next(split for split, end in zip(SHARES, ends, strict=True) if place < end or split == "test")


# --- functions --------------------------------------------------------------------------------------------------------------------


class Module(NamedTuple):
    """What is read of a module.

    Attributes:
        functions: documented ones, whose names do not begin with an underscore.
        listed: the names in ``__all__``; None where it has none that can be read.
        imported: names that a package imports from modules, by module.
    """

    source: Source
    functions: tuple[Function, ...]
    listed: frozenset[str] | None
    imported: dict[str, set[str]]


def read_module(source: Source) -> Module:
    """Parse one file.

    Raises:
        SyntaxError: it is no Python of this version.
    """
    with tokenize.open(source.path) as stream:
        text = stream.read()
    tree = ast.parse(text)
    lines = text.split("\n")
    functions: dict[str, Function] = {}
    listed, imported = None, defaultdict(set)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            functions.pop(node.name, None)  # what is defined again is another function, an overload before it none
            documentation = ast.get_docstring(node)
            if documentation and documentation.strip():
                functions[node.name] = _function(node, source, documentation, lines)
        elif isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets):
            listed = _literal_names(node.value)
        for inner in (node, *statements_within(node)) if source.is_package and not isinstance(node, _DEFINITIONS) else ():
            if isinstance(inner, ast.ImportFrom):
                imported[_absolute(inner, source)].update(alias.name for alias in inner.names)
    return Module(source, tuple(functions.values()), listed, dict(imported))


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, source: Source, documentation: str, lines: Sequence[str]) -> Function:
    statements = sum(1 for _ in statements_within(node)) - 1
    return Function(source.module, node.name, source.unit, documentation, bare_code(node, lines), statements)


def _literal_names(value: ast.expr) -> frozenset[str] | None:
    try:
        return frozenset(map(str, ast.literal_eval(value)))
    except (ValueError, TypeError):
        return None


def _absolute(node: ast.ImportFrom, source: Source) -> str:
    if not node.level:
        return node.module or ""
    parts = source.module.split(".")
    parts = parts[: len(parts) - node.level + source.is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


def bare_code(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: Sequence[str]) -> str:
    """Return a function's source without decorators, docstrings, comments and empty lines; ``_`` stands wherever its own name stood.

    Parameters stay, with their defaults and annotations.

    >>> text = ['def total(a, start=0):', '    "Sum."', '    # adds', '    return total(a[1:], start + a[0]) if a else start  # done']
    >>> print(bare_code(ast.parse(chr(10).join(text)).body[0], text))
    def _(a, start=0):
        return _(a[1:], start + a[0]) if a else start
    """
    kept = {number: lines[number - 1] for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    for inner in (node, *statements_within(node)):
        if isinstance(inner, _DEFINITIONS) and ast.get_docstring(inner, clean=False) is not None:
            said = inner.body[0]
            for number in range(said.lineno, (said.end_lineno or said.lineno) + 1):
                before = kept[number].encode()[: said.col_offset].decode() if number == said.lineno else ""
                kept[number] = before if before.strip() else ""  # what shares the docstring's lines goes with it, but for the head
    code = _COMMENT.sub(lambda found: found["string"] or "", "\n".join(kept.values()))
    code = "\n".join(line.rstrip() for line in code.split("\n") if line.strip())
    return re.sub(rf"\b{re.escape(node.name)}\b", "_", code)


def statements_within(node: ast.AST) -> Iterator[ast.stmt]:
    """Yield the statements of a block and of the blocks within it; expressions are not gone through."""
    for field in ("body", "orelse", "finalbody"):
        for inner in getattr(node, field, ()):
            yield inner
            yield from statements_within(inner)
    for field in ("handlers", "cases"):
        for part in getattr(node, field, ()):
            yield from statements_within(part)


def public_functions(modules: Sequence[Module]) -> Iterator[Function]:
    """Yield the functions of a package that are public by their own name and their module's (see the head of this module)."""
    exported: dict[str, set[str]] = defaultdict(set)
    for module in modules:
        if module.source.is_package and not _hidden(module.source.module):
            for name, names in module.imported.items():
                exported[name] |= names
    for module in modules:
        parts = module.source.module.split(".")
        above = [exported[".".join(parts[:end])] for end in range(1, len(parts) + 1)]
        inside = _hidden(module.source.module if module.source.is_package else ".".join(parts[:-1]))
        for function in module.functions:
            if module.listed is not None:
                shown = function.name in module.listed and (not inside or any("*" in names for names in above))
            else:
                shown = not _hidden(module.source.module) or "*" in above[-1]
            if shown or any(function.name in names for names in above):
                yield function


def _hidden(module: str) -> bool:
    return any(part.startswith("_") for part in module.split("."))


@functools.lru_cache(maxsize=16)
def functions_of(package: str, version: str) -> tuple[tuple[Function, ...], int]:
    """Return the public, documented functions of a package, and how many files could not be read.

    They are read once in a process, as long as the ``version`` stays.
    """
    modules, lost = [], 0
    with _no_collection(), warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        for source in sources_of(package):
            try:
                modules.append(read_module(source))
            except (SyntaxError, UnicodeDecodeError):  # templates, and files of another Python
                lost += 1
    return tuple(public_functions(modules)), lost


# --- texts ------------------------------------------------------------------------------------------------------------------------


def without_signature(documentation: str, name: str) -> str:
    """Return a documentation without the signatures of the function that it begins with.

    >>> without_signature("dot(a, b, out=None)\\n\\nDot product.", "dot")
    'Dot product.'
    """
    while (found := _SIGNATURE.match(documentation)) and found["name"] == name:
        documentation = documentation[found.end() :].lstrip()
    return documentation


def first_sentence(documentation: str) -> str:
    """Return the first sentence of the first paragraph on one line, without markup; empty where it begins with no words.

    >>> first_sentence("Solve ``a x = b``\\nfor :func:`~np.x`, e.g. Cholesky. More of it.\\n\\nParameters")
    'Solve a x = b for np.x, e.g. Cholesky.'
    """
    paragraph = " ".join(documentation.lstrip().split("\n\n")[0].split())
    if paragraph.startswith((".. ", ">>>", ":param", "- ", "* ")):
        return ""
    return _SENTENCE_END.split(_ROLE.sub(r"\1", paragraph).replace("`", ""))[0].strip()


def _spelled(text: str) -> str:
    """Return the words of a text alone, in lower case, with a space on both sides of each."""
    return f" {' '.join(_WORDS.findall(text.casefold()))} "


def repeats(code: str, sentence: str) -> bool:
    """Tell whether a code says a sentence: its words in their order, whatever stands between them is punctuation and white space.

    >>> repeats('raise ValueError("Solve the linear\\\\nsystem!")', "Solve the linear system.")
    False
    >>> repeats("raise ValueError('Solve the linear system!')", "Solve the linear system.")
    True
    """
    return _spelled(sentence) in _spelled(code)


def without_see_also(documentation: str) -> str:
    """Return a documentation without its section "See Also", its directives ``seealso``, and sentences that say "see also".

    >>> without_see_also("Sum.\\n\\nSee Also\\n--------\\nmean : Mean.\\n\\nNotes\\n-----\\nFast (see also mean). Exact.")
    'Sum.\\n\\nNotes\\n-----\\nFast  Exact.'
    """
    text = _DIRECTIVE.sub("", _SEE_ALSO.sub("", documentation))
    return re.sub(r"\n{3,}", "\n\n", _SAYS_SO.sub("", text)).strip()


def references(documentation: str) -> list[str]:
    """Return the names that a section "See Also" refers to, in their order.

    >>> references("Sum.\\n\\nSee Also\\n--------\\nmean, :func:`~np.std` : Others.\\n    As product.\\nprod")
    ['mean', 'np.std', 'prod']
    """
    found = _SEE_ALSO.search(documentation)
    names = []
    for line in found["names"].split("\n") if found else ():
        if line.strip() and not line[0].isspace():
            said = re.split(r"\s:(?:\s|$)|:\s*$", _ROLE.sub(r"\1", line))[0].replace("`", "")
            names += [name for part in re.split(r"[,\s]+", said) if (name := part.strip(".")) and _NAME.fullmatch(name)]
    return list(dict.fromkeys(names))


class Table:
    """Functions by name, to find what a reference means.

    Args:
        functions: all that may be meant.
    """

    def __init__(self, functions: Iterable[Function]) -> None:
        self.by_name: dict[str, list[Function]] = defaultdict(list)
        for function in functions:
            self.by_name[function.name].append(function)

    def meant(self, name: str, said_by: Function) -> Function | None:
        """Return the function that a name in another's documentation means; None where there is none, or two are as near.

        It is of the package that the name begins with, else of the same package; its module has the other parts of the name in their order
        (``scipy.linalg.solve`` is defined in ``scipy.linalg._basic``). Of several the nearest is meant: that whose module has most parts in
        common with the speaker's from the left on, then that with the shortest path.
        """
        *before, last = name.split(".")
        before = [_NICKNAMES.get(before[0], before[0]), *before[1:]] if before else []
        own = said_by.module.split(".")
        package = before[0] if before and before[0] in IMPORT_NAMES.values() else own[0]

        def distance(function: Function) -> tuple[int, int]:
            parts = function.module.split(".")
            common = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(parts, own, strict=False))
            return -sum(1 for _ in common), len(parts)

        near = [
            function
            for function in self.by_name.get(last, ())
            if function.id != said_by.id and function.module.split(".")[0] == package and _in_order(before, function.module.split("."))
        ]
        near.sort(key=distance)
        return None if not near or (len(near) > 1 and distance(near[0]) == distance(near[1])) else near[0]


def _in_order(some: Sequence[str], all_of_them: Sequence[str]) -> bool:
    rest = iter(all_of_them)
    return all(part in rest for part in some)


# --- tasks ------------------------------------------------------------------------------------------------------------------------


def code_search(functions: Sequence[Function]) -> Made:
    """Return the task in which the first sentence of a docstring asks for the code."""
    dropped: Counter[str] = Counter()
    same: dict[str, list[Function]] = defaultdict(list)
    for function in functions:
        if function.statements < STATEMENTS:
            dropped["functions_too_short"] += 1
        else:
            same[function.code].append(function)
    docs: dict[str, tuple[str, str]] = {}  # code and split, by the id of its first function
    asked: dict[str, list[tuple[str, str, str]]] = defaultdict(list)  # function, document and sentence, by the sentence's words
    for code, alike in same.items():
        splits = {split_of(function.unit) for function in alike}
        if len(splits) > 1:
            dropped["functions_of_one_code_in_several_splits"] += len(alike)
            continue
        dropped["functions_of_one_code_merged"] += len(alike) - 1
        doc_id = alike[0].id
        docs[doc_id] = code, splits.pop()
        for function in alike:
            sentence = first_sentence(without_signature(function.documentation, function.name))
            words = len(sentence.split())
            if not SHORTEST_SENTENCE <= words <= LONGEST_SENTENCE:
                dropped["sentences_too_short_or_long"] += 1
            elif re.search(rf"\b{re.escape(function.name)}\s*\(", sentence):
                dropped["sentences_with_a_signature"] += 1
            elif repeats(code, sentence):
                dropped["sentences_that_the_code_repeats"] += 1
            else:
                asked[_spelled(sentence)].append((function.id, doc_id, sentence))
    rows = []
    for said in asked.values():
        doc_ids = list(dict.fromkeys(doc_id for _, doc_id, _ in said))
        splits = {docs[doc_id][1] for doc_id in doc_ids}
        if len(splits) > 1 or len(doc_ids) > OF_A_SENTENCE:
            dropped["sentences_of_several_functions"] += len(said)
        else:
            function_id, _, sentence = said[0]
            rows.append((splits.pop(), function_id, sentence, doc_ids))
    return _made([(doc_id, code) for doc_id, (code, _) in docs.items()], rows, len(functions), dropped)


def see_also(functions: Sequence[Function]) -> Made:
    """Return the task in which a function's documentation asks for that of the functions that it refers to.

    In the order of a hash of their ids functions become queries: those that no query before needs as its positive, and that have one
    themselves which is no query yet. All others are the documents.
    """
    dropped: Counter[str] = Counter()
    texts: dict[str, str] = {}
    first_of: dict[str, str] = {}  # the id of the function that has a text, by the text
    stands_for: dict[str, str] = {}
    for function in functions:
        text = without_see_also(without_signature(function.documentation, function.name))
        if len(text.split()) < SHORTEST_TEXT:
            dropped["functions_with_too_short_a_documentation"] += 1
            continue
        stands_for[function.id] = first_of.setdefault(_spelled(text), function.id)
        if stands_for[function.id] == function.id:
            texts[function.id] = text
        else:
            dropped["functions_of_one_documentation"] += 1
    by_id = {function.id: function for function in functions}
    table = Table(functions)
    near: dict[str, list[str]] = {}
    for doc_id in texts:
        function = by_id[doc_id]
        meant = [table.meant(name, function) for name in references(function.documentation)]
        dropped["references_to_no_function_here"] += sum(one is None for one in meant)
        found = dict.fromkeys(stands_for[one.id] for one in meant if one is not None and one.id in stands_for)
        found.pop(doc_id, None)
        if len({split_of(by_id[other].unit) for other in (doc_id, *found)}) > 1:
            dropped["queries_with_a_positive_in_another_split"] += 1
        elif found:
            near[doc_id] = list(found)
    chosen: set[str] = set()
    needed: set[str] = set()
    for doc_id in sorted(near, key=_digest):
        free = [other for other in near[doc_id] if other not in chosen]
        if doc_id not in needed and free:
            chosen.add(doc_id)
            needed.add(free[0])
    dropped["queries_that_are_documents"] = len(near) - len(chosen)
    rows = [
        (split_of(by_id[doc_id].unit), doc_id, texts[doc_id], [other for other in near[doc_id] if other not in chosen])
        for doc_id in texts
        if doc_id in chosen
    ]
    return _made([(doc_id, text) for doc_id, text in texts.items() if doc_id not in chosen], rows, len(functions), dropped)


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _made(docs: list[tuple[str, str]], rows: list[tuple[str, str, str, list[str]]], functions: int, dropped: Counter[str]) -> Made:
    """Return frames of documents, and of rows of split, function, text and positives.

    A query's id begins with four digits of a hash, so that the first ones by id are of all modules.
    """
    queries: dict[str, pd.DataFrame] = {}
    qrels: dict[str, pd.DataFrame] = {}
    for split in SHARES:
        own = [(f"{_digest(doc_id)[:4]}-{doc_id}", text, positives) for where, doc_id, text, positives in rows if where == split]
        queries[split] = pd.DataFrame([row[:2] for row in own], columns=["query_id", "text"], dtype="str")
        judged = [(query_id, doc_id, 1) for query_id, _, positives in own for doc_id in positives]
        qrels[split] = pd.DataFrame(judged, columns=["query_id", "doc_id", "relevance"]).astype(
            {"query_id": "str", "doc_id": "str", "relevance": "int64"}
        )
    return Made(pd.DataFrame(docs, columns=["doc_id", "text"], dtype="str"), queries, qrels, functions, +dropped)


TASKS = {"code_search": code_search, "see_also": see_also}


def packages_of(task: Task) -> tuple[str, ...]:
    """Return the distributions that a task is made of, and ``python`` for the standard library, in the order of their names."""
    return tuple(sorted([*IMPORT_NAMES, *([PYTHON] if task == "code_search" else [])]))


def make(task: Task) -> Made:
    """Return a task's documents, queries and qrels; they are made once in a process, and again only of other versions.

    Raises:
        SourceError: a package is not there.
    """
    return _make(task, installed(task))


def installed(task: Task) -> tuple[tuple[str, str], ...]:
    """Return the packages of a task with the versions that are installed.

    Raises:
        SourceError: one is not there.
    """
    for package in packages_of(task):
        folder_of(package)
    return tuple((package, package_version(package)) for package in packages_of(task))


@functools.lru_cache(maxsize=len(TASKS))
def _make(task: Task, versions: tuple[tuple[str, str], ...]) -> Made:
    found = [functions_of(package, version) for package, version in versions]
    made = TASKS[task]([function for functions, _ in found for function in functions])
    return made._replace(dropped=made.dropped + Counter(files_not_parsed=sum(lost for _, lost in found)))


def unlike_pinned(task: Task) -> str:
    """Return which packages have other versions than those that the published counts are of; empty where none has."""
    others = [f"{package} {version} (there {PINNED[package]})" for package, version in installed(task) if version != PINNED[package]]
    return ", ".join(others)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python from looking for garbage among the nodes of trees, which has no end and finds none."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
