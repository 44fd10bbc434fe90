"""The table of lists: plates and vehicles that are expected, allowed, or denied."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.register.schema import Moment, Numbered, now


class ListEntry(Numbered):
    """An entry of a list, about a plate or about a registered vehicle. One about a vehicle goes with the vehicle.

    Args:
        kind: "visitor", "allow" or "deny".
        plate: as it was typed; None for a registered vehicle.
        folded: the plate in `models.alphabet.plain` form.
        flat: where a visitor goes.
        begins, ends: the time in which it counts, the end not included; None for no limit.
        account: who added it.
    """

    __tablename__ = "list_entry"
    kind: Mapped[str]
    plate: Mapped[str | None]
    folded: Mapped[str | None] = mapped_column(index=True)
    vehicle_id: Mapped[int | None] = mapped_column(ForeignKey("vehicle.id", ondelete="CASCADE"), index=True)
    reason: Mapped[str] = mapped_column(default="")
    flat: Mapped[str] = mapped_column(default="")
    begins: Mapped[datetime | None] = mapped_column(Moment)
    ends: Mapped[datetime | None] = mapped_column(Moment, index=True)
    account: Mapped[str]
    created: Mapped[datetime] = mapped_column(Moment, default=now)
