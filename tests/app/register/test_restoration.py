"""Restorations of a backup: checked first, as a whole, and the register is one or the other if they are killed."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from corrected_registers import state
from registers import photo

from app.register.accounts import Accounts
from app.register.backup import MANIFEST, back_up, copied, read_manifest
from app.register.errors import RegisterError
from app.register.folder import RegisterFolder, hold_alone
from app.register.identification import Identification
from app.register.photos import VehiclePhoto
from app.register.restore import restore
from models.errors import MissingFileError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("postgres_programs")]
TABLES = {"sqlite": "register.sqlite", "postgresql": "register.sql"}


def rows(database):
    """All rows but what the folder is known by."""
    found = state(database)
    found["setting"] = [row for row in found["setting"] if not row.startswith("('id'")]
    return found


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def answer(identification, seed):
    decision = identification.identify([VehiclePhoto(photo(seed), plate=photo(100 + seed))], account="t").decision
    return decision.outcome, decision.vehicle, round(decision.similarity, 5)


def test_a_restored_register_is_the_same_and_answers_the_same(full_register, elsewhere, tmp_path):
    expected, before = [answer(full_register, seed) for seed in (1, 2, 9)], rows(full_register.database)
    made = back_up(full_register, tmp_path / "backup", "operator")
    assert (made.counts["vehicle"], made.counts["sighting"], made.missing) == (2, 4, [])
    assert full_register.journal.audit(1)[0].action == "back up"
    folder, url = elsewhere
    restore(tmp_path / "backup", folder, url, "operator")
    with closing(Identification(folder, url, "cpu")) as restored:
        assert rows(restored.database) == before
        assert restored.journal.audit(1)[0].action == "restore"
        for name in ("pictures", "models", "calibration"):
            assert files(folder / name) == files(full_register.folder / name)
        assert all((folder / name).read_text() == "" for name in ("events.toml", "cameras.toml"))
        assert [answer(restored, seed) for seed in (1, 2, 9)] == expected
        assert Accounts(restored.database).log_in("porter", "a long password", "127.0.0.1")
        assert restored.enrol([VehiclePhoto(photo(3))], account="t") == 3
        assert restored.register.tidy() == 0
        restored.register.forget(account="t", vehicle_id=1)
    assert not [path for path in folder.iterdir() if path.name.startswith(".restored")]


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
    elif how == "tables by another program":  # with a digest that fits
        with (folder / tables).open("rb+") as file:
            file.write(b"\\! touch /tmp/x\n" * 100)
        manifest["files"][tables] = copied(folder / tables).model_dump()
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
        ("tables by another program", r"register\.sql(ite is damaged|, line 1: no statement that `backup` writes)"),
        ("the tables are not in the manifest", r"register\.sql(ite)? is missing"),
        ("the manifest is none", r"backup\.json is damaged: "),
        ("a place outside", r"backup\.json is damaged: it names 'models/\.\./\.\./x'"),
        ("a newer format", "is of format 99, this program knows 1"),
        ("newer tables", "tables of version 99, this program knows them up to"),
        ("no manifest", r"no backup in .*: backup\.json is missing"),
    ],
)
def test_a_backup_that_is_not_whole_is_refused_before_anything_changes(full_register, tmp_path, how, reason):
    back_up(full_register, tmp_path / "backup", "t")
    damage(tmp_path / "backup", how)
    url = full_register.database.engine.url.render_as_string(hide_password=False)
    before = rows(full_register.database), files(full_register.folder / "pictures")
    with pytest.raises((RegisterError, MissingFileError), match=reason):
        restore(tmp_path / "backup", full_register.folder, url, "t", replace=True)
    assert (rows(full_register.database), files(full_register.folder / "pictures")) == before


def test_a_register_that_holds_something_is_kept_without_the_word(full_register, tmp_path):
    back_up(full_register, tmp_path / "backup", "t")
    url = full_register.database.engine.url.render_as_string(hide_password=False)
    extra = full_register.enrol([VehiclePhoto(photo(7))], account="t")
    (full_register.folder / "models" / "detector.onnx").write_bytes(b"later")
    with pytest.raises(RegisterError, match=r"holds 1 owners, 3 vehicles, .*: with --replace all of it is lost"):
        restore(tmp_path / "backup", full_register.folder, url, "t")
    lock = hold_alone(full_register.folder)
    with pytest.raises(RegisterError, match="another service uses the register"):
        restore(tmp_path / "backup", full_register.folder, url, "t", replace=True)
    lock.release()
    assert full_register.register.vehicle(extra).views
    restore(tmp_path / "backup", full_register.folder, url, "t", replace=True)
    with closing(RegisterFolder(full_register.folder, url)) as restored:
        assert restored.register.counts()["vehicles"] == 2
        manifest = read_manifest(tmp_path / "backup")
        held = {path.name for path in (full_register.folder / "pictures").iterdir()}
        assert held == {Path(place).name for place in manifest.files if place.startswith("pictures/")}
        assert not (full_register.folder / "models" / "detector.onnx").exists()


def test_another_kind_of_database_is_refused(full_register, tmp_path, postgres):
    back_up(full_register, tmp_path / "backup", "t")
    other = "" if not full_register.database.is_sqlite else postgres()
    with pytest.raises(RegisterError, match=r"the backup is of \w+, and the register is in \w+"):
        restore(tmp_path / "backup", tmp_path / "other", other, "t")


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


def test_a_restoration_that_is_killed_leaves_the_one_register_or_the_other(full_register, tmp_path):
    """Before and after each of its parts; the register is whole after each kill, and the same command ends the work."""
    url = full_register.database.engine.url.render_as_string(hide_password=False)
    old = rows(full_register.database)
    back_up(full_register, tmp_path / "old", "t")
    full_register.enrol([VehiclePhoto(photo(8))], account="t", plate="NEW 1")
    full_register.corrections.merge(1, 2, account="t")
    full_register.register.forget(account="t", vehicle_id=1)
    new = rows(full_register.database)
    back_up(full_register, tmp_path / "new", "t")
    root = Path(__file__).resolve().parents[3]
    for when, source, expected in (
        ("before _bring", "old", new),
        ("after _bring", "old", new),
        ("before _replace_tables", "old", new),
        ("after _replace_tables", "old", old),
        ("before _drop_others", "new", new),
        ("after _drop_others", "old", old),
    ):
        words = [sys.executable, "-c", KILLED, str(tmp_path / source), str(full_register.folder), url, when]
        done = subprocess.run(words, capture_output=True, text=True, cwd=root, check=False)
        assert done.returncode == -9, done.stderr[-2000:]
        with closing(RegisterFolder(full_register.folder, url)) as held:
            assert rows(held.database) == expected, when
            for vehicle in held.register.vehicles():
                for view in vehicle.views:
                    assert held.photos.path(view.picture).is_file(), when
            assert (full_register.folder / "models" / f"{held.models.active().digest}.safetensors").is_file()
    for name, expected in (("old", old), ("new", new)):
        restore(tmp_path / name, full_register.folder, url, "t", replace=True)
        with closing(RegisterFolder(full_register.folder, url)) as held:
            assert rows(held.database) == expected
