"""Frozen registers of earlier versions, SQLite and PostgreSQL, answer as when they were written."""

import json
import shutil
from pathlib import Path

import numpy as np
import psycopg
import pytest
from frozen_files import FROZEN, PASSWORD, photos_of
from register_steps import NEXT, NOW, colour, plus, version
from sqlalchemy import select

from app.register.accounts import Accounts, LogInError
from app.register.database import Database
from app.register.embedder import sample_of
from app.register.identification import Identification
from app.register.photos import VehiclePhoto
from app.register.records import embeddings
from app.register.schema import Base, Embedding, View


@pytest.fixture(params=FROZEN, ids=lambda folder: folder.name)
def frozen(request, url, tmp_path):
    """A register of an earlier version: the set that it belongs to, its folder, and its URL."""
    name = url.split(":")[0].removesuffix("+psycopg")
    folder = Path(shutil.copytree(request.param / f"register-{name}", tmp_path / "frozen"))
    if name == "sqlite":
        return request.param, folder, f"sqlite:///{folder / 'register.sqlite'}"
    shutil.copytree(request.param / "register-sqlite" / "models", folder / "models")
    empty = Database(url)
    Base.metadata.drop_all(empty.engine)
    empty.close()
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute((folder / "register.sql").read_text(encoding="utf-8"))
    return request.param, folder, url


@pytest.mark.parametrize("later", [False, True], ids=["as it is", "upgraded"])
def test_a_frozen_register_answers_as_when_it_was_written(frozen, monkeypatch, later):
    source, folder, url = frozen
    if later:
        plus(monkeypatch, colour)
    expected = json.loads((source / "expected.json").read_text(encoding="utf-8"))
    expected = expected[folder_name(url)]
    identification = Identification(folder, url, "cpu")
    try:
        assert version(identification.database) == (NEXT if later else str(NOW))
        assert identification.register.counts() == expected["counts"]
        accounts = Accounts(identification.database)
        assert accounts.log_in("porter", PASSWORD, "127.0.0.1")
        with pytest.raises(LogInError):
            accounts.log_in("porter", f"{PASSWORD}!", "127.0.0.1")

        found = [
            identification.identify([VehiclePhoto(vehicle, plate=plate)], account="porter")
            for vehicle, plate in photos_of(source)
        ]
        decisions = [answer.decision for answer in found]
        assert [str(decision.outcome) for decision in decisions] == expected["outcomes"]
        assert [decision.vehicle for decision in decisions] == expected["vehicles"]
        # Rows of length 1 that were computed on another machine, sums of float32 in another order.
        similarities = [decision.similarity for decision in decisions]
        np.testing.assert_allclose(similarities, expected["similarities"], atol=1e-5)
        assert_embeddings(identification)

        # And it goes on: another vehicle gets the next number.
        [(vehicle, plate), _] = photos_of(source)
        assert identification.enrol([VehiclePhoto(plate, plate=vehicle)], account="operator", plate="FR 9") == 3
    finally:
        identification.close()


def folder_name(url):
    return "sqlite" if url.startswith("sqlite") else "postgresql"


def assert_embeddings(identification):
    """What is held of every image is what the network says of it now."""
    _, recogniser = identification.active_model.current()
    with identification.database.reading() as session:
        views = list(session.scalars(select(View).order_by(View.id)))
        held = {(row.view_id, row.library): row.vector for row in session.scalars(select(Embedding))}
    rows = recogniser.embed_files([sample_of(identification.photos, each) for each in views])
    now = {
        (row.view_id, row.library): row.vector
        for each, vectors in zip(views, rows, strict=True)
        for row in embeddings(0, vectors, each.id)
    }
    assert now.keys() == held.keys()
    assert held
    for key, vector in now.items():
        np.testing.assert_allclose(vector, held[key], atol=1e-5)
