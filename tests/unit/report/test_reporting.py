"""A study's folder: the tables that it needs, the files that it gets."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from studies_on_disk import AUGMENTED, EMBEDDED, GRID, NAN, SEARCH, planned, put_all

from rd_utils.analysis import contrasts, factorial
from rd_utils.analysis import tables as analysis
from rd_utils.cost.costs import costs
from rd_utils.report import folder, in_short, sections
from rd_utils.report.findings import FRAMES, NEEDED, Findings
from rd_utils.report.page import Figure
from rd_utils.report.sections import students, what_was_run
from rd_utils.report.show import StudyReport
from rd_utils.store import Store, identity
from rd_utils.study import node_files
from rd_utils.study import plan as planning
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.workflow.progress import untracked


@pytest.fixture
def pipeline(outputs):
    return Pipeline(Store(), track=untracked)


def measured(this) -> pd.DataFrame:
    """Values per query of everything in a plan, drawn."""
    generator = np.random.default_rng(5)
    parts = [
        pd.DataFrame({"query_id": [f"q{n}" for n in range(12)], "measure": measure, "value": generator.uniform(size=12)})
        .assign(**keys, test_collection=spec.collection.label, first_stage=spec.first_stage.label)
        for keys, system in analysis._systems(this)
        for spec in this.evaluations(system, keys["collection"])
        for measure in this.study.evaluation.measures
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def tables_of(this, pipeline) -> dict[str, pd.DataFrame]:
    """Put a study into the store and return the tables that every study has."""
    put_all(pipeline.store, this)
    per_query = measured(this)
    results = analysis.results(per_query)
    differences = contrasts.differences(per_query, this.study.analysis)
    found = (results, per_query, analysis.summary(results), differences, costs(this, pipeline))
    return dict(zip(NEEDED, found, strict=True))


def findings(this, pipeline, tables, warnings=()) -> Findings:
    """A study of which these frames are known, and of whose groups and students nothing was measured."""
    computed = ("points", "prices", "walk")
    study = StudyReport(this, pipeline, {name: pd.DataFrame() for name in FRAMES if name not in computed} | tables)
    study.examples, study.history, study.warnings = pd.DataFrame(), pd.DataFrame(), list(warnings)
    return study


def test_a_study_of_several_collections_and_a_factorial_has_their_sections(tmp_path, pipeline):
    pairs = [
        {"train": EMBEDDED | {"split": "train", "seed": seed}, "test": [EMBEDDED | {"split": "test", "seed": seed}]} for seed in (13, 14)
    ]
    grids = [GRID | {"strategies": ["corpus_random", "bm25"]}]
    grids += [GRID | {"strategies": ["corpus_random", "bm25"], "losses": ["kl"], "target_entropies": [0.3, 0.6]}]
    evaluation = {"first_stages": [{"retriever": "bm25"}], "measures": ["nDCG@10"]}
    this = planned(tmp_path, **AUGMENTED, grids=grids, collections=pairs, search=SEARCH, evaluation=evaluation)
    tables = tables_of(this, pipeline)
    rate = {"architecture": "static", "loss": "kl", "search": "s", "learning_rate": 0.01, "nDCG@10": 0.6, "chosen": True, "at_end": True}
    tables |= {
        "across": contrasts.across(tables["differences"]),
        "learning_rates": pd.DataFrame([rate]),
        "variance": factorial.factorials(tables["per_query"], this.study.analysis),
        "surfaces": factorial.surfaces(tables["per_query"], this.study.analysis),
        "strategy_spread": analysis.strategy_spread(tables["results"]),
        "entropies": pd.DataFrame(),
    }
    study = findings(this, pipeline, tables)
    written = folder.write(study)
    known = [name for name in FRAMES if len(getattr(study, name))]
    assert set(tables) - {"entropies"} <= set(known)
    assert [path.name for path in written] == [f"{name}.parquet" for name in known] + ["report.html"]
    assert all(path.is_file() for path in written)
    page = written[-1].read_text()
    titles = ["What was run", "Learning rates", "Effectiveness", "Differences", "Across collections", "Where each number comes from"]
    assert [title in page and f"{title}</h2>" in page for title in titles] == [True] * len(titles)
    assert "8 cells with the seeds 0, 1 on 2 training collections: 32 students" in page
    drawn = [block.name for section in sections.load_all(study) for block in section.blocks if isinstance(block, Figure)]
    assert page.count("<figure id=") == len(drawn) == len(set(drawn)) > 10
    files = list((this.folder / "charts").iterdir())
    assert {path.suffix for path in files} == {".json", ".svg", ".png"} and len(files) == 3 * len(drawn)
    for name in ("across", "variance"):
        pd.testing.assert_frame_equal(pd.read_parquet(this.folder / f"{name}.parquet"), tables[name], check_dtype=False)


def test_a_study_of_one_collection_has_no_section_across(tmp_path, pipeline):
    this = planned(tmp_path)
    written = folder.write(findings(this, pipeline, tables_of(this, pipeline)))
    page = written[-1].read_text()
    assert [path.name for path in written] == [f"{name}.parquet" for name in (*NEEDED, "points", "prices", "walk")] + ["report.html"]
    assert "Differences</h2>" in page and "Across collections</h2>" not in page and "Learning rates</h2>" not in page
    assert identity(this.cells[0].students[0]) in page and "1 training collection:" in page
    record = json.loads((this.folder / "study.json").read_text())
    assert (record["study"], record["report_version"]) == ("smallest", this.report_version)
    assert record["parameters"]["probe"] == {"queries": 100, "docs": 300, "seed": 0}


class Links(HTMLParser):
    """The links of a page and what they read."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.href: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.href = dict(attrs)["href"]
            self.found.append((self.href, ""))

    def handle_endtag(self, tag: str) -> None:
        self.href = None if tag == "a" else self.href

    def handle_data(self, data: str) -> None:
        if self.href:
            self.found[-1] = (self.href, self.found[-1][1] + data)


def test_a_report_says_first_what_it_found_and_every_link_leads_somewhere(tmp_path, pipeline):
    this = planned(tmp_path, search=SEARCH)
    tables = tables_of(this, pipeline)
    tables["seed_against_seed"] = contrasts.seed_against_seed(tables["per_query"], this.study.analysis)
    written = folder.write(findings(this, pipeline, tables, ["Beware of `everything`."]))
    for node in this.nodes:
        place = node_files.node_folder(node.id)
        place.mkdir(parents=True)
        (place / "notebook.ipynb").write_text("{}")
    node_files.publish(this)
    text = written[-1].read_text()

    box = text[text.index('<section class="short"') : text.index("<nav")]
    assert html.escape(this.study.question) in box and "Beware of <code>everything</code>." in box
    first = in_short.beside(tables["summary"], tables["differences"], "nDCG@10").iloc[0]
    gain = f"{first['difference']:+.3f} [{first['low']:+.3f},\N{NO-BREAK SPACE}{first['high']:+.3f}]"
    assert f"BM25 {first['baseline_mean']:.3f}: {gain}" in box and f"Contrasts: {len(tables['differences'])}." in box
    titles = ("Against the baselines", "Strategy x loss", "Seed against seed")
    assert all(f"{title}</h2>" in text for title in titles)
    alone = tables["seed_against_seed"].query("test == 'queries only'").iloc[0]
    assert f"{alone['n_different']} of {alone['n_comparisons']} ({alone['share']:.0%})" in text

    links = Links(text).found
    ids = set(re.findall(r'id="([^"]+)"', text))
    inside, beside = ([(href, name) for href, name in links if href.startswith(start)] for start in ("#", "notebooks/"))
    assert len(inside) > 10 and {href[1:] for href, _ in inside} <= ids
    assert all((this.folder / unquote(href)).is_file() for href, _ in beside)
    led = {name: href.split("/")[1][:7] for href, name in beside}
    cell = this.cells[0]
    assert led[cell.name] == "04_eval" and led[identity(cell.students[0])] == "03_trai" and led["BM25"] == "04_eval"
    assert led[cell.strategy] == "01_mine" and led["this executed notebook"] == "05c_rep"
    manifests = [href for href, _ in links if href.endswith("manifest.json")]
    assert len(manifests) == sum(len(cell.students) for cell in this.cells)
    assert all((this.folder / href).is_file() for href in manifests)


def test_a_table_that_nothing_shows_is_refused(tmp_path, pipeline):
    with pytest.raises(ValueError, match="unknown table 'sumary'.*did you mean 'summary'"):
        Findings(planned(tmp_path), pipeline, {"sumary": pd.DataFrame()})


def test_every_section_says_what_it_is_and_stands_in_an_order_of_its_own():
    known = sections.files()
    orders = [file.ORDER for file in known.values()]
    assert orders == sorted(set(orders)) and len(known) == len({file.TITLE for file in known.values()}) == 17


def test_a_section_that_a_study_has_nothing_for_is_empty_and_an_unknown_one_is_refused(tmp_path, pipeline, capsys):
    study = findings(planned(tmp_path), pipeline, {})
    assert sections.load(study, "students") == sections.Section("What training made of the students")
    study.show("students")
    assert "'What training made of the students'" in capsys.readouterr().out
    with pytest.raises(ValueError, match="unknown section 'diferences'.*did you mean 'differences'"):
        sections.load(study, "diferences")


def test_a_notebook_shows_the_words_tables_and_chosen_figures_of_a_section(tmp_path, pipeline, monkeypatch):
    shown = []
    monkeypatch.setattr("rd_utils.report.show.display", lambda *values: shown.extend(values))
    this = planned(tmp_path)
    study = findings(this, pipeline, tables_of(this, pipeline))
    section = sections.load(study, "differences")
    study.show("differences")
    assert len(shown) == 1 + len(section.blocks) and shown[0].data == "\n\n".join(section.paragraphs)
    shown.clear()
    study.show("differences", words=False, tables=False, figures="nowhere")
    assert shown == []


def behaviours() -> pd.DataFrame:
    about = {"collection": "c/train", "cell": "bi-bm25-kl", "strategy": "bm25", "teacher": "oracle", "loss": "kl", "architecture": "bi"}
    about |= {"augmentation": "none", "cut": "all", "temperature": 1.0, "target_entropy": NAN}
    rows = [("before", "diameter_q99", 0.25), ("after", "diameter_q99", 0.5), ("before", "divergence", 1.0), ("after", "divergence", 0.125)]
    return pd.DataFrame([about | {"state": state, "quantity": name, "mean": mean, "sd": NAN} for state, name, mean in rows])


def test_students_are_printed_before_and_after_one_row_a_cell():
    other = behaviours().query("quantity == 'divergence'").assign(cell="cross-bm25-kl", architecture="cross")
    table = students.behaviour_table(pd.concat([behaviours(), other]))
    assert table.set_index("cell")["own diameter q99"].to_dict() == {"bi-bm25-kl": "0.25 > 0.50", "cross-bm25-kl": "–"}
    assert table.set_index("cell")["KL to teacher"].to_dict() == dict.fromkeys(("bi-bm25-kl", "cross-bm25-kl"), "1.00 > 0.12")


def test_a_recipe_says_what_varies_and_its_dials_with_a_sign():
    dialled = behaviours().assign(target_entropy=0.5, loss="ranknet")
    both = pd.concat([behaviours(), dialled], ignore_index=True)
    assert list(dict.fromkeys(students.recipe(both))) == ["bi kl", "bi ranknet H=0.5"]
    assert set(students.recipe(behaviours())) == {"bi kl"}


def test_a_figure_of_behaviours_leaves_out_cells_without_a_space():
    other = behaviours().query("quantity == 'divergence'").assign(cell="cross-bm25-kl", architecture="cross")
    shown = students.behaviour_figure(pd.concat([behaviours(), other]), "c/train").data
    assert set(shown.loc[shown["role"] == "value", "recipe"]) == {"bi kl"}
    alone = students.behaviour_figure(other, "c/train").data
    assert set(alone["quantity"].dropna()) == {"divergence"}


def test_counts_that_all_seeds_share_have_no_decimals_and_others_are_means():
    counts = {"strategy": ["a", "a", "b", "b"], "seed": [0, 1, 0, 1], "groups": 300, "filled": [1, 2, 4, 4]}
    groups = pd.DataFrame({"collection": "c"} | counts)
    shown = what_was_run.mean_over_seeds(groups)
    assert [str(value) for value in shown["groups"]] == ["300", "300"] and shown["filled"].tolist() == [1.5, 4.0]


def test_the_name_of_a_matrix_leaves_out_what_is_missing():
    pairs = pd.DataFrame(dict.fromkeys([*planning.PLACE, *planning.DIMENSIONS], ""), index=range(2))
    pairs = pairs.assign(loss=["lce", "kl"], target_entropy=[float("nan"), 0.4])
    assert [name for name, _ in Findings(None, None, {"matrices": pairs}).matrix_parts()] == ["lce", "kl 0.4"]
