"""A teacher's scores of pairs, which grow with what is asked (see :mod:`rd_utils.scoring`)."""

from __future__ import annotations

from rd_utils import params
from rd_utils.graph import teacher_inputs
from rd_utils.stage import Stage

PAIRS = Stage(name="pairs", version=1, spec=params.PairsSpec, inputs=lambda spec: teacher_inputs(spec.teacher, spec.collection))
