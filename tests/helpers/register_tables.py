"""Tables of a register as they are in its database: columns and keys, rows, and a script that changes them."""

import numpy as np
import pgvector.sqlalchemy  # noqa: F401 - SQLAlchemy knows the type by it
import pytest
from registers import view
from sqlalchemy import inspect, text

from app.register.upgrades import run_sql


def described(database):
    """Every table with columns, keys, indexes and, in SQLite, whether numbers never come again."""
    found = {}
    inspector = inspect(database.engine)
    for table in inspector.get_table_names():
        columns = [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in inspector.get_columns(table)]
        keys = [
            (key["constrained_columns"], key["referred_table"], key["options"])
            for key in inspector.get_foreign_keys(table)
        ]
        if database.is_sqlite:  # SQLAlchemy leaves out ON DELETE of a column's own REFERENCES
            with database.engine.connect() as connection:
                keys = [tuple(row[2:]) for row in connection.exec_driver_sql(f"PRAGMA foreign_key_list('{table}')")]
        unique = [sorted(u["column_names"]) for u in inspector.get_unique_constraints(table)]
        indexes = [(i["name"], i["column_names"], bool(i["unique"])) for i in inspector.get_indexes(table)]
        primary = inspector.get_pk_constraint(table)["constrained_columns"]
        found[table] = sorted(columns), sorted(keys, key=str), sorted(unique), sorted(indexes), primary
    if database.is_sqlite:
        with database.reading() as session:
            rows = session.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'table'")).all()
        found["numbers"] = sorted(name for name, sql in rows if sql and "AUTOINCREMENT" in sql)
    return found


def contents(database):
    """Rows of every table."""
    with database.reading() as session:
        return {
            table: sorted(map(repr, session.execute(text(f'SELECT * FROM "{table}"')).all()))
            for table in inspect(session.connection()).get_table_names()
        }


def change(database, script):
    with database.writing() as session:
        run_sql(session.connection(), script)


@pytest.fixture
def one_vehicle(register, model):
    """A database with a vehicle."""
    register.enrol([view(np.random.default_rng(0))], model_id=model.id, account="tester", plate="FR 1")
    return register.database
