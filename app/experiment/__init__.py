"""Experiments on one machine: simulations, baselines, what they measure, and the folders they write to."""
