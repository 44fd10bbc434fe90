"""Certificates and keys, checked by OpenSSL and ssh-keygen, and by a real TLS handshake."""

import base64
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

from app.deployment.certificates import (
    CertificateError,
    days_left,
    fits,
    is_signed_by,
    names_of,
    new_authority,
    new_server,
    new_site_key,
    public_half,
    read_certificate,
)

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to check against")
needs_ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen to check against")


@pytest.fixture(scope="module")
def authority():
    return new_authority("parks")


def written(folder, **files):
    paths = {}
    for name, data in files.items():
        paths[name] = folder / name
        paths[name].write_bytes(data)
        paths[name].chmod(0o600)
    return paths


def openssl(*words):
    return subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=False)


@needs_openssl
@pytest.mark.parametrize("host", ["fed.example.org", "192.0.2.7", "2001:db8::7", "localhost", "127.0.0.1"])
def test_openssl_verifies_the_chain_and_the_host(tmp_path, authority, host):
    server = new_server(authority, host)
    paths = written(tmp_path, ca=authority.certificate, server=server.certificate, key=server.private_key)
    check = "-verify_ip" if host[0] in "12" else "-verify_hostname"
    words = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", paths["ca"]]
    assert openssl(*words, check, host, paths["server"]).stdout.endswith("OK\n")
    assert openssl(*words, "-verify_ip", "127.0.0.1", paths["server"]).stdout.endswith("OK\n")  # Flower's SuperExec
    other = "192.0.2.8" if host[0] in "12" else "other.example.org"
    assert openssl(*words, check, other, paths["server"]).returncode != 0
    certificate = read_certificate(paths["server"])
    assert host in names_of(certificate)
    assert is_signed_by(certificate, read_certificate(paths["ca"]))
    assert fits(certificate, paths["key"])
    assert days_left(certificate) == 824


@needs_openssl
def test_a_server_certificate_of_another_authority_is_found_out(tmp_path, authority):
    server = new_server(new_authority("parks"), "localhost")
    paths = written(tmp_path, ca=authority.certificate, server=server.certificate, key=authority.private_key)
    assert not is_signed_by(read_certificate(paths["server"]), read_certificate(paths["ca"]))
    assert not fits(read_certificate(paths["server"]), paths["key"])
    assert openssl("verify", "-CAfile", paths["ca"], paths["server"]).returncode != 0


@needs_openssl
def test_a_server_certificate_can_sign_nothing(tmp_path, authority):
    server = new_server(authority, "localhost")
    forged = new_server(server, "fed.example.org")
    paths = written(tmp_path, ca=authority.certificate, server=server.certificate, forged=forged.certificate)
    words = ["verify", "-CAfile", paths["ca"], "-untrusted", paths["server"], paths["forged"]]
    assert "invalid CA certificate" in openssl(*words).stderr


def test_a_tls_connection_is_made_by_name_and_refused_by_another(tmp_path, authority):
    server = new_server(authority, "localhost")
    paths = written(tmp_path, ca=authority.certificate, server=server.certificate, key=server.private_key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(paths["server"], paths["key"])
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        for _ in range(2):
            connection, _ = listener.accept()
            try:
                with context.wrap_socket(connection, server_side=True) as secure:
                    secure.sendall(b"ok")
            except (ssl.SSLError, OSError):
                connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    client = ssl.create_default_context(cafile=str(paths["ca"]))
    with (
        socket.create_connection(listener.getsockname()) as plain,
        client.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        assert secure.recv(2) == b"ok"
        assert secure.version() == "TLSv1.3"
    with (
        socket.create_connection(listener.getsockname()) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        client.wrap_socket(plain, server_hostname="fed.example.org")
    thread.join()
    listener.close()


@needs_ssh_keygen
def test_ssh_keygen_reads_the_key_of_a_site(tmp_path):
    private, public = new_site_key("parks-north")
    path = written(tmp_path, key=private)["key"]
    found = subprocess.run(["ssh-keygen", "-y", "-f", str(path)], capture_output=True, text=True, check=True).stdout
    assert found.split()[:2] == public.decode().split()[:2]
    assert public.decode().split()[0] == "ecdsa-sha2-nistp384"
    assert public.decode().split()[2] == "parks-north"
    assert public_half(path).decode() == " ".join(found.split()[:2])


def test_what_is_no_certificate_and_no_key_is_named(tmp_path, authority):
    paths = written(tmp_path, rubbish=b"rubbish", ca=authority.certificate)
    with pytest.raises(CertificateError, match="rubbish holds no certificate"):
        read_certificate(paths["rubbish"])
    with pytest.raises(CertificateError, match="rubbish holds no private key"):
        fits(read_certificate(paths["ca"]), paths["rubbish"])
    with pytest.raises(CertificateError, match="none holds no private key in OpenSSH's format"):
        public_half(tmp_path / "none")


def test_keys_of_kinds_that_nobody_here_knows_are_named(tmp_path, authority):
    """The numbers of their kinds are changed: secp112r1 in place of secp384r1, and nistp385 in OpenSSH's format."""
    pem = base64.b64decode("".join(authority.private_key.decode().splitlines()[1:-1]))
    ssh = base64.b64decode("".join(new_site_key("north")[0].decode().splitlines()[1:-1]))
    texts = {
        "PRIVATE KEY": pem.replace(bytes.fromhex("06052b81040022"), bytes.fromhex("06052b81040006")),
        "OPENSSH PRIVATE KEY": ssh.replace(b"nistp384", b"nistp385"),
    }
    assert texts["PRIVATE KEY"] != pem
    for kind, body in texts.items():
        text = f"-----BEGIN {kind}-----\n{base64.encodebytes(body).decode()}-----END {kind}-----\n"
        texts[kind] = text.encode()
    paths = written(tmp_path, ca=authority.certificate, pem=texts["PRIVATE KEY"], ssh=texts["OPENSSH PRIVATE KEY"])
    with pytest.raises(CertificateError, match="pem holds no private key"):
        fits(read_certificate(paths["ca"]), paths["pem"])
    with pytest.raises(CertificateError, match="ssh holds no private key in OpenSSH's format"):
        public_half(paths["ssh"])


def test_no_secret_shows(authority):
    assert repr(authority) == "Issued(...)"
