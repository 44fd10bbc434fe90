"""Experiments: training and measuring models beside each other."""
