"""Hydra configuration; read by `app.settings` alone."""
