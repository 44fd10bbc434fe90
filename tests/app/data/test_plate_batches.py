"""The stream of plates: every real one once in an epoch, made ones never twice, the same for the same seed."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from app.core.sample import Sample
from app.data.crops import ImageReader
from app.data.plate_batches import PlateBatches, frames_of
from app.settings.augment import AugmentSettings
from app.synthetic.plates import MadePlate

STILL = AugmentSettings(flip=1, shift=0, rotate=0, zoom=0, colour=0, blur=0, erase=1)
SIZE = (8, 24)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Seven plates whose pictures hold their number as a grey level, lighter to the right."""
    folder = tmp_path_factory.mktemp("plates")
    found = []
    for number in range(1, 8):
        path = folder / f"{number}.png"
        picture = np.full((*SIZE, 3), 10 * number, np.uint8)
        picture[:, 12:] += 100
        Image.fromarray(picture).save(path)
        found.append(Sample(path, pid=number, camid=0, plate_path=path, plate_text=str(number)))
    return found


def made(rng):
    picture = np.full((16, 48, 3), 200 + int(rng.integers(50)), np.uint8)
    return MadePlate(picture, "9", np.array([[0.6, 0.4]]), np.array([0]))


def batches(samples, batch_size=4, share=0.0, seed=0, make=made):
    pictures = ImageReader(SIZE, SIZE, 10)
    return PlateBatches(
        samples,
        pictures,
        encode=lambda text: [int(text)],
        columns=10,
        batch_size=batch_size,
        made_share=share,
        make=make,
        seed=seed,
        augment=STILL,
    )


def test_every_plate_is_seen_once_in_an_epoch_also_where_batches_cross_it(samples):
    stream = batches(samples)
    assert stream.batches_per_epoch == 2
    seen = [text[0] for index in range(7) for text in stream[index].texts]  # four epochs
    for epoch in range(4):
        assert Counter(seen[7 * epoch : 7 * (epoch + 1)]) == Counter(range(1, 8))
    assert seen[:7] != seen[7:14]


def test_pictures_belong_to_their_texts_and_are_neither_mirrored_nor_erased(samples):
    batch = batches(samples)[0]
    assert batch.plates.shape == (4, 3, *SIZE)
    assert batch.plates[:, 0, 0, 0].tolist() == [10 * text[0] for text in batch.texts]
    assert batch.plates[:, 0, 0, -1].tolist() == [10 * text[0] + 100 for text in batch.texts]


def test_a_share_is_made_in_the_size_of_the_others(samples):
    stream = batches(samples, share=0.5)
    assert stream.batches_per_epoch == 4
    batch = stream[0]
    assert [text == [9] for text in batch.texts] == [False, False, True, True]
    assert batch.plates[2:].min() >= 200
    assert batch.frames == [[], [], [6], [6]]
    assert batch.to(torch.device("cpu")).frames == batch.frames
    alone = batches(samples, share=1.0)
    assert alone.batches_per_epoch == 2
    assert alone[0].texts == [[9]] * 4
    assert not torch.equal(alone[0].plates, alone[1].plates)


def test_a_batch_is_the_same_whoever_asks(samples):
    first, second, other = batches(samples, share=0.5), batches(samples, share=0.5), batches(samples, share=0.5, seed=1)
    assert torch.equal(first[3].plates, second[3].plates)
    assert first[3].texts == second[3].texts
    assert not torch.equal(first[3].plates, other[3].plates)


def test_a_plate_that_cannot_be_read_is_named(samples, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    broken = Sample(tmp_path / "broken.png", 0, 0, plate_path=tmp_path / "broken.png", plate_text="8")
    batch = batches([broken, *samples[:3]])[0]
    assert batch.bad == (str(broken.plate_path),)
    assert len(batch.plates) == len(batch.texts) == 3
    with pytest.raises(ValueError, match="none of the 4 images of batch 0 can be read"):
        batches([broken])[0]


def test_nothing_to_learn_from_is_refused(samples):
    with pytest.raises(ValueError, match="no plate with a text"):
        batches([])
    with pytest.raises(ValueError, match="nothing makes them"):
        batches(samples, share=0.5, make=None)


@pytest.mark.parametrize(
    ("text", "across", "lines", "expected"),
    [
        ("AB", (0.05, 0.95), (0, 0), [0, 9]),
        ("AB", (0.25, 0.25), (0, 0), [2, 3]),  # the next cell, where one is taken
        ("AA", (0.25, 0.35), (0, 0), [2, 4]),  # alike: a blank between them
        ("AA", (0.95, 0.05), (0, 1), [9, 11]),  # the lower line begins one later, for the blank
        ("AB", (0.5, 0.1), (0, 1), [5, 11]),
        ("AB", (-0.1, 1.2), (0, 0), [0, 9]),  # cut off
        ("ABC", (0.85, 0.95, 0.95), (0, 0, 0), []),  # no cell is left
        ("A", (0.5,), (2,), []),  # a third line
    ],
)
def test_frames_ascend_and_keep_their_line(text, across, lines, expected):
    centres = np.array([(x, 0.5) for x in across])
    plate = MadePlate(np.zeros((4, 4, 3), np.uint8), text, centres, np.array(lines))
    assert frames_of(plate, 10) == expected
