"""Bodies of requests to the API, and the texts and numbers that it takes."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from app.register.accounts import Role
from app.register.texts import LONGEST_LINE, LONGEST_TEXT, line_fault, text_fault, trimmed


def _kept(text: str, fault: str) -> str:
    if fault:
        raise PydanticCustomError("text_refused", "{fault}", {"fault": fault})
    return trimmed(text)


_line, _text = (
    AfterValidator(lambda text, fault=fault: _kept(text, fault(text))) for fault in (line_fault, text_fault)
)
Line = Annotated[str, _line, Field(json_schema_extra={"maxLength": LONGEST_LINE})]
Text = Annotated[str, _text, Field(json_schema_extra={"maxLength": LONGEST_TEXT})]
Number = Annotated[int, Field(ge=1, le=2**31 - 1)]


class Given(BaseModel):
    """A body of a request: a field that is not known is refused, not ignored, and true is no number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NewIncident(Given):
    """A guard's report."""

    sighting: Number
    kind: Annotated[Line, StringConstraints(min_length=1)]
    note: Text = ""
    vehicle: Number | None = Field(None, description="If the guard knows better than an unsure identification.")


class NewNote(Given):
    """A note to the owner of an incident's vehicle."""

    text: Text = Field("", description="Sent below the kind and the time of the incident; the guard's note is not.")


class NewConfirmation(Given):
    """A person's word about an answer."""

    says: Literal["right", "wrong", "vehicle", "none"] = Field(
        description="right; wrong, which vehicle it was is not known; vehicle, that of the field; none, not registered."
    )
    vehicle: Number | None = None


class NewAccount(Given):
    """A new account."""

    name: Annotated[Line, StringConstraints(min_length=1)]
    role: str = Field(pattern=f"^({'|'.join(role.name for role in Role)})$")
    password: Annotated[str, StringConstraints(max_length=1024)]


class NewToken(Given):
    """A new token for one's own account."""

    label: Line = ""
    days: Annotated[int, Field(ge=1, le=3650)] = 365
