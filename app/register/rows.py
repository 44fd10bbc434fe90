"""Rows that several parts of the register ask for."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.register.errors import NotEnrolledError
from app.register.schema import Audit, Base, Embedding, Model, Setting

Vectors = Mapping[str, NDArray[np.float32]]
"""(D,) by library, those that an image has something for."""
Also = Callable[[Session, int], None]
"""What is written in the transaction of an enrolment beside it, given the number of the vehicle."""
ACTIVE_MODEL = "model"
MOST_NUMBER = 2**31 - 1  # of a row: PostgreSQL's integers end here, and no register comes near
Row = TypeVar("Row", bound=Base)


def nothing_else(session: Session, vehicle: int) -> None:
    """An `Also` that writes nothing."""


def active_model(session: Session) -> Model | None:
    """The active model: the one whose embeddings are searched."""
    digest = session.scalar(select(Setting.value).where(Setting.name == ACTIVE_MODEL))
    return session.scalar(select(Model).where(Model.digest == digest)) if digest else None


def get(session: Session, table: type[Row], number: int) -> Row:
    """A row by number. Raises NotEnrolledError if it is not there."""
    row = session.get(table, number) if 0 < number <= MOST_NUMBER else None
    if row is None:
        raise NotEnrolledError(f"there is no {table.__tablename__} {number}")
    return row


def embeddings(model_id: int, vectors: Vectors, view_id: int) -> Iterable[Embedding]:
    """The rows of one image."""
    for library, vector in vectors.items():
        yield Embedding(model_id=model_id, library=library, view_id=view_id, vector=vector)


def trail(session: Session, account: str, action: str, subject: str, details: Mapping[str, Any]) -> None:
    """Add a line to the audit trail."""
    session.add(Audit(account=account, action=action, subject=subject, details=dict(details)))
