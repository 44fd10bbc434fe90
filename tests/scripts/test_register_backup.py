"""Backup and restoration of a register on the command line."""

import pytest
from registers import photo

from app.core.errors import AlreadyThereError
from app.register.errors import RegisterError
from models.errors import MissingFileError


def test_a_register_is_backed_up_and_restored(run_register, run_folder, tmp_path):
    run, folder = run_register, tmp_path / "backup"
    run("reembed", "--run", run_folder)
    photo(1).image.save(tmp_path / "1.png")
    run("enrol", tmp_path / "1.png", "--plate", "AB 12")
    made = run("backup", folder)[0]
    assert [made[name] for name in ("folder", "vehicle", "view", "images", "missing")] == [str(folder), 1, 1, 1, []]
    assert made["bytes"] > 1000
    with pytest.raises(AlreadyThereError, match="is there already"):
        run("backup", folder)
    run("edit", 1, "--plate", "ZZ 1")
    with pytest.raises(RegisterError, match="holds 1 vehicles, 1 views, 1 models: with --replace all of it is lost"):
        run("restore", folder)
    assert run("show", 1)[0]["plate"] == "ZZ 1"
    assert run("restore", folder, "--replace")[0]["vehicle"] == 1
    assert run("show", 1)[0]["plate"] == "AB 12"
    other = tmp_path / "elsewhere"
    run("restore", folder, "--register", other)
    assert run("show", 1, "--register", other)[0]["plate"] == "AB 12"
    assert run("identify", tmp_path / "1.png", "--register", other)[0]["vehicle"] == 1
    with pytest.raises(MissingFileError, match=r"no backup in .*nothing: backup\.json is missing"):
        run("restore", tmp_path / "nothing", "--register", tmp_path / "third")
    assert not (tmp_path / "third").exists()
