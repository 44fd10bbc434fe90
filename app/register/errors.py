"""Errors of a register, each with a message of one line."""

from models.errors import FedVehicleReidError


class RegisterError(FedVehicleReidError, RuntimeError):
    """The register refuses an operation; the message says why, and nothing was changed."""

    retry_after: int | None = None
    """Seconds after which the same may succeed; None if it will not by itself."""

    @property
    def told(self) -> str:
        """What clients of a service read."""
        return str(self)


class NotEnrolledError(RegisterError):
    """Unknown vehicle, owner or sighting."""


class DuplicatePlateError(RegisterError):
    """Another vehicle has this plate."""


class ChangedError(RegisterError):
    """Somebody else changed the vehicle since it was read."""


class AnotherModelError(RegisterError):
    """Embeddings of one model were given to a register whose active model is another one."""


class NoModelError(RegisterError):
    """The register has no network to recognise with."""


class FullError(RegisterError):
    """There is no room left for the database."""


class UnavailableError(RegisterError):
    """The database does not answer."""

    retry_after = 10


class DatabaseAwayError(UnavailableError):
    """PostgreSQL cannot be reached. The message names its address, which a service keeps from its clients."""

    @property
    def told(self) -> str:
        return "the register's database does not answer; try again in a moment"


class UncertainError(DatabaseAwayError):
    """PostgreSQL went away during a commit: whether the change was kept is not known."""

    @property
    def told(self) -> str:
        return (
            "the register's database went away while it wrote; the change may have been kept: look before you repeat it"
        )


class BusyError(RegisterError):
    """Another process is writing and did not end in time, or too many requests wait already."""

    retry_after = 5


class ImageRefusedError(FedVehicleReidError, ValueError):
    """A file is no image that can be used; the message names it."""


class ImageTooLargeError(ImageRefusedError):
    """A file has more bytes than an image may have."""


class BoxError(RegisterError, ImageRefusedError):
    """A box is invalid, or outside its image."""
