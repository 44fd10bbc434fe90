"""Tables of the register, in SQLite by default and in PostgreSQL with pgvector.

An image has an embedding in each library of each model that has seen it. What changes a vehicle leaves a row in
`change`, which processes with vectors in memory follow. The tables are made, and changed, by the steps of
`app.register.upgrades`: a change here needs a step there.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import JSON, DateTime, Dialect, ForeignKey, Index, LargeBinary, UniqueConstraint, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column, relationship
from sqlalchemy.types import TypeDecorator, TypeEngine


class Vector(TypeDecorator[NDArray[np.float32]]):
    """A row (D,) of float32: little-endian bytes in SQLite, a `vector` of pgvector in PostgreSQL."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            from pgvector.sqlalchemy import VECTOR

            return dialect.type_descriptor(VECTOR())
        return dialect.type_descriptor(LargeBinary())

    def process_bind_param(self, value: NDArray[np.float32] | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return np.ascontiguousarray(value, "<f4").tobytes()

    def process_result_value(self, value: Any, dialect: Dialect) -> NDArray[np.float32] | None:
        if value is None:
            return None
        if dialect.name == "postgresql":
            return np.asarray(value, np.float32)
        return np.frombuffer(value, "<f4").astype(np.float32, copy=False)


class Moment(TypeDecorator[datetime]):
    """A point in time. SQLite has no zones: UTC goes in and comes out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """All tables of the register."""


class Numbered(Base):
    """A row with a number that is never reused: SQLite would give that of a deleted row to the next one."""

    __abstract__ = True
    __table_args__: Any = {"sqlite_autoincrement": True}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True, sort_order=-1)


class Setting(Base):
    """One value by name: the version of the tables, the active model."""

    __tablename__ = "setting"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


class Owner(Numbered):
    """An owner of vehicles."""

    __tablename__ = "owner"
    name: Mapped[str]
    flat: Mapped[str] = mapped_column(default="")
    contact: Mapped[str] = mapped_column(default="")
    created: Mapped[datetime] = mapped_column(Moment, default=now)
    vehicles: Mapped[list["Vehicle"]] = relationship(back_populates="owner")


class Vehicle(Numbered):
    """One vehicle; without an owner it was enrolled as unknown. `version` is the number of its last change."""

    __tablename__ = "vehicle"
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("owner.id"), index=True)
    note: Mapped[str] = mapped_column(default="")
    tags: Mapped[list[str]] = mapped_column(JSON, default=list, server_default="[]")
    created: Mapped[datetime] = mapped_column(Moment, default=now)
    owner: Mapped[Owner | None] = relationship(back_populates="vehicles")
    plate: Mapped["Plate | None"] = relationship(back_populates="vehicle", cascade="all, delete-orphan")
    views: Mapped[list["View"]] = relationship(
        back_populates="vehicle", cascade="all, delete-orphan", order_by="View.id"
    )
    if TYPE_CHECKING:
        version: Mapped[int]


class Plate(Base):
    """The registration number of a vehicle. No two vehicles have the same, however it is spaced."""

    __tablename__ = "plate"
    vehicle_id: Mapped[int] = mapped_column(ForeignKey("vehicle.id"), primary_key=True)
    text: Mapped[str]
    normal: Mapped[str] = mapped_column(unique=True)
    vehicle: Mapped[Vehicle] = relationship(back_populates="plate")


class View(Numbered):
    """One enrolled image of a vehicle, under the register's own file names."""

    __tablename__ = "view"
    vehicle_id: Mapped[int] = mapped_column(ForeignKey("vehicle.id"), index=True)
    picture: Mapped[str]
    vehicle_box: Mapped[list[float] | None] = mapped_column(JSON)
    plate_picture: Mapped[str | None]
    plate_box: Mapped[list[float] | None] = mapped_column(JSON)
    modality: Mapped[str] = mapped_column(default="visible")
    created: Mapped[datetime] = mapped_column(Moment, default=now)
    vehicle: Mapped[Vehicle] = relationship(back_populates="views")
    embeddings: Mapped[list["Embedding"]] = relationship(cascade="all, delete-orphan")


class Model(Numbered):
    """A checkpoint with which images were embedded; thresholds and evidence are its own.

    Args:
        evidence: an `app.register.evidence.Calibration`; None before it was calibrated.
    """

    __tablename__ = "model"
    digest: Mapped[str] = mapped_column(unique=True)
    libraries: Mapped[list[str]] = mapped_column(JSON)
    origin: Mapped[str] = mapped_column(default="")
    created: Mapped[datetime] = mapped_column(Moment, default=now)
    thresholds: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    evidence: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class Embedding(Numbered):
    """Embedding of one image by one model in one library."""

    __tablename__ = "embedding"
    __table_args__ = (UniqueConstraint("model_id", "library", "view_id"), {"sqlite_autoincrement": True})
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"))
    library: Mapped[str]
    view_id: Mapped[int] = mapped_column(ForeignKey("view.id"), index=True)
    vector: Mapped[NDArray[np.float32]] = mapped_column(Vector)


class Change(Numbered):
    """A vehicle that changed: its embeddings, plate, note or owner. The newest row's number is the state of the
    register."""

    __tablename__ = "change"
    vehicle_id: Mapped[int] = mapped_column(index=True)


_last_change = select(func.max(Change.id)).where(Change.vehicle_id == Vehicle.id)
Vehicle.version = column_property(_last_change.correlate_except(Change).scalar_subquery())


class Sighting(Numbered):
    """The photographs of an identification, and its answer."""

    __tablename__ = "sighting"
    vehicle_id: Mapped[int | None] = mapped_column(ForeignKey("vehicle.id"), index=True)
    decision: Mapped[str] = mapped_column(index=True)
    answer: Mapped[dict[str, Any]] = mapped_column(JSON)
    pictures: Mapped[list[str]] = mapped_column(JSON)
    account: Mapped[str]
    created: Mapped[datetime] = mapped_column(Moment, default=now, index=True)
    camera: Mapped[str | None]
    place: Mapped[str | None]


class Confirmation(Base):
    """What a person says that the photographs of a sighting show. It goes with the sighting, and with the vehicle.

    Args:
        truth: "vehicle", "none" (no registered vehicle) or "wrong" (not what was answered, and nobody knows which).
        vehicle_id: the vehicle it was; None unless `truth` is "vehicle".
        account, created: of the last change.
    """

    __tablename__ = "confirmation"
    sighting_id: Mapped[int] = mapped_column(ForeignKey("sighting.id", ondelete="CASCADE"), primary_key=True)
    truth: Mapped[str]
    vehicle_id: Mapped[int | None] = mapped_column(ForeignKey("vehicle.id", ondelete="CASCADE"), index=True)
    account: Mapped[str]
    created: Mapped[datetime] = mapped_column(Moment, default=now)


class Shown(Numbered):
    """A vehicle, or a photograph of the query, that an answer showed to an account. It goes with the sighting."""

    __tablename__ = "shown"
    __table_args__ = (
        Index("shown_vehicle", "account", "vehicle_id"),
        Index("shown_picture", "account", "picture"),
        {"sqlite_autoincrement": True},
    )
    account: Mapped[str]
    sighting_id: Mapped[int] = mapped_column(ForeignKey("sighting.id", ondelete="CASCADE"), index=True)
    vehicle_id: Mapped[int | None] = mapped_column(ForeignKey("vehicle.id", ondelete="CASCADE"), index=True)
    picture: Mapped[str | None]


class Found(Numbered):
    """A vehicle that an account found by its whole plate, and may look at for some hours."""

    __tablename__ = "found"
    __table_args__ = (Index("found_vehicle", "account", "vehicle_id"), {"sqlite_autoincrement": True})
    account: Mapped[str]
    vehicle_id: Mapped[int] = mapped_column(ForeignKey("vehicle.id", ondelete="CASCADE"), index=True)
    created: Mapped[datetime] = mapped_column(Moment, default=now, index=True)


class Imported(Base):
    """A row of a table that was imported: the same row is not imported again while its vehicle is there.

    Args:
        digest: of the row's cells and the bytes of its images.
        owner: digest of the owner that the row's vehicle was enrolled with; "" for none.
    """

    __tablename__ = "imported"
    digest: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(default="", index=True)
    vehicle_id: Mapped[int] = mapped_column(ForeignKey("vehicle.id", ondelete="CASCADE"), index=True)


class Incident(Numbered):
    """A guard's report about a vehicle. `noted` is when its owner was written to."""

    __tablename__ = "incident"
    sighting_id: Mapped[int | None] = mapped_column(ForeignKey("sighting.id"), index=True)
    vehicle_id: Mapped[int | None] = mapped_column(ForeignKey("vehicle.id"), index=True)
    kind: Mapped[str]
    note: Mapped[str] = mapped_column(default="")
    closed: Mapped[datetime | None] = mapped_column(Moment)
    noted: Mapped[datetime | None] = mapped_column(Moment)
    account: Mapped[str]
    created: Mapped[datetime] = mapped_column(Moment, default=now)


class Audit(Numbered):
    """A line of the audit trail: account, action, record. Rows are never changed, and hold no names and no plates."""

    __tablename__ = "audit"
    created: Mapped[datetime] = mapped_column(Moment, default=now)
    account: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str] = mapped_column(default="")
    details: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


class Account(Numbered):
    """A person, or a program, that may use the register."""

    __tablename__ = "account"
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    password: Mapped[str]  # Argon2id, with its parameters and salt
    created: Mapped[datetime] = mapped_column(Moment, default=now)
    disabled: Mapped[bool] = mapped_column(default=False)


class Ticket(Numbered):
    """A log-in: a browser's session, or a token of a program. Its secret is kept as a digest."""

    __tablename__ = "ticket"
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"), index=True)
    digest: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]  # "session" or "token"
    label: Mapped[str] = mapped_column(default="")
    expires: Mapped[datetime] = mapped_column(Moment)
    created: Mapped[datetime] = mapped_column(Moment, default=now)
    account: Mapped[Account] = relationship()


class TicketUse(Base):
    """Last use of a token, to some minutes."""

    __tablename__ = "ticket_use"
    ticket_id: Mapped[int] = mapped_column(ForeignKey("ticket.id", ondelete="CASCADE"), primary_key=True)
    used: Mapped[datetime] = mapped_column(Moment, default=now)
