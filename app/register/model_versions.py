"""Model versions of a register, of which one is active."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from pydantic import ValidationError
from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from app.register.database import Database
from app.register.errors import NotEnrolledError, RegisterError
from app.register.evidence import Calibration
from app.register.matcher import Threshold, compared_names
from app.register.records import ACTIVE_MODEL, Vectors, active_model, embeddings, get, trail
from app.register.schema import Embedding, Model, Setting, View

DecidedBy = Literal["evidence", "libraries"]
_DECISION = "decision"


class Models:
    """The table of models. A register changes its model in four steps: `add`, then `views_without` and
    `add_embeddings` until nothing is left, then `activate`; until then the old embeddings are searched."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def active(self) -> Model | None:
        """The active model, whose embeddings are searched; None before the first one."""
        with self.database.reading() as session:
            return active_model(session)

    def add(self, digest: str, libraries: Sequence[str], origin: str, account: str) -> Model:
        """Note a model; it is active at once if no vehicle is enrolled, otherwise after `activate`."""
        with self.database.writing() as session:
            model = session.scalar(select(Model).where(Model.digest == digest))
            if model is None:
                model = Model(digest=digest, libraries=list(libraries), origin=origin, thresholds={})
                session.add(model)
                session.flush()
                trail(session, account, "add model", f"model {digest}", {"origin": origin})
            if active_model(session) is None or not session.scalar(select(func.count(View.id))):
                _activate(session, model)
            return model

    def views_without(self, model_id: int, limit: int, after: int = 0) -> list[View]:
        """Images that a model has not embedded yet, oldest first, from the one after `after`."""
        with self.database.reading() as session:
            return list(session.scalars(_lacking(model_id).where(View.id > after).order_by(View.id).limit(limit)))

    def add_embeddings(self, model_id: int, vectors: Mapping[int, Vectors]) -> None:
        """Keep a model's embeddings of images, by view; those that were forgotten meanwhile are left out."""
        with self.database.writing() as session:
            there = set(session.scalars(select(View.id).where(View.id.in_(list(vectors)))))
            for view_id, libraries in vectors.items():
                if view_id in there:
                    session.add_all(embeddings(model_id, libraries, view_id))

    def activate(self, model_id: int, account: str) -> bool:
        """Make a model active and delete the embeddings of the others; False if it has not embedded all images."""
        with self.database.writing() as session:
            if session.scalar(select(func.count()).select_from(_lacking(model_id).subquery())):
                return False
            model = get(session, Model, model_id)
            before = active_model(session)
            _activate(session, model)
            session.execute(delete(Embedding).where(Embedding.model_id != model_id))
            trail(session, account, "serve model", f"model {model.digest}", {"before": before and before.digest})
            return True

    def thresholds(self, model: Model) -> dict[str, Threshold]:
        """Thresholds of a model's libraries, 0.9 for those that were not calibrated, and of those comparisons between
        modalities that have their own."""
        kept = {name: Threshold(**values) for name, values in model.thresholds.items()}
        return {library: Threshold() for library in model.libraries} | kept

    def identification_thresholds(self, model: Model) -> dict[str, Threshold]:
        """The threshold of every kind of comparison; without one of its own it has the library's."""
        own = self.thresholds(model)
        return {name: own.get(name, own[library]) for name, library, _, _ in compared_names(model.libraries)}

    def set_thresholds(
        self,
        model_id: int,
        thresholds: Mapping[str, Threshold],
        account: str,
        evidence: Calibration | None = None,
    ) -> None:
        """Keep calibrated thresholds of a model, by `compared_name`, and its calibrated evidence if there is any."""
        with self.database.writing() as session:
            model = get(session, Model, model_id)
            if set(thresholds) - {name for name, *_ in compared_names(model.libraries)}:
                raise NotEnrolledError(f"model {model.digest} has no such libraries: {', '.join(thresholds)}")
            values = {library: asdict(threshold) for library, threshold in thresholds.items()}
            model.thresholds = {**model.thresholds, **values}
            trail(session, account, "set thresholds", f"model {model.digest}", values)
            if evidence is not None:
                _keep_evidence(session, model, evidence, account)

    def evidence(self, model: Model) -> Calibration | None:
        """Calibrated evidence of a model; None before it was calibrated. Raises RegisterError for damaged values."""
        if model.evidence is None:
            return None
        try:
            return Calibration.model_validate(model.evidence)
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(map(str, fault["loc"]))
            raise RegisterError(f"model {model.digest}: evidence.{place}: {fault['msg']}; calibrate again") from error

    def set_evidence(self, model_id: int, calibration: Calibration, account: str) -> None:
        """Keep calibrated evidence of a model."""
        with self.database.writing() as session:
            _keep_evidence(session, get(session, Model, model_id), calibration, account)

    def decides(self) -> DecidedBy:
        """What decides where evidence is calibrated: the sum of all evidence, or one library after the other."""
        with self.database.reading() as session:
            kept = session.scalar(select(Setting.value).where(Setting.name == _DECISION))
            return "libraries" if kept == "libraries" else "evidence"

    def set_decides(self, decision: DecidedBy, account: str) -> None:
        """Choose what decides."""
        with self.database.writing() as session:
            session.merge(Setting(name=_DECISION, value=decision))
            trail(session, account, "set decision", "", {"decision": decision})


def _keep_evidence(session: Session, model: Model, calibration: Calibration, account: str) -> None:
    model.evidence = calibration.model_dump(mode="json")
    trail(session, account, "set evidence", f"model {model.digest}", model.evidence)


def _activate(session: Session, model: Model) -> None:
    session.merge(Setting(name=ACTIVE_MODEL, value=model.digest))


def _lacking(model_id: int) -> Select[Any]:
    held = select(Embedding.view_id).where(Embedding.model_id == model_id)
    return select(View).where(View.id.not_in(held))
