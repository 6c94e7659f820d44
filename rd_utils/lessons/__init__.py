"""The course: one toy for all lessons, checks of what a reader writes, and readers' notebooks made from the solved ones.

The solved lessons are notebooks/lessons/solutions; the picture and the exercises of lesson NN stand in the module ``lesson_NN``.
"""

from rd_utils.lessons import toy
from rd_utils.lessons.checks import check, solution
from rd_utils.lessons.data import SMALL
from rd_utils.workflow.notebook import open_pipeline as begin

__all__ = ["SMALL", "begin", "check", "solution", "toy"]
