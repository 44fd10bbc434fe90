"""A server's own processes reach it over loopback by its certificate, as Flower's SuperExec does to start a run."""

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from app.deployment import certificates
from app.deployment.certificates import Issued
from app.deployment.renewal import renew_server
from app.deployment.verify import problems


def test_a_certificate_without_loopback_is_named_and_renewed(root):
    ca, server = root / "authority", root / "server"
    own = Issued((ca / "ca.crt").read_bytes(), (ca / "ca.key").read_bytes())
    name = x509.DNSName("fed.example.org")
    made = certificates._signed(own, "fed.example.org", 90, ExtendedKeyUsageOID.SERVER_AUTH, [name])
    (server / "server.crt").write_bytes(made.certificate)
    (server / "server.key").write_bytes(made.private_key)
    [found] = problems(server)
    assert "server.crt is not for 127.0.0.1, so that no run begins" in found
    renew_server(root)
    assert problems(server) == []
    names = x509.load_pem_x509_certificate((server / "server.crt").read_bytes()).extensions
    names = names.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["fed.example.org", "localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
