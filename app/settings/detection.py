"""Settings of a detector and of its training."""

from dataclasses import dataclass

from app.settings.checks import in_range


@dataclass(frozen=True)
class DetectorSettings:
    """A detector that can be rebuilt from its checkpoint.

    Args:
        kind: "fcos", our own of vehicles and plates; "coco", torchvision's of vehicles.
        backbone: timm network of "fcos".
        size: pixels of the longer side of the pictures it looks at.
        channels, convs: width of its pyramid, and depth of its head.
        vehicle_threshold, plate_threshold: score from which a box counts as found.
    """

    kind: str = "fcos"
    backbone: str = "tf_efficientnet_lite0"
    size: int = 416
    channels: int = 64
    convs: int = 2
    vehicle_threshold: float = 0.4
    plate_threshold: float = 0.3

    def __post_init__(self) -> None:
        if self.kind not in ("fcos", "coco"):
            raise ValueError(f"unknown kind of detector {self.kind!r}; known: fcos, coco")
        in_range("size", self.size, 128, 2048)
        for name in ("vehicle_threshold", "plate_threshold"):
            in_range(name, getattr(self, name), 0.0, 1.0)

    @property
    def thresholds(self) -> tuple[float, float]:
        """By label of `models.detector.CLASSES`."""
        return self.vehicle_threshold, self.plate_threshold
