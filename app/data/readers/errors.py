"""Errors of data sets."""

from models.errors import FedVehicleReidError


class DataSetError(FedVehicleReidError, ValueError):
    """A data set cannot be read as its layout says, or holds too little for what is asked; the message names the file
    and row, or the numbers."""
