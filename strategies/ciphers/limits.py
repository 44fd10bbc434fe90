"""Limits on the clients of an encrypted round. No imports: settings are checked where no cipher is installed."""

MIN_CLIENTS, MAX_CLIENTS = 2, 1024
"""Least: the sum of one update is that update. Most: packing and noise are laid out for so many."""
