"""nginx with the settings of a server's folder, where Debian's nginx is installed, and requests to it."""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import time

import httpx
import pytest

_PLACES = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def answers_on(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def nginx_with(settings, port, folder):
    """nginx's process, once its port is open. It keeps its files in a folder of its own."""
    if (program := shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")) is None:
        pytest.skip("nginx is missing: apt-get install nginx")
    place = folder / "nginx"
    place.mkdir()
    temporary = "".join(f"{name}_temp_path {place}/{name};\n" for name in _PLACES)
    user = "user root;\n" if os.geteuid() == 0 else ""
    http = f"http {{\naccess_log off;\n{temporary}include {settings};\n}}\n"
    (place / "nginx.conf").write_text(f"{user}pid {place}/pid;\ndaemon off;\nevents {{}}\n{http}")
    words = [program, "-p", str(place), "-c", str(place / "nginx.conf"), "-e", str(place / "error.log")]
    process = subprocess.Popen(words)
    try:
        end = time.monotonic() + 30
        while not answers_on(port):
            assert process.poll() is None, (place / "error.log").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(20)


def asked(folder, ca, port, issued=None, path="/v1/control/list-runs"):
    """Answer to a request with this certificate, whose path is sent as it stands."""
    context = ssl.create_default_context(cafile=str(ca))
    if issued is not None:
        (folder / "shown.pem").write_bytes(issued.certificate + issued.private_key)
        context.load_cert_chain(folder / "shown.pem")
    with httpx.Client(verify=context) as client:
        return client.post(httpx.URL(scheme="https", host="127.0.0.1", port=port, raw_path=path.encode()))
