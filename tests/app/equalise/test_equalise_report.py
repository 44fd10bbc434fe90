"""Report of an equalisation, against a handwritten record."""

import base64
import io
import os
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from equalise_records import write_image
from PIL import Image

from app.core.sample import Sample
from app.equalise.report import report_page, write_report

pytestmark = pytest.mark.slow

VOID = {"meta", "img", "br", "input", "link", "hr"}
STAYS = "It has to stay at the site that owns them"
HOSTILE = '<script>alert(1)<b>"&.png'


class Page(HTMLParser):
    """Tags, attributes, rows of tables, items of lists and text; refuses tags that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.images, self.rows, self.items, self.text = Counter(), [], [], [], ""
        self.title, self.lang, self.addresses, self._open = "", None, [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags[tag] += 1
        self.lang = attributes.get("lang", self.lang)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]
        if tag == "img":
            self.images.append(attributes)
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "li":
            self.items.append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if "title" in self._open:
            self.title += data
        if "td" in self._open or "th" in self._open:
            self.rows[-1][-1] += data.strip()
        if "li" in self._open:
            self.items[-1] += data

    @property
    def numbers(self):
        return {row[0]: row[1] for row in self.rows if len(row) == 2}

    @property
    def suspects(self):
        return [row for row in self.rows if len(row) == 9][1:]


@pytest.fixture
def show(equalise_record, equalise_samples, equalise_files):
    """The page of the record with these changes."""
    return lambda **changes: Page(
        report_page({**equalise_record, **changes}, equalise_samples, equalise_files, title="a <set>")
    )


@pytest.fixture
def folder(equalise_record, equalise_samples, equalise_files, tmp_path):
    """A folder with the report."""
    return write_report(
        equalise_record, equalise_samples, equalise_files, tmp_path / "new" / "report", title="a <set>"
    ).parent


def test_the_page_says_what_the_record_says(show):
    page = show()
    assert page.lang == "en"
    assert page.title == "Equalisation: a <set>"
    assert STAYS in " ".join(page.text.split())
    numbers = page.numbers
    assert numbers["Images before"] == "8"
    assert numbers["Vehicles"] == "3"
    assert numbers["Images that could be embedded"] == "7"
    assert numbers["Embeddings compared"] == "fused"
    assert numbers["A base image's cosine to its vehicle's centre is above"] == "0.650"
    assert numbers["Base images"] == "5"
    assert numbers["Images whose label is in doubt"] == "3"
    assert numbers["Images left out of training"] == "2"
    assert numbers["Images that a vehicle is to have (target)"] == "3"
    assert numbers["An enhanced image's cosine lies between"] == "0.5 and 0.97"
    assert numbers["Enhanced images kept"] == "3"
    assert numbers["Images after"] == "9"  # 8 less 2 left out and 3 more
    assert numbers["Vehicles below the target before"] == "2"
    assert numbers["Vehicles below the target after"] == "0"  # 7: 5 - 2, 3: 2 + 1, 9: 1 + 2
    assert numbers["Training or loading the pre-model"] == "1.2 s"
    assert numbers["Enhancement"] == "2.0 s"
    assert "vehicle 7 is <odd>" in page.items
    assert "1 of 8 images cannot be embedded and stay as they are" in page.items
    assert page.tags["odd"] == page.tags["set"] == 0


def test_suspects_are_sorted_by_confidence(show, equalise_samples):
    rows = show().suspects
    assert [row[1] for row in rows] == [str(equalise_samples[place].path) for place in (3, 0, 5)]
    assert [row[2] for row in rows] == ["7", "7", "7"]
    assert [row[3] for row in rows] == ["1", "0", "1"]
    assert [row[4] for row in rows] == ["0.300", "0.900", "0.410"]
    assert [row[5] for row in rows] == ["9", "3", "3"]
    assert [row[6] for row in rows] == ["0.500", "0.400", "0.300"]
    assert [row[8] for row in rows] == ["yes", "no", "yes"]


def test_the_page_holds_its_images_and_asks_for_nothing_else(show):
    page = show()
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert all(image["alt"].strip() for image in page.images)
    assert len(page.images) == 1 + 2 * 3 + 2 * 1 + 2 * 3  # charts, kept, refused, suspects
    sizes = []
    for image in page.images:
        data = base64.b64decode(image["src"].partition(",")[2], validate=True)
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            sizes.append(picture.size)
    assert sizes[1:] == [(40, 24)] * 14
    assert page.tags["script"] == page.tags["link"] == 0


def test_examples_have_their_cosines(show):
    found = [" ".join(item.split()) for item in show().items]
    assert found[2:] == [
        "vehicle 3, cosine 0.600",
        "vehicle 9, cosine 0.800",
        "vehicle 9, cosine 0.900",
        "vehicle 3, cosine 0.980",
    ]


def test_all_warnings_are_there_however_many(show):
    few, many = ([f"vehicle {i}" for i in range(count)] for count in (10, 35))
    page = show(warnings=few)
    assert page.items[:10] == few
    assert page.tags["details"] == 0
    page = show(warnings=many)
    assert page.items[:35] == many
    assert "25 more warnings" in page.text


def test_names_of_files_are_text(equalise_record, equalise_samples, equalise_files, tmp_path):
    equalise_samples[3] = Sample(write_image(tmp_path / "p.png", 3).rename(tmp_path / HOSTILE), 7, 1)
    unknown = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))  # a name that is no UTF-8
    equalise_samples[5] = Sample(write_image(tmp_path / "q.png", 5).rename(unknown), 7, 1)
    page = Page(
        write_report(equalise_record, equalise_samples, equalise_files, tmp_path / "report", title="").read_text(
            "utf-8"
        )
    )
    assert page.suspects[0][1] == str(tmp_path / HOSTILE)
    assert page.suspects[2][1] == f"{tmp_path}/\\udcff.png"
    assert page.tags["script"] == page.tags["b"] == 0


def test_what_cannot_be_read_is_an_empty_cell(show, equalise_samples, equalise_files):
    equalise_samples[3].path.write_bytes(b"no picture")  # a suspect
    equalise_samples[4].path.unlink()  # the source of two kept ones, and what the suspect is nearer to
    equalise_files.path("aa/0.jpg").unlink()
    page = show()
    assert page.text.count("cannot be read") == 1 + 2 + 1 + 1
    assert len(page.images) == 15 - 5
    assert len(page.suspects) == 3


def test_hundreds_of_suspects_do_not_make_a_page_of_hundreds_of_images(show):
    many = [
        {"place": i % 8, "cosine": round(-0.5 + i / 1000, 5), "gap": round(1 - i / 1000, 5), "nearer": None}
        for i in range(300)
    ]
    page = show(suspects=many, kept=[], refused=[])
    assert len(page.suspects) == 300
    assert len(page.images) == 1 + 60
    assert page.suspects[59][0] == ""
    assert page.suspects[60][0] == "not shown"
    assert [row[5] for row in page.suspects] == ["none"] * 300
    assert "The first 60 are shown with images." in page.text


def test_a_record_of_nothing(show):
    """No image could be embedded, and no target is set."""
    nothing = {"own": [None] * 8, "threshold": 0.0, "target": None}
    nothing |= {name: [] for name in ("base", "suspects", "left_out", "kept", "refused", "drawn", "warnings")}
    page = show(**nothing)
    assert page.numbers["Images that a vehicle is to have (target)"] == "as many as it has"
    assert page.numbers["Images after"] == page.numbers["Images before"] == "8"
    assert "Vehicles below the target before" not in page.numbers
    assert page.text.count("None.") == 4
    assert len(page.images) == 1


def test_the_charts_distinguish_parts_without_colour(folder):
    """Dark lines run through the areas of what is left out and of what is enhanced, none through what stays."""
    with Image.open(folder / "report.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)

    def lines_within(colour):
        """Dark pixels with this colour five pixels to the left and five to the right, of a thousand pixels of it."""
        area = np.abs(pixels - colour).max(axis=-1) < 12
        dark = pixels.max(axis=-1) < 110
        return 1000 * (area[:, :-10] & dark[:, 5:-5] & area[:, 10:]).sum() / area.sum()

    left_out, enhanced, own = (0xD5, 0x5E, 0x00), (0xE6, 0x9F, 0x00), (0x00, 0x72, 0xB2)
    assert lines_within(left_out) > 50
    assert lines_within(enhanced) > 50
    assert lines_within(own) < 5


def test_a_record_of_other_images_is_refused(equalise_record, equalise_samples, equalise_files, tmp_path):
    with pytest.raises(ValueError, match="about 8 images, there are 7"):
        write_report(equalise_record, equalise_samples[:-1], equalise_files, tmp_path / "report", title="")
    assert not (tmp_path / "report").exists()


def test_the_folder_is_its_owner_s_and_holds_whole_files_alone(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.png"]
    assert folder.stat().st_mode & 0o077 == 0
    assert Page((folder / "report.html").read_text("utf-8")).title == "Equalisation: a <set>"
