"""A teacher's scores of pairs, which grow with what is asked (see :mod:`rd_utils.scoring.pairs`)."""

from __future__ import annotations

from rd_utils.study.specs import PairsSpec
from rd_utils.study.stage import Stage

PAIRS = Stage(name="pairs", version=1, spec=PairsSpec, inputs=lambda spec: spec.teacher.inputs(spec.collection))
