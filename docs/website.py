"""The documentation as a site: ``make docs``, or ``python -m docs.website``, builds it without a network into ``outputs/site``.

Pages and notebooks are read from where they lie. What is added on the way: a tree of pages, which the tables of the parts' pages say;
pages of the package, a room each, and one of what it says when something is wrong; charts that one script of the site draws from what
notebooks hold. Warnings are errors. Afterwards every page is looked at: its links lead to pages, files and anchors of the site, and
nothing is loaded from elsewhere.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import html
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "outputs" / "site"
API = ROOT / "docs" / "api"  # written before pages are read; git ignores it
START = "docs/index"
INSIDE_TOO = (  # what kinds, losses, stages and sections of one's own rest on, beside what `import rd_utils as rd` has
    "data.sources", "mining.retrievers", "mining.strategies", "models.architectures", "models.students", "report.findings", "report.page",
    "scoring.teacher_kinds", "study.bounds", "study.kinds", "study.settings", "study.specs", "study.stage", "study.studies",
    "training.trainer_losses", "workflow.notebook", "report.show",
)  # fmt: skip
EXPANDED = ("docs/lessons", "docs/notebooks")  # whose tables list pages that lie below them, as those of the parts do
CHART = "application/vnd.vegalite.v"
_MARK = re.compile(r"<!-- (?:n: [\w-]+|/n) -->")  # around a number; where one begins a line, the line would be read as HTML
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])+)\]\(([^)\s#]+)(#[^)\s]*)?\)")

# --- the tree of pages ------------------------------------------------------------------------------------------------------------


def listed(page: str) -> dict[str, str]:
    """Return the pages that the tables of a page link to in their first or last column, by name, each with the words of its link."""
    path = ROOT / f"{page}.md"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found: dict[str, str] = {}
    for line in lines:
        cells = line.strip("| \n").split(" | ") if line.startswith("|") else []
        for words, target, _ in (link for cell in (cells[:1], cells[-1:]) for text in cell for link in _LINK.findall(text)):
            name = os.path.normpath(os.path.join(os.path.dirname(page), target))
            if name.endswith((".md", ".ipynb")) and (ROOT / name).is_file():
                found.setdefault(name.rpartition(".")[0], words)
    return found


@functools.cache
def tree() -> dict[str, list[str]]:
    """Return the pages below each page: those that it lists, where none above it lists them already."""
    found: dict[str, list[str]] = {}
    waiting, seen = [START], {START}
    parts = {START, *listed(START), *EXPANDED}
    while waiting:
        page = waiting.pop(0)
        below = [name for name in listed(page) if name not in seen] if page in parts else []
        seen.update(below)
        if below:
            found[page] = below
        waiting += below
    found["docs/troubleshooting"] = ["docs/api/messages"]
    found["docs/api"] = [f"docs/api/{name}" for name in rooms()]
    return found


def contents(page: str) -> str:
    """Return the directive with the pages below a page; nothing where there are none."""
    titles = listed(page)
    below = []
    for name in tree().get(page, []):
        title = "solved" if "/solutions/" in name else "" if page in EXPANDED else titles.get(name)  # else the page's own
        below.append(f"{title} </{name}>" if title else f"/{name}")
    return "\n\n```{toctree}\n:hidden:\n\n" + "".join(f"{name}\n" for name in below) + "```\n" if below else ""


# --- the package --------------------------------------------------------------------------------------------------------------------


@functools.cache
def rooms() -> dict[str, list[str]]:
    """Return the modules of each room of the package, the package itself as ``rd_utils``."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "rd_utils").rglob("*.py")):
        if path.name != "__main__.py":
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            room = ".".join(path.parent.relative_to(ROOT).parts).removeprefix("rd_utils.")
            found.setdefault(room, []).append(module)
    return found


def _docstring(module: str) -> str:
    """Return what a module says of itself, without importing it."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def write_api() -> None:
    """Write a page for each room, and delete those of rooms that are gone.

    What notebooks import and what extensions rest on is shown whole, of other modules what they say of themselves.
    """
    import rd_utils

    API.mkdir(exist_ok=True)
    whole = {f"rd_utils.{room}.{name}" for name, room in rd_utils._MODULES.items()} | {f"rd_utils.{name}" for name in INSIDE_TOO}
    wanted = {}
    for room, modules in rooms().items():
        name = "rd_utils" if room == "rd_utils" else f"rd_utils.{room}"
        lines = [f"``{name}``", "=" * (len(name) + 4), ""]
        for module in modules:
            title = f"``{module.removeprefix(name + '.')}``" if module != name else ""
            lines += [title, "-" * len(title), ""] if title else []
            shown = [f".. automodule:: {module}"] if module in whole else [f".. py:module:: {module}", "", _docstring(module)]
            lines += [*shown, ""]
        wanted[API / f"{room}.rst"] = "\n".join(lines)
    wanted[API / "messages.rst"] = messages_page()
    for path in set(API.glob("*.rst")) - set(wanted):
        path.unlink()
    for path, text in wanted.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:  # what is unchanged is not read again
            path.write_text(text, encoding="utf-8")


ASKED = ("study", "data", "mining", "models", "scoring", "exchange", "store", "workflow", "analysis")  # where what people wrote is read


class Message(NamedTuple):
    """What the package says when something is wrong, and what helps; what it fills in is an ellipsis."""

    text: str
    helps: str


def messages(room: str) -> list[Message]:
    """Return what the modules of a room raise with a remedy, which stands behind the last semicolon, sorted."""
    found = set()
    for path in (ROOT / "rd_utils" / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                text, _, helps = _template(node.exc.args[0]).rpartition("; ")
                if re.search(r"\w{3}", text.replace("…", "")) and re.search(r"\w{3}", helps.replace("…", "")):
                    found.add(Message(text.strip(), helps.strip()))
    return sorted(found, key=lambda message: message.text.lstrip("… :").lower())


def _template(node: ast.expr) -> str:
    """Return a text of the code, with an ellipsis for each value that it is given.

    >>> _template(ast.parse("f'{name} is ' + 'no name; expected {one}'", mode="eval").body)
    '… is no name; expected {one}'
    """
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _template(node.left) + _template(node.right)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_template, node.values))
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "…"


def messages_page() -> str:
    """Return the page of what the package says when something is wrong, by rooms."""
    lines = [
        "Messages",
        "========",
        "",
        "What is said of a study, a file or a command that cannot be used, with what helps. … stands for what is filled in.",
    ]
    for room in ASKED:
        title = f"``rd_utils.{room}``"
        lines += ["", title, "-" * len(title), "", ".. list-table::", "   :header-rows: 1", "   :class: rd-messages"]
        lines += ["", "   * - message", "     - what helps"]
        for message in messages(room):
            lines += [f"   * - {_literal(message.text)}", f"     - {_literal(message.helps)}"]
    return "\n".join(lines) + "\n"


def _literal(text: str) -> str:
    """Return a text as reStructuredText that shows it as it stands, what is between backticks as code.

    >>> _literal("`rd run *` again_")
    '\\\\ ``rd run *``\\\\  again\\\\_'
    """
    parts = re.split(r"`([^`\s](?:[^`]*[^`\s])?)`", " ".join(text.split()))
    plain = [re.sub(r"([\\*`|_<>\[\]])", r"\\\1", part) for part in parts[::2]]
    code = [f"\\ ``{part}``\\ " for part in parts[1::2]]
    return "".join(part for pair in zip(plain, [*code, ""], strict=True) for part in pair)


# --- how a page is read -------------------------------------------------------------------------------------------------------------


def linked(text: str, page: str) -> str:
    """Return Markdown in which links to code lead to the pages of the package, and links to folders are their names.

    >>> linked("[a](../rd_utils/mining/bm25.py), [b](../rd_utils/data), [c](../params), [d](cost.md#after)", "docs/scale")
    '{py:mod}`a <rd_utils.mining.bm25>`, [b](/docs/api/data.rst), c (`params`), [d](cost.md#after)'
    """

    def said(found: re.Match[str]) -> str:
        words, target = found[1], found[2]
        if "://" in target:
            return found[0]
        name = os.path.normpath(os.path.join(os.path.dirname(page), target))
        room = name.removeprefix("rd_utils/").replace("/", ".")
        if name.startswith("rd_utils/") and name.endswith(".py"):
            return f"{{py:mod}}`{words.strip('`')} <{name[:-3].replace('/', '.')}>`"
        if room in rooms():
            return f"[{words}](/docs/api/{room}.rst)"
        if (ROOT / name).is_dir():
            return f"`{name}`" if words.strip("`/") in {name, target} else f"{words} (`{name}`)"
        return found[0]

    return _LINK.sub(said, text)


def drawn(output: dict[str, Any]) -> dict[str, Any]:
    """Return a notebook's output in which a chart is HTML: what the site's script draws, and the picture that stands there until it has."""
    shown = output.get("data", {})
    (mime,) = [kind for kind in shown if kind.startswith(CHART)] or [""]
    if not mime:
        return output
    told = output["metadata"].get("image/png", {})
    size = " ".join(f'{side}="{told[side]}"' for side in ("width", "height") if side in told)
    alt = html.escape(told.get("alt", "Chart"))
    spec = json.dumps(shown[mime], separators=(",", ":")).replace("<", "\\u003c")
    picture = f'<img alt="{alt}" {size} src="data:image/png;base64,{"".join(shown["image/png"]).strip()}">'
    text = f'<div class="rd-chart" role="img" aria-label="{alt}">{picture}<script type="application/json">{spec}</script></div>'
    return output | {"data": {"text/html": text}}


def read(app: Sphinx, page: str, source: list[str]) -> None:
    """Change what Sphinx has read of a page: its links, the pages below it, and a notebook's charts."""
    path = Path(app.env.doc2path(page))
    if path.suffix == ".ipynb":
        notebook = json.loads(source[0])
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = linked("".join(cell["source"]), page)
            elif cell["cell_type"] == "code":
                cell["outputs"] = [drawn(output) for output in cell["outputs"]]
        source[0] = json.dumps(notebook)
    elif path.suffix == ".md":
        source[0] = linked(_MARK.sub("", source[0]), page) + contents(page)


def charts_script() -> str:
    """Return the script that draws every chart of a page, with the Vega inside that drew the pictures of notebooks."""
    import vl_convert

    from rd_utils.report.drawing import DRAWN_BY

    code = (ROOT / "docs" / "style" / "charts.js").read_text(encoding="utf-8")
    return f"(() => {{\n{vl_convert.javascript_bundle(code, DRAWN_BY)}\n}})();\n"  # no module: a browser loads none from a disk


def add_scripts(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Have a page load the script where it has charts."""
    if 'class="rd-chart"' in context.get("body", ""):
        app.add_js_file("drawn.js", loading_method="defer")


def setup(app: Sphinx) -> None:
    """Connect all this to Sphinx."""
    write_api()
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    app.add_config_value("website_digest", digest, "env")  # pages are read again where this module has changed
    app.connect("source-read", read)
    app.connect("html-page-context", add_scripts)


# --- what was built -------------------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a page links to, what it loads, and the anchors that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self._styled = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag links to or loads."""
        said = dict(attrs)
        self._styled = tag == "style"
        self.anchors |= {said[name] or "" for name in ("id", "name") if name in said}
        if tag == "a":
            self.links += [said["href"] or ""] if "href" in said else []
        elif tag == "link" and "alternate" in (said.get("rel") or ""):
            pass
        else:
            self.loads += [said[name] or "" for name in ("src", "href", "data", "poster") if name in said]
            self.loads += [part.split()[0] for part in (said.get("srcset") or "").split(",") if part.strip()]
        self.loads += _in_style(said.get("style") or "")

    def handle_data(self, data: str) -> None:
        """Note what a style sheet within the page loads."""
        if self._styled:
            self.loads += _in_style(data)


def _in_style(text: str) -> list[str]:
    return [found for found in re.findall(r"url\(\s*['\"]?([^'\")]+)", text)] + re.findall(r"@import\s+['\"]([^'\"]+)", text)


class Checked(NamedTuple):
    """What was looked at: numbers of pages and links, and what is wrong, a line each."""

    pages: int
    links: int
    problems: list[str]


def check(site: Path) -> Checked:
    """Look at every page and style sheet of a site: nothing is loaded from elsewhere, every link within it leads somewhere."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    problems: list[str] = []
    links = 0
    for path, page in pages.items():
        name = path.relative_to(site)
        for target in page.links + page.loads:
            parts = urlsplit(target)
            if parts.scheme in ("data", "mailto", "javascript"):
                continue
            if parts.scheme or parts.netloc:
                problems += [f"{name}: loads {target}"] if target in page.loads else []
                continue
            links += 1
            place = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not place.is_file():
                problems.append(f"{name}: {target} leads nowhere")
            elif parts.fragment and place in pages and unquote(parts.fragment) not in pages[place].anchors:
                problems.append(f"{name}: {target} has no such anchor")
    for path in sorted(site.rglob("*.css")):
        found = [target for target in _in_style(path.read_text(encoding="utf-8")) if urlsplit(target).scheme not in ("", "data")]
        problems += [f"{path.relative_to(site)}: loads {target}" for target in found]
    return Checked(len(pages), links, list(dict.fromkeys(problems)))


def build(site: Path = SITE, fresh: bool = False) -> int:
    """Build the site; return Sphinx's exit status."""
    from sphinx.cmd.build import build_main

    trees = site.with_name(f".{site.name}-trees")
    if fresh:
        shutil.rmtree(trees, ignore_errors=True)
    options = ["--quiet", "--fail-on-warning", "--keep-going", "--jobs", "auto", "--builder", "html"]
    status = build_main([*options, "--conf-dir", str(ROOT / "docs"), "--doctree-dir", str(trees), str(ROOT), str(site)])
    if not status:
        (site / "_static" / "drawn.js").write_text(charts_script(), encoding="utf-8")
        (site / "_static" / "webpack-macros.html").unlink(missing_ok=True)  # the theme's own, no page
        (site / "index.html").write_text(_FRONT, encoding="utf-8")
    return status


_FRONT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Ranking distillation notebooks</title>
<meta http-equiv="refresh" content="0; url=docs/index.html"></head><body><a href="docs/index.html">Documentation</a></body></html>
"""


def _said(checked: Checked) -> Iterator[str]:
    yield f"{checked.pages} pages, {checked.links} links within the site, {len(checked.problems)} problems"
    yield from checked.problems


def main(site: Path = SITE) -> int:
    """Build the site and check it; return 0 where all is well."""
    began = time.process_time()
    status = build(site)
    if status:
        return status
    checked = check(site)
    print(*_said(checked), sep="\n")
    print(f"{site / 'index.html'} ({time.process_time() - began:.0f} s of this process)")
    return int(bool(checked.problems))


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
