"""Root of the project's errors, and those of networks.

An error under the root is for the user: its message names the file, row, key or client, and the remedy. Commands print
it in one line (`scripts.command`). Misuse of a function by its caller, such as arrays of other shapes, is a plain
ValueError; it shows its traceback. Each part of the project derives its own classes, with the builtin error that fits
as second base.
"""


class FedVehicleReidError(Exception):
    """An error that the user can remedy: of settings, files, data sets, keys, accounts, sites or connections."""


class MissingFileError(FedVehicleReidError, FileNotFoundError):
    """A file or folder that the user named, or that a data set or a run consists of, is not there."""


class NetworkError(FedVehicleReidError, ValueError):
    """A network or a loss cannot be built with these options, or is of another kind than asked for."""


class WeightsFileError(FedVehicleReidError, ValueError):
    """A file of weights cannot be used: it is damaged, or of another network."""
