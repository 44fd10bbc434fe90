"""Settings of a detector and of its training."""

from typing import Annotated, Literal

from pydantic import Field

from app.settings.section import Share, section


@section("detector")
class DetectorSettings:
    """A detector that can be rebuilt from its checkpoint.

    Args:
        kind: "fcos", our own of vehicles and plates; "coco", torchvision's of vehicles.
        backbone: timm network of "fcos".
        size: longer side of its input images, pixels.
        channels, convs: width of its pyramid, and depth of its head.
        deepest: stride at which the backbone ends.
        vehicle_threshold, plate_threshold: lowest score of a detection; 1 for a class that it does not find.
    """

    kind: Literal["fcos", "coco"] = "fcos"
    backbone: str = "tf_efficientnet_lite0"
    size: Annotated[int, Field(ge=128, le=2048)] = 416
    channels: int = 64
    convs: int = 2
    deepest: Literal[16, 32] = 32
    vehicle_threshold: Share = 0.4
    plate_threshold: Share = 0.3

    @property
    def thresholds(self) -> tuple[float, float]:
        """By label of `models.detector.CLASSES`."""
        return self.vehicle_threshold, self.plate_threshold
