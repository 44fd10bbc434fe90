"""Benchmarks, each a command, and their common code."""
