"""Readers: one data set a file."""
