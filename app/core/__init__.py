"""Foundations of every part of the project: text on a terminal, nearest words, typed JSON, places for output."""
