"""The glossary's terms in a lesson: the first use of each becomes a link to it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rd_utils.store import suite_root

GLOSSARY = Path("docs") / "glossary.md"
_EVERYDAY = {"run", "cell", "seed", "positive", "negative", "floor", "identity", "study", "recall", "grade"}
"""Words that a lesson also uses in another sense: they are terms where they are set in italics or bold."""

_UNTOUCHED = re.compile(r"^```.*?^```$|^#.*?$|`[^`]*`|!?\[[^\]]*\]\([^)]*\)|\$[^$\n]*\$", re.M | re.S)  # code, headings, links, formulae


def terms(glossary: str) -> list[str]:
    """Return the terms of a glossary's text, longer ones first, so that *false negative* goes before *negative*.

    >>> terms("# Glossary\\n\\n### loss\\nWhat falls.\\n\\n### group loss\\nOne group's.")
    ['group loss', 'loss']
    """
    return sorted(re.findall(r"^### (.+)$", glossary, re.M), key=len, reverse=True)


def linked(notebook: dict[str, Any], glossary: str, way: str) -> None:
    """Link the first use of every term in a notebook's Markdown, in place; a term that is linked already stays as it is.

    The first cell, with the title and the question, stays plain: it is quoted in tables.

    Args:
        notebook: As nbformat has it.
        glossary: Its text.
        way: From the notebook's folder to the glossary, such as ``../../docs/glossary.md``.
    """
    _, *cells = (cell for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    texts = ["".join(cell["source"]) for cell in cells]
    for term in terms(glossary):
        target = f"{way}#{_anchor(term)}"
        if any(f"]({target})" in text for text in texts):
            continue
        for place, text in enumerate(texts):
            texts[place], found = _link_first(text, term, target)
            if found:
                break
    for cell, text in zip(cells, texts, strict=True):
        cell["source"] = text.splitlines(keepends=True)


def load() -> str:
    """Return the text of the suite's glossary."""
    return (suite_root() / GLOSSARY).read_text(encoding="utf-8")


def _anchor(term: str) -> str:
    return re.sub(r"[^\w\- ]", "", term.lower()).replace(" ", "-")


def _link_first(text: str, term: str, target: str) -> tuple[str, bool]:
    """Link the first use of a term in a text.

    >>> _link_first("# A loss\\nThe `loss`, that is losses.", "loss", "g.md#loss")
    ('# A loss\\nThe `loss`, that is [losses](g.md#loss).', True)
    >>> _link_first("Run the run, a *run*.", "run", "g.md#run")
    ('Run the run, a *[run](g.md#run)*.', True)
    """
    ends = f"(?:{re.escape(term[:-1])}ies|{re.escape(term)}(?:e?s)?)"
    word = rf"(?<![\w/-]){f'(?i:{ends})' if term[0].islower() else ends}(?![\w-])"
    pattern = re.compile(rf"(?<=\*){word}(?=\*)" if term in _EVERYDAY else word)
    kept = [match.span() for match in _UNTOUCHED.finditer(text)]
    for match in pattern.finditer(text):
        if not any(start < match.end() and match.start() < end for start, end in kept):
            return f"{text[: match.start()]}[{match.group()}]({target}){text[match.end() :]}", True
    return text, False
