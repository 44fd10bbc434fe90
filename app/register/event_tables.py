"""Tables of events on their way to receivers, and of photographs that cameras left. Their steps are with all others in
`app.register.upgrades`."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.register.schema import Base, Moment, Numbered, now


class Event(Numbered):
    """News of a sighting for one receiver, kept until it is delivered, in the order of the numbers. It goes with the
    sighting.

    Args:
        key: the same at each delivery, so that a receiver sees doubles.
        receiver: its name in the register's file of receivers.
        kind: the decision of the sighting, or "open" for a gate.
        body: JSON, as it is sent.
        expires: it is not delivered afterwards; None for no end.
        tries, error: of deliveries that failed.
    """

    __tablename__ = "event"
    __table_args__ = (Index("event_receiver", "receiver", "id"), {"sqlite_autoincrement": True})
    key: Mapped[str] = mapped_column(unique=True)
    receiver: Mapped[str]
    kind: Mapped[str]
    sighting_id: Mapped[int] = mapped_column(ForeignKey("sighting.id", ondelete="CASCADE"), index=True)
    body: Mapped[str]
    expires: Mapped[datetime | None] = mapped_column(Moment)
    tries: Mapped[int] = mapped_column(default=0)
    error: Mapped[str] = mapped_column(default="")
    created: Mapped[datetime] = mapped_column(Moment, default=now)


class TakenPhoto(Base):
    """A photograph that a camera left and that was identified: it is not identified again.

    Args:
        digest: of its bytes.
        sighting_id: None after the sighting was forgotten.
    """

    __tablename__ = "taken_photo"
    camera: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(primary_key=True)
    sighting_id: Mapped[int | None] = mapped_column(ForeignKey("sighting.id", ondelete="SET NULL"), index=True)
    created: Mapped[datetime] = mapped_column(Moment, default=now)
