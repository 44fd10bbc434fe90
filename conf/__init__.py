"""Hydra configuration; read by `app.settings.load` alone."""
