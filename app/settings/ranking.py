"""Measures, in [0, 1], of a task with ranked lists. The first is the headline."""

RANKING_MEASURES = ("mAP", "rank1", "rank5", "mINP")
OPEN_SET_MEASURES = ("right_at_1", "right_at_5", "f1", "tnr", "pr_auc")
"""Whether the right vehicle is named and a stranger refused; see `app.evaluation.open_set`."""
