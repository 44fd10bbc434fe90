"""Benchmarks, each a command, and what only they use."""
