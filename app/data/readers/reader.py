"""The contract of a data-set reader, and the readers by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from app.core.sample import Modality, Sample
from app.data.readers.errors import DataSetError
from app.images.files import NoImagesError
from app.settings.nearest import did_you_mean
from models.alphabet import Alphabet, plain
from models.plugins import declared, is_plug_in, load, place_of

SPLITS = ("train", "val", "test", "all")

_READERS = {
    "veri776": ("app.data.readers.veri776", "Veri776"),
    "vehicle_id": ("app.data.readers.vehicle_id", "VehicleID"),
    "veri_wild": ("app.data.readers.veri_wild", "VeriWild"),
    "vric": ("app.data.readers.vric", "Vric"),
    "manifest": ("app.data.readers.manifest", "Manifest"),
    "two_cam": ("app.data.readers.two_cam", "TwoCam"),
    "vehicle_plate": ("app.data.readers.vehicle_plate", "VehiclePlate"),
    "roadscene": ("app.data.readers.roadscene", "RoadScene"),
    "regdb": ("app.data.readers.regdb", "RegDB"),
    "sysu_mm01": ("app.data.readers.sysu_mm01", "SysuMM01"),
    "rgbnt": ("app.data.readers.rgbnt", "Rgbnt"),
    "rgbnt_thermal": ("app.data.readers.rgbnt", "RgbntThermal"),
    "msvr310": ("app.data.readers.msvr310", "Msvr310"),
    "msvr310_thermal": ("app.data.readers.msvr310", "Msvr310Thermal"),
    "plates_openalpr": ("app.data.readers.plates_openalpr", "PlatesOpenAlpr"),
    "plates_easypr": ("app.data.readers.plates_easypr", "PlatesEasyPr"),
    "plates_lprnet": ("app.data.readers.plates_lprnet", "PlatesLprNet"),
    "plates_ar": ("app.data.readers.plates_ar", "PlatesAr"),
    "plates_vn_eu": ("app.data.readers.plates_vn_eu", "PlatesVnEu"),
    "plates_us": ("app.data.readers.plates_us", "PlatesUs"),
    "plates_countries": ("app.data.readers.plates_countries", "PlatesCountries"),
    "plates_china": ("app.data.readers.plates_countries", "PlatesChina"),
    "ccpd": ("app.data.readers.ccpd", "Ccpd"),
    "words": ("app.data.readers.words", "Words"),
    "word_lmdb": ("app.data.readers.word_lmdb", "WordLmdb"),
}


@dataclass(frozen=True)
class Direction:
    """One ranking task: every query is ranked against the whole gallery, save its own vehicle in its own camera."""

    name: str
    query: tuple[Sample, ...]
    gallery: tuple[Sample, ...]


class Reader(Protocol):
    """One data set in one folder. Made with `Reader(root, seed=...)`; the constructor touches no file."""

    def train(self) -> list[Sample]:
        """The training images, in an order that is the same on every machine.

        Raises FileNotFoundError naming a missing folder or list, ValueError naming a file or line of another form."""

    def evaluation(self, split: str) -> list[Direction]:
        """The set's own protocol on "train", "val", "test" or "all" (every image there is).

        Raises ValueError for a split that the set does not have; the message names the splits it has."""


def open_reader(name: str, root: Path, *, seed: int) -> Reader:
    """The reader called `name` over `root`, which never gives an empty set; also one of a plug-in.

    Raises ValueError for an unknown name, PlugInError for a plug-in that cannot be used."""
    if name not in _READERS and not is_plug_in("readers", name):
        known = {*_READERS, *declared("readers")}
        raise DataSetError(f"unknown data set {name!r}; known: {', '.join(sorted(known))}{did_you_mean(name, known)}")
    if place_of("readers", name, _READERS):
        made = load("readers", name, needs=("train", "evaluation"))
    else:
        module, cls = _READERS[name]
        made = getattr(import_module(module), cls)
    return _Required(name, Path(root), made(root, seed=seed))


@dataclass(frozen=True)
class _Required:
    """A reader whose parts, where they are asked for, must hold images."""

    name: str
    root: Path
    reader: Reader

    def train(self) -> list[Sample]:
        """As the reader's own. Raises NoImagesError for no training image, and its errors."""
        if not (samples := self.reader.train()):
            raise NoImagesError(f"{self.root}: no images to train on, by the layout of {self.name} (docs/data.md)")
        return samples

    def evaluation(self, split: str) -> list[Direction]:
        """As the reader's own. Raises NoImagesError where no direction has queries and a gallery, and its errors."""
        directions = self.reader.evaluation(split)
        if not any(direction.query and direction.gallery for direction in directions):
            lacking = "queries" if not any(direction.query for direction in directions) else "gallery images"
            raise NoImagesError(
                f"{self.root}: no {lacking} in split {split}, by the layout of {self.name} (docs/data.md)"
            )
        return directions


def each_against_all(name: str, samples: Sequence[Sample]) -> Direction:
    """A direction in which every image is a query against all; the leave-out rule takes the image itself out."""
    return Direction(name, tuple(samples), tuple(samples))


def each_against_its_own(samples: Sequence[Sample], name_of: Callable[[Sample], str]) -> list[Direction]:
    """For each name, in the order of its first sample, a direction in which its images are queries against all."""
    named: dict[str, list[Sample]] = {}
    for sample in samples:
        named.setdefault(name_of(sample), []).append(sample)
    return [each_against_all(name, chosen) for name, chosen in named.items()]


def both_ways(query: Sequence[Sample], gallery: Sequence[Sample]) -> list[Direction]:
    """ "infrared_to_visible" and "visible_to_infrared": queries of the one modality against the other's gallery."""

    def only(samples: Sequence[Sample], modality: Modality) -> tuple[Sample, ...]:
        return tuple(sample for sample in samples if sample.modality == modality)

    ways: tuple[tuple[Modality, Modality], ...] = (("infrared", "visible"), ("visible", "infrared"))
    return [Direction(f"{one}_to_{other}", only(query, one), only(gallery, other)) for one, other in ways]


def by_alphabet(samples: Sequence[Sample], alphabet: Alphabet) -> tuple[list[Sample], list[Sample]]:
    """Samples whose text can be written in an alphabet, and all others: those with another character or no text."""
    written: list[Sample] = []
    others: list[Sample] = []
    for sample in samples:
        text = plain(sample.plate_text or "")
        known = bool(text) and alphabet.knows(text)
        (written if known else others).append(sample)
    return written, others
