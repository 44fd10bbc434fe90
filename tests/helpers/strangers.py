"""Another machine than the server, on one machine: connections that come from an address that is not the server's."""

import contextlib
import socket
import threading

import psutil
import pytest


def other_address():
    """An address of this machine that is not loopback; to a server at 127.0.0.1 it is another machine's."""
    found = [row.address for rows in psutil.net_if_addrs().values() for row in rows if row.family == socket.AF_INET]
    outside = [address for address in found if not address.startswith("127.")]
    if not outside:
        pytest.skip("this machine has no address but loopback's")
    return outside[0]


def _copy(source, target):
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _join(client, server):
    with client, server:
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()


@contextlib.contextmanager
def seen_as_a_stranger(port):
    """A port of this machine whose connections reach the server's port from another address."""
    address = other_address()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    try:
                        server = socket.create_connection(("127.0.0.1", port), source_address=(address, 0))
                    except OSError:
                        client.close()
                        continue
                    threading.Thread(target=_join, args=(client, server), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
