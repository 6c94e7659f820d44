"""The theory behind the study, each term computed from data.

`floor` parts a loss into a divergence and the teacher's entropy; `labels` tells what drawn labels add to it; `deviation` bounds what a mean
over groups can be off by, and certifies; `population` watches the bounds at work where the truth is known; `bias` says what random
negatives mend; `held_out` reads the groups that all of them look at.
"""

from rd_utils.companions.theory import bias, deviation, floor, held_out, labels, population

__all__ = ["bias", "deviation", "floor", "held_out", "labels", "population"]
