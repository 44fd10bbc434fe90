"""Test images by client, as far as a split tells whose they are."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from app.core.sample import Sample
from app.data.dataset import Source
from app.data.readers.reader import Direction
from app.settings.load import load_settings


def sample(name, pid, camid=0, site=None):
    return Sample(Path(f"{name}.jpg"), pid, camid, site=site)


@dataclass
class Fixed:
    """A reader of these images."""

    samples: list
    directions: list

    def train(self):
        return self.samples

    def evaluation(self, _):
        return self.directions


def source_of(by, train, query, gallery):
    settings = load_settings().data
    settings = replace(settings, partition=replace(settings.partition, by=by))
    return Source(Fixed(train, [Direction("one", tuple(query), tuple(gallery))]), settings, 0)


TRAIN = [sample("t0", 0, 0, "a"), sample("t1", 1, 1, "a"), sample("t2", 2, 2, "b"), sample("t3", 3, 3, "b")]


def test_by_site_they_are_those_of_the_site():
    images = [sample("x", 7, 0, "b"), sample("y", 7, 1, "b"), sample("z", 8, 2, "a")]
    first, second = source_of("site", TRAIN, images, images).own_parts("test", 2).directions
    assert first == [Direction("one", (images[2],), (images[2],))]
    assert second == [Direction("one", (images[0], images[1]), (images[0], images[1]))]


def test_by_camera_they_are_the_queries_of_its_cameras():
    images = [sample("x", 7, 3), sample("y", 7, 0), sample("z", 8, 1)]
    first, second = source_of("camera", TRAIN, images, images).own_parts("test", 2).directions
    assert first == [Direction("one", (images[1], images[2]), tuple(images))]
    assert second == [Direction("one", (images[0],), tuple(images))]


@pytest.mark.parametrize(
    ("by", "image", "reason"),
    [
        ("site", sample("x", 7), "cannot divide by site: x.jpg has none"),
        ("site", sample("x", 7, site="c"), "x.jpg is from 'c', where nobody trains"),
        ("camera", sample("x", 7, 9), "x.jpg is from camera 9, where nobody trains"),
        ("identity", sample("x", 7), "with data.partition.by=identity no image of test belongs to one client"),
    ],
)
def test_a_split_that_does_not_tell_whose_its_images_are_says_why(by, image, reason):
    found = source_of(by, TRAIN, [image], [image]).own_parts("test", 2)
    assert found.directions is None
    assert reason in found.reason
