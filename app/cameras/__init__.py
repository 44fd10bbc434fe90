"""Cameras that ask by themselves."""
