"""Replies of the API."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from app.register.accounts import Role
from app.register.matcher import Decision
from app.register.schema import Confirmation, Vehicle


class OfRow(BaseModel):
    """An answer whose fields are those of a row, by their names."""

    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def of(cls, row: object) -> Self:
        """The answer that shows a row."""
        return cls.model_validate(row)


class Error(BaseModel):
    """Reason for the refusal of a request."""

    detail: str


class CandidateAnswer(BaseModel):
    """A vehicle near to a photograph."""

    vehicle: int
    similarity: float
    picture: str | None = Field(description="The enrolled image that resembles the photograph most.")
    plate: str | None
    flat: str | None
    tags: list[str] = Field(default=[], description="Short words such as EV.")


BoxAnswer = Annotated[list[float], Field(description="left, top, width, height in pixels of the upload, upright.")]


class FoundAnswer(BaseModel):
    """A vehicle that the detector found in a photograph."""

    box: BoxAnswer
    score: float
    plate_box: BoxAnswer | None
    kind: str | None = Field(None, description="car, motorcycle, bus or truck; null if the detector does not tell.")


class PhotographAnswer(BaseModel):
    """A photograph of a query, and the place of its vehicle."""

    picture: str = Field(description="Its name, as it was kept.")
    modality: str = Field(description="Visible or infrared, as given or as the image suggests.")
    width: float = Field(description="Of the upload, upright, in pixels.")
    height: float
    box: BoxAnswer | None = Field(description="The vehicle of the query; null for the whole photograph.")
    plate_box: BoxAnswer | None
    kind: str | None = Field(None, description="Of the vehicle of the query; null if the detector does not tell.")
    vehicles: list[FoundAnswer] | None = Field(description="All that were found; null if nobody searched.")


class PlateCandidateAnswer(BaseModel):
    """A plate of the register near to the recognised text."""

    vehicle: int
    plate: str
    cost: float = Field(description="0 the same text; 0.25 for each look-alike, 1 for one other error.")


class OtherTextAnswer(BaseModel):
    """Another plate text of the query."""

    text: str
    confidence: float


class PlateTextAnswer(BaseModel):
    """The recognised plate text with the highest confidence."""

    text: str
    confidence: float = Field(description="Least of its characters'.")
    photograph: int = Field(description="In which it was read, from 0.")
    box: BoxAnswer | None = Field(description="Where; null in a photograph of the plate alone.")
    says: str = Field(description="nothing, agrees (with the match), decides (it is the match) or contradicts.")
    others: list[OtherTextAnswer] = Field(description="Other texts, if the photographs differ.")
    combined: OtherTextAnswer | None = Field(
        None, description="Text of all photographs together, character by character; null if one alone shows a plate."
    )
    country: str | None = Field(None, description="Of the formats of number plates that the text has, if of one alone.")
    region: str | None = Field(None, description="Of that country, as the text tells it: a province of China.")
    candidates: list[PlateCandidateAnswer] = Field(
        description="Nearest first; those that are not exact decide nothing by themselves."
    )


class WeighedAnswer(BaseModel):
    """A candidate by the sum of all evidence."""

    vehicle: int
    probability: float
    llr: dict[str, float] = Field(description="Log-likelihood ratio of each source, in nats.")


class EvidenceAnswer(BaseModel):
    """Probabilities of the candidates that are shown, and of a vehicle that is not registered."""

    not_registered: float
    candidates: list[WeighedAnswer]


class ListedAnswer(BaseModel):
    """An entry of the lists that concerns the vehicle of a photograph."""

    entry: int
    kind: str = Field(description="visitor, allow or deny.")
    reason: str
    flat: str = Field(description="Where a visitor goes.")
    plate: str | None = Field(description="Of the entry; null for one about a registered vehicle.")
    vehicle: int | None
    until: str | None = Field(description="Its end in the site's time; 24:00 is the end of a day.")
    exact: bool = Field(description="False where a person has to compare: a similar plate, or a text in doubt.")


class IdentifyAnswer(BaseModel):
    """Decision about the vehicle of a photograph."""

    decision: str = Field(description="match, unsure, unknown, or not_registered: the plate is near no registered one.")
    vehicle: int | None
    decided_by: str | None = Field(description="A library, plate_text, or evidence: the sum of all sources.")
    similarity: float | None = Field(description="In that library; of plate_text the confidence of the text.")
    threshold: float | None
    margin: float | None
    candidates: list[CandidateAnswer] = Field(description="Of the library that decided; none if unknown.")
    evidence: EvidenceAnswer | None = Field(description="Null where one library after the other decides.")
    plate_text: PlateTextAnswer | None = Field(description="The recognised text; null without a reader or a plate.")
    listed: list[ListedAnswer] = Field(description="Entries of the lists about it, denials first.")
    sighting: int
    enrolled: int | None
    pictures: list[str] = Field(description="The photographs, as they were kept.")
    photographs: list[PhotographAnswer]


class OwnerAnswer(OfRow):
    """An owner."""

    id: int
    name: str
    flat: str
    contact: str


class AlikeAnswer(OfRow):
    """A vehicle that may be the same one as another."""

    vehicle: int
    plate: str | None
    cost: float | None = Field(description="Of its plate, as in plate_text; null if the plates are not near.")
    similarity: float | None = Field(description="Where it reaches the calibrated threshold; null if it does not.")


class ViewAnswer(OfRow):
    """An enrolled image."""

    id: int
    picture: str
    plate_picture: str | None
    modality: str
    created: datetime


class VehicleAnswer(BaseModel):
    """A vehicle, without its owner."""

    id: int
    plate: str | None
    note: str | None = Field(description="For managers.")
    tags: list[str] = Field(default=[], description="Short words such as EV.")
    has_owner: bool | None = Field(description="For managers.")
    created: datetime
    version: int | None = Field(description="Number of its last change. For managers.")
    views: list[ViewAnswer]

    @classmethod
    def of(cls, vehicle: Vehicle, role: Role = Role.manager) -> "VehicleAnswer":
        plate = vehicle.plate.text if vehicle.plate else None
        more = role >= Role.manager
        return cls(
            id=vehicle.id,
            plate=plate,
            note=vehicle.note if more else None,
            tags=vehicle.tags,
            has_owner=vehicle.owner_id is not None if more else None,
            created=vehicle.created,
            version=(vehicle.version or 0) if more else None,
            views=[ViewAnswer.of(view) for view in vehicle.views],
        )


class EnrolledAnswer(VehicleAnswer):
    """A vehicle that was enrolled."""

    looks_like: list[AlikeAnswer] = Field(description="Other vehicles that may be the same one.")


class IncidentAnswer(OfRow):
    """A report of a guard."""

    id: int
    sighting: int | None = Field(validation_alias="sighting_id")
    vehicle: int | None = Field(validation_alias="vehicle_id")
    kind: str
    note: str
    account: str
    created: datetime
    closed: datetime | None
    noted: datetime | None = Field(description="When its vehicle's owner was written to.")


class ConfirmationAnswer(BaseModel):
    """A person's word about the answer of a sighting."""

    sighting: int
    truth: str = Field(
        description="vehicle, none (no registered vehicle) or wrong (which vehicle it was is not known)."
    )
    vehicle: int | None = Field(description="The vehicle it was.")
    right: bool | None = Field(description="Whether the answer was right; null for an unsure one.")
    account: str
    created: datetime

    @classmethod
    def of(cls, row: Confirmation, right: bool | None) -> "ConfirmationAnswer":
        return cls(
            sighting=row.sighting_id,
            truth=row.truth,
            vehicle=row.vehicle_id,
            right=right,
            account=row.account,
            created=row.created,
        )


class AccountAnswer(OfRow):
    """An account."""

    id: int
    name: str
    role: str
    disabled: bool


class TokenAnswer(OfRow):
    """A token of a program, without its secret."""

    id: int = Field(description="By which it is revoked.")
    account: str
    label: str
    created: datetime
    expires: datetime
    used: datetime | None = Field(description="When it was last used, to ten minutes; null if never.")


class AuditAnswer(OfRow):
    """A line of the trail."""

    id: int
    created: datetime
    account: str
    action: str
    subject: str
    details: dict[str, Any]


class ForgottenAnswer(BaseModel):
    """Counts of deleted rows."""

    owners: int
    vehicles: list[int]
    views: int
    sightings: int
    incidents: int
    overwritten: bool = Field(description="True if the rows are gone from the database's files as well.")


class StatusAnswer(BaseModel):
    """Counts of the register, and its active model."""

    model: str | None
    libraries: dict[str, float] = Field(description="Threshold of a match, by library.")
    counts: dict[str, int]


def decision_fields(decision: Decision) -> dict[str, Any]:
    """The fields of a decision itself."""
    row = decision.as_dict()
    return {name: row[name] for name in ("decision", "vehicle", "decided_by", "similarity", "threshold", "margin")}
