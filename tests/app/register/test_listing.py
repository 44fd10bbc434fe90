"""Registers as tables: in, out, and in again."""

import csv
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from registers import photo
from sqlalchemy import select

from app.register.identification import Identification
from app.register.importing import import_entries
from app.register.photos import VehiclePhoto
from app.register.records import NewOwner
from app.register.schema import Vehicle
from app.register.tables import COLUMNS, quoted, read_listing, unquoted, write_listing
from app.register.texts import line_fault


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


def test_rows_are_grouped_to_vehicles_and_owners(identification, tmp_path):
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
    numbers = [result.vehicle for result in import_entries(identification, entries, "tester") if result.enrolled]
    first, second, third, fourth = (identification.register.vehicle(number) for number in numbers)
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
        ([{"path": "missing.png"}], r"row 2, column path: image not found"),
        ([{"path": "a.png", "plate_path": "missing.png"}], r"row 2, column plate_path: image not found"),
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


def test_a_register_that_was_taken_away_can_be_made_again(identification, tmp_path, run_folder):
    path = write(
        tmp_path,
        {"path": "a.png", "vehicle": "one", "owner": "Ä. Resident", "contact": "555, evenings", "plate_text": "AB 1"},
        {"path": "b.png", "vehicle": "one", "plate_path": "p.png", "modality": "infrared"},
        {"path": "c.png", "vehicle_left": 1, "vehicle_top": 2, "vehicle_width": 20, "vehicle_height": 10},
    )
    assert len(list(import_entries(identification, read_listing(path), "tester"))) == 3
    out = tmp_path / "taken"
    assert write_listing(identification, out, "tester") == 2
    assert out.stat().st_mode & 0o077 == 0
    again = Identification(tmp_path / "again", device="cpu")
    again.active_model.change_to_run(run_folder, "global", "tester")
    results = list(import_entries(again, read_listing(out / "register.csv"), "tester"))
    assert [result.enrolled for result in results] == [True, False, True]
    assert not any(result.reason for result in results)
    for ours, theirs in zip(identification.register.vehicles(), again.register.vehicles(), strict=True):
        assert (ours.plate and ours.plate.text) == (theirs.plate and theirs.plate.text)
        assert [view.modality for view in ours.views] == [view.modality for view in theirs.views]
        assert [view.vehicle_box for view in ours.views] == [view.vehicle_box for view in theirs.views]
        assert [bool(view.plate_picture) for view in ours.views] == [bool(view.plate_picture) for view in theirs.views]
    owner = again.register.owner_of(1, "tester")
    assert (owner.name, owner.contact) == ("Ä. Resident", "555, evenings")
    again.close()
    with pytest.raises(FileExistsError):
        write_listing(identification, out, "tester")
    assert set(COLUMNS) == set((out / "register.csv").read_text(encoding="utf-8").splitlines()[0].split(","))


def test_the_trail_says_who_took_it_away(identification, tmp_path):
    write_listing(identification, tmp_path / "taken", "manager")
    assert [(line.account, line.action) for line in identification.journal.audit(1)] == [("manager", "export")]


def test_a_register_that_cannot_be_taken_away_whole_leaves_no_folder(identification, tmp_path):
    number = identification.enrol([VehiclePhoto(photo(1))], account="tester")
    identification.photos.path(identification.register.vehicle(number).views[0].picture).unlink()
    (tmp_path / "out").mkdir()
    with pytest.raises(FileNotFoundError):
        write_listing(identification, tmp_path / "out" / "taken", "manager")
    assert list((tmp_path / "out").iterdir()) == []


FORMULAS = [
    "=1+1",
    "+49 123",
    "-5",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "'=1",
    "''",
    "' =1",
    " =1",
    " '=1",
    "\uff1d1",
    "\uff0b1",
    "\uff0d1",
    "\uff201",
    "\ufe631",  # a small hyphen
    "\u22121",
    "\u200b=1",
    "\ufeff+1",
    "\u00ad-1",
    "\u2060@x",
    "\u200d=1",
    "\u3164=1",
    "\u00a0=1",
    "\u3000\uff1d1",
    "\u2003\u200b '\ufeff=1",
    "\x1c=1",
    "\x85=1",
    "\x01=1",
    "\v=1",
    "it's",
    "plain",
    "a=1",
    "\n=1",
]


def drawn(text):
    """A text as a spreadsheet takes it: without white space and characters that nothing is drawn for."""
    skipped = ("Cc", "Cf", "Zs", "Zl", "Zp")
    kept = [each for each in text if unicodedata.category(each) not in skipped and each != "\u3164"]
    return unicodedata.normalize("NFKC", "".join(kept))


@pytest.mark.slow
def test_no_cell_that_is_taken_away_is_a_formula_and_each_comes_back_as_it_was(tmp_path, run_folder):
    identification, again = (Identification(tmp_path / name, device="cpu") for name in ("one", "again"))
    for each in (identification, again):
        each.active_model.change_to_run(run_folder, "global", "tester")
    for number, _ in enumerate(FORMULAS):
        identification.enrol(
            [VehiclePhoto(photo(number))], account="tester", owner=NewOwner(f"owner {number}"), plate=f"=P {number}"
        )
    with identification.database.writing() as session:  # a register of before holds texts that are not taken any more
        for vehicle in session.scalars(select(Vehicle)):
            word = FORMULAS[vehicle.id - 1]
            vehicle.note = vehicle.owner.name = vehicle.owner.flat = vehicle.owner.contact = word
    write_listing(identification, tmp_path / "taken", "tester")
    path, found = tmp_path / "taken" / "register.csv", dict[int, dict[str, str]]()
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            for column in ("owner", "flat", "contact", "note", "plate_text"):
                assert drawn(row[column])[:1] not in tuple("=+-@\u2212"), row
                assert row[column][:1] not in tuple("\t\r\n"), row
            found[number] = row
    for number, word in enumerate(FORMULAS):
        kept = word if found[number]["note"] != word else word.strip()  # a table's cells are stripped
        assert unquoted(found[number]["note"].strip()) == kept
    results = list(import_entries(again, read_listing(path), "tester"))
    refused = {result.row - 2: result.reason for result in results if result.reason}
    assert {FORMULAS[number] for number in refused} == {word for word in FORMULAS if line_fault(word)}
    assert all("column owner holds a character that is not allowed" in reason for reason in refused.values())
    assert [word for word in FORMULAS if not line_fault(word)][:4] == FORMULAS[:4]
    for result in results:
        if result.vehicle is not None:
            vehicle, owner = again.register.vehicle(result.vehicle), again.register.owner_of(result.vehicle, "tester")
            kept = [vehicle.note, owner.name, owner.flat, owner.contact]
            assert kept == [FORMULAS[result.row - 2].strip()] * 4
            assert vehicle.plate.text == f"=P {result.row - 2}"
    identification.close(), again.close()


@given(st.text(st.sampled_from("'=+-@＝－ \t\n\u200b\ufeff\u00ad\u00a0\u0301ab"), max_size=8))
def test_what_is_quoted_comes_back(text):
    assert unquoted(quoted(text)) == text
    assert not quoted(text).strip().startswith(tuple("=+-@＝－"))
    assert unquoted(quoted(text).strip()).strip() == text.strip()
