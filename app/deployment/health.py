"""Probe of Flower's health service, for a container's health check: status 0 while a server or site answers SERVING.

Run: python -m app.deployment.health 127.0.0.1:9475    (HEALTH_PORT of server.env or site.env)
"""

import sys
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_TIMEOUT = 5.0


def fault(address: str) -> str:
    """Why the health service at HOST:PORT does not answer SERVING within five seconds; "" if it does."""
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        ask = health_pb2_grpc.HealthStub(channel).Check
        try:
            said = ask(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT).status
        except grpc.RpcError as error:
            return f"{address} does not answer: {error.code().name}"
    if said == health_pb2.HealthCheckResponse.SERVING:
        return ""
    return f"{address} answers {health_pb2.HealthCheckResponse.ServingStatus.Name(said)}"


def main(argv: Sequence[str]) -> int:
    """Print the fault, if there is one, and return the exit status: 0, 1 for a fault, 2 for wrong words."""
    if len(argv) != 1:
        print("one word is needed: HOST:PORT of the health service", file=sys.stderr)
        return 2
    if said := fault(argv[0]):
        print(said, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
