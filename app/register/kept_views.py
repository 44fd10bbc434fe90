"""Photographs as views of a register: written to its folder of photos, and as samples for its network."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from contextlib import contextmanager
from dataclasses import replace

from app.core.sample import Box, Sample
from app.data.crops import VehicleImage
from app.register.errors import UncertainError
from app.register.framing import Framed
from app.register.modalities import held_vectors
from app.register.photos import Photos
from app.register.records import NewView
from app.register.rows import Vectors
from app.register.schema import View


@contextmanager
def written_beside(
    photos: Photos, writers: Executor, framed: Sequence[Framed], images: Sequence[VehicleImage]
) -> Iterator[Callable[[], list[NewView]]]:
    """Photos that are written to the register's folder while the block computes; they go again if the block raises.

    After an UncertainError they stay, noted as doubtful: the row that names them may have been kept.

    Yields a function that waits until they are on the disk and gives them as views without vectors. A block that
    commits a row must have called it before. It raises OSError where a photo cannot be written.

    Args:
        images: of `framed`.
    """
    writes: list[list[Future[str]]] = [
        [
            writers.submit(photos.keep, photo)
            for photo in (each.vehicle_photo.photo, each.vehicle_photo.plate)
            if photo is not None
        ]
        for each in framed
    ]

    def views() -> list[NewView]:
        names = [[write.result() for write in own] for own in writes]
        return [
            NewView(own[0], {}, image.vehicle_box, own[1] if len(own) > 1 else None, image.plate_box, image.modality)
            for own, image in zip(names, images, strict=True)
        ]

    try:
        yield views
    except BaseException as error:
        all_writes = [write for own in writes for write in own]
        wait(all_writes)
        names = [write.result() for write in all_writes if write.exception() is None]
        if isinstance(error, UncertainError):
            photos.doubtful.update(names)
        else:
            photos.drop(names)
        raise


def sample_of(photos: Photos, view: View) -> Sample:
    """The image file of a view, with what the network embeds of it."""
    return Sample(
        photos.path(view.picture),
        pid=0,
        camid=0,
        vehicle_box=Box(*view.vehicle_box) if view.vehicle_box else None,
        plate_boxes=(Box(*view.plate_box),) if view.plate_box else (),
        plate_path=photos.path(view.plate_picture) if view.plate_picture else None,
        modality="infrared" if view.modality == "infrared" else "visible",
    )


def with_vectors(view: NewView, vectors: Vectors) -> NewView:
    """The view with its embeddings, by the names under which its modality holds them."""
    return replace(view, vectors=held_vectors(vectors, view.modality))
