"""Views of one image: mirrored and cut tighter, so that an embedding is the mean over what changes no vehicle.

Krizhevsky et al. ("ImageNet classification with deep convolutional neural networks", 2012, section 4.1) average over
mirrored crops at test time; here the crops are those of a vehicle, which a detector may have cut a little tighter.
"""

from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor

from app.data.crops import Crops

_MARGIN = 0.03  # of each side: crops 6 % tighter


def other_views(crops: Sequence[Crops], views: int) -> Iterator[list[Crops]]:
    """The views of vehicles beside the images as they are, without their plates.

    Args:
        views: 1 for none, 2 for the mirrored ones, 4 for the tighter ones and the mirrored tighter ones besides.
    """
    if views >= 2:
        yield [Crops(each.vehicle.flip(-1), None, each.modality) for each in crops]
    if views >= 4:
        tighter = [_tighter(each.vehicle) for each in crops]
        yield [Crops(vehicle, None, each.modality) for vehicle, each in zip(tighter, crops, strict=True)]
        yield [Crops(vehicle.flip(-1), None, each.modality) for vehicle, each in zip(tighter, crops, strict=True)]


def _tighter(image: Tensor) -> Tensor:
    """The middle of an image (3, H, W) uint8, in the same size."""
    height, width = image.shape[1:]
    rows, columns = (max(1, round(_MARGIN * side)) for side in (height, width))
    middle = image[:, rows : height - rows, columns : width - columns].float()
    scaled = F.interpolate(middle[None], (height, width), mode="bilinear", align_corners=False)[0]
    return scaled.round().clamp(0, 255).to(image.dtype)
