"""The probe of a container, asked about a real health service as Flower's programs have it."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from app.deployment.health import fault, main
from scripts.bench.loopback import free_port


@pytest.fixture
def service():
    """A health service and its address."""
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_only_a_service_that_serves_is_healthy(service, capsys):
    servicer, address = service
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    assert fault(address) == ""
    assert main([address]) == 0
    servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    assert main([address]) == 1
    assert capsys.readouterr().err == f"{address} answers NOT_SERVING\n"


def test_a_port_where_nobody_listens_is_a_fault(capsys):
    address = f"127.0.0.1:{free_port()}"
    assert main([address]) == 1
    assert capsys.readouterr().err == f"{address} does not answer: UNAVAILABLE\n"
    assert main([]) == 2
