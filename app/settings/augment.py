"""Online augmentation of training images: each part is declared once, with its key, default, limits and effect.

An effect maps a batch (N, 3, H, W), float32 in 0..255, to another one, by the tensor's own methods and by the
operations of `Draws`: this module loads no torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol, get_type_hints

from pydantic import Field

from app.settings.section import Share, section

if TYPE_CHECKING:
    from torch import Tensor

_Strength = Annotated[float, Field(ge=0.0, le=0.9)]
_GREY = 127.0
_SIGMAS = (0.3, 1.5)  # of the blur, pixels


class Draws(Protocol):
    """Random numbers of a batch, one an image, and operations on it; see `app.data.augment`."""

    def chosen(self, probability: float) -> "Tensor": ...
    def uniform(self, low: float, high: float) -> "Tensor": ...
    def moved(self, batch: "Tensor", shift: float, rotate: float, zoom: float) -> "Tensor": ...
    def recoloured(self, batch: "Tensor", strength: float) -> "Tensor": ...
    def colourless(self, batch: "Tensor") -> "Tensor": ...
    def one_channel(self, batch: "Tensor") -> "Tensor": ...
    def blurred(self, batch: "Tensor", sigmas: "Tensor") -> "Tensor": ...
    def rectangles(self, batch: "Tensor") -> "Tensor": ...
    def weathered(self, batch: "Tensor", kind: str, probability: float) -> "Tensor": ...
    def in_any_weather(self, batch: "Tensor", probability: float) -> "Tensor": ...


Effect = Callable[["Tensor", Any, Draws], "Tensor"]
"""From a batch, the settings and the draws to the changed batch."""


@dataclass(frozen=True)
class Part:
    """What a key of `AugmentSettings` does.

    Args:
        effect: on a batch; keys that share one are applied together.
        plates: whether plates are changed, too.
        first: before all others, since it is in front of the camera.
    """

    effect: Effect
    plates: bool = True
    first: bool = False


def _flip(batch: "Tensor", settings: Any, draw: Draws) -> "Tensor":
    return batch.flip(3).where(draw.chosen(settings.flip), batch)


def _move(batch: "Tensor", settings: Any, draw: Draws) -> "Tensor":
    return draw.moved(batch, settings.shift, settings.rotate, settings.zoom)


def _colour(batch: "Tensor", settings: Any, draw: Draws) -> "Tensor":
    return draw.recoloured(batch, settings.colour)


def _grey(batch: "Tensor", settings: Any, draw: Draws) -> "Tensor":
    return draw.colourless(batch).where(draw.chosen(settings.grey), batch)


def _channel(batch: "Tensor", settings: Any, draw: Draws) -> "Tensor":
    return draw.one_channel(batch).where(draw.chosen(settings.channel), batch)


def _blur(batch: "Tensor", settings: Any, draw: Draws) -> "Tensor":
    chosen = draw.chosen(settings.blur)
    return draw.blurred(batch, draw.uniform(*_SIGMAS)).where(chosen, batch)


def _erase(batch: "Tensor", settings: Any, draw: Draws) -> "Tensor":
    return batch.masked_fill(draw.chosen(settings.erase) & draw.rectangles(batch), _GREY)


def _rain(batch: "Tensor", settings: Any, draw: Draws) -> "Tensor":
    return draw.weathered(batch, "rain", settings.rain)


def _night(batch: "Tensor", settings: Any, draw: Draws) -> "Tensor":
    return draw.weathered(batch, "night", settings.night)


def _weather(batch: "Tensor", settings: Any, draw: Draws) -> "Tensor":
    return draw.in_any_weather(batch, settings.weather)


@section("train.augment")
class AugmentSettings:
    """Online augmentation of training images; 0 switches a part off.

    Args:
        flip: probability of a mirrored vehicle. Plates are never mirrored and never erased: a mirrored character is
            another one, and an erased one is missing.
        shift: largest translation, as a share of the side.
        rotate: largest rotation, degrees.
        zoom: largest relative change of size.
        colour: strength of brightness, contrast and saturation changes.
        grey: probability that an image loses its colour, which an infrared one has not.
        channel: probability that one of the three channels stands in all of them (Ye et al., ICCV 2021: channel
            exchange); an infrared image stays as it is.
        blur: probability of a Gaussian blur.
        erase: probability of an erased rectangle.
        rain: probability of a vehicle in rain.
        night: probability of a vehicle in little light.
        weather: probability of an image in one of the kinds of `data.weather`, each as likely; also of a plate.
        plate_drop: probability that a training sample loses its plate.
    """

    flip: Annotated[Share, Part(_flip, plates=False)] = 0.5
    shift: Annotated[_Strength, Part(_move)] = 0.06
    rotate: Annotated[float, Field(ge=0.0, le=180.0), Part(_move)] = 5.0
    zoom: Annotated[_Strength, Part(_move)] = 0.1
    colour: Annotated[_Strength, Part(_colour)] = 0.25
    grey: Annotated[Share, Part(_grey)] = 0.0
    channel: Annotated[Share, Part(_channel)] = 0.0
    blur: Annotated[Share, Part(_blur)] = 0.1
    erase: Annotated[Share, Part(_erase, plates=False)] = 0.3
    rain: Annotated[Share, Part(_rain, plates=False, first=True)] = 0.0
    night: Annotated[Share, Part(_night, plates=False, first=True)] = 0.0
    weather: Annotated[Share, Part(_weather, first=True)] = 0.0
    plate_drop: Share = 0.0


def effects_of(settings: AugmentSettings, *, plates: bool) -> list[Effect]:
    """The effects of the parts that are not at 0, each once, in the order in which they are applied."""
    hints = get_type_hints(type(settings), include_extras=True)
    on = [hint for key, hint in hints.items() if getattr(settings, key)]
    parts = [part for hint in on for part in getattr(hint, "__metadata__", ()) if isinstance(part, Part)]
    parts.sort(key=lambda part: not part.first)
    return list(dict.fromkeys(part.effect for part in parts if part.plates or not plates))
