"""Folders of a federation from `init`."""

import json
import shutil
import tempfile
from pathlib import Path

import pytest

from app.deployment.setup import Plan, make_federation
from scripts import federation
from strategies.ciphers.keys import FederationKey

FIRST_KEY = FederationKey({"seal": b"\x07" * 40}, "2026-01-01")


@pytest.fixture(scope="session")
def plan():
    """Makes the plan of two sites, with changes."""

    def make(**changes):
        values = {"name": "parks", "host": "fed.example.org", "port": 8443, "sites": ["north", "south"]}
        return Plan(**{**values, "install": Path("/opt/x"), "project": Path("/p"), "venv": Path("/v v"), **changes})

    return make


@pytest.fixture(scope="session")
def first_key():
    return FIRST_KEY


@pytest.fixture(scope="session")
def made(tmp_path_factory, plan):
    """The folders as written by `init`; not to be changed."""
    root = tmp_path_factory.mktemp("made") / "parks"
    make_federation(plan(), root, FIRST_KEY)
    return root


@pytest.fixture
def root(made, tmp_path):
    """A copy to change."""
    return Path(shutil.copytree(made, tmp_path / "parks", symlinks=True))


def run(capsys, *argv):
    """A command of `scripts.federation`: the lines that it prints, and the JSON object of the last one."""
    federation.main([str(word) for word in argv])
    *lines, last = capsys.readouterr().out.splitlines()
    return lines, json.loads(last)


def open_to_all(folder):
    """Let other users reach a folder of a test: those above it, below the folder of temporary files."""
    for path in folder.parents:
        if Path(tempfile.gettempdir()) in path.parents:
            path.chmod(0o755)
