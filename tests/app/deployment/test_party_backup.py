"""Backups of the parties' folders: whole or not at all, at one moment while the party runs, and checked before use."""

import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing

import pytest
from kills import content, kill_at, worst_moments
from party_backups import rewritten
from party_folders import open_to_all, run
from party_share_keys import keys_of, statement

from app.deployment import snapshot
from app.deployment.backup import back_up
from app.deployment.parties import DeploymentError
from app.deployment.renewal import rotate_key
from app.deployment.restoring import restore
from app.deployment.verify import problems
from app.federation.share_store import ShareStore
from strategies.ciphers.binding import Binding
from strategies.ciphers.cipher import CipherError
from strategies.ciphers.keys import FederationKey

SECOND = FederationKey({"seal": b"\x08" * 40}, "2026-01-02")
KEPT = {
    "server": ("state/first/server.safetensors", "state/first/metrics.jsonl", "state/a b/ü"),
    "sites/north": (
        "state/node/0123456789abcdef/private-000002.safetensors",
        "state/models/x/personalised.safetensors",
    ),
    "operator": ("nodes.txt",),
}
MADE_AGAIN = {
    "server": ("state/flower/apps/x/a.py", "state/log/s.log", "state/log/s.log.2", "own-venv/pyvenv.cfg"),
    "sites/north": ("state/bin/x", "state/apps/1/a.py", "state/node/pictures/1.png", "state/images/1.png"),
    "operator": ("flower/config.toml", "x/__pycache__/a.pyc"),
}
PROGRAMS = ("start.sh", "connect.sh", "register.sh", "run.sh", "flwr.sh", "parks-server.service", "parks-north.service")


def at_work(folder, name):
    """Files as of a party that has run; those that a backup has to hold."""
    for number, place in enumerate((*KEPT[name], *MADE_AGAIN[name])):
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_bytes(os.urandom(100) * number * 1000)
        path.chmod(0o600)
        os.utime(path, ns=(1, 1_700_000_000_123_456_789 + number))
    env = folder / f"{'site' if 'th' in name else name}.env"
    env.write_text(f"LOG_FILE=log/s.log\nDATA_ROOT='{folder.absolute()}/state/images'\nVENV={sys.prefix}\n")
    return {path: held for path, held in content(folder).items() if path not in {*MADE_AGAIN[name], *PROGRAMS}}


@pytest.mark.parametrize("name", KEPT)
def test_a_restored_folder_is_the_one_that_was_backed_up(root, tmp_path, capsys, name):
    """Bytes, modes and times; programs and service are written anew, for the place where the folder lies."""
    expected, file, back = at_work(root / name, name), tmp_path / "kept" / "parks.tar", tmp_path / "new place"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / name / "s"))
        said = run(capsys, "backup", root / name, file)[1]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["parks.tar"]
    assert said["files"] == len(expected)
    assert said["bytes"] == sum(len(data) for data, _ in expected.values())
    lines, restored = run(capsys, "restore", file, back)
    assert restored["problems"] == 0
    assert any("apply the authority's newest archive" in line for line in lines)
    now = content(back)
    assert ("state/node/restored.json" in now) == (name == "sites/north")
    assert {path: held for path, held in now.items() if path not in (*PROGRAMS, "state/node/restored.json")} == expected
    assert {path: (back / path).stat().st_mtime_ns for path in KEPT[name]} == {
        path: (root / name / path).stat().st_mtime_ns for path in KEPT[name]
    }
    for path in PROGRAMS:
        if path.endswith(".sh"):
            assert now.get(path) == content(root / name).get(path)
    for unit in back.glob("*.service"):
        assert f"WorkingDirectory={tmp_path}/parks-" in unit.read_text()
    assert problems(back) == problems(root / name) == []


def test_an_authority_is_backed_up_with_all_that_its_next_change_needs(root, tmp_path):
    """Keys, records, archives, and the public keys of the sites; nothing of parties that run in the same folder."""
    rotate_key(root, SECOND)
    shutil.rmtree(root / "sites/north")  # handed over
    expected = content(root)
    for place in ("server/state/superlink.db", "operator/flower/config.toml"):
        (root / place).parent.mkdir()
        (root / place).write_bytes(b"x")
    back_up(root / "authority", tmp_path / "a.tar")
    restore(tmp_path / "a.tar", tmp_path / "again")
    again = content(tmp_path / "again")
    assert again.pop("sites/south/state/node/restored.json")  # it may run there
    assert again == expected
    rotate_key(tmp_path / "again", FederationKey({"seal": b"\x09" * 40}, "2026-01-03"))
    assert (tmp_path / "again/updates/north.tar").exists()


def test_a_backup_holds_one_moment_of_files_that_change_meanwhile(root, tmp_path):
    """A process writes a number to one file after another, and to two tables in one transaction. As after a kill, no
    earlier file is behind a later one, and all are within one of each other."""
    state = root / "server/state"
    state.mkdir(mode=0o700)
    writer = (
        "import os, sqlite3, sys, time\n"
        "database = sqlite3.connect('superlink.db')\n"
        "database.execute('PRAGMA journal_mode=WAL')\n"
        "for table in 'ab': database.execute(f'CREATE TABLE {table} AS SELECT 0 AS n')\n"
        "number = 0\n"
        "while True:\n"
        "    for name in 'abcdefgh':\n"
        "        open('.t.1.tmp', 'w').write(str(number))\n"
        "        os.replace('.t.1.tmp', name)\n"
        "        time.sleep(0.003)\n"
        "    with database:\n"
        "        database.execute('UPDATE a SET n = ?', (number,))\n"
        "        database.execute('UPDATE b SET n = ?', (number,))\n"
        "    if not number: print('begun', flush=True)\n"
        "    number += 1\n"
        "    time.sleep(0.05)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", writer], cwd=state, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "begun\n"
        seen = set()
        for attempt in range(8):
            back_up(root / "server", tmp_path / f"{attempt}.tar")
            restore(tmp_path / f"{attempt}.tar", tmp_path / str(attempt))
            back = tmp_path / str(attempt) / "state"
            numbers = [int((back / name).read_text()) for name in "abcdefgh"]
            assert numbers == sorted(numbers, reverse=True)
            assert numbers[0] - numbers[-1] <= 1
            with closing(sqlite3.connect(back / "superlink.db")) as database:
                [(one, other)] = database.execute("SELECT a.n, b.n FROM a, b").fetchall()
                assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert one == other
            assert sorted(path.name for path in back.iterdir()) == [*"abcdefgh", "superlink.db"]
            seen.add(numbers[0])
        assert len(seen) > 1
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_files_that_change_while_they_are_opened_are_opened_again(root, tmp_path, monkeypatch):
    """The first file that was opened is replaced before the next one is: together they would be of no moment."""
    state, numbers, opened = root / "server/state", iter(range(1, 100)), snapshot._open
    state.mkdir(mode=0o700)

    def all_are(number):
        for name in "ab":
            (state / ".new").write_text(str(number))
            (state / ".new").replace(state / name)

    def changing_once(path, stack):
        found = opened(path, stack)
        if path.name == "a" and path.read_text() == "0":
            all_are(1)
        return found

    all_are(0)
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "_open", changing_once)
        back_up(root / "server", tmp_path / "b.tar")
    restore(tmp_path / "b.tar", tmp_path / "back")
    assert [(tmp_path / "back/state" / name).read_text() for name in "ab"] == ["1", "1"]

    def always_changing(path, stack):
        all_are(next(numbers))
        return opened(path, stack)

    monkeypatch.setattr(snapshot, "_open", always_changing)
    monkeypatch.setattr(snapshot, "_ATTEMPTS", 2)
    with pytest.raises(DeploymentError, match="files change all the time: try again, or stop the party meanwhile"):
        back_up(root / "server", tmp_path / "c.tar")
    assert not (tmp_path / "c.tar").exists()


@pytest.mark.slow
def test_a_backup_that_is_killed_leaves_none_and_a_killed_restore_no_folder(root, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    folder, file, back = root / "sites/north", tmp_path / "kept/b.tar", tmp_path / "back"
    expected = at_work(folder, "sites/north")

    def none():
        file.unlink(missing_ok=True)
        shutil.rmtree(back, ignore_errors=True)

    for step in worst_moments(lambda: back_up(folder, file), file, some=3):
        none()
        kill_at(step, lambda: back_up(folder, file))
        if not file.exists():
            back_up(folder, file)
        restore(file, back)
        assert content(back).items() >= expected.items()
        assert [path.name for path in file.parent.iterdir() if path.suffix != ".unfinished"] == ["b.tar"]
    none()
    back_up(folder, file)
    assert [path.name for path in file.parent.iterdir()] == ["b.tar"]  # nothing is left of those that were killed
    for step in worst_moments(lambda: restore(file, back), back, some=5):
        shutil.rmtree(back, ignore_errors=True)
        kill_at(step, lambda: restore(file, back))
        assert not back.exists() or content(back).items() >= expected.items()
        if not back.exists():
            restore(file, back)
        assert content(back).items() >= expected.items()
        assert not list(tmp_path.glob(".back*"))


def test_a_restored_site_answers_no_question_about_shares_that_it_dealt_before(root, tmp_path):
    """Since the backup it has answered one, and taken part in an attempt that the backup does not know; an answer to
    another set would open the difference. It deals new ones for what begins afterwards."""
    store = ShareStore(root / "sites/north/state/node", keys_of(root, "north"))
    cohort = ["north", "south"]
    told = [statement(root, site) for site in cohort]
    now = int(time.time())
    first, unknown, later = (
        Binding("r" * 16, "l" * 16, number, attempt=1, nonce=f"{now + 240 * number}-{'0' * 16}", cohort=cohort)
        for number in range(3)
    )
    store.begin(first, told)
    back_up(root / "sites/north", tmp_path / "b.tar")
    assert store.answer(first, told, cohort, b"one", lambda *_: b"sum") == b"sum"
    store.begin(unknown, told)
    shutil.rmtree(root / "sites/north")
    restore(tmp_path / "b.tar", root / "sites/north")
    with pytest.raises(CipherError, match="are not summed once the server has gone on"):
        store.answer(first, told, cohort, b"other", lambda *_: b"sum")
    for old in (first, unknown):
        with pytest.raises(
            CipherError, match="north was restored from a backup, and deals no shares for an attempt from"
        ):
            store.begin(old, told)
    store.clock = lambda: now + 400
    store.begin(later, told)
    assert store.answer(later, told, cohort, b"one", lambda *_: b"sum") == b"sum"


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone changes the owner of files")
def test_root_restores_the_owners(root, tmp_path, capsys):
    folder = shutil.move(root / "sites/north", tmp_path / "north")
    open_to_all(folder)
    at_work(folder, "sites/north")
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, 65534, 65534)
    back_up(folder, tmp_path / "b.tar")
    assert (tmp_path / "b.tar").stat().st_uid == 0
    restore(tmp_path / "b.tar", tmp_path / "back")
    assert {path.stat().st_uid for path in [tmp_path / "back", *(tmp_path / "back").rglob("*")]} == {65534}
    rewritten(tmp_path / "b.tar", lambda _, said: said["root"].update(user="nobody-here"))
    lines = run(capsys, "restore", tmp_path / "b.tar", tmp_path / "other")[0]
    assert any(
        line.startswith("its files belong to root, not nobody-here: `federation service FOLDER`") for line in lines
    )
