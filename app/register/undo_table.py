"""The table of what undoes the last change of a vehicle."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.register.schema import Base, Moment, now


class Correction(Base):
    """What undoes the last change of a vehicle. It goes with the vehicle.

    Args:
        change: number of the change that it undoes; a later one of the vehicle ends it.
        kind: "edit", "view", "add" or "merge".
        before: values and numbers from before the change.
        owner_id: number of the owner whose name `before` holds; None for none.
    """

    __tablename__ = "correction"
    vehicle_id: Mapped[int] = mapped_column(ForeignKey("vehicle.id", ondelete="CASCADE"), primary_key=True)
    change: Mapped[int]
    kind: Mapped[str]
    before: Mapped[dict[str, Any]] = mapped_column(JSON)
    owner_id: Mapped[int | None]
    account: Mapped[str]
    created: Mapped[datetime] = mapped_column(Moment, default=now)
