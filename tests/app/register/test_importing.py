"""Import row by row: what fails is told, what is there is skipped, and a killed import goes on where it was."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
from registers import photo
from test_listing import write

from app.register.errors import FullError, UnavailableError
from app.register.identification import Identification
from app.register.importing import Result, import_entries
from app.register.photos import VehiclePhoto
from app.register.tables import read_listing
from scripts import register as register_command

pytestmark = pytest.mark.slow


@pytest.fixture
def url(tmp_path):
    """The register itself is tested on both databases; its tables in and out on one."""
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


def rows(identification, path):
    return list(import_entries(identification, read_listing(path), "tester"))


def content(identification):
    """What is enrolled, in words: plate, owner, note, and the pixels of the pictures."""
    found = []
    for vehicle in identification.register.everything("tester"):
        owner = vehicle.owner and (vehicle.owner.id, vehicle.owner.name, vehicle.owner.flat)
        views = [identification.photos.path(view.picture).read_bytes() for view in vehicle.views]
        found.append((vehicle.id, vehicle.plate and vehicle.plate.text, owner, vehicle.note, views))
    return found


def test_a_row_that_cannot_be_used_fails_alone(identification, tmp_path):
    path = write(
        tmp_path,
        {"path": "a.png", "vehicle": "one"},
        {"path": "b.png", "vehicle": "one"},  # 3: no image
        {"path": "c.png", "vehicle": "one"},
        {"path": "d.png", "plate_text": "AB 1"},  # 5: the plate of another vehicle
        {"path": "e.png"},  # 6: a file that the system cannot read
        {"path": "f.png", "plate_path": "p.png"},  # 7: a plate image that is cut off
        {"path": "g.png", "vehicle_left": 900, "vehicle_top": 0, "vehicle_width": 9, "vehicle_height": 9},  # 8
        {"path": "h.png"},
    )
    (tmp_path / "b.png").write_bytes(b"nothing")
    (tmp_path / "e.png").unlink()
    (tmp_path / "e.png").symlink_to("/proc/self/mem")  # a file, and reading it is an input/output error
    (tmp_path / "p.png").write_bytes((tmp_path / "p.png").read_bytes()[:900])
    identification.enrol([VehiclePhoto(photo(1))], account="tester", plate="AB1")
    results = rows(identification, path)
    assert [(result.row, result.vehicle, result.enrolled) for result in results if not result.reason] == [
        (2, 2, True),
        (4, 2, False),
        (9, 3, True),
    ]
    reasons = {result.row: result.reason for result in results if result.reason}
    assert set(reasons) == {3, 5, 6, 7, 8}
    assert "b.png: not an image" in reasons[3]
    assert "vehicle 1 has this plate already" in reasons[5]
    assert "e.png: cannot be read" in reasons[6]
    assert "p.png: cannot be read" in reasons[7]
    assert "outside the image" in reasons[8]
    assert identification.register.counts()["vehicles"] == 3


def test_a_repeated_import_enrols_nothing_twice_and_takes_what_was_mended(identification, tmp_path):
    owner = {"owner": "A. Resident", "flat": "12"}
    path = write(
        tmp_path,
        {"path": "a.png", "vehicle": "one", **owner},
        {"path": "b.png", "vehicle": "one"},
        {"path": "c.png", **owner},
        {"path": "d.png", "plate_text": "CD 2"},
    )
    good = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(b"nothing")
    assert [bool(result.reason) for result in rows(identification, path)] == [True, False, False, False]
    before = content(identification)
    again = rows(identification, path)
    assert [(result.skipped, bool(result.reason)) for result in again] == [(False, True)] + [(True, False)] * 3
    assert content(identification) == before
    (tmp_path / "a.png").write_bytes(good)
    assert rows(identification, path)[0] == Result(2, 1)  # to the vehicle of its other row
    (tmp_path / "c.png").rename(tmp_path / "moved.png")  # the content counts, not the name
    path.write_text(path.read_text(encoding="utf-8").replace("c.png", "moved.png"), encoding="utf-8")
    assert all(result.skipped for result in rows(identification, path))
    assert identification.register.counts() | {"sightings": 0} == {
        "owners": 1,
        "vehicles": 3,
        "views": 4,
        "sightings": 0,
        "incidents": 0,
    }
    identification.register.forget(account="tester", vehicle_id=3)  # what was forgotten may be imported again
    assert [result.enrolled for result in rows(identification, path)] == [False, False, False, True]


def test_the_command_tells_what_was_enrolled_whatever_ends_it(identification, tmp_path, capsys, monkeypatch):
    path = write(tmp_path, {"path": "a.png"}, {"path": "b.png"}, {"path": "c.png"})
    words = [
        "import",
        str(path),
        "--register",
        str(identification.folder),
        "--url",
        str(identification.database.engine.url),
        "--device",
        "cpu",
    ]

    def run():
        capsys.readouterr()
        with pytest.raises((SystemExit, KeyboardInterrupt, UnavailableError, FullError)) as ended:
            register_command.main(words)
        said = capsys.readouterr()
        return ended.value, json.loads(said.out.splitlines()[-1]), said.err

    real, calls = Identification.enrol, []

    def gone(self, *args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise UnavailableError("the register cannot be used")
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Identification, "enrol", gone)
        photo(99).image.save(tmp_path / "b.png")
        ended, told, _ = run()
    assert isinstance(ended, UnavailableError)
    assert (told["imported"], told["vehicles"], told["left"]) == (1, [1], 2)
    (tmp_path / "b.png").write_bytes(b"nothing")
    ended, told, err = run()
    assert (type(ended), ended.code) == (SystemExit, 1)
    assert [told[key] for key in ("rows", "imported", "skipped", "failed", "left", "vehicles")] == [3, 1, 1, 1, 0, [2]]
    assert told["refused"][0]["rows"] == [3]
    assert f"failed: {path}, row 3: " in err
    assert "b.png: not an image" in err


SCRIPT = """
import os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from app.register.identification import Identification
from app.register.importing import import_entries
from app.register.tables import read_listing

folder, table = Path(sys.argv[1]), Path(sys.argv[2])
entries, random_, kills = read_listing(table), random.Random(0), 0
identification = Identification(folder, device="cpu")
recogniser = identification.active_model.current()[1]  # read once; nothing else of the parent's is used in a child
identification.close()
while True:
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            identification = Identification(folder, device="cpu")
            identification.active_model._recogniser = recogniser
            for result in import_entries(identification, entries, "t"):
                os.write(into, b"." if not result.skipped else b"s")
            os._exit(0)
        finally:
            os._exit(1)
    os.close(into)
    while (said := os.read(out, 1)) == b"s":
        pass
    if said:
        time.sleep(random_.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    os.close(out)
    if status == 0:
        break
    assert status == signal.SIGKILL, status
    kills += 1
print(kills)
"""


def test_an_import_that_is_killed_again_and_again_ends_as_one_that_is_not(tmp_path, run_folder):
    table = [
        {"path": f"{letter}.png", "vehicle": str(index // 2), "owner": f"owner {index // 4}"}
        for index, letter in enumerate("abcdefgh")
    ]
    path = write(tmp_path, *table)
    for name in ("killed", "whole"):
        identification = Identification(tmp_path / name, device="cpu")
        identification.active_model.change_to_run(run_folder, "global", "tester")
        identification.close()
    root = Path(__file__).resolve().parents[3]
    words = [sys.executable, "-c", SCRIPT, str(tmp_path / "killed"), str(path)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=root, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) >= 3
    whole, killed = Identification(tmp_path / "whole", device="cpu"), Identification(tmp_path / "killed", device="cpu")
    assert len(rows(whole, path)) == 8
    assert content(killed) == content(whole)
    assert killed.register.counts() == whole.register.counts()
    assert killed.register.counts()["vehicles"] == 4
    assert killed.register.counts()["owners"] == 2
    whole.close(), killed.close()


TABLE = [
    {"path": "a.png", "vehicle": "one", "owner": "A. Resident", "plate_text": "AB 1"},
    {"path": "b.png", "vehicle": "one", "owner": "A. Resident"},
    {"path": "c.png", "owner": "A. Resident", "plate_text": "CD 2"},
    {"path": "d.png"},
]


@pytest.mark.parametrize("place", ["sqlite", "postgresql"])
@pytest.mark.parametrize("others", [1, 2, 4])
def test_rows_that_another_import_enrols_meanwhile_count_as_there(
    request, tmp_path, run_folder, monkeypatch, place, others
):
    """The other import comes between the query and the write of our first row, with the first `others` rows."""
    url = f"sqlite:///{tmp_path / 'both.sqlite'}" if place == "sqlite" else request.getfixturevalue("postgres")()
    identification = Identification(tmp_path / "register", url, "cpu")
    identification.active_model.change_to_run(run_folder, "global", "tester")
    path = write(tmp_path, *TABLE)
    other, real, done = Identification(tmp_path / "register", url, "cpu"), Identification.enrol, list[Result]()

    def late(self, *args, **kwargs):
        if self is identification and not done:
            done.extend(itertools.islice(import_entries(other, read_listing(path), "other"), others))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Identification, "enrol", late)
    results = rows(identification, path)
    assert [result.reason for result in results + done] == [""] * (4 + others)
    assert [result.skipped for result in results] == [True] * others + [False] * (4 - others)
    assert [result.vehicle for result in results] == [1, 1, 2, 3]
    assert {name: identification.register.counts()[name] for name in ("owners", "vehicles", "views")} == {
        "owners": 1,
        "vehicles": 3,
        "views": 4,
    }
    identification.close(), other.close()


def test_two_tables_of_one_owner_at_once_make_one_owner(identification, tmp_path, monkeypatch):
    (tmp_path / "x").mkdir(), (tmp_path / "y").mkdir()
    ours = write(tmp_path / "x", {"path": "a.png", "owner": "A. Resident"})
    theirs = write(tmp_path / "y", {"path": "b.png", "owner": "A. Resident"})
    real, done = Identification.enrol, []

    def late(self, *args, **kwargs):
        if not done:
            done.append(None)
            assert [result.reason for result in rows(identification, theirs)] == [""]
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Identification, "enrol", late)
    assert [(result.vehicle, result.reason) for result in rows(identification, ours)] == [(2, "")]
    assert (identification.register.counts()["owners"], identification.register.counts()["vehicles"]) == (1, 2)


def test_two_imports_of_one_table_by_two_processes(tmp_path, run_folder):
    table = [
        {"path": f"{letter}.png", "vehicle": str(index // 2), "owner": f"owner {index // 6}"}
        | ({"plate_text": f"P {index}"} if index % 2 == 0 else {})
        for index, letter in enumerate("abcdefghijkl")
    ]
    path, folder = write(tmp_path, *table), tmp_path / "register"
    identification = Identification(folder, device="cpu")
    identification.active_model.change_to_run(run_folder, "global", "tester")
    words = [sys.executable, "-m", "scripts.register", "import", str(path), "--register", str(folder), "--device=cpu"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(words, cwd=Path(__file__).resolve().parents[3], **pipes) for _ in range(2)]
    said = [process.communicate(timeout=400) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    told = [json.loads(out.splitlines()[-1]) for out, _ in said]
    assert [row["failed"] for row in told] == [0, 0]
    assert sum(row["imported"] for row in told) == 12
    assert sum(row["skipped"] for row in told) == 12
    assert identification.register.counts() | {"sightings": 0} == {
        "owners": 2,
        "vehicles": 6,
        "views": 12,
        "sightings": 0,
        "incidents": 0,
    }
    identification.close()
