"""Options of photographs of one vehicle, the same for every command of `scripts.register` that takes some."""

import inspect
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from app.register.photos import VehiclePhoto, make_vehicle_photos, parse_box, parse_modality, read_photo
from models.errors import MissingFileError

Pictures = Annotated[list[Path], typer.Argument(help="Photographs of one vehicle.")]
PlatePictures = Annotated[list[Path] | None, typer.Option(help="An image of the plate, for each photograph in turn.")]
Boxes = Annotated[list[str] | None, typer.Option(help="left,top,width,height in pixels, for each photograph in turn.")]
Modality = Annotated[str, typer.Option(help="visible or infrared; auto takes photographs without colour for infrared.")]
Whole = Annotated[bool, typer.Option("--whole", help="They show the vehicle alone: a detector is not asked.")]
Photos = Callable[[], list[VehiclePhoto]]
"""Reads the photographs of a command."""
_PHOTOS = "photos"


def takes_photos(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of photographs in place of its parameter `photos`, which reads them."""
    own, options = inspect.signature(command).parameters, inspect.signature(_read).parameters

    @wraps(command)
    def run(**given: Any) -> None:
        command(photos=partial(_read, **{name: given.pop(name) for name in options}), **given)

    parameters = [*options.values(), *(each for name, each in own.items() if name != _PHOTOS)]
    kept = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]  # some have no default
    run.__signature__ = inspect.Signature(kept)  # type: ignore[attr-defined]  # where typer looks
    run.__annotations__ = {each.name: each.annotation for each in kept}
    return run


def _read(
    pictures: Pictures,
    plate_picture: PlatePictures = None,
    box: Boxes = None,
    plate_box: Boxes = None,
    modality: Modality = "auto",
    whole: Whole = False,
) -> list[VehiclePhoto]:
    plates = plate_picture or []
    for path in (*pictures, *plates):
        if not path.is_file():
            raise MissingFileError(f"no such file: {path}")
    photos, plate_photos = ([read_photo(path) for path in paths] for paths in (pictures, plates))
    boxes, plate_boxes = ([parse_box(text) for text in texts or ()] for texts in (box, plate_box))
    return make_vehicle_photos(photos, plate_photos, boxes, plate_boxes, parse_modality(modality), whole)
