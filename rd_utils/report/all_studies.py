"""The command ``index``: one page over all finished studies, from the tables in their folders; every row leads to its study's report.

Nothing is compared anew: means with their intervals are of each study's own values, differences and verdicts those of its own tests, which
are corrected within that study alone.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from rd_utils.files import writing
from rd_utils.store import outputs_root
from rd_utils.study.params import ParameterError

if TYPE_CHECKING:
    import pandas as pd

    from rd_utils.report.page import Table

AGAINST = {"strategy": "baseline strategy", "first stage": "first stage"}  # families of contrasts, by what a cell is compared with
_CAPTION = re.compile(r'<figcaption id="(table-\d+)-caption"><strong>Table \d+\.</strong> (.*?)<a class="data"', re.DOTALL)


class Read(NamedTuple):
    """A study as its folder has it.

    Attributes:
        about: what the table of studies says of it.
        cells: one row a cell, training and test collection and first stage: PLACE, ``cell``, DIMENSIONS, ``measure``, ``mean``, ``low``,
            ``high``, ``queries``, ``seeds``; for each of :data:`AGAINST` ``difference``, ``low``, ``high``, ``verdict`` and ``fragile``
            behind its name; costs of a seed; ``link``, relative to the folder of outputs.
    """

    about: dict[str, object]
    cells: pd.DataFrame


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    parser.add_argument("--to", metavar="FILE", help="where the page goes (default: index.html in the outputs folder)")


def run(options: argparse.Namespace) -> str:
    """Write the page; return what to print.

    Raises:
        ParameterError: there is no finished study, or the place is a folder.
        StoreError: the disk refuses.
    """
    from rd_utils.workflow.progress import track

    root = outputs_root()
    path = Path(options.to).expanduser() if options.to else root / "index.html"
    if path.is_dir():
        raise ParameterError(f"--to {path} is a folder; name a file in it, such as {path / 'index.html'}")
    records = sorted(root.glob("*/study.json"))
    studies, left_out = [], []
    for record in track(records, "reading studies", len(records)):
        try:
            studies.append(read(record.parent))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            left_out.append(f"{record.parent.name} ({type(error).__name__}: {error})")
    if not studies:
        why = f"; left out: {'; '.join(left_out)}" if left_out else ""
        raise ParameterError(f"{root} holds no finished study{why}; `rd run params/smallest.yaml` makes one")
    with writing(path):
        write(studies, left_out, path, root)
    rows = sum(len(study.cells) for study in studies)
    said = f"{path}: {len(studies)} {'study' if len(studies) == 1 else 'studies'}, {rows:,} rows"
    return "\n".join([said, *(f"left out: {text}; run the study again" for text in left_out)])


# --- reading ------------------------------------------------------------------------------------------------------------------------


def read(folder: Path) -> Read:
    """Return a study from the files of its folder.

    Raises:
        OSError, ValueError, KeyError, TypeError, AttributeError: one is missing, or is not what this version writes.
    """
    import pandas as pd

    from rd_utils.study.plan import PLACE

    said = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    parameters = said["parameters"]
    analysis = parameters["analysis"]
    only = [("measure", "==", analysis["measure"]), ("system", "==", "student")]
    cells = _means(pd.read_parquet(folder / "per_query.parquet", filters=only), analysis["level"])
    differences = pd.read_parquet(folder / "differences.parquet")
    for family in AGAINST:
        cells = cells.merge(_against(differences, family), on=[*PLACE, "cell"], how="left", validate="one_to_one")
    points = pd.read_parquet(folder / "points.parquet")
    costs = {"total_cpu_seconds": "cpu_seconds", "total_gpu_seconds": "gpu_seconds", "total_joules": "joules"}
    costs |= {"total_teacher_calls": "teacher_calls"}
    cells = cells.merge(points[[*PLACE, "cell", *costs]].rename(columns=costs), on=[*PLACE, "cell"], how="left", validate="one_to_one")
    links = _links(folder)
    pairs = list(zip(cells["collection"], cells["test_collection"], strict=True))
    cells["link"] = [links(train, test, len(set(pairs))) for train, test in pairs]
    cells = cells.assign(study=said["study"], measure=analysis["measure"])
    about = {
        "study": said["study"],
        "question": parameters["question"],
        "collections": cells["test_collection"].nunique(),
        "cells": cells["cell"].nunique(),
        "seeds": int(cells["seeds"].max()),
        "queries": int(cells["queries"].max()),
        "measure": analysis["measure"],
        "margin": analysis["equivalence_margin"],
        "link": links("", "", 1).partition("#")[0],
    }
    return Read(about, cells)


def _means(per_query: pd.DataFrame, level: float) -> pd.DataFrame:
    """Return the mean of every cell with its interval over queries and seeds: :class:`rd_utils.analysis.crossed.Crossed`."""
    import pandas as pd

    from rd_utils.analysis import contrasts, crossed
    from rd_utils.study.plan import DIMENSIONS, PLACE

    rows = []
    keys = [*PLACE, "cell", *DIMENSIONS]
    for place, values in per_query.groupby(keys, sort=False, dropna=False):
        found = crossed.crossed(contrasts.by_seed(values).to_numpy().T)
        low, high = found.interval(level)
        shown = {"mean": found.mean, "low": low, "high": high, "queries": found.n_queries, "seeds": found.n_seeds}
        rows.append(dict(zip(keys, place, strict=True)) | shown)
    return pd.DataFrame(rows, columns=[*keys, "mean", "low", "high", "queries", "seeds"])


def _against(differences: pd.DataFrame, family: str) -> pd.DataFrame:
    """Return what the contrasts of a family say, one row a cell; of several first stages the first counts."""
    from rd_utils.study.plan import PLACE

    own = differences[differences["family"] == family].drop_duplicates([*PLACE, "cell_after"])
    said = ["difference", "low", "high", "verdict", "fragile"]
    names = {"cell_after": "cell"} | {name: f"{name}, {family}" for name in said}
    return own[[*PLACE, "cell_after", *said]].rename(columns=names)


def _links(folder: Path) -> Callable[[str, str, int], str]:
    """Return what finds, of a pair of collections and of so many, the table of all systems in a study's report, or else the report."""
    from rd_utils.report.sections.effectiveness import all_systems

    report = folder / "report.html"
    if not report.is_file():
        return lambda *_: ""
    page, found = f"{quote(folder.name)}/report.html", _CAPTION.findall(report.read_text(encoding="utf-8"))
    anchors = {html.unescape(re.sub(r"<[^>]+>", "", caption)): f"{page}#{anchor}" for anchor, caption in found}
    return lambda *pair: anchors.get(all_systems(*pair), page)


# --- the page -----------------------------------------------------------------------------------------------------------------------


def write(studies: list[Read], left_out: list[str], path: Path, root: Path) -> None:
    """Write the page.

    Args:
        studies: what is shown.
        left_out: what is not, and why.
        path: the file.
        root: the folder of outputs, which links are relative to.
    """
    import pandas as pd

    from rd_utils.report import page

    cells = pd.concat([study.cells for study in studies], ignore_index=True)
    apart = os.path.relpath(root.resolve(), path.parent.resolve())
    before = "" if apart == "." else f"{quote(apart)}/"
    measures = " and ".join(dict.fromkeys(cells["measure"]))
    words = [
        f"Mean {measures} with the interval over queries and seeds of each study's own level, and what a cell gains over the study's "
        "baseline strategy, everything else equal, and over its first stage: difference, interval, verdict (– for the baseline itself, and "
        "where there is none). Verdicts are each study's own, corrected within it and not over studies. Costs are of a seed, alone. Of "
        "many means the highest is high by chance too: a study's report says which cells differ. A study's name leads to the table of the "
        "row in its report.",
    ]
    if left_out:
        words.append(f"Left out, since their files are not what this version writes: {'; '.join(left_out)}. Run these studies again.")
    path.parent.mkdir(parents=True, exist_ok=True)
    page.html_report(
        [page.Section("Studies", [], [_studies_table(studies, before)]), page.Section("Cells", words, [_cells_table(cells, before)])],
        "All studies",
        path,
        None,
        about="Every finished study of this folder, and every cell of theirs. `rd index` writes this page anew.",
    )


def _studies_table(studies: list[Read], before: str) -> Table:
    import pandas as pd

    from rd_utils.report.page import Table

    rows = []
    for study in studies:
        best = study.cells.iloc[study.cells["mean"].to_numpy().argmax()]
        verdicts = study.cells["verdict, strategy"].dropna().str.split(",").str[0].value_counts()
        said = ", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items()))
        shown = {key: value for key, value in study.about.items() if key != "link"}
        rows.append(shown | {"highest mean": f"{best['mean']:.3f} {best['cell']}", "strategies against the baseline": said or "–"})
    frame = pd.DataFrame(rows)
    links = [f"{before}{study.about['link']}" if study.about["link"] else "" for study in studies]
    return Table(frame, "Studies, by name.", hrefs={"study": links}, verdicts=(), whole=True, name="studies")


def _cells_table(cells: pd.DataFrame, before: str) -> Table:
    from rd_utils.report.drawing import as_setting, as_text
    from rd_utils.report.page import Table

    cells = cells.sort_values("mean", ascending=False, kind="stable").reset_index(drop=True)
    table = cells[["study"]].copy()
    table["collection"] = [_collection(train, test) for train, test in zip(cells["collection"], cells["test_collection"], strict=True)]
    table["first stage"] = cells["first_stage"]
    for name in ("strategy", "teacher", "loss", "architecture"):
        table[name] = [as_text(value) or "–" for value in cells[name]]
    plain = {"augmentation": ("none", "{}"), "cut": ("all", "{}"), "temperature": ("1", "T {}"), "target_entropy": ("", "H {}")}
    dials = [
        ", ".join(form.format(as_setting(row[name])) for name, (usual, form) in plain.items() if as_setting(row[name]) != usual)
        for _, row in cells.iterrows()
    ]
    if any(dials):
        table["dials"] = dials
    if cells["measure"].nunique() > 1:
        table["measure"] = cells["measure"]
    bounds = cells[["mean", "low", "high"]].itertuples(index=False, name=None)
    table["mean [interval]"] = [f"{mean:.3f} [{low:.3f}, {high:.3f}]" for mean, low, high in bounds]
    verdicts = [f"minus {words}" for words in AGAINST.values()]
    for family, title in zip(AGAINST, verdicts, strict=True):
        table[title] = [*_differences(cells, family)]
    table["CPU s"] = cells["cpu_seconds"].round().astype("Int64")
    if (cells["gpu_seconds"] > 0).any():
        table["GPU s"] = cells["gpu_seconds"].round().astype("Int64")
    hrefs = {"study": [f"{before}{link}" if link else "" for link in cells["link"]]}
    caption = "Every cell of every study, the highest mean first; a head sorts, words in the box filter."
    data = cells.drop(columns="link")
    data = data[["study", *(name for name in data if name != "study")]]
    return Table(table, caption, hrefs=hrefs, verdicts=verdicts, whole=True, name="cells", data=data)


def _collection(train: str, test: str) -> str:
    """Return the name of what a cell is tested on, and of what it is trained on where that is another collection.

    >>> _collection("scifact/train", "scifact/test"), _collection("msmarco/train", "trec-dl-2019")
    ('scifact', 'trec-dl-2019 from msmarco/train')
    """
    own, other = (label.rpartition("/")[0] for label in (test, train))
    return own if own and own == other else test if test == train else f"{test} from {train}"


def _differences(cells: pd.DataFrame, family: str) -> Iterator[str]:
    """Yield what a cell gains over a baseline, as the report writes it."""
    columns = [f"{name}, {family}" for name in ("difference", "low", "high", "verdict", "fragile")]
    for difference, low, high, verdict, fragile in cells[columns].itertuples(index=False, name=None):
        if difference != difference:  # there is no such contrast
            yield "–"
        else:
            yield f"{difference:+.3f} [{low:+.3f}, {high:+.3f}] {verdict}" + (", fragile" if fragile is True else "")
