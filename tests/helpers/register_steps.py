"""Invented upgrade steps of a register's tables, beside those that there are."""

from sqlalchemy import text

from app.register import upgrades
from app.register.upgrades import Step, run_sql

NOW = upgrades.STEPS[-1].version
NEXT = str(NOW + 1)
COLOUR = "ALTER TABLE vehicle ADD COLUMN colour VARCHAR; UPDATE vehicle SET colour = 'red'; "


def plus(monkeypatch, run, more=1):
    """A further step."""
    monkeypatch.setattr(upgrades, "STEPS", (*upgrades.STEPS, Step(upgrades.STEPS[-1].version + more, run)))


def colour(connection):
    run_sql(connection, COLOUR)


def version(database):
    with database.reading() as session:
        return session.execute(text("SELECT value FROM setting WHERE name = 'version'")).scalar()
