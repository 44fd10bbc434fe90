"""Experiments on one machine: simulations, baselines, and the folders they write to."""
