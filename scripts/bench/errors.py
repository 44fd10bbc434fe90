"""Error of the benchmarks."""

from models.errors import FedVehicleReidError


class BenchError(FedVehicleReidError, RuntimeError):
    """The measured process ended early, or did not start; the message has its last output."""
