"""Errors of files that the project writes and reads, and of packages that are not installed."""

from models.errors import FedVehicleReidError


class StoredFileError(FedVehicleReidError, ValueError):
    """A checkpoint, table or record of the project is damaged, of another version, or of another network."""


class HeldRunError(FedVehicleReidError, RuntimeError):
    """Another run is writing to the folder."""


class AlreadyThereError(FedVehicleReidError, FileExistsError):
    """A file or folder exists and must not be replaced."""


class UnwritableError(FedVehicleReidError, OSError):
    """A file cannot be written; an older one of its name is whole."""


class MissingPackageError(FedVehicleReidError, ImportError, RuntimeError):
    """A package that an extra installs is missing; the message names the extra."""
