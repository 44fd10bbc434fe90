"""CCPD2019 and CCPD2020 (Xu et al., ECCV 2018): vehicles parked in China, with everything in the file's name."""

import re
from pathlib import Path
from typing import NamedTuple

from app.core.sample import Box, Corners, Point, Sample
from app.data.readers.errors import DataSetError
from app.data.readers.name_lists import no_such_split, read_list, require_images
from app.data.readers.plate_splits import numbered
from app.data.readers.reader import SPLITS, Direction, each_against_its_own
from app.images.files import image_stem, images_in
from models.errors import MissingFileError

_PROVINCES = "皖沪津渝冀晋蒙辽吉黑苏浙京闽赣鲁豫鄂湘粤桂琼川贵云藏陕甘青宁新警学O"
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZO"
_LETTERS_AND_DIGITS = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789O"
_NONE = "O"  # plates have neither O nor I; the last of each table stands for no character
_POINT = r"-?\d+&-?\d+"
_NAME = re.compile(
    r"\d+"  # area of the plate, a share of the image
    r"-\d+_\d+"  # tilt, degrees
    rf"-(?P<box>{_POINT}_{_POINT})"
    rf"-(?P<corners>{_POINT}(?:_{_POINT}){{3}})"
    r"-(?P<characters>\d+(?:_\d+){6,7})"
    r"-\d+-\d+"  # brightness, blur
)


class Plate(NamedTuple):
    """What the name of a file says."""

    box: Box
    corners: Corners
    text: str


class Ccpd:
    """Reader of either set, or of both in one folder.

    CCPD2019: over 300,000 photographs, 720 x 1160 px, of blue plates with seven characters, most of them from one
    province (皖); ccpd_base is for training and validation, the harder folders for the test. CCPD2020: 11,776 of green
    plates with eight: 5,769 to train, 1,001 to validate, 5,006 to test.

    Layout of CCPD2019; a line is an image from the root on:

        splits/train.txt  splits/val.txt  splits/test.txt
        ccpd_base/{name}  ccpd_blur/...  ccpd_challenge/...  ccpd_db/...  ccpd_fn/...  ccpd_rotate/...  ccpd_tilt/...

    Layout of CCPD2020:

        ccpd_green/{train,val,test}/{name}

    A name, area - tilt - box - corners - characters - brightness - blur, that reads 皖AY339S:

        025-95_113-154&383_386&473-386&473_177&454_154&383_363&402-0_0_22_27_27_33_16-37-15.jpg

    The box is left & top _ right & bottom; the corners are the lower right, lower left, upper left and upper right one.
    pid is the plate, site its province; every image has a camid of its own.
    """

    def __init__(self, root: Path, *, seed: int = 0) -> None:
        self.root = Path(root)
        self.seed = seed

    def train(self) -> list[Sample]:
        """The training images in the order of the list, then those of ccpd_green by name.

        Raises FileNotFoundError naming a missing folder, list or image, ValueError for a name of another form."""
        return self._read(("train",))

    def evaluation(self, split: str) -> list[Direction]:
        """A direction for each folder of images ("ccpd_blur", "ccpd_green") of "train", "val", "test" or "all".

        Every image against all. Raises ValueError for another split, and the errors of `train`."""
        if split not in SPLITS:
            raise no_such_split("CCPD", split, SPLITS)
        samples = self._read(("train", "val", "test") if split == "all" else (split,))
        return each_against_its_own(samples, lambda sample: sample.path.relative_to(self.root).parts[0])

    def _read(self, splits: tuple[str, ...]) -> list[Sample]:
        paths = [path for split in splits for path in (*self._listed(split), *self._green(split))]
        plates = [parse(path.name) for path in paths]
        pids = numbered([plate.text for plate in plates])
        return [
            Sample(
                path,
                pids[plate.text],
                camid,
                plate_boxes=(plate.box,),
                plate_corners=plate.corners,
                plate_text=plate.text,
                site=plate.text[0],
            )
            for camid, (path, plate) in enumerate(zip(paths, plates, strict=True))
        ]

    def _listed(self, split: str) -> list[Path]:
        """The images of CCPD2019."""
        lists, green = self.root / "splits", self.root / "ccpd_green"
        if not lists.is_dir():
            if not green.is_dir():
                raise MissingFileError(f"neither CCPD2019 nor CCPD2020: no folder {lists} or {green}")
            return []
        names = [words[0] for words in read_list(lists / f"{split}.txt")]
        require_images(self.root, names)
        return [self.root / name for name in names]

    def _green(self, split: str) -> list[Path]:
        """The images of CCPD2020."""
        if not (self.root / "ccpd_green").is_dir():
            return []
        return images_in(self.root / "ccpd_green" / split)


def parse(name: str) -> Plate:
    """What the name of a file says. Raises ValueError for a name of another form, a box without a size or a plate that
    says nothing."""
    if (match := _NAME.fullmatch(image_stem(name))) is None:
        raise DataSetError(f"not a CCPD file name: {name}")
    (left, top), (right, bottom) = _points(match["box"])
    lower_right, lower_left, upper_left, upper_right = _points(match["corners"])
    box = Box(left, top, right - left, bottom - top)
    numbers = [int(number) for number in match["characters"].split("_")]
    tables = [_PROVINCES, _LETTERS, *[_LETTERS_AND_DIGITS] * (len(numbers) - 2)]
    if any(number >= len(table) for number, table in zip(numbers, tables, strict=True)):
        raise DataSetError(f"a character that CCPD does not have: {name}")
    text = "".join(table[number] for number, table in zip(numbers, tables, strict=True)).replace(_NONE, "")
    if not text or box.width <= 0 or box.height <= 0:
        raise DataSetError(f"a plate without {'a size' if text else 'a character'}: {name}")
    return Plate(box, (upper_left, upper_right, lower_right, lower_left), text)


def _points(text: str) -> list[Point]:
    return [Point(*(float(value) for value in point.split("&"))) for point in text.split("_")]
