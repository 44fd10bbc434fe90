"""A site's part in a federation: its policy, its settings, its name, and what it holds and opens."""
