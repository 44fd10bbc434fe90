"""Corrections of an enrolled image that its embeddings follow: modality, and boxes of vehicle and plate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete

from app.core.sample import Box, Modality
from app.register.corrections import require_version, view_of
from app.register.errors import ChangedError, RegisterError
from app.register.identification import Identification
from app.register.photos import read_photo
from app.register.records import active_model, embeddings, keep_undo, trail
from app.register.schema import Change, Embedding, View
from app.register.undo_table import Correction

_ATTEMPTS = 3  # an active model that changes meanwhile: embed again with the new one
_COLUMNS = ("modality", "vehicle_box", "plate_box")


@dataclass(frozen=True)
class ViewEdit:
    """New values of an enrolled image; None leaves one as it is.

    Args:
        vehicle_box, plate_box: in pixels of the kept image; () for none: the image is the vehicle, no plate is known.
    """

    modality: Modality | None = None
    vehicle_box: Box | tuple[()] | None = None
    plate_box: Box | tuple[()] | None = None


def correct_view(
    identification: Identification,
    vehicle_id: int,
    view_id: int,
    edit: ViewEdit,
    *,
    account: str,
    version: int | None = None,
) -> list[str]:
    """Change what is known of an image, and embed it anew; names of the values that were others before.

    Raises ChangedError, NotEnrolledError, BoxError for a box outside the image, RegisterError for an image that cannot
    be read."""
    with identification.database.reading() as session:
        require_version(session, vehicle_id, version)
        view = view_of(session, vehicle_id, view_id)
    photo = read_photo(identification.photos.path(view.picture)) if edit.vehicle_box or edit.plate_box else None
    given: dict[str, Any] = {} if edit.modality is None else {"modality": edit.modality}
    for name in ("vehicle_box", "plate_box"):
        if (box := getattr(edit, name)) is not None:
            given[name] = list(photo.inside(Box(*box)) or ()) if photo and box else None
    changed = {name: value for name, value in given.items() if value != getattr(view, name)}
    if changed:
        _set(identification, view, changed, account=account, version=version, action="correct view")
    return sorted(changed)


def undo(identification: Identification, vehicle_id: int, *, account: str, version: int | None = None) -> str:
    """Undo the last change of a vehicle, whatever it was; its kind. Raises as `Corrections.undo` does."""
    row = identification.corrections.last(vehicle_id)
    if row is None or row.kind != "view":
        return identification.corrections.undo(vehicle_id, account=account, version=version)
    with identification.database.reading() as session:
        view = view_of(session, vehicle_id, row.before["view"])
    _set(
        identification,
        view,
        row.before["values"],
        account=account,
        version=row.change if version is None else version,
        action="undo view",
    )
    return row.kind


def _set(
    identification: Identification,
    view: View,
    values: Mapping[str, Any],
    *,
    account: str,
    version: int | None,
    action: str,
) -> None:
    """Keep values of an image with the embeddings that they lead to, in one transaction."""
    named = {name: getattr(view, name) for name in ("vehicle_id", "picture", "plate_picture", *_COLUMNS)}
    wanted, before = View(**{**named, **values}), {name: named[name] for name in values}
    for _ in range(_ATTEMPTS):
        model, vectors = identification.embed_view(wanted)
        with identification.database.writing() as session:
            require_version(session, view.vehicle_id, version)
            held, active = view_of(session, view.vehicle_id, view.id), active_model(session)
            if active is None or active.id != model.id:
                continue
            if any(getattr(held, name) != named[name] for name in _COLUMNS):  # it was embedded with those
                raise ChangedError(f"image {view.id} was changed by somebody else meanwhile; nothing was changed")
            for name, value in values.items():
                setattr(held, name, value)
            # Those of a model that is about to become active are computed again by `reembed`.
            session.execute(delete(Embedding).where(Embedding.view_id == view.id))
            session.add_all(embeddings(model.id, vectors, view.id))
            session.add(Change(vehicle_id=view.vehicle_id))
            about = {"view": view.id, "fields": sorted(values)}
            trail(session, account, action, f"vehicle {view.vehicle_id}", about)
            if action == "correct view":
                keep_undo(session, view.vehicle_id, "view", {"view": view.id, "values": before}, account)
            else:
                session.execute(delete(Correction).where(Correction.vehicle_id == view.vehicle_id))
            return
    raise RegisterError("the model of the register changes again and again")
