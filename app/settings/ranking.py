"""Measures, in [0, 1], of a task with ranked lists. The first is the headline."""

RANKING_MEASURES = ("mAP", "rank1", "rank5", "mINP")
OPEN_SET_MEASURES = ("right_1", "right_5", "F1", "TNR", "refusal_AP")
"""Whether the right vehicle is named and a stranger refused; see `app.evaluation.open_set`."""
