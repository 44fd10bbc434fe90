"""Measures of a task whose networks are measured by ranked lists, shares of one. The first is the headline."""

RANKING_MEASURES = ("mAP", "rank1", "rank5", "mINP")
