"""Measures, in [0, 1], of a task with ranked lists. The first is the headline."""

RANKING_MEASURES = ("mAP", "rank1", "rank5", "mINP")
