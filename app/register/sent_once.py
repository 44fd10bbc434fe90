"""Requests that are sent again: each has a key of its sender's, and is done once.

A phone that loses its line does not know whether a photograph arrived, and sends it again with the same key. The row of
a key is written in the transaction that does what was asked, and goes with the sighting or the incident."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.register.database import Database
from app.register.errors import RegisterError
from app.register.records import Also
from app.register.schema import Base, Moment, now


class KeyReusedError(RegisterError):
    """A key came with something else before."""


class SentRequest(Base):
    """A request that was done.

    Args:
        account: whose it was; keys of others are others.
        digest: of what was sent with the key.
        sighting_id, incident_id: what it led to, one of them.
        photographs: places of the vehicles found in the photographs; None if the process ended before they were kept.
    """

    __tablename__ = "sent_request"
    account: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]
    sighting_id: Mapped[int | None] = mapped_column(ForeignKey("sighting.id", ondelete="CASCADE"), index=True)
    incident_id: Mapped[int | None] = mapped_column(ForeignKey("incident.id", ondelete="CASCADE"), index=True)
    photographs: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))
    created: Mapped[datetime] = mapped_column(Moment, default=now)


class SentOnce:
    """The keys of requests that were done."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def find(self, account: str, key: str, digest: str) -> SentRequest | None:
        """What was done for a key; None if nothing was. Raises KeyReusedError if something else was sent with it."""
        with self.database.reading() as session:
            held = session.get(SentRequest, (account, key))
        if held is not None and held.digest != digest:
            raise KeyReusedError("this Idempotency-Key came with another request before")
        return held

    def of_sighting(self, account: str, key: str, digest: str) -> Also:
        """Writes a key in the transaction that keeps its sighting."""

        def write(session: Session, number: int) -> None:
            session.add(SentRequest(account=account, key=key, digest=digest, sighting_id=number))

        return write

    def of_incident(self, account: str, key: str, digest: str) -> Also:
        """Writes a key in the transaction that keeps its incident."""

        def write(session: Session, number: int) -> None:
            session.add(SentRequest(account=account, key=key, digest=digest, incident_id=number))

        return write

    def add_photographs(self, account: str, key: str, photographs: Sequence[dict[str, Any]]) -> None:
        """Keep where vehicles were found in the photographs of a query."""
        found = update(SentRequest).where(SentRequest.account == account, SentRequest.key == key)
        with self.database.writing() as session:
            session.execute(found.values(photographs=list(photographs)))
