"""A restoration by a clock that is behind the backup, or behind an earlier restoration, and what a site waits for."""

import json
import time

import pytest
from party_backups import rewritten
from party_folders import run

from app.deployment import site_files
from app.deployment.backup import back_up
from app.deployment.restoring import BackupError, restore
from app.deployment.setup import make_federation
from app.federation import restored


def created(manifest):
    """Seconds since 1970, without the code under test."""
    return time.mktime(time.strptime(manifest.created, "%Y-%m-%dT%H:%M:%S+00:00")) - time.timezone


@pytest.mark.parametrize("party", ["sites/north", "server", "."])
def test_a_clock_behind_the_backup_restores_nothing(root, tmp_path, monkeypatch, party):
    file, place = tmp_path / "b.tar", tmp_path / "back"
    made = created(back_up(root / party, file))
    for now, said in ((1000.0, "1970-01-01T00:16:40"), (made - 1, "")):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        with pytest.raises(
            BackupError, match=rf"b\.tar was made at .*clock says {said}.* set the clock by NTP; if"
        ) as error:
            restore(file, place)
        assert "\n" not in str(error.value)
        assert not place.exists()
        assert not list(tmp_path.glob(".back*"))
    monkeypatch.setattr(time, "time", lambda: made)
    restore(file, place)
    for path in place.glob("**/restored.json"):
        assert json.loads(path.read_text()) == {"restored": made}


@pytest.mark.parametrize("said", ["", "soon", "2026", "9" * 5000, "2026-13-01T00:00:00+00:00"])
def test_a_backup_of_no_time_is_named(root, tmp_path, said):
    file = tmp_path / "b.tar"
    back_up(root / "sites/north", file)
    rewritten(file, lambda _, manifest: manifest.update(created=said))
    with pytest.raises(BackupError, match=r"b\.tar is damaged: backup\.json: created .* is no time"):
        restore(file, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_the_later_restoration_of_a_site_stays(root, tmp_path, monkeypatch):
    """It was restored by a clock that was ahead, backed up, and restored by a right one."""
    node = root / "sites/north/state/node"
    node.mkdir(parents=True)
    now = float(int(time.time()))
    restored.mark(node, now + 120)
    back_up(root / "sites/north", tmp_path / "b.tar")
    monkeypatch.setattr(time, "time", lambda: now + 60)
    restore(tmp_path / "b.tar", tmp_path / "back")
    assert json.loads((tmp_path / "back/state/node/restored.json").read_text()) == {"restored": now + 120}


@pytest.mark.parametrize(
    ("cipher", "said", "waits"),
    [
        ("kahe", "it takes part again in five minutes, which start.sh waits", 1),
        ("ckks", "before it starts let the authority `rotate`: its record of opened sums is that of the backup", 0),
        ("plain", "it takes part again at once", 0),
    ],
)
def test_what_a_restored_site_waits_for_depends_on_the_cipher(
    plan, first_key, tmp_path, monkeypatch, capsys, cipher, said, waits
):
    make_federation(plan(cipher=cipher), tmp_path / "parks", first_key)
    back_up(tmp_path / "parks/sites/north", tmp_path / "b.tar")
    north, waited = tmp_path / "back", []
    lines, _ = run(capsys, "restore", tmp_path / "b.tar", north)
    assert said in lines
    assert sum("five minutes" in line for line in lines) == waits
    monkeypatch.setattr(time, "sleep", waited.append)
    assert site_files.main(str(north), "north", "synthetic", "/srv/x") == 0
    assert len(waited) == waits
    (north / "state/node/restored.json").write_text("{")
    assert site_files.main(str(north), "north", "synthetic", "/srv/x") == (2 if waits else 0)
    assert len(waited) == waits
