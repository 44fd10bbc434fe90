"""Words cut out of photographs: IIIT5K, Street View Text and ICDAR 2003."""

from pathlib import Path

from app.core.sample import Sample
from app.data.readers.name_lists import no_such_split, read_labels
from app.data.readers.plate_crops import crops
from app.data.readers.reader import Direction, each_against_its_own

_SPLITS = ("train", "test", "all")
_FOLDERS = {"iiit5k": "IIIT5K", "svt": "SVT", "icdar03": "ICDAR03"}


class Words:
    """Reader of the three sets of words, to train a reader of plates on before plates, and to measure it on words.

    IIIT5K (Mishra et al., BMVC 2012): 1367 crops to train on, 2117 to test; Street View Text (Wang et al., ICCV 2011):
    453 to test; ICDAR 2003 robust reading: 602 to test. At most 64 px high here.

    Layout:

        IIIT5K/{train,test}/{name}.jpg      SVT/images/{name}.jpg       ICDAR03/images/{name}.jpg
        IIIT5K/labels.tsv                   SVT/labels.tsv              ICDAR03/labels.tsv

    A line of labels.tsv is file, text, with a tab between.

    Words are compared without regard to case: all are in capitals, as plates are. pid is the word, site the set; every
    image has a camid of its own. The sets' own protocol: a word may stand in training and test.
    """

    def __init__(self, root: Path, *, seed: int = 0) -> None:
        self.root = Path(root)
        self.seed = seed

    def train(self) -> list[Sample]:
        """The training part of IIIT5K.

        Raises FileNotFoundError naming a missing table, folder or image, ValueError naming a line of another form."""
        return [sample for sample in self._read() if _is_for_training(sample)]

    def evaluation(self, split: str) -> list[Direction]:
        """ "iiit5k", "svt" and "icdar03", every image against all: the test part of each, or with "all" all of it.

        "train" has "iiit5k" alone. Raises ValueError for another split, and the errors of `train`."""
        if split not in _SPLITS:
            raise no_such_split("the sets of words", split, _SPLITS)
        samples = self._read()
        chosen = [s for s in samples if split == "all" or _is_for_training(s) == (split == "train")]
        return each_against_its_own(chosen, lambda sample: sample.site or "")

    def _read(self) -> list[Sample]:
        return crops(
            (path, text, name)
            for name, folder in _FOLDERS.items()
            for path, (text,) in read_labels(
                self.root / folder / "labels.tsv", ("file", "text"), folder=self.root / folder
            )
        )


def _is_for_training(sample: Sample) -> bool:
    return sample.site == "iiit5k" and sample.path.parent.name == "train"
