"""Photographs as views of a register: kept in its folder of pictures, and as samples for its network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from app.core.sample import Box, Sample
from app.register.framing import Framed
from app.register.modalities import held_vectors
from app.register.photos import Photos
from app.register.records import NewView
from app.register.rows import Vectors
from app.register.schema import View


@contextmanager
def kept_views(photos: Photos, framed: Sequence[Framed]) -> Iterator[list[NewView]]:
    """The pictures in the register's folder, as views without vectors; they go again if the block raises."""
    kept: list[str] = []
    try:
        views = []
        for each in framed:
            shot, modality = each.shot, each.modality
            kept.append(photos.keep(shot.photo))
            picture, plate = kept[-1], None
            if shot.plate is not None:
                kept.append(photos.keep(shot.plate))
                plate = kept[-1]
            boxes = {"vehicle_box": shot.photo.box(shot.vehicle_box), "plate_box": shot.photo.box(shot.plate_box)}
            views.append(NewView(picture, {}, plate_picture=plate, modality=modality, **boxes))
        yield views
    except BaseException:
        photos.drop(kept)
        raise


def sample_of(photos: Photos, view: NewView | View) -> Sample:
    """What the network embeds of a view."""
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
