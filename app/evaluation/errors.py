"""Errors of measuring and calibrating."""

from models.errors import FedVehicleReidError


class EvaluationError(FedVehicleReidError, ValueError):
    """These images or embeddings cannot be measured: too few pairs, no plates, or values that are not finite."""
