"""Rows of a table that change enrolled vehicles: all of them or none, and each vehicle once."""

import json

import pytest
from corrected_registers import about, state
from registers import photo
from test_listing import write

from app.data.readers.errors import DataSetError
from app.register.errors import RegisterError
from app.register.photos import VehiclePhoto
from app.register.records import NewOwner
from app.register.updates import apply_updates, read_table
from scripts import register as register_command


@pytest.fixture
def url(tmp_path):
    """Corrections themselves are tested on both databases; tables on one."""
    return f"sqlite:///{tmp_path / 'register.sqlite'}"


@pytest.fixture
def filled(identification):
    """Two vehicles of owner 1, one of owner 2, and one without."""
    owner = NewOwner("A. Resident", "12")
    identification.enrol([VehiclePhoto(photo(1))], account="t", owner=owner, plate="AB 1")
    identification.enrol([VehiclePhoto(photo(2))], account="t", owner=1, plate="AB 2")
    identification.enrol([VehiclePhoto(photo(3))], account="t", owner=NewOwner("B"), plate="AB 3")
    identification.enrol([VehiclePhoto(photo(4))], account="t", note="van")
    return identification


def applied(filled, path):
    return [(each.vehicle, each.fields) for each in apply_updates(filled.database, read_table(path)[0], "t")]


def test_rows_change_the_vehicles_that_they_name(filled, tmp_path):
    path = write(
        tmp_path,
        {"id": 1, "plate_text": "ZX 1", "contact": "evenings"},
        {"id": 3, "owner": "B. Renamed", "note": "red"},
        {"id": 4, "owner": "A. Resident", "flat": "12", "contact": "evenings"},  # owner 1, as they are by now
        {"id": 2, "plate_text": "AB 2"},  # nothing new
        columns=["id", "plate_text", "owner", "flat", "contact", "note"],
    )
    assert applied(filled, path) == [
        (1, ["plate", "contact"]),
        (3, ["note", "owner"]),
        (4, ["owner_id"]),
        (2, []),
    ]
    owner = ("A. Resident", "12", "evenings")
    assert about(filled.register, 1) == ("ZX 1", "", owner)
    assert about(filled.register, 3) == ("AB 3", "red", ("B. Renamed", "", ""))
    assert about(filled.register, 4) == (None, "van", owner)
    assert filled.register.vehicle(4).owner_id == 1
    assert filled.corrections.undo(3, account="t") == "edit"


def test_an_owner_is_renamed_by_the_rows_of_all_vehicles(filled, tmp_path):
    path = write(tmp_path, {"id": 1, "owner": "New"}, {"id": 2, "owner": "New"})
    assert applied(filled, path) == [(1, ["owner"]), (2, [])]
    assert about(filled.register, 2)[2] == ("New", "12", "")


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (
            [{"id": 1, "note": "a"}, {"id": 3, "note": "b"}, {"id": 1, "note": "c"}],
            "row 4, column id: is that of row 2",
        ),
        ([{"id": "one", "note": "a"}], "row 2, column id: is no number of a vehicle: 'one'"),
        ([{"id": "0", "note": "a"}], "row 2, column id: is no number"),
        ([{"id": "99999999999", "note": "a"}], "row 2, column id: is no number"),
        ([{"id": 1, "path": "a.png"}], "row 2, column path: stands beside an id"),
        ([{"id": 1, "note": "a"}, {"path": "", "id": ""}, {"id": "", "note": "b"}], "row 4, column path: is empty"),
        ([{"id": 1, "plate_text": "?!"}], "row 2, column plate_text: not a plate"),
        ([{"id": 1, "owner": "a\x01b"}], "row 2, column owner: holds a character that is not allowed"),
        ([{"id": 1, "plate_text": "X 1"}, {"id": 3, "plate_text": "x1"}], "row 3, column plate_text: .* row 2"),
        ([{"id": 1, "plate_text": "X 1"}, {"path": "a.png", "plate_text": "x1"}], "row 2, .* row 3"),
    ],
)
def test_a_table_that_cannot_be_understood_is_refused_with_its_rows(tmp_path, rows, reason):
    with pytest.raises(DataSetError, match=reason):
        read_table(write(tmp_path, *rows))


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"id": 9, "note": "a"}], "row 3: there is no vehicle 9"),
        ([{"id": 1, "plate_text": "ab-3"}], "row 3: vehicle 3 has this plate already"),
        ([{"id": 1, "owner": "New"}], r"row 3: owner 1 has further vehicles \(2\): name the new owner in their rows"),
        ([{"id": 1, "owner": "X"}, {"id": 2, "owner": "Y"}], "row 4: names owner 1 otherwise than row 3"),
    ],
)
def test_an_update_that_does_not_fit_changes_nothing_at_all(filled, tmp_path, rows, reason):
    path, before = write(tmp_path, {"id": 4, "note": "first"}, *rows), state(filled.database)
    with pytest.raises(RegisterError, match=reason):
        applied(filled, path)
    assert state(filled.database) == before


def test_the_command_changes_enrols_and_foresees(filled, tmp_path, capsys):
    path = write(
        tmp_path,
        {"id": 1, "note": "red"},
        {"id": 2, "plate_text": "AB 2"},
        {"path": "a.png", "plate_text": "CD 1"},
        {"path": "b.png", "plate_text": "CD 1"},
        {"path": "c.png", "plate_text": "AB 3"},
        {"path": "d.png"},
        columns=["id", "path", "plate_text", "note"],
    )
    (tmp_path / "d.png").write_bytes(b"nothing")
    words = ["--register", str(filled.folder), "--url", str(filled.database.engine.url)]

    def run(*more):
        capsys.readouterr()
        with pytest.raises(SystemExit):
            register_command.main(["import", str(path), *words, *more])
        said = capsys.readouterr()
        return json.loads(said.out.splitlines()[-1]), said.err

    before = state(filled.database), sorted(filled.photos.folder.iterdir())
    told, err = run("--dry-run")
    assert (state(filled.database), sorted(filled.photos.folder.iterdir())) == before
    assert {name: told[name] for name in ("dry_run", "rows", "enrolled", "images", "left")} == {
        "dry_run": True,
        "rows": 6,
        "enrolled": 1,
        "images": 2,
        "left": 1,
    }
    assert told["changed"] == [{"vehicle": 1, "fields": ["note"]}]
    assert [row["rows"] for row in told["refused"]] == [[6], [7]]
    assert "row 6: vehicle 3 has this plate already" in err
    assert "d.png: not an image" in err
    told, _ = run("--device", "cpu")
    assert (told["imported"], told["enrolled"], told["failed"]) == (2, 1, 2)
    assert told["changed"] == [{"vehicle": 1, "fields": ["note"]}]
    told, _ = run("--dry-run")
    assert (told["enrolled"], told["images"], told["left"], told["changed"]) == (0, 0, 4, [])


def test_a_table_of_changes_alone_needs_no_network(filled, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("scripts.register_import.open_identification", lambda *_: pytest.fail("opened the network"))
    path = write(tmp_path, {"id": 1, "note": "red"})
    words = ["--register", str(filled.folder), "--url", str(filled.database.engine.url)]
    capsys.readouterr()
    register_command.main(["import", str(path), *words])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["rows"], told["changed"]) == (0, [{"vehicle": 1, "fields": ["note"]}])
