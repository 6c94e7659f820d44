"""A study's folder: its tables, charts and report, written from what the analysis notebook computed and showed.

What the report says in short, :mod:`in_short` makes of the tables; :mod:`page` lays the page out. A number leads to the
executed notebook that made it, which the workflow copies to ``notebooks/`` beside the report.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pandas as pd

from rd_utils import durable
from rd_utils.analysis.characteristics import groups_made, pooled_bins
from rd_utils.analysis.tables import ROWS_SHOWN, at, judged, optima
from rd_utils.costs import STAGES
from rd_utils.params import StudentSystem, nearest
from rd_utils.pipeline import Pipeline
from rd_utils.plan import DIMENSIONS, PLACE, Plan, write_record
from rd_utils.progress import LOGGER
from rd_utils.report import charts as drawn
from rd_utils.report import forms as layout
from rd_utils.report import in_short, page
from rd_utils.report import layout as report
from rd_utils.report.drawing import AGAINST, MISSING, as_setting, distinct, varying
from rd_utils.report.page import Figure, Point, Section, Short, Table
from rd_utils.stage import inputs
from rd_utils.store import identity

PILOT = 200  # training queries that advice rests on
MATRICES_SHOWN = 8  # more of them are drawn and written, not printed
INTERACTION = "strategy x loss"  # the family of contrasts of gains

# The tables that a report can hold.
KNOWN = (
    "results", "per_query", "summary", "macro", "differences", "seed_against_seed", "matrices", "across", "strategy_spread",
    "learning_rates", "descriptions", "entropies", "variance", "surfaces", "behaviours", "calibration", "by_query", "relations",
    "cells", "points", "prices", "walk", "options", "regrets",
)  # fmt: skip


def write(
    plan: Plan,
    pipeline: Pipeline,
    tables: dict[str, pd.DataFrame],
    charts: dict[str, Any],
    advice: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> list[Path]:
    """Write a study's tables, charts and report into its folder.

    Every table goes into a Parquet file, those that a paper prints also under ``tables/`` as HTML, Markdown, CSV and LaTeX.

    Args:
        plan: the study.
        pipeline: where its artefacts lie.
        tables: results, per_query, summary, differences and cells (of :func:`rd_utils.costs.costs`); and, where the study has them, what
            the functions of analysis, characteristics, costs and advice return, under the names of :data:`KNOWN`.
        charts: Altair charts by name, as the notebook showed them; a name's first word says which section shows it.
        advice: what the advice comes to, in sentences.
        warnings: what a reader must know before any number, in sentences.

    Returns:
        The Parquet files and the report; a table without rows is not written.

    Raises:
        ValueError: a table that every study has is missing, or one has a name that nothing shows.
    """
    if unknown := [name for name in tables if name not in KNOWN]:
        raise ValueError(f"unknown table {unknown[0]!r}{nearest(unknown[0], KNOWN)}")
    needed = ("results", "per_query", "summary", "differences", "cells")
    if missing := [name for name in needed if name not in tables]:
        raise ValueError(f"tables lacks {', '.join(missing)}; expected {', '.join(needed)} and what else the study has")
    folder = plan.folder
    folder.mkdir(parents=True, exist_ok=True)
    written = {name: table for name, table in tables.items() if len(table) or name in needed}
    files: list[Path] = []
    for name, table in written.items():
        with durable.replacing(folder / f"{name}.parquet") as draft:
            table.to_parquet(draft, index=False)
        files.append(folder / f"{name}.parquet")
    for stem, (table, caption) in _printed(plan, written).items():
        files += layout.save_table(table, folder / "tables" / stem, caption=caption, label=f"tab:{stem}", highlight=stem.startswith("main"))
    pictures = {name: report.draw(chart) for name, chart in charts.items()}
    for name, picture in pictures.items():
        files += report.save_chart(picture, folder / "charts" / _file_name(name))
    notebooks = executed_notebooks(plan)
    path = page.html_report(
        [section for section in _sections(plan, pipeline, written, pictures, advice, notebooks) if section.blocks],
        f"Study {plan.study.name}",
        folder / "report.html",
        study=plan.study.name,
        identity=plan.report_version,
        short=_short(plan, written, warnings, notebooks),
        made_by=notebooks.analysis,
    )
    write_record(plan, [*files, path])
    LOGGER.info("wrote %s", path)
    return [folder / f"{name}.parquet" for name in written] + [path]


def _printed(plan: Plan, tables: dict[str, pd.DataFrame]) -> dict[str, tuple[pd.DataFrame, str]]:
    """Return what a paper would print, with captions, by the name of its files."""
    measure, summary, found = plan.study.analysis.measure, tables["summary"], {}
    for train, test in dict.fromkeys(zip(summary["collection"], summary["test_collection"], strict=True)):
        table = report.main_table(summary, measures=plan.study.evaluation.measures, collection=train, test_collection=test)
        found[_file_name(f"main {train} {test}")] = (
            table,
            f"Trained on {train}, tested on {test}: mean and standard deviation over seeds.",
        )
    if "macro" in tables:
        caption = "Macro means over collections, and standard deviation over collections."
        found["macro"] = (_macro_table(tables["macro"], measure), caption)
    if len(tables["differences"]):
        caption = f"Paired differences in {measure}, with intervals and verdicts corrected by Holm's method."
        found["differences"] = (report.differences_table(tables["differences"]).drop(columns=report.DETAILS, errors="ignore"), caption)
    if "across" in tables:
        found["across"] = (report.across_table(tables["across"]), "Contrasts over collections, each counting once.")
    for name, part in _matrices(tables):
        caption = f"Every pair of strategies, {name}: row minus column in {measure}; = equivalent, * different. Letters mark cliques."
        found[_file_name(f"matrix {name}")] = (report.matrix_table(part), caption)
    return found


def _matrices(tables: dict[str, pd.DataFrame]) -> list[tuple[str, pd.DataFrame]]:
    """Return the rows of every matrix, with what it is of."""
    if "matrices" not in tables:
        return []
    keys = [*PLACE, *(name for name in DIMENSIONS if name != "strategy")]
    varied = [name for name in keys if tables["matrices"][name].nunique(dropna=False) > 1]
    parts = tables["matrices"].groupby(keys, sort=False, dropna=False)
    named = [([as_setting(part[name].iloc[0]) for name in varied], part) for _, part in parts]
    return [(" ".join(text for text in texts if text) or "all", part) for texts, part in named]


def _macro_table(macro: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return macro means of one measure as text, one row a cell, one column a first stage."""
    shown = macro[macro["measure"] == measure]
    text = [report.mean_sd(row.mean, row.sd, row.n_collections) for row in shown[["mean", "sd", "n_collections"]].itertuples(index=False)]
    wide = shown.assign(text=text).pivot_table(index="cell", columns="first_stage", values="text", aggfunc="first", sort=False)
    return wide.rename_axis(columns=None).reset_index()


# --- figures that need several columns put together -------------------------------------------------------------------------------


def matrix_figure(pairs: pd.DataFrame) -> Any:
    """Draw the matrices of one architecture and first stage, a panel for each loss (and whatever else varies).

    Args:
        pairs: rows of :func:`rd_utils.analysis.tables.matrices`.
    """
    by = [name for name in ("loss", *DIMENSIONS) if name != "strategy" and (name == "loss" or pairs[name].nunique(dropna=False) > 1)]
    by = list(dict.fromkeys(by))
    names = [pairs[["system_a", "letters_a", *by]], pairs[["system_b", "letters_b", *by]]]
    letters = pd.concat([part.set_axis(["system", "letters", *by], axis=1) for part in names]).drop_duplicates()
    turned = pairs.assign(difference=-pairs["difference"])  # the chart's row minus its column
    return drawn.matrix_chart(turned, letters, by=by)


def behaviour_figure(behaviours: pd.DataFrame, collection: str) -> Any:
    """Draw what training did to the spaces of a collection's bi-encoders, or to the scores where there are no bi-encoders.

    Args:
        behaviours: the first table of :func:`rd_utils.analysis.characteristics.behaviours`.
        collection: whose students.
    """
    here = behaviours[behaviours["collection"] == collection]
    wanted = [name for name in drawn.QUANTITIES if name in set(here["quantity"])]
    space = [name for name in wanted if name != "divergence"]
    here = here[here["quantity"].isin(wanted)].rename(columns={"mean": "value"})
    if space:  # panels without a space would be empty
        here = here[here["cell"].isin(here.loc[here["quantity"].isin(space), "cell"])]
    here = here.assign(recipe=_recipe(here))
    order = {name: place for place, name in enumerate(wanted)}
    return drawn.behaviour_chart(here.sort_values("quantity", key=lambda names: names.map(order), kind="stable"))


def calibration_figure(bins: pd.DataFrame, collection: str) -> Any:
    """Draw how a collection's students agree with the teacher, a panel a recipe, pooled over strategies.

    Args:
        bins: the second table of :func:`rd_utils.analysis.characteristics.behaviours`.
        collection: whose students.
    """
    here = bins[bins["collection"] == collection]
    return drawn.calibration_chart(pooled_bins(here.assign(recipe=_recipe(here)), ["recipe", "state"]), by=["recipe"])


def relations_figure(relations: pd.DataFrame, collection: str, test_collection: str) -> Any:
    """Draw the correlations over queries of one training and test collection and its first re-ranked stage, a panel a quantity.

    Args:
        relations: of :func:`rd_utils.behaviour.correlations` over :func:`rd_utils.analysis.characteristics.by_query`.
        collection: what was trained on.
        test_collection: what was tested on.
    """
    here = at(relations, collection=collection, test_collection=test_collection)
    here = here[(here["first_stage"] == here["first_stage"].iloc[0]) & here["spearman"].notna()]
    label = here["architecture"] + " " + here["loss"] + " " + here["teacher"] + " " + here["strategy"]
    label = label.str.replace("  ", " ")  # no teacher
    return drawn.correlation_chart(here.assign(label=label, quantity=here["x"]), by=["quantity"], width=150)


def _recipe(cells: pd.DataFrame) -> pd.Series:
    """Return what a cell is beside its strategy, of what varies."""
    varied = [name for name in DIMENSIONS[1:] if cells[name].map(as_setting).nunique() > 1]
    parts = [_said(cells[name], name) for name in dict.fromkeys(["architecture", "loss", *varied])]
    return pd.Series([" ".join(part for part in row if part) for row in zip(*parts, strict=True)], index=cells.index)


def _said(values: pd.Series, dimension: str) -> pd.Series:
    """Return a dimension's values as text, a dial with its sign, a missing one empty."""
    sign = {"temperature": "T=", "target_entropy": "H="}.get(dimension, "")
    return values.map(as_setting).map(lambda text: sign + text if text else "")


# --- the executed notebooks -------------------------------------------------------------------------------------------------------


class Notebooks(NamedTuple):
    """Where a study's executed notebooks lie, relative to its report, as :func:`rd_utils.plan.publish` puts them.

    Attributes:
        analysis: the one that wrote the report.
        made: by the identity of an artefact.
        evaluated: by training collection and row of the main table, of a row's first seed.
        trained: by training collection and cell, of its first seed.
        mined: by training collection and strategy, of its first seed.
        scored: by training collection, strategy and teacher, of its first seed.
    """

    analysis: str
    made: dict[str, str]
    evaluated: dict[tuple[str, ...], str]
    trained: dict[tuple[str, ...], str]
    mined: dict[tuple[str, ...], str]
    scored: dict[tuple[str, ...], str]


def executed_notebooks(plan: Plan) -> Notebooks:
    """Return where the notebooks are that made a study's numbers.

    Args:
        plan: the study.
    """
    made: dict[str, str] = {}
    found = Notebooks("", made, {}, {}, {}, {})
    for node in plan.nodes:
        path = f"notebooks/{quote(node.name)}.ipynb"
        if node.notebook == "05_analyse":
            found = found._replace(analysis=path)
        for spec in node.artefacts:
            made.setdefault(identity(spec), path)
    rows = [(plan.labels[row.pair], row.name, system) for row in plan.baselines for system in row.systems.values()]
    for cell in plan.cells:
        for student in cell.students.values():
            rows.append((cell.collection, cell.name, StudentSystem(student=student)))
            found.trained.setdefault((cell.collection, cell.name), made[identity(student)])
            needed = inputs(student)
            if identity(needed["groups"]) in made:
                found.mined.setdefault((cell.collection, cell.strategy), made[identity(needed["groups"])])
            if "scores" in needed and identity(needed["scores"]) in made:
                found.scored.setdefault((cell.collection, cell.strategy, cell.teacher), made[identity(needed["scores"])])
    for collection, name, system in rows:
        for spec in plan.evaluations(system, collection)[:1]:
            found.evaluated.setdefault((collection, name), made[identity(spec)])
    return found


def _paths(found: dict[tuple[str, ...], str], frame: pd.DataFrame, *columns: str) -> list[str]:
    """Return for each row of a frame the path of what its columns name, "" where there is none."""
    return [found.get(tuple(key), "") for key in frame[list(columns)].itertuples(index=False)]


# --- what the report says in short ------------------------------------------------------------------------------------------------


def _short(plan: Plan, tables: dict[str, pd.DataFrame], warnings: Sequence[str], notebooks: Notebooks) -> Short:
    """Return what stands above everything."""
    settings, summary, differences = plan.study.analysis, tables["summary"], tables["differences"]
    beside = in_short.beside(summary, differences, settings.measure)
    shown = in_short.beside_table(beside)
    cells = beside.drop_duplicates(list(PLACE))
    table = Table(
        shown,
        "The best cells",
        hrefs={"best cell": _paths(notebooks.evaluated, cells, "collection", "cell")},
        verdicts=[name for name in shown if str(name).startswith("minus ")],
    )
    text = (
        f"The best cell by {settings.measure}, beside what the grid did not train, with intervals at level {settings.level:g}. It was "
        "chosen on these very test queries, so that its mean and its gains are estimates from above."
    )
    points = [Point(text, ("effectiveness", "baselines"), table)]
    if len(differences):
        counts = Table(in_short.verdict_counts(differences), "Verdicts by family of contrasts")
        text = in_short.counts_sentence(differences, settings.equivalence_margin)
        families = [f"differences {family}" for family in distinct(differences["family"])]
        points.append(Point(text, ("differences", *families, "baselines", "interaction", "seed_against_seed"), counts))
        found = _cheapest(tables, settings.measure)
        points += [Point(text, ("matrices", "cheapest")) for text in in_short.cheapest_sentences(found)]
    else:
        points.append(Point("The study has no two cells that differ in one thing only, so there is nothing to contrast."))
    return Short(plan.study.question, points, warnings)


def _cheapest(tables: dict[str, pd.DataFrame], measure: str) -> pd.DataFrame:
    """Return the cheapest cell that is equivalent to the best, place by place."""
    matrices = tables.get("matrices", pd.DataFrame())
    return in_short.cheapest_equivalent(tables["summary"], tables["differences"], matrices, tables["cells"], measure)


# --- the report -------------------------------------------------------------------------------------------------------------------


def _sections(
    plan: Plan,
    pipeline: Pipeline,
    tables: dict[str, pd.DataFrame],
    charts: dict[str, Any],
    advice: Sequence[str],
    notebooks: Notebooks,
) -> list[Section]:
    """Return the report's sections; one without a table or figure is not shown."""
    study, settings = plan.study, plan.study.analysis
    summary, differences = tables["summary"], tables["differences"]
    pairs = list(dict.fromkeys(zip(summary["collection"], summary["test_collection"], strict=True)))

    def figures(start: str, caption: str, but: tuple[str, ...] = ()) -> list[Any]:
        shown = [name for name in charts if f"{name} ".startswith(f"{start} ") and not name.startswith(but)]
        return [Figure(charts[name], f"{caption} ({name})") for name in shown]

    def table(name: str, show: Any, caption: str) -> list[Any]:
        return [Table(show(tables[name]), caption, name=name)] if name in tables and len(tables[name]) else []

    skipped = differences.attrs.get("skipped", 0)
    apart = tuple(f"differences {family}" for family in (*AGAINST, INTERACTION))
    main, against, gains = _by_family(differences)
    matrices = _matrices(tables)
    few = matrices if len(matrices) <= MATRICES_SHOWN else []
    rates = tables.get("learning_rates", pd.DataFrame(columns=["search", "at_end"]))
    groups, tested = _mean_over_seeds(groups_made(plan, pipeline)), judged(plan, pipeline)
    names = "A name leads to the executed notebook that "
    return [
        Section(
            "What was run",
            _what_was_run(plan),
            [
                Table(
                    _shown(groups),
                    "Training groups, means over seeds. Where strategies differ in queries, students saw different ones. Filled documents "
                    "were drawn by the shortage policy; candidates of which a filter removed none may hold false negatives all the same. "
                    f"{names}drew the first seed's.",
                    digits=1,
                    hrefs={"strategy": _paths(notebooks.mined, groups, "collection", "strategy")},
                ),
                Table(_shown(tested), "Test queries: judged ones are averaged over, unjudged ones only counted."),
            ],
        ),
        Section(
            "Learning rates",
            [
                f"Chosen on validation queries{_searched_on(study)}, once for each loss and architecture, for all strategies and "
                f"collections alike: {rates['search'].nunique()} searches. In {int(rates['at_end'].sum())} of them the first or the last "
                "rate was best, so a better one may lie beyond it. Neighbouring rates are often equal for all that the validation queries "
                "can tell."
            ],
            [
                *figures("rates", "What each rate reached; the large mark is the one taken"),
                *_rates_table(tables, study, notebooks),
            ],
        ),
        Section(
            "Effectiveness",
            [
                f"Mean and standard deviation over seeds, of means over the judged queries. "
                f"The measure that is compared below is {settings.measure}. A cell's name reads architecture-strategy-teacher-loss, then "
                f"its dials; first stages, untrained students and teachers stand on top. {names}evaluated the first seed."
            ],
            [
                *(_main_table(plan, summary, notebooks, train, test) for train, test in pairs),
                *table(
                    "macro",
                    lambda frame: _macro_table(frame, settings.measure),
                    f"Macro {settings.measure} over collections, ± SD over collections.",
                ),
                *figures("effectiveness", "Means as large marks, seeds as small ones, baselines as lines"),
                *figures("queries", "A click on a cell shows its queries against those of all cells; values averaged over seeds"),
                *table(
                    "strategy_spread",
                    lambda frame: report.spread_table(frame, settings.measure),
                    "How far the strategies' means lie apart: highest minus lowest, and their standard deviation.",
                ),
            ],
        ),
        Section(
            "Differences",
            [
                "Cells that differ in one thing only, compared on the value of every query and seed. Verdicts, intervals and p-values rest "
                "on a test in which both are random: other test queries could have been asked, and another seed of the same recipe could "
                f"have been trained. Intervals are at level {settings.level:g} and not corrected. Verdicts rest on p-values that Holm's "
                "method corrects within each family, collection and first stage, so an interval that just excludes 0 may stand beside the "
                "verdict undecided. Where a test of homogeneity allows it, the variance over seeds is pooled over contrasts that differ in "
                "the strategy alone: `seeds pooled` counts them.",
                "Folded beside each contrast is what a test over queries alone says, on values averaged over seeds. It answers for these "
                "very students, as they lie in the store; whether the recipe would do it again, it does not ask.",
                f"{skipped} contrasts were left out because their cells have different seeds.",
                f"Equivalence is TOST with the margin {settings.equivalence_margin:g} that the study's file fixed: both one-sided tests "
                f"must reject at {settings.alpha:g}. The smallest margin is the one that these data could just have proved; the seeds and "
                f"the queries needed are how many would prove {settings.equivalence_margin:g} four times in five, were the two in truth "
                "equal; these three are of the contrast alone. Equivalence is not transitive: read each row by itself.",
                *_at_margins(main, settings),
                *_fragile(main),
                *_too_many(main),
            ],
            [
                *figures("differences", "Differences with intervals; the band is the equivalence margin", but=apart),
                *_main_tables(main, notebooks),
            ],
            name="differences",
        ),
        Section(
            "Against the baselines",
            [
                "Every cell minus the first stage that it re-ranks (or that searches instead of it), minus its untrained self, and minus "
                "the teacher, by the same test. A baseline that is not trained has no seeds, so only the cell's own vary. Each kind of "
                "baseline is a family of its own for Holm's method."
            ],
            [
                *[
                    figure
                    for family in AGAINST
                    for figure in figures(f"differences {family}", "Cells minus baselines; the band is the equivalence margin")
                ],
                *_baselines_table(against, notebooks),
            ],
        ),
        Section(
            "Strategy x loss",
            [
                "Does a strategy gain more under one loss than under another? Each row is what a strategy gains over the baseline strategy "
                f"`{settings.baseline_strategy}` under a loss, minus what it gains under LCE: above 0, the loss makes more of the strategy."
            ],
            [
                *figures(f"differences {INTERACTION}", "Gains minus gains under LCE; the band is the equivalence margin"),
                *_contrasts_table(gains, "interaction", "Every difference of gains.", notebooks),
            ],
        ),
        Section(
            "Seed against seed",
            [
                "One recipe against itself: the students of one seed of a cell against those of another. There is nothing to find, so a "
                f"test at {settings.alpha:g} should call about {settings.alpha:.0%} of them different. Where the test over queries alone "
                "calls more, its verdicts are on these students and not on recipes; where the test over queries and seeds does, its "
                "p-values are too small."
            ],
            table("seed_against_seed", report.seeds_table, "How often one seed was called different from another, by architecture."),
        ),
        Section(
            "Who is equivalent to whom",
            [
                "Every pair of strategies, everything else equal, corrected by Holm's method over the pairs of one matrix. Strategies that "
                "share a letter are all equivalent to each other."
            ],
            [
                *figures("matrix", "Row minus column"),
                *(Table(report.matrix_table(part), f"{name}: row minus column; = equivalent, * different.") for name, part in few),
            ],
            name="matrices",
        ),
        Section(
            "Across collections",
            [
                "The same contrasts, each collection counting once. What a collection happens to hold can move single cells more than the "
                "seed of their training does, so a conclusion about strategies or losses rests on these means and their t intervals over "
                f"collections at level {settings.level:g}. They are not corrected for their number."
            ],
            [
                *figures("across", "Mean differences over collections with intervals"),
                *table("across", report.across_table, "Every contrast over the collections."),
            ]
            if len(pairs) > 1
            else [],
        ),
        Section(
            "Strategy and entropy as factors",
            [
                "Strategies, crossed with temperatures that fix the teacher's entropy, make a factorial; where each strategy fixes the "
                "diameter of its groups, one of locality and entropy. Its variance splits into what the strategy explains, what the "
                "entropy explains, what only both together explain, what the seeds explain, and the rest. Every cell has the same seeds; "
                "so a seed is a block, and each effect is tested against what blocks leave over."
            ],
            [
                *figures("surface", "Means over seeds"),
                *figures("effects", "Means with bootstrap intervals over seeds and queries"),
                *table(
                    "variance",
                    lambda frame: report.variance_table(frame[frame["measure"] == settings.measure]),
                    f"Shares of the variance of {settings.measure}, with intervals over queries (jackknife) and p-values (F, Holm).",
                ),
                *table(
                    "surfaces",
                    lambda frame: optima(frame).reset_index(),
                    "How often, over resamples of seeds and queries, a target entropy was the best of its strategy.",
                ),
            ],
        ),
        Section(
            "Locality and entropy",
            [
                "How wide the groups of each strategy are in one fixed encoder, and how undecided the teacher is about them, before and "
                "after what augmentation and temperature do. Pairwise, positive and listwise entropy may order strategies differently; "
                "each axis and column says which it is."
            ],
            [
                *figures(
                    "locality",
                    "Diameter and entropy of the training groups; a line leads from before to after augmentation, a lone mark did not move",
                ),
                *table("descriptions", report.description_table, "Means over groups and seeds; the density ratio is a median."),
                *figures("entropy", "Mean entropies"),
                *_entropies_table(tables, notebooks),
                *figures("groups", "Single groups of the first collection; drag over some to list them"),
            ],
        ),
        Section(
            "What training made of the students",
            [
                "Before the first step and after the last, on the same probe queries and documents for all strategies: of a bi-encoder's "
                "own space, the diameter of its training groups, intrinsic dimension (TwoNN), effective rank and uniformity; of any "
                "student, the divergence KL(teacher || student) over its own strategy's groups of the probe queries, in nats, so that "
                "strategies start apart, and how its pair probabilities agree with the teacher's. The figure shows bi-encoders where "
                "there are any."
            ],
            [
                *figures("behaviour", "From before training to after it; means over seeds and the queries that all strategies have"),
                *_behaviours_table(tables, notebooks),
                *figures(
                    "calibration", "Pairs by the student's probability, and the mean probability that the teacher gives the same document"
                ),
            ],
        ),
        Section(
            "What goes with effectiveness",
            [
                f"Spearman's rank correlation over test queries between {settings.measure} and what the teacher and the student make of a "
                "query's candidates. It describes; easy queries are easy for both. Intervals are bootstrap percentiles, not corrected for "
                "their number."
            ],
            figures("relations", "Correlations over queries; entropy and divergence are of the first teacher that the baselines evaluate"),
        ),
        Section(
            "Cost",
            [
                "What a cell would have paid alone: mining, teacher scores (with the teacher's own training), training (with the search of "
                "its learning rate), evaluation, in CPU seconds of the machine in its manifests; a teacher's pair has one price in "
                "seconds, whoever scored it first. The study itself paid shared parts once. "
                "Energy: " + ", ".join(sorted(set(tables["cells"]["energy"]))) + "."
            ],
            [
                *figures("cost", "Effectiveness against cost; the line joins the cells that no cheaper cell reaches; bars: SD over seeds"),
                Table(_cost_table(tables["cells"]), "Means over cells and seeds: CPU seconds by stage, teacher calls, energy.", digits=1),
                *_cheapest_table(tables, settings.measure, notebooks),
                *_ends_table(tables, "prices", "What the last 0.01 costs: the best cell, and the cheapest at most 0.01 worse.", notebooks),
                *_ends_table(tables, "walk", "Along the frontier, from cheap to dear: what each gain costs, per 0.01.", notebooks),
            ],
        ),
        Section(
            "Advice",
            [
                f"From what is known of the groups before training, on a pilot of {PILOT} queries, a ridge regression advises where it has "
                "not looked. A regret is what a choice lacks to the best cell in hindsight, which was chosen on the same test queries: an "
                "upper bound.",
                *advice,
            ],
            figures("regret", "Mean regret with bootstrap intervals over what was left out"),
        ),
        Section(
            "Training",
            ["A loss that still falls steeply at the end says that the budget, not the recipe, decided."],
            figures("losses", "Training loss by step; each loss has a unit of its own"),
        ),
        Section(
            "Where each number comes from",
            ["A student's identity is the name of its folder; its manifest holds parameters, inputs, versions, cost and checksums."],
            [
                Table(
                    report.cells_table(tables["cells"], manifest="../store/student/{identity}/manifest.json"),
                    "Cells, seeds and manifests; a cell leads to the notebook that evaluated it, an identity to the one that trained it.",
                    links=("manifest",),
                    hrefs={
                        "cell": _paths(notebooks.evaluated, tables["cells"], "collection", "cell"),
                        "identity": [notebooks.made.get(identity, "") for identity in tables["cells"]["identity"]],
                    },
                )
            ],
        ),
    ]


def _by_family(differences: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the contrasts of cells that differ in one thing, those with baselines, and those of gains."""
    against, gains = differences["family"].isin(AGAINST), differences["family"] == INTERACTION
    return differences[~against & ~gains], differences[against], differences[gains]


def _too_many(contrasts: pd.DataFrame) -> list[str]:
    """Say where contrasts are that are not printed."""
    return [f"The {len(contrasts):,} contrasts are in `differences.parquet`, too many to print."] if len(contrasts) > ROWS_SHOWN else []


def _contrasts_table(contrasts: pd.DataFrame, name: str, caption: str, notebooks: Notebooks) -> list[Table]:
    """Return contrasts as a table whose details are folded; none where there are too many."""
    if not 0 < len(contrasts) <= ROWS_SHOWN:
        return []
    shown = report.differences_table(contrasts)
    ends = {"cell": "cell_after", "compared with": "cell_before"}
    hrefs = {title: _paths(notebooks.evaluated, contrasts, "collection", column) for title, column in ends.items() if title in shown}
    return [Table(shown, caption, hrefs=hrefs, secondary=report.DETAILS, verdicts=("verdict", "verdict (these students)"), name=name)]


def _main_tables(contrasts: pd.DataFrame, notebooks: Notebooks) -> list[Table]:
    """Return the contrasts of cells that differ in one thing, a table a family; none where there are too many."""
    if len(contrasts) > ROWS_SHOWN:
        return []
    families = contrasts.groupby("family", sort=False)
    return [
        table
        for family, part in families
        for table in _contrasts_table(part, f"differences {family}", f"Every contrast of the family {family}.", notebooks)
    ]


def _baselines_table(against: pd.DataFrame, notebooks: Notebooks) -> list[Table]:
    """Return every cell beside its baselines; the CSV holds each contrast in full."""
    if not len(against):
        return []
    shown = report.baselines_table(against)
    cells = against.drop_duplicates([*PLACE, "measure", "cell_after"])
    hrefs = {"cell": _paths(notebooks.evaluated, cells, "collection", "cell_after")}
    verdicts = [name for name in shown if str(name).startswith("minus ")]
    caption = "Every cell's mean, and what it gains over each baseline: difference, interval, verdict."
    return [Table(shown, caption, hrefs=hrefs, verdicts=verdicts, name="baselines", data=against)]


def _main_table(plan: Plan, summary: pd.DataFrame, notebooks: Notebooks, train: str, test: str) -> Table:
    """Return all systems of one pair of collections; the first of these tables is what the box above refers to."""
    shown = report.main_table(summary, measures=plan.study.evaluation.measures, collection=train, test_collection=test)
    several = len(summary.drop_duplicates(["collection", "test_collection"])) > 1
    first = summary.iloc[0]
    name = "effectiveness" if (train, test) == (first["collection"], first["test_collection"]) else ""
    caption = f"All systems on {test}" + (f", trained on {train}." if several else ".")
    hrefs = {"cell": [notebooks.evaluated.get((train, cell), "") for cell in shown.index]}
    return Table(shown, caption, highlight=True, hrefs=hrefs, name=name)


def _rates_table(tables: dict[str, pd.DataFrame], study: Any, notebooks: Notebooks) -> list[Table]:
    """Return what every search tried; an architecture leads to the notebook that searched."""
    rates = tables.get("learning_rates", pd.DataFrame())
    if rates.empty:
        return []
    shown = report.search_table(rates, study.search.measure)
    hrefs = {"architecture": [notebooks.made.get(search, "") for search in rates["search"].drop_duplicates()]}
    return [Table(shown, "Every rate that was tried, on validation queries; * taken.", hrefs=hrefs)]


def _entropies_table(tables: dict[str, pd.DataFrame], notebooks: Notebooks) -> list[Table]:
    """Return the teachers' entropies; a strategy leads to the notebook that scored its groups."""
    entropies = tables.get("entropies", pd.DataFrame())
    if entropies.empty:
        return []
    hrefs = {"strategy": _paths(notebooks.scored, entropies, "collection", "strategy", "teacher")}
    return [Table(_shown(entropies), "Mean entropies of the teachers over the training groups.", hrefs=hrefs)]


def _behaviours_table(tables: dict[str, pd.DataFrame], notebooks: Notebooks) -> list[Table]:
    """Return what training made of the students; a cell leads to the notebook that trained it."""
    behaviours = tables.get("behaviours", pd.DataFrame())
    if behaviours.empty:
        return []
    shown = _behaviour_table(behaviours)
    hrefs = {"cell": _paths(notebooks.trained, shown, "collection", "cell")}
    return [Table(_shown(shown), "Means over seeds, from before training to after it.", hrefs=hrefs)]


def _cheapest_table(tables: dict[str, pd.DataFrame], measure: str, notebooks: Notebooks) -> list[Table]:
    """Return the cheapest cell that is equivalent to the best, place by place."""
    if not len(tables["differences"]):
        return []
    found = _cheapest(tables, measure)
    hrefs = {column: _paths(notebooks.evaluated, found, "collection", column) for column in ("best", "cheapest")}
    shown = _shown(found)
    caption = (
        f"The cell with the highest mean {measure}, and the cheapest that was shown to be equivalent to it; costs in CPU seconds a seed. "
        "`saved` is the share of the best cell's cost that the cheapest saves."
    )
    return [Table(shown, caption, hrefs=hrefs, name="cheapest")]


def _ends_table(tables: dict[str, pd.DataFrame], name: str, caption: str, notebooks: Notebooks) -> list[Table]:
    """Return a table of pairs of cells, each of which leads to the notebook that evaluated it."""
    pairs = tables.get(name, pd.DataFrame())
    if pairs.empty:
        return []
    ends = [column for column in ("best", "cheapest", "cheaper", "dearer") if column in pairs]
    hrefs = {column: _paths(notebooks.evaluated, pairs, "collection", column) for column in ends}
    return [Table(_shown(pairs), caption, hrefs=hrefs)]


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame as it is printed: without the places that all rows share, names without underscores."""
    places = [name for name in (*PLACE, "measure") if name in frame and name not in varying(frame, [name])]
    shown = frame.drop(columns=places if len(frame) > 1 else ["measure"], errors="ignore")
    return shown.rename(columns=lambda name: name.replace("_", " "))


def _searched_on(study: Any) -> str:
    """Say on what learning rates were chosen."""
    if study.search is None:
        return ""
    return f" of `{study.search.validation.label}`, on the groups of `{study.search.strategy}` of the first collection"


def _at_margins(differences: pd.DataFrame, settings: Any) -> list[str]:
    """Say how many contrasts are equivalent at each margin that the study shows."""
    counts = [(margin, f"equivalent_{margin:g}") for margin in settings.margins_shown]
    shown = [f"{int(differences[name].sum())} at {margin:g}" for margin, name in counts if name in differences]
    return [f"Equivalent, of {len(differences):,} contrasts: " + ", ".join(shown) + "."] if shown else []


def _fragile(differences: pd.DataFrame) -> list[str]:
    """Say how many verdicts another reasonable look denies, and how much of the variance is the seeds'."""
    if not len(differences):
        return []
    share, fragile = differences["seed_share"].median(), int(differences["fragile"].sum())
    seeds = f" Of the variance of a difference, seeds leave open a median {share:.0%}: what more of them could take away."
    return [
        f"{fragile} of {len(differences):,} verdicts are fragile: these very students are different or equivalent, but other seeds may "
        "not be; or signs flipped at random deny the difference." + ("" if pd.isna(share) else seeds)
    ]


def _behaviour_table(behaviours: pd.DataFrame) -> pd.DataFrame:
    """Return what students are like before and after training, one row a collection and cell, "before > after" in each column."""
    names = {
        "diameter_q99": "own diameter q99", "intrinsic_dimension": "TwoNN dimension", "log_density": "log density",
        "effective_rank": "effective rank", "uniformity": "uniformity", "alignment": "alignment", "score_sd": "SD of scores",
        "score_skewness": "skewness", "student_pairwise_entropy": "pairwise entropy", "divergence": "KL to teacher",
        "calibration_error": "calibration error", "calibration_slope": "slope", "calibration_agreement": "agreement",
    }  # fmt: skip
    shown = behaviours[behaviours["quantity"].isin(names)]
    wide = shown.pivot_table(index=["collection", "cell"], columns=["quantity", "state"], values="mean", sort=False)
    columns = {
        title: [
            MISSING if pd.isna(after) else f"{before:.2f} > {after:.2f}"
            for before, after in wide[name].reindex(columns=["before", "after"]).itertuples(index=False)
        ]
        for name, title in names.items()
        if name in wide.columns.get_level_values(0)
    }
    return pd.DataFrame(columns, index=wide.index).reset_index()


def _cost_table(cells: pd.DataFrame) -> pd.DataFrame:
    """Return mean costs by architecture and strategy."""
    names = {f"{stage}_cpu_seconds": f"{stage} (CPU s)" for stage in STAGES}
    names |= {"total_cpu_seconds": "total (CPU s)", "shared_cpu_seconds": "shared (CPU s)"}
    names |= {"total_teacher_calls": "teacher calls", "total_joules": "energy (J)", "documents_seen": "documents seen"}
    return (
        cells.groupby(["architecture", "strategy"], sort=False)[list(names)]
        .agg(lambda column: column.mean(skipna=False))
        .rename(columns=names)
        .reset_index()
    )


def _what_was_run(plan: Plan) -> list[str]:
    """Return the paragraphs that say what a study trained, where, and from which first stages."""
    students = [student for cell in plan.cells for student in cell.students.values()]
    names = {cell.name for cell in plan.cells}
    seeds = ", ".join(str(seed) for seed in sorted({student.seed for student in students}))
    collections = plan.study.collections
    where = [f"`{pair.train.label}`, tested on {', '.join(f'`{test.label}`' for test in pair.test)}" for pair in collections]
    stages = dict.fromkeys(stage.label for pair in range(len(collections)) for stage in plan.first_stages(pair))
    varied = [name for name in DIMENSIONS if len({str(getattr(cell, name)) for cell in plan.cells if getattr(cell, name) != ""}) > 1]
    return [
        f"{len(names)} cells with the seeds {seeds} on {len(collections)} training collection{'s' if len(collections) > 1 else ''}: "
        f"{len(students):,} students, trained in groups of {plan.study.group_size} (one positive). "
        + (f"Cells differ in {', '.join(varied).replace('_', ' ')}." if varied else ""),
        "Trained on " + "; on ".join(where) + ".",
        "A seed draws the groups, the initial weights and the order of training, so the spread over seeds holds all three.",
        "First stages: " + ", ".join(f"`{label}`" for label in stages) + ". `full` searches the whole collection and is for retrievers and "
        "bi-encoders; the others re-rank the named candidates. Every list is cut at the first stage's depth.",
    ]


def _mean_over_seeds(groups: pd.DataFrame) -> pd.DataFrame:
    """Return the counts of groups, one row a collection and strategy."""
    names = {"false_negatives": "candidates removed by the filter", "false_negatives_of_the_fill": "removed from the fill"}
    means = groups.groupby(["collection", "strategy"], sort=False).mean(numeric_only=True).drop(columns="seed")
    whole = [name for name in means if (means[name] % 1 == 0).all()]  # a count that all seeds share is no mean to show with a decimal
    means = means.astype(dict.fromkeys(whole, "int64"))
    return means.rename(columns=names).rename(columns=lambda name: name.replace("_", " ")).reset_index()


def _file_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
