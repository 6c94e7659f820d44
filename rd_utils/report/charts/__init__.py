"""Charts of a study: cells, differences, groups, students, training, costs and theory. They draw finished frames and compute no statistic.

Every chart says everything without a click; where one can brush or click, it says so above. A chart of a study's own frames
(:mod:`drawing`) shows one training collection and one of its test collections; where a frame holds several, ``collection`` and
``test_collection`` choose. In the others ``by`` names the columns whose values make panels of their own, and a value that is missing, or
not finite, is an error unless the docstring says that it may be blank; drawn at their default sizes they are at most 900 pixels wide, which
a page of A4 holds. Save charts with :func:`pictures.save_chart`, show them under :func:`rd_utils.report.drawing.use_theme`.
"""

from __future__ import annotations

from rd_utils.report.charts.cells import cells_chart, effectiveness_chart, means_chart, query_chart, simple_effects_chart, surface_chart
from rd_utils.report.charts.choices import bound_chart, error_rate_chart, pareto_chart, regret_chart
from rd_utils.report.charts.claims import claim_chart, scaling_chart
from rd_utils.report.charts.contrasts import across_chart, forest_chart, matrix_chart, split_rows
from rd_utils.report.charts.dials import margin_chart, price_chart
from rd_utils.report.charts.groups import (
    entropy_chart,
    locality_chart,
    neighbourhood_chart,
    queries_chart,
    rank_chart,
    score_chart,
    temperature_chart,
)
from rd_utils.report.charts.queries import query_differences_chart
from rd_utils.report.charts.shared import BOUND_KINDS, COSTS, QUANTITIES, STATES, WIDEST
from rd_utils.report.charts.training import behaviour_chart, calibration_chart, correlation_chart, learning_chart, search_chart

__all__ = [
    "BOUND_KINDS", "CHARTS", "COSTS", "QUANTITIES", "STATES", "WIDEST", "across_chart", "behaviour_chart", "bound_chart",
    "calibration_chart", "cells_chart", "claim_chart", "correlation_chart", "effectiveness_chart", "entropy_chart",
    "error_rate_chart", "forest_chart", "learning_chart", "locality_chart", "margin_chart", "matrix_chart", "means_chart",
    "neighbourhood_chart", "pareto_chart", "price_chart", "queries_chart", "query_chart", "query_differences_chart", "rank_chart",
    "regret_chart", "scaling_chart", "score_chart", "search_chart", "simple_effects_chart", "split_rows", "surface_chart",
    "temperature_chart",
]  # fmt: skip

CHARTS = {
    "effectiveness": effectiveness_chart,
    "cells": cells_chart,
    "means": means_chart,
    "query": query_chart,
    "query_differences": query_differences_chart,
    "surface": surface_chart,
    "simple_effects": simple_effects_chart,
    "forest": forest_chart,
    "across": across_chart,
    "matrix": matrix_chart,
    "rank": rank_chart,
    "score": score_chart,
    "temperature": temperature_chart,
    "entropy": entropy_chart,
    "locality": locality_chart,
    "queries": queries_chart,
    "neighbourhood": neighbourhood_chart,
    "behaviour": behaviour_chart,
    "calibration": calibration_chart,
    "correlation": correlation_chart,
    "search": search_chart,
    "learning": learning_chart,
    "pareto": pareto_chart,
    "error_rate": error_rate_chart,
    "regret": regret_chart,
    "bound": bound_chart,
}
