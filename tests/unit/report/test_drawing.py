"""What a notebook holds of a chart: drawn by JupyterLab without a network or trust, a picture elsewhere, the same bytes each time."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import altair as alt
import pandas as pd
import pytest
from PIL import Image

from rd_utils.report import drawing


def make_chart(rows: int = 40, width: int = 300) -> alt.Chart:
    frame = pd.DataFrame({"step": range(rows), "loss": [1 / (row + 3) for row in range(rows)], "cell": "a", "never shown": "b" * 40})
    zoom = alt.selection_interval(bind="scales")
    return alt.Chart(frame).mark_line().encode(x="step:Q", y="loss:Q", color="cell:N").properties(width=width).add_params(zoom)


def shown(chart: alt.Chart) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what IPython's display gets from a chart."""
    with drawing.use_theme():
        return chart._repr_mimebundle_(None, None)


def picture_of(output: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(output["image/png"])))


def test_a_chart_is_a_specification_for_jupyterlab_a_picture_and_a_line_of_text():
    output, metadata = shown(make_chart())
    assert set(output) == {"application/vnd.vegalite.v5+json", "image/png", "text/plain"}
    assert output["application/vnd.vegalite.v5+json"]["$schema"] == "https://vega.github.io/schema/vega-lite/v5.json"
    assert output["text/plain"] == "Chart: loss, step, cell"
    told = metadata["image/png"]
    assert told["alt"] == "Chart: loss, step, cell"
    assert picture_of(output).size == pytest.approx((1.5 * told["width"], 1.5 * told["height"]), abs=1)
    assert 300 < told["width"] < 450


def test_a_chart_names_no_address_but_the_schemas():
    output, metadata = shown(make_chart())
    text = json.dumps([output, metadata]).replace("https://vega.github.io/schema/vega-lite/v5.json", "")
    assert "http" not in text and "//" not in text.replace(output["image/png"], "")


def test_the_same_chart_gives_the_same_bytes_however_many_came_before():
    first = shown(make_chart())
    for _ in range(12):
        make_chart()  # Altair counts on
    assert json.dumps(shown(make_chart())) == json.dumps(first)


def test_a_column_named_as_altair_names_parameters_keeps_its_name():
    chart = alt.Chart(pd.DataFrame({"param_7": [1]})).mark_point().encode(x="param_7:Q").add_params(alt.selection_interval())
    drawn = drawing.notebook_spec(drawing.chart_spec(chart))
    assert drawn["encoding"]["x"]["field"] == "param_7" and drawn["datasets"]["rows_1"] == '[{"param_7":1}]'
    assert [parameter["name"] for parameter in drawn["params"]] == ["param_1"]


def test_another_chart_gives_another_picture():
    assert shown(make_chart(rows=41))[0]["image/png"] != shown(make_chart())[0]["image/png"]


def test_columns_that_no_part_of_a_chart_names_are_left_out():
    output, _ = shown(make_chart(rows=2))
    rows = json.loads(output[drawing.VEGA_LITE]["datasets"]["rows_1"])
    assert rows == [{"step": 0, "loss": 0.333333, "cell": "a"}, {"step": 1, "loss": 0.25, "cell": "a"}]


def test_columns_whose_names_vega_lite_escapes_are_kept():
    frame = pd.DataFrame({"equivalent_0.01": [1.0], "other_0.01": [2.0]})
    spec = drawing.chart_spec(alt.Chart(frame).mark_point().encode(x=alt.X("equivalent_0\\.01:Q")))
    assert json.loads(drawing.notebook_spec(spec)["datasets"]["rows_1"]) == [{"equivalent_0.01": 1.0}]


def test_every_column_is_kept_where_a_tooltip_shows_them_all():
    chart = alt.Chart(pd.DataFrame({"a": [1], "b": [2]})).mark_point(tooltip={"content": "data"}).encode(x="a:Q")
    assert json.loads(drawing.notebook_spec(drawing.chart_spec(chart))["datasets"]["rows_1"]) == [{"a": 1, "b": 2}]


def test_data_sets_are_counted_in_the_order_in_which_the_chart_names_them():
    one, two = (alt.Chart(pd.DataFrame({name: [1]})).mark_point().encode(x=f"{name}:Q") for name in "ab")
    for chart, order in ((one | two, "ab"), (two | one, "ba")):
        datasets = drawing.notebook_spec(drawing.chart_spec(chart))["datasets"]
        assert datasets == {f"rows_{number}": f'[{{"{name}":1}}]' for number, name in enumerate(order, start=1)}


@pytest.mark.parametrize("width", [900, 1400])
def test_a_chart_too_wide_for_a_notebook_is_narrowed_to_what_one_shows(width):
    output, metadata = shown(make_chart(width=width))
    assert metadata["image/png"]["width"] == pytest.approx(770, abs=2)
    assert output[drawing.VEGA_LITE]["width"] < 770
    assert metadata["image/png"]["height"] == shown(make_chart())[1]["image/png"]["height"]


def test_no_view_is_narrowed_beyond_two_fifths_of_itself():
    assert shown(make_chart(width=4000))[0][drawing.VEGA_LITE]["width"] == 1600


def test_a_chart_that_fits_keeps_its_width_and_one_that_names_none_gets_that_of_the_report():
    assert shown(make_chart(width=420))[0][drawing.VEGA_LITE]["width"] == 420
    chart = alt.Chart(pd.DataFrame({"a": [1, 2]})).mark_point().encode(x="a:Q")
    assert shown(chart)[1]["image/png"]["width"] > 300


def test_what_stands_at_pixels_of_a_view_is_narrowed_with_it():
    note = alt.Chart(pd.DataFrame({"text": ["none"]})).mark_text(limit=400).encode(x=alt.value(1000), text="text:N")
    output, metadata = shown((make_chart() + note).properties(width=1000))
    drawn = output[drawing.VEGA_LITE]
    layer = drawn["layer"][1]
    assert metadata["image/png"]["width"] == pytest.approx(770, abs=2)
    assert layer["encoding"]["x"]["value"] == pytest.approx(drawn["width"], abs=1)
    assert layer["mark"]["limit"] == pytest.approx(0.4 * drawn["width"], abs=1)


def test_notebooks_get_back_the_renderer_that_they_had():
    before = alt.renderers.active
    with drawing.use_theme():
        assert alt.renderers.active == "rd_utils"
    assert alt.renderers.active == before


def test_a_description_or_a_title_says_what_a_chart_shows():
    assert drawing.describe_chart({"title": {"text": "Losses"}, "description": "Two losses"}) == "Chart: Two losses"
    assert drawing.describe_chart({"title": {"text": "Losses"}, "mark": "bar"}) == "Chart: Losses"
    assert drawing.describe_chart({"mark": "bar", "encoding": {"x": {"field": "a"}}}) == "Chart: a"
    assert drawing.describe_chart({"mark": "bar"}) == "Chart"
