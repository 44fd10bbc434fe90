"""Synthetic plates: texts, glyphs, and agreement of image and text."""

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from app.synthetic.plates import KINDS, design, europe, faces, placed_plate
from app.synthetic.plates.china import china
from app.synthetic.plates.drawing import RenderedPlate, render_plate
from app.synthetic.plates.faces import CHINESE, FACES, glyph
from app.synthetic.plates.photograph import Camera, photographed
from app.synthetic.plates.south_america import argentina, brazil
from app.synthetic.plates.vietnam import vietnam
from models.alphabet import LATIN, PROVINCES, SPECIAL, Alphabet, plain

_CLEAR = "[0-9A-HJ-NP-Z]"
_EUROPE = {
    europe.croatian: r"[A-Z]{2}(\d{3,4}[A-Z]|\d{3,4}[A-Z]{2})",
    europe.czech: r"\d[A-Z][A-Z0-9]\d{4}|[A-Z]{3}\d{4}",
    europe.slovak: r"[A-Z]{2}\d{3}[A-Z]{2}",
    europe.german: r"(?=.{3,8}$)[A-Z]{1,3}[A-Z]{1,2}[1-9]\d{0,3}",
    europe.french: r"[A-Z]{2}\d{3}[A-Z]{2}|\d{3}[A-Z]{3}\d{2}",
    europe.italian: r"[A-Z]{2}\d{3}[A-Z]{2}",
    europe.polish: r"[A-Z]{2}\d{5}|[A-Z]{3}[A-Z0-9]\d{3}|[A-Z]{3}\d{2}[A-Z]\d|[A-Z]{2,3}\d{4}[A-Z]",
    europe.british: r"[A-Z]{2}\d{2}[A-Z]{3}",
    europe.austrian: r"[A-Z]{1,2}(\d{3}[A-Z]{2}|\d{4,5}[A-Z])",
    europe.dutch: r"(?!.*[AEIOU])([A-Z]\d{3}[A-Z]{2}|\d{2}[A-Z]{3}\d|\d[A-Z]{3}\d{2}|[A-Z]{2}\d{2}[A-Z]{2}"
    r"|\d{2}[A-Z]{2}([A-Z]{2}|\d{2}))",
    europe.spanish: r"\d{4}[B-DF-HJ-NP-TV-Z]{3}",
    europe.norwegian: r"[A-Z]{2}\d{5}",
    europe.hungarian: r"[A-Z]{3}\d{3}",
    europe.swedish: r"[A-Z]{3}\d{2}[A-Z0-9]",
}
_GRAMMAR = {
    "cn": rf"[{PROVINCES}][A-HJ-NP-Z]({_CLEAR}{{5}}|{_CLEAR}{{4}}[警学挂领]|[A-HJK]{_CLEAR}\d{{4}}|\d{{5}}[DF])"
    rf"|粤Z{_CLEAR}{{4}}[港澳]|使\d{{6}}",
    "us": r"[A-Z0-9]{2,8}",
    "ar": r"[A-Z]{3}\d{3}|[A-Z]{2}\d{3}[A-Z]{2}|[A-Z]\d{3}[A-Z]{3}",
    "vn": r"[1-9]\d[A-Z]\d?(\d{4}|\d{5})|[1-9]\d[A-Z]{2}(\d{4}|\d{5})",
    "europe": "|".join(_EUROPE.values()),
    "br": r"[A-Z]{3}\d{4}|[A-Z]{3}\d[A-Z]\d{2}",
}  # fmt: skip


@pytest.fixture
def without_packages(monkeypatch):
    """As if the extra had not been installed."""

    def forget():
        for cached in (faces.usable, faces.glyph, faces.words, faces._font):
            cached.cache_clear()

    forget()
    monkeypatch.setattr(faces, "package_file", lambda *_: None)
    yield
    forget()


@pytest.mark.parametrize("kind", KINDS)
def test_texts_follow_the_grammar_and_images_show_something(kind):
    rng = np.random.default_rng(5)
    alphabet = Alphabet()
    texts = set()
    for _ in range(120):
        image, text = placed_plate(rng, [kind])[:2]
        assert re.fullmatch(_GRAMMAR[kind], text), text
        assert alphabet.decode(alphabet.encode(text)) == text
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous  # as tensors want it
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert 14 <= image.shape[0] <= 200
        assert 12 <= image.shape[1] <= 800
        assert image.std() > 1.5
        texts.add(text)
    assert len(texts) > 110


@pytest.mark.parametrize("write", _EUROPE, ids=lambda write: write.__name__)
def test_each_country_of_europe_has_its_own_grammar(write):
    rng = np.random.default_rng(6)
    for _ in range(200):
        text = plain(write(rng))
        assert re.fullmatch(_EUROPE[write], text), text


def test_the_same_generator_gives_the_same_plates():
    one, other = np.random.default_rng(9), np.random.default_rng(9)
    for _ in range(12):
        (first, text, *_), (second, again, *_) = placed_plate(one), placed_plate(other)
        assert text == again
        np.testing.assert_array_equal(first, second)


def test_kinds_are_chosen_among_the_named():
    rng = np.random.default_rng(1)
    texts = [placed_plate(rng, ["cn", "br"]).text for _ in range(40)]
    chinese = sum(re.fullmatch(_GRAMMAR["cn"], text) is not None for text in texts)
    assert 8 < chinese < 32
    assert all(re.fullmatch(f"{_GRAMMAR['cn']}|{_GRAMMAR['br']}", text) for text in texts)


def test_an_unknown_kind_is_refused_by_name():
    with pytest.raises(ValueError, match="atlantis"):
        placed_plate(np.random.default_rng(0), ["cn", "atlantis"])
    with pytest.raises(ValueError, match="no kind"):
        placed_plate(np.random.default_rng(0), [])


@pytest.mark.parametrize("kind", KINDS)
def test_plates_in_photographs_are_seen_worse_and_others_stay_as_they_were(kind):
    """More of the vehicle beside them: their characters begin further from the left, on average of 60 plates."""
    crops, photographs = (
        [placed_plate(np.random.default_rng(seed), [kind], photographs=share) for seed in range(60)]
        for share in (0.0, 1.0)
    )
    again = placed_plate(np.random.default_rng(0), [kind])
    assert np.array_equal(crops[0].image, again.image)
    left = [np.mean([plate.centres[:, 0].min() for plate in plates]) for plates in (crops, photographs)]
    assert left[1] > left[0] + 0.01
    for plate in photographs:
        assert ((plate.centres > 0) & (plate.centres < 1)).all()


def test_every_chinese_character_has_a_glyph_of_its_own():
    missing = _squared(glyph(CHINESE, "\U000e0fff"))
    shapes = {character: _squared(glyph(CHINESE, character)) for character in PROVINCES + SPECIAL}
    for character, shape in shapes.items():
        assert np.abs(shape - missing).mean() > 25, character
        for other, another in shapes.items():
            assert character == other or np.abs(shape - another).mean() > 15, (character, other)


@pytest.mark.parametrize("face", [*FACES, faces.DEJAVU, faces.STROKES])
def test_every_face_tells_latin_characters_apart(face):
    shapes = {character: _squared(glyph(face, character)) for character in LATIN}
    widths = {character: glyph(face, character).shape[1] for character in LATIN}
    for character, shape in shapes.items():
        assert glyph(face, character).max() > 200
        for other, another in shapes.items():
            alike = character == other or {character, other} == {"0", "O"}  # the same strokes draw both
            assert alike or np.abs(shape - another).mean() + abs(widths[character] - widths[other]) > 4, (
                character,
                other,
            )


def test_weight_grows_strokes_and_a_foot_widens_the_one():
    thin, usual, bold = ((glyph("din", "H", weight) > 127).mean() for weight in (-2, 0, 4))
    assert thin < usual < bold
    assert glyph("din", "1", 0, True)[-4:].min() == 255
    assert not np.array_equal(glyph("din", "1", 0, True), glyph("din", "1"))
    assert np.array_equal(glyph("din", "7", 0, True), glyph("din", "7"))


@pytest.mark.parametrize("design_of", [china, vietnam, brazil])
def test_plates_of_two_lines_have_two_rows_of_ink(design_of):
    """Rows of the characters' box, counted in a profile: a line has one run of rows with ink, two lines have two."""
    rng = np.random.default_rng(3)
    seen = set()
    for _ in range(80):
        plan = design_of(rng)
        plate = render_plate(rng, plan, 120)
        left, top, right, bottom = (round(value) for value in plate.characters)
        grey = cv2.cvtColor(plate.image[top:bottom, left:right], cv2.COLOR_RGB2GRAY).astype(int)
        ink = cv2.cvtColor(np.array([[plan.lines[0].ink]], np.uint8), cv2.COLOR_RGB2GRAY)[0, 0]
        near = np.abs(grey - int(ink)) < 35
        profile = near.sum(axis=1) > 3
        starts = np.flatnonzero(np.diff(np.concatenate([[False], profile]).astype(int)) == 1)
        assert len(starts) == len(plan.lines), plan.text
        seen.add(len(plan.lines))
    assert seen == {1, 2}


def test_text_is_the_upper_line_then_the_lower_one_without_separators():
    upper = design.Line("ŠI@12-", (0, 0, 1, 0.5), "din", (0, 0, 0))
    lower = design.Line("3·4 5.6", (0, 0.5, 1, 1), "din", (0, 0, 0))
    plan = design.Design(
        (200, 100), ((255, 255, 255),), (upper, lower), (design.Legend("OHIO", (0, 0, 1, 1), "din", (0, 0, 0)),)
    )
    assert plan.text == "SI123456"


def test_a_tight_crop_keeps_all_characters():
    """A white block stands for the characters; the outermost rows and columns of the crop stay dark."""
    image = np.zeros((120, 320, 3), np.uint8)
    image[40:80, 60:260] = 255
    plate = RenderedPlate(image, (40, 30, 280, 90), (60, 40, 260, 80), 40, np.zeros((0, 2)), np.zeros(0, int))
    camera = Camera((64, 64), tilt=4, margin=(-0.5, -0.4), grey=0, night=0, harsh=0)
    rng = np.random.default_rng(2)
    for _ in range(60):
        crop = photographed(rng, plate, camera, 64, 1.0)[0].astype(float).mean(axis=2)
        height, width = crop.shape
        middle = crop[height // 3 : -height // 3, width // 3 : -width // 3].mean()
        sides = [crop[0].mean(), crop[-1].mean(), crop[:, 0].mean(), crop[:, -1].mean()]
        assert max(sides) < crop.min() + 0.6 * (middle - crop.min())


@pytest.mark.usefixtures("without_packages")
def test_without_the_extra_latin_plates_are_rendered_and_chinese_ones_name_it():
    rng = np.random.default_rng(4)
    for kind in KINDS:
        if kind != "cn":
            assert placed_plate(rng, [kind]).image.std() > 1.5
    assert np.array_equal(glyph("din", "A"), glyph(faces.DEJAVU, "A"))
    with pytest.raises(RuntimeError, match=re.escape("fed-vehicle-reid[plates]")):
        placed_plate(rng, ["cn"])


def _squared(mask):
    return cv2.resize(mask, (48, 48), interpolation=cv2.INTER_AREA).astype(float)


def test_characters_are_where_the_plate_says():
    """A disc in place of each character, and nothing else on the plate: it is found where the centre is said to be."""
    rng = np.random.default_rng(0)
    camera = Camera((60, 90), tilt=6.0, margin=(0.0, 0.2), grey=1.0, night=0.0, harsh=0.0)
    for _ in range(12):
        plate = render_plate(rng, argentina(rng), 80)
        which = int(rng.integers(len(plate.centres)))
        image = np.zeros_like(plate.image)
        cv2.circle(image, tuple(int(v) for v in plate.centres[which]), 7, (255, 255, 255), -1)
        crop, centres = photographed(rng, replace(plate, image=image), camera, 80, 1.0)
        bright = np.argwhere(crop[..., 1] > 0.7 * crop.max())[:, ::-1].mean(axis=0) + 0.5
        # Rounding to a pixel twice, and a perspective that shifts the middle of a disc: two pixels of some 200 x 80.
        assert np.abs(bright - centres[which] * crop.shape[1::-1]).max() < 2


@pytest.mark.parametrize("kind", KINDS)
def test_every_character_has_a_place_and_lines_run_from_left_to_right(kind):
    rng = np.random.default_rng(1)
    for _ in range(40):
        plate = placed_plate(rng, (kind,))
        assert len(plate.text) == len(plate.centres) == len(plate.lines)
        assert (np.diff(plate.lines) >= 0).all()
        for line in set(plate.lines.tolist()):
            row = plate.centres[plate.lines == line]
            assert (np.diff(row[:, 0]) > 0).all()
        assert (plate.centres > -0.1).all()
        assert (plate.centres < 1.1).all()
