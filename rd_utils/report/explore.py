"""What people ask of a study while they explore it, a table or a chart each; a report asks it of all cells at once."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from rd_utils.analysis import characteristics, locality
from rd_utils.analysis.tables import at
from rd_utils.cost import costs
from rd_utils.report.charts import learning_chart, margin_chart, means_chart, neighbourhood_chart, price_chart
from rd_utils.report.findings import Findings
from rd_utils.study import params
from rd_utils.study.explain import known
from rd_utils.study.graph import vectors_of
from rd_utils.study.plan import Cell

_GIVEN = "●"
_POSITIVE = "◆"


class Explored(Findings):
    """A study that is looked at: one query, two cells, one group, a cell's training, a cell's cost.

    Everything is of the study's first training collection, and of a cell's first seed unless a look says that it averages.
    """

    def see_means(self, *rows: str) -> alt.LayerChart | alt.FacetChart:
        """Draw the mean of cells and baselines in the study's measure, over seeds, with its interval over queries.

        Args:
            rows: Their names, from top to bottom; all of the first first stage where none is named.

        Raises:
            ValueError: There is no such row.
        """
        values = at(self.per_query, **next(iter(self.pairs.values()))).query("measure == @self.measure")
        values = values[values["first_stage"] == values["first_stage"].iloc[0]]
        names = values["cell"].unique().tolist()
        for name in rows:
            known(name, names, "cell")
        by_query = values.groupby(["query_id", "cell"])["value"].mean().unstack()[list(rows) or names]
        return means_chart(by_query, measure=self.measure)

    def see_query(self, query_id: str | None = None, *, teacher: str | None = None, characters: int = 60) -> pd.DataFrame:
        """Show a training query's documents, with their labels, a teacher's scores, and which strategy drew which.

        Args:
            query_id: Of the training queries; the first that all strategies have a group of where it is None.
            teacher: A name in the study; its first where it is None.
            characters: How much of each text is kept.

        Returns:
            One row a document that a strategy drew, by the teacher's score: doc_id, text, label (the qrels' relevance, ``-`` where nobody
            judged it), teacher (its score; left out where the study has none), and a column a strategy with ◆ for its positive and ● for a
            negative. The query's text is the table's ``attrs["query"]``.

        Raises:
            ValueError: No strategy has a group of the query, or there is no such teacher.
        """
        drawn = {name: self.pipeline.groups(cell.students[min(cell.students)].groups) for name, cell in self._by_strategy().items()}
        query_id = self._query_of(drawn, query_id)
        marks: dict[str, dict[str, str]] = {}
        for name, groups in drawn.items():
            for ids in groups.loc[groups["query_id"] == query_id, "doc_ids"]:
                for place, doc_id in enumerate(ids):
                    marks.setdefault(doc_id, {})[name] = _POSITIVE if place == 0 else _GIVEN
        train = self._train
        table = pd.DataFrame.from_dict(marks, orient="index").reindex(columns=list(drawn)).fillna("")
        texts, qrels = self.pipeline.docs(train).set_index("doc_id")["text"], self.pipeline.qrels(train)
        labels = qrels[qrels["query_id"] == query_id].set_index("doc_id")["relevance"].astype(str)
        table.insert(0, "text", texts.loc[table.index].str.slice(0, characters))
        table.insert(1, "label", labels.reindex(table.index).fillna("-"))
        if teachers := self.plan.studies[0].teachers:
            name = next(iter(teachers)) if teacher is None else teacher
            known(name, list(teachers), "teacher")
            doc_rows = self.pipeline.doc_rows(train, pd.Series(table.index))
            query_rows = np.repeat(self.pipeline.query_rows(train, pd.Series([query_id])), len(doc_rows))
            scores, _ = self.pipeline.teacher_scores(teachers[name], train, query_rows, doc_rows)
            table.insert(2, "teacher", scores)
            table = table.sort_values("teacher", ascending=False, kind="stable")
        table.attrs["query"] = self.pipeline.queries(train).set_index("query_id")["text"].loc[query_id]
        return table.rename_axis("doc_id")

    def see_pair(self, a: str, b: str, *, queries: int = 10, characters: int = 60) -> pd.DataFrame:
        """Show two cells side by side on the test queries on which they differ most, in the study's measure, over their seeds.

        Args:
            a: A cell's name, or a baseline's.
            b: Another's.
            queries: How many.
            characters: How much of each text is kept.

        Returns:
            One row a query of the first test collection and first stage, by the size of the difference: query (its text), the mean of each
            over seeds, ``difference`` (a minus b), and ``first of`` each: the text of its first document, with ``*`` where it is relevant.

        Raises:
            ValueError: There is no such cell.
        """
        pair = next(iter(self.pairs.values()))
        values = at(self.per_query, **pair).query("measure == @self.measure")
        rows = values["cell"].unique().tolist()
        for name in (a, b):
            known(name, rows, "cell")
        stages = [stage for stage in values["first_stage"].unique() if {a, b} <= set(values.loc[values["first_stage"] == stage, "cell"])]
        if not stages:
            raise ValueError(f"{a} and {b} have no first stage in common")
        means = values[values["first_stage"] == stages[0]].groupby(["query_id", "cell"])["value"].mean().unstack()[[a, b]]
        means["difference"] = means[a] - means[b]
        chosen = means.loc[means["difference"].abs().sort_values(ascending=False, kind="stable").index[:queries]]
        test = self.plan.study.collections[0].test[0]
        texts, docs = self.pipeline.queries(test).set_index("query_id")["text"], self.pipeline.docs(test).set_index("doc_id")["text"]
        qrels = self.pipeline.qrels(test)
        relevant = set(qrels[qrels["relevance"] > 0][["query_id", "doc_id"]].itertuples(index=False, name=None))
        for name in (a, b):
            ranked = self.pipeline.ranked(self._evaluation(name, test, stages[0]))
            first = ranked.drop_duplicates("query_id").set_index("query_id")["doc_id"]
            chosen[f"first of {name}"] = [
                ("* " if (query, first[query]) in relevant else "") + docs[first[query]][:characters] if query in first else "nothing"
                for query in chosen.index
            ]
        chosen.insert(0, "query", texts.loc[chosen.index].str.slice(0, characters))
        return chosen.rename_axis(columns=None)

    def see_group(
        self, strategy: str, query_id: str | None = None, *, shares: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0), nearest: int = 200
    ) -> alt.LayerChart | alt.FacetChart:
        """Draw a group in the plane, among the documents nearest to it, and what corpus-random documents in it do to its diameter.

        The plane is that of the two directions in which all that is drawn varies most, in the study's reference space; diameters are those
        of the space itself. At a random share s the first s (m - 1) negatives are replaced, those of a smaller share among them (seed 0).

        Args:
            strategy: A name in the study.
            query_id: Of the training queries; the first that the strategy has a group of where it is None.
            shares: The random shares that a slider sets.
            nearest: How many other documents are drawn: those nearest to the group's mean.

        Raises:
            ValueError: The study has no ``reference``, there is no such strategy, or it has no group of the query.
        """
        cells = self._by_strategy()
        known(strategy, list(cells), "strategy")
        if self.plan.study.reference is None:
            raise ValueError(f"the study {self.plan.study.name} has no reference: name the encoder in whose space groups are measured")
        spec = cells[strategy].students[min(cells[strategy].students)].groups
        groups, docs = self.pipeline.groups(spec), self.pipeline.docs(self._train)
        query_id = self._query_of({strategy: groups}, query_id)
        group = self.pipeline.group_rows(spec)[1][(groups["query_id"] == query_id).to_numpy()][0]
        vectors = np.asarray(self.pipeline.vectors(vectors_of(self._train, self.plan.study.reference)), dtype=np.float32)
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
        at_random = np.random.default_rng(0).choice(np.setdiff1d(np.arange(len(docs)), group), len(group) - 1, replace=False)
        by_nearness = np.argsort(-(vectors @ vectors[group].mean(axis=0)), kind="stable")
        others = by_nearness[~np.isin(by_nearness, [*group, *at_random])][:nearest]
        parts = [pd.DataFrame({"row": others, "kind": "other"})]
        for share in shares:
            replaced = round(share * (len(group) - 1))
            rows = np.concatenate([group[:1], at_random[:replaced], group[1 + replaced :]])
            kinds = ["positive"] + ["random"] * replaced + ["negative"] * (len(group) - 1 - replaced)
            wide = locality.diameters(vectors, rows[None]).iloc[0]
            part = pd.DataFrame({"row": rows, "kind": kinds, "random_share": share})
            parts.append(part.assign(diameter=wide["diameter_q99"], mean_distance=wide["mean_distance"]))
        points = pd.concat(parts, ignore_index=True)
        shown = points["row"].unique()
        centred = vectors[shown] - vectors[shown].mean(axis=0)
        plane = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
        places = pd.DataFrame(plane, columns=["x", "y"], index=shown).loc[points["row"]].reset_index(drop=True)
        points = points.join(places).assign(doc_id=docs["doc_id"].to_numpy()[points["row"]])
        points["text"] = docs["text"].str.slice(0, 100).to_numpy()[points["row"]]
        query = self.pipeline.queries(self._train).set_index("query_id")["text"].loc[query_id]
        return neighbourhood_chart(points.drop(columns="row"), title=f"{strategy}: {query[:60]}")

    def see_training(self, *cells: str) -> alt.Chart | alt.FacetChart:
        """Draw the training losses of cells, all of them where none is named, of every seed.

        Raises:
            ValueError: There is no such cell.
        """
        history = characteristics.histories(self.plan, self.pipeline)
        history = history[history["collection"] == self.plan.labels[0]]
        for name in cells:
            known(name, history["cell"].unique().tolist(), "cell")
        return learning_chart(history[history["cell"].isin(cells)] if cells else history)

    def see_cost(self, cell: str) -> pd.DataFrame:
        """Show what a cell cost, stage by stage, as a mean over its seeds: what it would have paid alone.

        Returns:
            One row a stage and one for the total: CPU seconds, wall seconds, teacher calls, joules.

        Raises:
            ValueError: There is no such cell.
        """
        known(cell, [one.name for one in self.plan.cells], "cell")
        paid = self.cells[(self.cells["cell"] == cell) & (self.cells["collection"] == self.plan.labels[0])]
        amounts = {"cpu_seconds": "CPU seconds", "wall_seconds": "wall seconds", "teacher_calls": "teacher calls", "joules": "joules"}
        stages = [*costs.STAGES, "total"]
        return pd.DataFrame(
            {title: [paid[f"{stage}_{amount}"].mean(skipna=False) for stage in stages] for amount, title in amounts.items()},
            index=pd.Index(stages, name="stage"),
        )

    def see_margin(self, family: str = "loss", *, most: int = 25) -> alt.LayerChart | alt.FacetChart:
        """Draw a family's differences with a slider for the margin of equivalence, which gives each its verdict.

        A row has the name of the cell whose difference it is, from the cell that differs from it in that one thing.

        Args:
            family: Of :attr:`differences`, such as ``loss`` or ``strategy``; of the first pair of collections, on its first first stage.
            most: How many contrasts are drawn, the largest differences first.

        Raises:
            ValueError: The study has no such family.
        """
        contrasts = at(self.differences, **next(iter(self.pairs.values())))
        known(family, contrasts["family"].unique().tolist(), "family")
        contrasts = contrasts[(contrasts["first_stage"] == contrasts["first_stage"].iloc[0]) & (contrasts["family"] == family)]
        order = contrasts["difference"].abs().sort_values(ascending=False, kind="stable").index[:most]
        shown = contrasts.loc[order]
        names = shown["cell_after"] if shown["cell_after"].is_unique else shown["cell_after"] + " less " + shown["cell_before"]
        shown = shown.assign(contrast=names)
        return margin_chart(shown, measure=self.measure, margin=self.settings.equivalence_margin, most=3 * self.settings.equivalence_margin)

    def see_price(self) -> alt.LayerChart | alt.FacetChart:
        """Draw effectiveness against cost with a slider for the price of a teacher's call, which moves the cells and so the frontier.

        A cell costs its own CPU seconds, those of its teacher's scores left out, and its teacher's calls at the price. The slider starts at
        what a call cost here, as a mean over cells, and ends at ten times as much.

        Raises:
            ValueError: No cell asks a teacher.
        """
        paid = self.cells[self.cells["collection"] == self.plan.labels[0]]
        if not paid["total_teacher_calls"].sum():
            raise ValueError(f"no cell of the study {self.plan.study.name} asks a teacher, so there is no price to set")
        means = paid.groupby("cell", sort=False)[["total_cpu_seconds", "score_cpu_seconds", "total_teacher_calls"]].mean()
        summary = at(self.summary, **next(iter(self.pairs.values()))).query("measure == @self.measure and system == 'student'")
        value = summary[summary["first_stage"] == summary["first_stage"].iloc[0]].set_index("cell")["mean"]
        points = pd.DataFrame({
            "name": means.index, "value": value.reindex(means.index).to_numpy(), "teacher_calls": means["total_teacher_calls"].to_numpy(),
            "cpu_seconds": (means["total_cpu_seconds"] - means["score_cpu_seconds"]).to_numpy(),
        }).dropna()  # fmt: skip
        price = float(means["score_cpu_seconds"].sum() / means["total_teacher_calls"].sum())
        return price_chart(points, measure=self.measure, price=price, most=10 * price)

    # --- whose ----------------------------------------------------------------------------------------------------------------------

    @property
    def _train(self) -> params.Collection:
        return self.plan.study.collections[0].train

    def _by_strategy(self) -> dict[str, Cell]:
        """Return a cell of every strategy, with the groups as the strategy draws them, on the first collection."""
        cells = [cell for cell in self.plan.cells if cell.collection == self.plan.labels[0]]
        found: dict[str, Cell] = {}
        for cell in cells:
            if (cell.cut, cell.augmentation) == ("all", "none"):
                found.setdefault(cell.strategy, cell)
        return found

    def _query_of(self, drawn: dict[str, pd.DataFrame], query_id: str | None) -> str:
        """Return a query that every strategy has a group of, or the one that is asked for, which one of them must have."""
        sets = [set(groups["query_id"]) for groups in drawn.values()]
        if query_id is None:
            return next(one for one in next(iter(drawn.values()))["query_id"] if all(one in ids for ids in sets))
        if not any(query_id in ids for ids in sets):
            raise ValueError(f"no group of the training query {query_id!r} was drawn by {', '.join(drawn)}")
        return query_id

    def _evaluation(self, name: str, test: params.Collection, first_stage: str) -> params.EvaluationSpec:
        """Return the evaluation of a row's first seed."""
        label = self.plan.labels[0]
        cell = next((one for one in self.plan.cells if (one.name, one.collection) == (name, label)), None)
        if cell is not None:
            system: params.System = params.StudentSystem(student=cell.students[min(cell.students)])
        else:
            row = next(one for one in self.plan.baselines if (one.name, one.pair) == (name, 0))
            system = row.systems[min(row.systems)]
        specs = self.plan.evaluations(system, label)
        return next(spec for spec in specs if (spec.collection, spec.first_stage.label) == (test, first_stage))
