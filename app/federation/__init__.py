"""A site's part in a federation: its policy, its settings, and its name."""
