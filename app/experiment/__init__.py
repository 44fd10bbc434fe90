"""Experiments on one machine: simulations, baselines, their measures and their run folders."""
