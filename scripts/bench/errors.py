"""Error of the benchmarks."""

from models.errors import FedVehicleReidError


class BenchError(FedVehicleReidError, RuntimeError):
    """What is to be timed ended before its time, or did not start; the message says what it said last."""
