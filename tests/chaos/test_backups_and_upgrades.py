"""A federation restored from backups of its running parties, and one of the last version upgraded in place.

Run: make chaos. Real processes on loopback; each test has a federation of its own.
"""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import write_set
from federation_checks import divide, rounds_in
from parks_processes import OVERRIDES, left_out, start_as_a_service

from app.deployment.applying import apply
from app.deployment.verify import problems
from scripts import federation as commands
from scripts.bench.loopback import Loopback, _set

pytestmark = pytest.mark.chaos
CHECKOUT = Path(__file__).parents[2]
LAST_OF_0_1_0 = "9799342"
SITES = ("north", "south")
PATIENT = f"{OVERRIDES} federation.deadline=900"
_LONG = 1200


def images(base):
    found = divide(write_set(base / "set", vehicles={"a": 4, "b": 3}), base / "parts")
    return dict(zip(SITES, found.values(), strict=True))


def in_round_2(parks, folder):
    parks.wait_for(lambda: folder.read_progress().get("server_round", 0) >= 2, "round 2", _LONG)


def stop_all(parks, how):
    for name in list(parks.processes):
        parks.stop(name, how)


def started_again(parks):
    parks.start_server()
    for name in SITES:
        start_as_a_service(parks, name, 600)


def test_a_federation_that_was_restored_in_mid_run_goes_on(tmp_path):
    """All parties are backed up while a round is learnt, and killed; their folders are lost. The sites connect five
    minutes after they were restored. Nothing is registered again, and every round is learnt by both sites."""
    (tmp_path / "real").mkdir()
    with Loopback(tmp_path / "real", images(tmp_path)) as parks:
        parks.start_all()
        place = parks.root / "server/state/first"
        folder, _ = parks.run(place, PATIENT)
        in_round_2(parks, folder)
        lost = [parks.root / "server", *map(parks.site, SITES)]
        for path in lost:
            commands.main(["backup", str(path), str(tmp_path / f"{path.name}.tar")])
        stop_all(parks, signal.SIGKILL)
        for path in lost:
            shutil.rmtree(path)
            commands.main(["restore", str(tmp_path / f"{path.name}.tar"), str(path)])
            assert problems(path) == []
        started_again(parks)
        folder, process = parks.run(place, f"{PATIENT} federation.resume=true")
        process.wait(timeout=_LONG)
        assert rounds_in(folder) == [1, 2, 3, 4], parks.last_words()
        assert folder.read_summary()["resumed_after"] == 1
        assert left_out(folder) == []
        assert all(sorted(line["clients"]) == list(SITES) for line in folder.read_metrics()[:3])


class Older(Loopback):
    """A federation by the version of another checkout."""

    def __init__(self, checkout, *words):
        self.checkout = checkout
        super().__init__(*words)

    def init(self, words):
        command = [sys.executable, "-m", "scripts.federation", "init", *words]
        subprocess.run(command, check=True, cwd=self.checkout, stdout=subprocess.DEVNULL)


def test_a_federation_of_the_last_version_is_upgraded_in_mid_run(tmp_path, monkeypatch):
    """As the page says it: `approve`, `refresh`, `apply`, restart. The run that the last version began goes on."""
    older = tmp_path / "older"
    older.mkdir()
    archive = ["git", "-C", str(CHECKOUT), "archive", "-o", str(tmp_path / "older.tar"), LAST_OF_0_1_0]
    if subprocess.run(archive, capture_output=True, check=False).returncode:
        pytest.skip("this checkout has no history")
    shutil.unpack_archive(tmp_path / "older.tar", older, filter="data")
    (tmp_path / "real").mkdir()
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(older))
        parks = Older(older, tmp_path / "real", images(tmp_path))
    with parks:
        place, authority = parks.root / "server/state/first", parks.root / "authority"
        with monkeypatch.context() as patch:
            patch.setenv("PYTHONPATH", str(older))
            parks.start_all()
            folder, _ = parks.run(place, PATIENT)
            in_round_2(parks, folder)
            stop_all(parks, signal.SIGTERM)
        assert not (parks.root / "first").exists()  # it is from before archives
        assert not (authority / "updates.json").exists()
        before = {path: path.read_bytes() for path in parks.root.glob("*/*/state/node/*/private-*")}
        away = [shutil.move(path, tmp_path / path.name) for path in (parks.root / "server", *map(parks.site, SITES))]

        commands.main(["approve", str(parks.root), "--project", str(CHECKOUT)])
        assert sorted(path.name for path in (parks.root / "updates").iterdir()) == [
            "north.tar",
            "operator.tar",
            "south.tar",
        ]
        for path in away:
            shutil.move(path, parks.root / ("" if Path(path).name == "server" else "sites") / Path(path).name)
        parties = [parks.root / "server", parks.root / "operator", *map(parks.site, SITES)]
        commands.main(["refresh", *map(str, parties)])
        for path in parties[1:]:
            assert "allowed-apps" in apply(parks.root / f"updates/{path.name}.tar", path)[1] or path.name == "operator"
        assert [problems(path) for path in [authority, *parties]] == [[]] * 5
        assert {path: path.read_bytes() for path in parks.root.glob("*/*/state/node/*/private-*")} == before

        _set(parks.root / "operator/operator.env", PROJECT=CHECKOUT)
        started_again(parks)
        folder, process = parks.run(place, f"{PATIENT} federation.resume=true")
        process.wait(timeout=_LONG)
        assert rounds_in(folder) == [1, 2, 3, 4], parks.last_words()
        assert folder.read_summary()["resumed_after"] >= 1
        assert left_out(folder) == []
