"""RegDB (Nguyen et al., Sensors 2017): persons in visible light and in thermal infrared, by a pair of cameras."""

from pathlib import Path

from app.core.sample import Modality, Sample
from app.data.readers.errors import DataSetError
from app.data.readers.name_lists import no_such_split, read_list, require_images
from app.data.readers.reader import Direction, both_ways

TRIALS = 10
_KINDS: dict[Modality, str] = {"visible": "visible", "infrared": "thermal"}
_SPLITS = ("train", "test", "all")


class RegDB:
    """Reader of RegDB.

    412 persons with ten visible and ten thermal images each: 206 to train and 206 to test, sampled anew in each of ten
    trials. Published figures are means over the trials, in both directions.

    Layout:

        Visible/285/male_back_v_05528_285.bmp
        Thermal/285/male_back_t_01971_285.bmp
        idx/train_visible_1.txt  train_thermal_1.txt  test_visible_1.txt  test_thermal_1.txt  ...  to 10

    Lists hold `<path> <person>`, persons counted from 0 in each of train and test. The trial is the seed's: seed 0 is
    trial 1, seed 9 trial 10, seed 10 trial 1 again. pids of the test go on after those of the training. camid is 0 for
    visible images and 1 for thermal ones.
    """

    def __init__(self, root: Path, *, seed: int = 0) -> None:
        self.root = Path(root)
        self.seed = seed

    def train(self) -> list[Sample]:
        """The visible, then the thermal images of the trial's training lists.

        Raises FileNotFoundError naming a missing list or image, ValueError for a line of another form or an image
        listed twice."""
        return self._read("train", 0)

    def evaluation(self, split: str) -> list[Direction]:
        """ "infrared_to_visible" and "visible_to_infrared" on "train", "test" or "all".

        Raises ValueError for another split, and the errors of `train`."""
        if split not in _SPLITS:
            raise no_such_split("RegDB", split, _SPLITS)
        samples = self.train()
        if split != "train":
            test = self._read("test", 1 + max(sample.pid for sample in samples))
            samples = test if split == "test" else samples + test
        return both_ways(samples, samples)

    def _read(self, part: str, first_pid: int) -> list[Sample]:
        samples = []
        for camid, (modality, kind) in enumerate(_KINDS.items()):
            path = self.root / "idx" / f"{part}_{kind}_{self.seed % TRIALS + 1}.txt"
            lines = read_list(path)
            for words in lines:
                if len(words) != 2 or not words[1].isdecimal():
                    raise DataSetError(f"{path}: not '<image> <person>': {' '.join(words)!r}")
                samples.append(Sample(self.root / words[0], first_pid + int(words[1]), camid, modality=modality))
            if not lines:
                raise DataSetError(f"{path} is empty")
            require_images(self.root, (words[0] for words in lines))
        return samples
