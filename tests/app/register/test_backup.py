"""Backups of a register that is in use: of one moment, and nothing that is there is lost."""

import subprocess
import threading
from contextlib import closing
from types import SimpleNamespace

import pytest
from registers import photo
from sqlalchemy import make_url

from app.core.errors import AlreadyThereError
from app.register import backup
from app.register.backup import back_up, run_program
from app.register.errors import RegisterError
from app.register.folder import RegisterFolder
from app.register.identification import Identification
from app.register.photos import VehiclePhoto
from app.register.restore import restore

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("postgres_programs")]


def test_a_backup_while_others_write_is_of_one_moment(full_register, elsewhere, tmp_path):
    stop, wrong = threading.Event(), []

    def write(url):
        """Enrols a vehicle with an image and forgets the one before, over and over."""
        try:
            with closing(Identification(full_register.folder, url, "cpu")) as other:
                last = None
                while not stop.is_set():
                    new = other.enrol([VehiclePhoto(photo(5))], account="w", plate="ZZ 1" if last is None else "")
                    if last is not None:
                        other.register.forget(account="w", vehicle_id=last)
                    last = new
        except Exception as error:
            wrong.append(error)

    url = full_register.database.engine.url.render_as_string(hide_password=False)
    thread = threading.Thread(target=write, args=(url,))
    thread.start()
    try:
        made = [back_up(full_register, tmp_path / f"backup{number}", "t") for number in range(3)]
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


def test_a_folder_that_is_there_and_one_in_the_register_are_refused(full_register, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(AlreadyThereError, match="is there already"):
        back_up(full_register, tmp_path / "there", "t")
    with pytest.raises(RegisterError, match="lies in the register itself"):
        back_up(full_register, full_register.folder / "backup", "t")
    assert not (full_register.folder / "backup").exists()


def test_an_image_that_is_lost_is_named_and_the_rest_is_saved(full_register, elsewhere, tmp_path):
    lost = full_register.register.vehicle(2).views[0].picture
    full_register.photos.path(lost).unlink()
    made = back_up(full_register, tmp_path / "backup", "t")
    assert made.missing == [lost]
    restore(tmp_path / "backup", *elsewhere, "t")


def test_postgresql_without_its_programs_is_one_line(full_register, tmp_path, monkeypatch):
    if full_register.database.is_sqlite:
        pytest.skip("SQLite needs no program")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RegisterError, match=r"needs pg_dump, which is not installed \(Debian: apt-get install"):
        back_up(full_register, tmp_path / "backup", "t")
    assert not (tmp_path / "backup").exists()


def test_images_that_come_and_go_while_the_tables_are_copied(full_register, elsewhere, tmp_path, monkeypatch):
    """A vehicle comes after the images were copied and before the tables are, and one of those goes again after it."""
    real, calls = backup._copy_tables, []

    def between(*words):
        calls.append(None)
        if len(calls) > 1:
            return real(*words)
        kept, gone = (full_register.enrol([VehiclePhoto(photo(seed))], account="t") for seed in (7, 8))
        found = real(*words)
        full_register.register.forget(account="t", vehicle_id=gone)
        calls.append(kept)
        return found

    monkeypatch.setattr(backup, "_copy_tables", between)
    made = back_up(full_register, tmp_path / "backup", "t")
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
