"""All sets of plates together, by country: the federation of readers in which no client has another's plates."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from app.core.sample import Sample
from app.data.readers.name_lists import no_such_split
from app.data.readers.plate_splits import SPLITS, PlatePhotographs, connected, numbered
from app.data.readers.plates_ar import PlatesAr
from app.data.readers.plates_easypr import PlatesEasyPr
from app.data.readers.plates_lprnet import PlatesLprNet
from app.data.readers.plates_openalpr import PlatesOpenAlpr
from app.data.readers.plates_us import PlatesUs
from app.data.readers.plates_vn_eu import EUROPE, VIETNAM, PlatesVnEu
from app.data.readers.reader import Direction, each_against_all


class _Part(NamedTuple):
    """What one direction holds: those samples of one set that are from `sites`, all if it is empty."""

    direction: str
    country: str
    folder: str
    reader: type[PlatePhotographs]
    sites: tuple[str, ...] = ()


_PARTS = (
    _Part("cn_crops", "cn", "plates-lprnet-cn", PlatesLprNet),
    _Part("cn_photographs", "cn", "plates-easypr-cn", PlatesEasyPr),
    _Part("us_crops", "us", "plates-openalpr", PlatesUs),
    _Part("us_photographs", "us", "plates-openalpr", PlatesOpenAlpr, ("us",)),
    _Part("ar", "ar", "plates-ar", PlatesAr),
    _Part("vn", "vn", "plates-vn-eu", PlatesVnEu, VIETNAM),
    _Part("europe_crops", "europe", "plates-vn-eu", PlatesVnEu, EUROPE),
    _Part("europe_photographs", "europe", "plates-openalpr", PlatesOpenAlpr, ("eu",)),
)
COUNTRIES = ("cn", "us", "ar", "vn", "europe")


class PlatesCountries:
    """Reader over the folder that holds the sets.

    3253 plates to read, in crops and in photographs: cn 905, us 682, ar 102, vn 1263, europe 301; 2730 different ones.

    Layout, each folder as the reader of the set describes it:

        plates-lprnet-cn/  plates-easypr-cn/  plates-openalpr/  plates-ar/  plates-vn-eu/

    site is the country, or "europe"; pid a text in a country; every image has a camid of its own. Each set is split
    as its own reader splits it, save that a plate which one set of a country keeps for the test is not trained on from
    the other either: that moves one photograph of the United States.
    """

    parts: tuple[_Part, ...] = _PARTS
    about = "the sets of all countries"

    def __init__(self, root: Path, *, seed: int = 0) -> None:
        self.root = Path(root)
        self.seed = seed

    def train(self) -> list[Sample]:
        """Three quarters of the plates, set after set.

        Raises FileNotFoundError naming a missing folder, list or image, ValueError naming a line of another form."""
        return [sample for samples in self._read()["train"].values() for sample in samples]

    def evaluation(self, split: str) -> list[Direction]:
        """A direction for each set and country, every image against all, of "train", "test" or "all".

        Named "cn_crops", "cn_photographs", "us_crops", "us_photographs", "ar", "vn", "europe_crops" and
        "europe_photographs". Raises ValueError for another split, and the errors of `train`."""
        if split not in SPLITS:
            raise no_such_split(self.about, split, SPLITS)
        sides = self._read()
        chosen = sides.values() if split == "all" else [sides[split]]
        return [
            each_against_all(part.direction, [sample for side in chosen for sample in side[part.direction]])
            for part in self.parts
        ]

    def _read(self) -> dict[str, dict[str, list[Sample]]]:
        """Samples of "train" and "test" by direction."""
        found: list[tuple[_Part, Sample, bool]] = []  # whether its own set keeps it for the test
        for part in self.parts:
            reader = part.reader(self.root / part.folder, seed=self.seed)
            for samples, tested in ((reader.train(), False), (reader.evaluation("test")[0].query, True)):
                found += [(part, s, tested) for s in samples if not part.sites or s.site in part.sites]
        held = {
            country: _held([(s, tested) for part, s, tested in found if part.country == country])
            for country in COUNTRIES
        }
        pids = numbered([f"{part.country} {sample.plate_text}" for part, sample, _ in found])
        camids = {path: camid for camid, path in enumerate(dict.fromkeys(sample.path for _, sample, _ in found))}
        sides: dict[str, dict[str, list[Sample]]] = {
            side: {part.direction: [] for part in self.parts} for side in ("train", "test")
        }
        for part, sample, _ in found:
            pid = pids[f"{part.country} {sample.plate_text}"]  # a text of one country is a plate
            side = "test" if (sample.plate_text or "") in held[part.country] else "train"
            sides[side][part.direction].append(replace(sample, pid=pid, camid=camids[sample.path], site=part.country))
        return sides


class PlatesChina(PlatesCountries):
    """`PlatesCountries` of China alone: 905 plates, 700 crops and 205 in photographs, all under the Apache License 2.0.

    Layout: plates-lprnet-cn/ and plates-easypr-cn/. Directions "cn_crops" and "cn_photographs"."""

    parts = tuple(part for part in _PARTS if part.country == "cn")
    about = "the sets of China"


def _held(samples: Sequence[tuple[Sample, bool]]) -> set[str]:
    """Texts of the test: those that any set keeps for it, and what shares a photograph with them."""
    texts: dict[Path, list[str]] = {}
    for sample, _ in samples:
        texts.setdefault(sample.path, []).append(sample.plate_text or "")
    groups = connected(texts.values())
    return {text for sample, tested in samples if tested for text in groups[sample.plate_text or ""]}
