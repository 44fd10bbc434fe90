"""Training stream of a detector: photographs and rendered scenes, changed anew each time, as squares of one size."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from app.core.sample import Box
from app.data.readers.errors import DataSetError
from app.detection.labels import Labelled
from app.detection.other_plates import with_other_plates
from app.images.decode import UnreadableImageError, open_image, upright_rgb
from app.synthetic import SceneRenderer
from models.detector import CLASSES, PLATE, VEHICLE

Target = dict[str, Tensor]
_LEAST = 4.0  # pixels of a box's shorter side, below which it is not asked for


class DetectionBatch(NamedTuple):
    """Images (3, S, S) in [0, 1], R, G, B, and the targets of `models.detector.Detector.losses`."""

    images: list[Tensor]
    targets: list[Target]


class DetectionBatches:
    """Batch i is the same whenever it is asked for.

    Args:
        photographs: real ones; may be empty if `scenes_share` is 1.
        scenes: draws scenes of side `size`.
        scenes_share: of the images of a batch that are scenes, in [0, 1].
        other_plates: of the photographs, share in which rendered plates of any region cover the marked ones.
        plates_alone: whether vehicles are not asked for, though they may be known.
        keep_mb: MiB of decoded photographs kept in memory.

    Raises ValueError without photographs where `scenes_share` is below 1."""

    def __init__(
        self,
        photographs: Sequence[Labelled],
        scenes: SceneRenderer,
        *,
        size: int,
        batch_size: int,
        scenes_share: float,
        seed: int,
        other_plates: float = 0.0,
        plates_alone: bool = False,
        keep_mb: int = 1024,
    ) -> None:
        if not photographs and scenes_share < 1:
            raise DataSetError("there are no photographs to train on, and not scenes alone are asked for")
        self.photographs = photographs
        self.scenes = scenes
        self.size = size
        self.batch_size = batch_size
        self.num_scenes = round(scenes_share * batch_size)
        self.seed = seed
        self.other_plates = other_plates
        self.plates_alone = plates_alone
        self._kept: dict[int, tuple[NDArray[np.uint8], float]] = {}
        self._free = keep_mb * 2**20
        self._change = v2.Compose(
            [
                v2.RandomPhotometricDistort(p=0.7),
                v2.RandomGrayscale(p=0.1),
                v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.5))], p=0.2),
                v2.RandomZoomOut(fill=114, side_range=(1.0, 2.2), p=0.4),
                v2.RandomIoUCrop(min_scale=0.35, min_aspect_ratio=0.6, max_aspect_ratio=1.7, trials=20),
                v2.RandomHorizontalFlip(0.5),
                v2.Resize((size, size), antialias=True),
            ]
        )

    def __getitem__(self, index: int) -> DetectionBatch:
        """Batch `index`, from 0. Raises OSError for a photograph that cannot be read."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed * 1_000_003 + index)
            pairs = [self._scene(index * self.num_scenes + k) for k in range(self.num_scenes)]
            pairs += [self._photograph(index, k) for k in range(self.batch_size - self.num_scenes)]
        return DetectionBatch([image for image, _ in pairs], [target for _, target in pairs])

    def _photograph(self, index: int, place: int) -> tuple[Tensor, Target]:
        position = index * (self.batch_size - self.num_scenes) + place
        epoch, position = divmod(position, len(self.photographs))
        number = int(np.random.default_rng([self.seed, epoch]).permutation(len(self.photographs))[position])
        photograph = self.photographs[number]
        image, scale = self._read(number)
        plates = _scaled(photograph.plates, scale)
        rng = np.random.default_rng([15, self.seed, epoch, position])
        if plates and rng.random() < self.other_plates:
            image, plates = with_other_plates(image, plates, rng)
        return self._made(image, _scaled(photograph.vehicles, scale), plates)

    def _scene(self, number: int) -> tuple[Tensor, Target]:
        scene = self.scenes.scene(number)
        image = cv2.cvtColor(scene.image, cv2.COLOR_BGR2RGB)
        return self._made(np.asarray(image, np.uint8), scene.vehicles, scene.plates if scene.plates_known else None)

    def _made(
        self, image: NDArray[np.uint8], vehicles: Sequence[Box] | None, plates: Sequence[Box] | None
    ) -> tuple[Tensor, Target]:
        """An image and its target, changed at random."""
        vehicles = None if self.plates_alone else vehicles
        given = [(VEHICLE, box) for box in vehicles or ()] + [(PLATE, box) for box in plates or ()]
        corners = [[box.left, box.top, box.left + box.width, box.top + box.height] for _, box in given]
        canvas = image.shape[:2]
        sample = {
            "image": tv_tensors.Image(torch.from_numpy(image.transpose(2, 0, 1).copy())),
            "boxes": tv_tensors.BoundingBoxes(
                torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
                format="XYXY",
                canvas_size=canvas,
            ),
            "labels": torch.tensor([label for label, _ in given], dtype=torch.int64),
        }
        changed = v2.ClampBoundingBoxes()(self._change(sample))
        boxes: Tensor = changed["boxes"].as_subclass(Tensor)
        large = (boxes[:, 2:] - boxes[:, :2] >= _LEAST).all(dim=1)
        known = torch.zeros(len(CLASSES), dtype=torch.bool)
        known[VEHICLE], known[PLATE] = vehicles is not None, plates is not None
        target = {"boxes": boxes[large], "labels": changed["labels"][large], "labelled": known}
        return changed["image"].as_subclass(Tensor).float() / 255, target

    def _read(self, number: int) -> tuple[NDArray[np.uint8], float]:
        """A photograph, at most twice as large as it will be used, and its pixels for one of the file's."""
        if number in self._kept:
            return self._kept[number]
        read = read_photograph(self.photographs[number], 2 * self.size)
        if read[0].nbytes <= self._free:
            self._free -= read[0].nbytes
            self._kept[number] = read
        return read


def read_photograph(photograph: Labelled, longest: int) -> tuple[NDArray[np.uint8], float]:
    """A file as (H, W, 3), R, G, B, made smaller if its longer side is above `longest`, and its pixels for one of the
    file's.

    Raises OSError naming a file that cannot be read."""
    try:
        with open_image(photograph.path) as file:
            whole = max(file.size)
            image = upright_rgb(file, at_least=(longest, longest))
    except OSError as error:
        raise UnreadableImageError(f"{photograph.path} cannot be read: {error}") from error
    if max(image.size) > longest:
        scale = longest / max(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    return np.asarray(image), max(image.size) / whole


def _scaled(boxes: Sequence[Box] | None, scale: float) -> list[Box] | None:
    return None if boxes is None else [Box(*(value * scale for value in box)) for box in boxes]
