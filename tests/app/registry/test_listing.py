"""Registers as tables: in, out, and in again."""

import csv

import pytest
from registers import photo

from app.registry.desk import Desk
from app.registry.listing import COLUMNS, enrol_entries, read_listing, write_listing
from app.registry.shots import Shot


def write(folder, *rows, columns=None):
    """A listing; `path` cells name pictures, which are made."""
    columns = columns or list(dict.fromkeys(name for row in rows for name in row))
    for row in rows:
        for name in (row.get("path"), row.get("plate_path")):
            if name and not name.startswith("missing"):
                photo(len(name) + ord(name[0])).image.save(folder / name)
    with (folder / "list.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(rows)
    return folder / "list.csv"


def test_rows_are_grouped_to_vehicles_and_owners(desk, tmp_path):
    path = write(
        tmp_path,
        {"path": "a.png", "vehicle": "one", "owner": "A. Resident", "flat": "12", "plate_text": "AB 1"},
        {"path": "b.png", "vehicle": "one", "plate_path": "p.png"},
        {"path": "c.png", "plate_text": "CD-2"},
        {"path": "d.png", "plate_text": "cd2", "owner": "A. Resident", "flat": "12", "note": "van"},
        {"path": "e.png"},
        {"path": "f.png", "plate_left": 1, "plate_top": 2, "plate_width": 20, "plate_height": 10},
    )
    entries = read_listing(path)
    assert [[row.number for row in entry.rows] for entry in entries] == [[2, 3], [4, 5], [6], [7]]
    numbers = [number for _, number in enrol_entries(desk, entries, "tester")]
    first, second, third, fourth = (desk.register.vehicle(number) for number in numbers)
    assert (len(first.views), first.plate.normal) == (2, "AB1")
    assert [view.plate_picture is not None for view in first.views] == [False, True]
    assert (len(second.views), second.plate.text, second.note) == (2, "CD-2", "van")
    assert first.owner_id == second.owner_id is not None
    assert third.owner_id is None
    assert fourth.views[0].plate_box == [1, 2, 20, 10]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"path": "a.png", "colour": "red"}], r"row 1: unknown column 'colour'"),
        ([{"vehicle": "1"}], r"row 1: column 'path' is missing"),
        ([{"path": "missing.png"}], r"row 2, column path: picture not found"),
        ([{"path": "a.png", "plate_path": "missing.png"}], r"row 2, column plate_path: picture not found"),
        ([{"path": "a.png", "plate_text": "?"}], r"row 2, column plate_text: not a plate"),
        (
            [
                {"path": "a.png", "vehicle": "1", "plate_text": "AB 1"},
                {"path": "b.png", "vehicle": "2", "plate_text": "ab-1"},
            ],
            r"row 3, column plate_text: is that of another vehicle, row 2",
        ),
        (
            [{"path": "a.png", "vehicle": "1", "owner": "A"}, {"path": "b.png", "vehicle": "1", "owner": "B"}],
            r"row 3, column owner: is another one than in row 2",
        ),
        (
            [
                {"path": "a.png", "vehicle": "1", "plate_text": "A1"},
                {"path": "b.png", "vehicle": "1", "plate_text": "B1"},
            ],
            r"row 3, column plate_text: is another one than in row 2",
        ),
        ([{"path": "a.png", "owner": "", "flat": "12"}], r"row 2, column owner: is empty beside a flat"),
        ([{"path": "a.png", "modality": "sonar"}], r"row 2, column modality: unknown value 'sonar'"),
        ([{"path": "a.png", "plate_left": "1"}], r"row 2, column plate_top: is empty"),
    ],
)
def test_a_wrong_table_is_refused_before_anything_is_enrolled(tmp_path, rows, reason):
    with pytest.raises((ValueError, FileNotFoundError), match=reason):
        read_listing(write(tmp_path, *rows))


def test_a_vehicle_that_cannot_be_enrolled_leaves_the_others(desk, tmp_path):
    path = write(tmp_path, {"path": "a.png"}, {"path": "b.png"}, {"path": "c.png", "plate_text": "AB 1"})
    (tmp_path / "b.png").write_bytes(b"nothing")
    desk.enrol([Shot(photo(1))], account="tester", plate="AB1")
    results = list(enrol_entries(desk, read_listing(path), "tester"))
    assert isinstance(results[0][1], int)
    assert "b.png: not a picture" in str(results[1][1])
    assert "vehicle 1 has this plate already" in str(results[2][1])
    assert desk.register.counts()["vehicles"] == 2


def test_a_register_that_was_taken_away_can_be_made_again(desk, tmp_path, run_folder):
    path = write(
        tmp_path,
        {"path": "a.png", "vehicle": "one", "owner": "Ä. Resident", "contact": "555, evenings", "plate_text": "AB 1"},
        {"path": "b.png", "vehicle": "one", "plate_path": "p.png", "modality": "infrared"},
        {"path": "c.png", "vehicle_left": 1, "vehicle_top": 2, "vehicle_width": 20, "vehicle_height": 10},
    )
    assert len(list(enrol_entries(desk, read_listing(path), "tester"))) == 2
    out = tmp_path / "taken"
    assert write_listing(desk, out, "tester") == 2
    assert out.stat().st_mode & 0o077 == 0
    again = Desk(tmp_path / "again", device="cpu")
    again.use_model(run_folder, "global", "tester")
    assert all(
        isinstance(result, int) for _, result in enrol_entries(again, read_listing(out / "register.csv"), "tester")
    )
    for ours, theirs in zip(desk.register.vehicles(), again.register.vehicles(), strict=True):
        assert (ours.plate and ours.plate.text) == (theirs.plate and theirs.plate.text)
        assert [view.modality for view in ours.views] == [view.modality for view in theirs.views]
        assert [view.vehicle_box for view in ours.views] == [view.vehicle_box for view in theirs.views]
        assert [bool(view.plate_picture) for view in ours.views] == [bool(view.plate_picture) for view in theirs.views]
    owner = again.register.owner_of(1, "tester")
    assert (owner.name, owner.contact) == ("Ä. Resident", "555, evenings")
    again.close()
    with pytest.raises(FileExistsError):
        write_listing(desk, out, "tester")
    assert set(COLUMNS) == set((out / "register.csv").read_text(encoding="utf-8").splitlines()[0].split(","))


def test_the_trail_says_who_took_it_away(desk, tmp_path):
    write_listing(desk, tmp_path / "taken", "manager")
    assert [(line.account, line.action) for line in desk.journal.audit(1)] == [("manager", "export")]


def test_a_register_that_cannot_be_taken_away_whole_leaves_no_folder(desk, tmp_path):
    number = desk.enrol([Shot(photo(1))], account="tester")
    desk.photos.path(desk.register.vehicle(number).views[0].picture).unlink()
    (tmp_path / "out").mkdir()
    with pytest.raises(FileNotFoundError):
        write_listing(desk, tmp_path / "out" / "taken", "manager")
    assert list((tmp_path / "out").iterdir()) == []
