"""One of everything, on two collections: what a grid's report holds beside the main table."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import pytest

from rd_utils.store import Store
from rd_utils.study import plan
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.workflow.progress import untracked

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def planned(root, tmp_path_factory):
    previous = os.environ.get("RD_OUTPUTS")
    os.environ["RD_OUTPUTS"] = str(tmp_path_factory.mktemp("outputs"))
    found = plan.load_plan(root / "params" / "smallest_grid.yaml")
    pipeline = Pipeline(Store(), track=untracked)
    for node in found.nodes:
        for spec in node.artefacts:
            pipeline.build(spec)
    executed = found.folder / "executed.ipynb"
    executed.parent.mkdir(parents=True, exist_ok=True)
    analyse = next(node for node in found.nodes if node.notebook == "05c_report")
    papermill.execute_notebook(
        str(root / "notebooks" / "05c_report.ipynb"),
        str(executed),
        parameters=analyse.parameters,
        cwd=str(root / "notebooks"),
        progress_bar=False,
        kernel_name="python3",
    )
    yield found
    os.environ.pop("RD_OUTPUTS") if previous is None else os.environ.update(RD_OUTPUTS=previous)


def table(planned, name: str) -> pd.DataFrame:
    return pd.read_parquet(Path(planned.folder) / f"{name}.parquet")


def test_every_cell_has_results_on_both_collections(planned):
    results = table(planned, "results")
    students = results[results["system"] == "student"]
    assert students.groupby("collection")["cell"].nunique().tolist() == [len(planned.cells) // 2] * 2
    assert results["value"].between(0, 1).all()


def test_contrasts_are_summed_up_across_the_collections(planned):
    across = table(planned, "across")
    assert set(across["n_collections"]) == {2}
    assert {"strategy", "loss", "augmentation", "cut"} <= set(across["family"])
    differences = table(planned, "differences")
    row = across.iloc[0]
    same = [name for name in ("first_stage", "family", "contrast", "strategy", "teacher", "loss", "augmentation", "cut")]
    of_row = differences[(differences[same] == row[same]).all(axis=1)]
    assert row["mean"] == pytest.approx(of_row["difference"].mean())


def test_the_dialled_entropy_is_the_one_that_was_asked_for(planned):
    found = table(planned, "descriptions")
    dialled = found[found["target_entropy"].notna() & (found["state"] == "after")]
    assert len(dialled) == 2 * 2 * 2
    assert np.allclose(dialled["pairwise_entropy"], dialled["target_entropy"], atol=2e-3)


def test_the_dialled_diameter_is_narrow_or_wide_and_random_documents_bound_the_density_ratio(planned):
    found = table(planned, "descriptions").query("state == 'before'")
    means = found.groupby("strategy")["diameter_q99"].mean()
    assert means["diameter_10"] < means["diameter_90"] - 0.02
    mixed = found[(found["strategy"] == "bm25") & (found["cut"] == "all")].set_index(["collection", "augmentation"])["density_ratio"]
    for collection in found["collection"].unique():
        assert np.isinf(mixed[collection, "none"])
        assert 1 < mixed[collection, "random_third"] < 4  # 15 negatives, 5 of them from the whole collection: about 3


def test_the_searched_rates_are_those_that_the_students_were_trained_at(planned):
    rates = table(planned, "learning_rates")
    assert rates.groupby("search")["chosen"].sum().eq(1).all() and set(rates["learning_rate"]) == {0.01, 0.03}
    chosen = rates[rates["chosen"]].set_index("loss")["learning_rate"]
    cell = next(cell for cell in planned.cells if cell.loss == "lce")
    assert Store().manifest(cell.students[0])["counts"]["learning_rate"] == chosen["lce"]


def test_the_factorial_is_decomposed_and_the_report_says_all_of_it(planned):
    shares = table(planned, "variance").query("measure == 'nDCG@10'").groupby(["collection", "first_stage"])["share"].sum()
    assert np.allclose(shares, 1.0)
    page = (planned.folder / "report.html").read_text(encoding="utf-8")
    for heading in ("Learning rates", "Across collections", "Locality and entropy"):
        assert heading in page, heading
