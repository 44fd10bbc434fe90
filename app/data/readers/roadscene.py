"""RoadScene: road photographs in visible light and in thermal infrared (Xu et al., U2Fusion, TPAMI 2020)."""

import math
from pathlib import Path

import numpy as np

from app.core.sample import Box, Modality, Sample
from app.data.readers.errors import DataSetError
from app.data.readers.name_lists import no_such_split, utf8_text
from app.data.readers.reader import Direction, both_ways
from app.images.decode import upright_size
from models.errors import MissingFileError

_FOLDERS: dict[Modality, str] = {"visible": "crop_LR_visible", "infrared": "cropinfrared"}
_COLUMNS = ["file", "x", "y", "w", "h", "vehicle_id", "class", "sequence"]
_SPLITS = ("train", "test", "all")
_TEST_SHARE = 0.25


class RoadScene:
    """Reader of the vehicles in RoadScene.

    153 pairs of photographs (median 520 x 273 px) with 122 boxes of 119 vehicles in 21 sequences. A box is valid in
    both photographs of a pair, which are aligned pixel to pixel and taken at the same moment: the pose is the same.

    Layout:

        crop_LR_visible/FLIR_00006.jpg      colour
        cropinfrared/FLIR_00006.jpg         long-wave thermal, grey
        vehicles.tsv                        a header, then file, x, y, w, h, vehicle_id, class, sequence; tabs between

    camid is 0 for visible images and 1 for infrared ones. Two ids of one sequence may still be one vehicle, so that
    samples of a sequence are never compared as different vehicles. The set has no split of its own: whole sequences
    with a quarter of the vehicles are the test, the same on every machine and for every seed.
    """

    def __init__(self, root: Path, *, seed: int = 0) -> None:
        self.root = Path(root)
        self.seed = seed

    def train(self) -> list[Sample]:
        """Both images of the vehicles in three quarters of the set.

        Raises FileNotFoundError naming a missing table or image, ValueError naming a line of another form or a pair
        of photographs that are not of one size."""
        return self._split("train")

    def evaluation(self, split: str) -> list[Direction]:
        """ "infrared_to_visible" and "visible_to_infrared" on "train", "test" or "all".

        Raises ValueError for another split, and the errors of `train`."""
        if split not in _SPLITS:
            raise no_such_split("RoadScene", split, _SPLITS)
        samples = self._split(split)
        return both_ways(samples, samples)

    def _split(self, split: str) -> list[Sample]:
        samples = self._read()
        tested = _tested(samples)
        chosen = [sample for sample in samples if split == "all" or (sample.sequence in tested) == (split == "test")]
        if not chosen:
            raise DataSetError(f"{self.root / 'vehicles.tsv'} has too few sequences to be split: use the split all")
        return chosen

    def _read(self) -> list[Sample]:
        table = self.root / "vehicles.tsv"
        if not table.is_file():
            raise MissingFileError(f"table not found: {table}")
        header, *lines = [line for line in utf8_text(table).splitlines() if line.strip()] or [""]
        if header.split("\t") != _COLUMNS:
            raise DataSetError(f"{table}: the first line must be {' '.join(_COLUMNS)!r} with tabs between")
        rows = []
        for line in lines:
            try:
                name, *numbers, vehicle, _, sequence = line.split("\t")
                box = Box(*map(float, numbers))
                if not math.isfinite(sum(box)) or min(box.width, box.height) <= 0:
                    raise ValueError("a box has four numbers, and sides above 0")
            except (ValueError, TypeError) as error:
                raise DataSetError(f"{table}: not {' '.join(_COLUMNS)!r}: {line!r}") from error
            rows.append((name, box, vehicle, sequence))
        if not rows:
            raise DataSetError(f"{table} has no vehicles")
        for name in dict.fromkeys(name for name, *_ in rows):
            self._require_pair(name)
        pids = {vehicle: pid for pid, vehicle in enumerate(sorted({row[2] for row in rows}))}
        return [
            Sample(
                self.root / folder / name, pids[vehicle], camid, vehicle_box=box, modality=modality, sequence=sequence
            )
            for name, box, vehicle, sequence in rows
            for camid, (modality, folder) in enumerate(_FOLDERS.items())
        ]

    def _require_pair(self, name: str) -> None:
        """Raise unless both photographs are there and of one size; a damaged one is left to whoever reads it."""
        paths = [self.root / folder / name for folder in _FOLDERS.values()]
        sizes = []
        for path in paths:
            if not path.is_file():
                raise MissingFileError(f"{self.root / 'vehicles.tsv'}: image not found: {path}")
            try:
                sizes.append(upright_size(path))
            except OSError:
                return
        if sizes[0] != sizes[1]:
            raise DataSetError(f"{paths[0]} and {paths[1]} are not of one size, {sizes}: their boxes are not the same")


def _tested(samples: list[Sample]) -> set[str | None]:
    """Sequences of the test: sampled in turn, and taken while they do not bring more than a quarter of the vehicles."""
    vehicles: dict[str | None, set[int]] = {}
    for sample in samples:
        vehicles.setdefault(sample.sequence, set()).add(sample.pid)
    wanted = round(_TEST_SHARE * len({sample.pid for sample in samples}))
    names = sorted(vehicles, key=str)
    chosen: set[str | None] = set()
    for place in np.random.default_rng(0).permutation(len(names)):
        if sum(len(vehicles[name]) for name in {*chosen, names[place]}) <= wanted:
            chosen.add(names[place])
    return chosen
