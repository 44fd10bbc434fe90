"""Photos written to a register's folder beside the computation of their embeddings."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from contextlib import contextmanager

from app.data.crops import VehicleImage
from app.register.detect import Framed
from app.register.errors import UncertainError
from app.register.photos import Photos
from app.register.records import NewView


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
