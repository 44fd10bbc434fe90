"""Plates of China cut out of photographs (sirius-ai/LPRNet_Pytorch, data/test)."""

from app.core.sample import Sample
from app.data.readers.errors import DataSetError
from app.data.readers.plate_crops import crops
from app.data.readers.plate_splits import PlatePhotographs
from app.images.files import images_in
from models.alphabet import plain


class PlatesLprNet(PlatePhotographs):
    """Reader of the crops.

    700 crops, 94 x 24 px, of 700 plates of seven characters, most of them from one province (皖); blurred, tilted and
    in bad light.

    Layout:

        data/test/{text}.jpg

    No split of its own: see `app.data.readers.plate_splits`. pid is the plate; every image has a camid of its own.
    """

    about = "the LPRNet set"

    def _read(self) -> list[Sample]:
        paths = images_in(self.root / "data" / "test")
        for path in paths:
            if plain(path.stem) != path.stem:
                raise DataSetError(f"not the text of a plate: {path}")
        return crops((path, path.stem, "cn") for path in paths)
