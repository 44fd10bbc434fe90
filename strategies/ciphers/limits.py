"""Limits on the clients of an encrypted round. No imports: settings are checked where no cipher is installed."""

MIN_CLIENTS, MAX_CLIENTS = 2, 1024
"""A sum of one update is that update; packing and noise are laid out for at most so many."""
MIN_MASKED = 3
"""Pairwise masks: of two clients, each could take its own update off the sum."""
