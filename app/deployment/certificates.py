"""Certificates and keys of the parties of a federation (X.509, RFC 5280; OpenSSH key files).

Elliptic curve P-384 everywhere: Flower's node authentication takes it, and a TLS handshake with it is quick.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from models.errors import FedVehicleReidError

AUTHORITY_DAYS = 3650
LOOPBACK = "127.0.0.1"
SERVER_DAYS = 825  # the longest that strict clients accept
_CLOCK_SKEW = timedelta(hours=1)
_LARGEST_LINE = 4096
_RENEW = "python -m scripts.federation renew FOLDER --server"


class CertificateError(FedVehicleReidError, ValueError):
    """A certificate or key that is missing, damaged or does not fit; the message names the file."""


@dataclass(frozen=True)
class Issued:
    """A certificate and its private key, both PEM. The private key is left out of its printed form."""

    certificate: bytes
    private_key: bytes

    def __repr__(self) -> str:
        return "Issued(...)"


def new_authority(federation: str) -> Issued:
    """A certificate authority that signs server and operator certificates of one federation and nothing else."""
    key = ec.generate_private_key(ec.SECP384R1())
    name = _name(f"{federation} certificate authority")
    certificate = (
        _builder(name, name, key.public_key(), AUTHORITY_DAYS, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .sign(key, hashes.SHA384())
    )
    return Issued(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))


def new_server(authority: Issued, host: str, days: int = SERVER_DAYS, *, bind: str = "") -> Issued:
    """A TLS certificate for `host`, a DNS name or an IP address, signed by the authority. It is for loopback as well,
    and for `bind`: Flower's process at the server that starts runs connects to one of them (`reached_at`), whatever the
    host."""
    loopback = [_general_name(one) for one in ("localhost", LOOPBACK, "::1")]
    names = loopback if is_local(host) else [_general_name(host), *loopback]
    if bind and (own := _general_name(reached_at(bind))) not in names:
        names.append(own)
    return _signed(authority, host, days, ExtendedKeyUsageOID.SERVER_AUTH, names)


def new_operator(authority: Issued, name: str, days: int = SERVER_DAYS) -> Issued:
    """A TLS certificate of an operator, who shows it to the server; it can be no server's."""
    return _signed(authority, name, days, ExtendedKeyUsageOID.CLIENT_AUTH, [])


def _signed(
    authority: Issued, name: str, days: int, purpose: x509.ObjectIdentifier, hosts: Sequence[x509.GeneralName]
) -> Issued:
    signer = x509.load_pem_x509_certificate(authority.certificate)
    signing_key = serialization.load_pem_private_key(authority.private_key, password=None)
    assert isinstance(signing_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP384R1())
    builder = (
        _builder(_name(name), signer.subject, key.public_key(), days, signing_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    certificate = builder.sign(signing_key, hashes.SHA384())
    return Issued(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))


def new_site_key(comment: str) -> tuple[bytes, bytes]:
    """Private and public key by which the server identifies a site, in OpenSSH's format, the only one that Flower
    reads."""
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private, public + b" " + comment.encode() + b"\n"


def read_certificate(path: Path) -> x509.Certificate:
    """Raises CertificateError naming a file that holds no certificate."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CertificateError(f"{path} holds no certificate: {error}") from error


def days_left(certificate: x509.Certificate) -> int:
    """Whole days until it expires; negative afterwards."""
    return (certificate.not_valid_after_utc - datetime.now(UTC)).days


def is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether the authority's key signed it."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def names_of(certificate: x509.Certificate) -> set[str]:
    """DNS names and IP addresses of a server certificate."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {
        *names.get_values_for_type(x509.DNSName),
        *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
    }


def is_for(certificate: x509.Certificate, host: str) -> bool:
    """Whether a server certificate has this DNS name or IP address, however it is written."""
    try:
        return str(ipaddress.ip_address(host)) in names_of(certificate)
    except ValueError:
        return host.lower() in {name.lower() for name in names_of(certificate)}


def reached_at(bind: str) -> str:
    """Address at which Flower's processes at the server reach a SuperLink that listens at `bind`."""
    return {"0.0.0.0": LOOPBACK, "::": "::1"}.get(bind, bind)


def bind_fault(path: Path, bind: str) -> str:
    """Why no run would begin at a server that listens at `bind`; "" if its certificate has the address. Raises
    CertificateError if the file holds none."""
    certificate = read_certificate(path)
    if is_for(certificate, own := reached_at(bind)):
        return ""
    if own != bind:
        return f"{path} is not for {own}, so that no run begins: {_RENEW}, at the authority"
    return (
        f"{path} is not for {bind}, so that no run begins with BIND={bind}: {_RENEW} --bind {bind}, at the authority; "
        f"or set BIND in server.env to {' or '.join(['0.0.0.0', *_bound(certificate)])}"
    )


def _bound(certificate: x509.Certificate) -> list[str]:
    """Addresses of a server certificate beside its host and loopback: the one of `new_server`'s `bind`."""
    host = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return sorted(names_of(certificate) - {"localhost", LOOPBACK, "::1", *host})


def fits(certificate: x509.Certificate, private_key: Path) -> bool:
    """Whether the key in a PEM file is the certificate's. Raises CertificateError if the file holds no key."""
    try:
        key = serialization.load_pem_private_key(private_key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"{private_key} holds no private key") from error
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)


def public_half(private_key: Path) -> bytes:
    """ "type key" of an OpenSSH private key file. Raises CertificateError if it holds none."""
    try:
        key = serialization.load_ssh_private_key(private_key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"{private_key} holds no private key in OpenSSH's format") from error
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)


def public_line(path: Path, site: str) -> str:
    """ "type key" of a site's public key file. Raises CertificateError unless it is one of `new_site_key`."""
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_LINE + 1).decode()
        key = serialization.load_ssh_public_key(text.encode())
        line = " ".join(text.split()[:2])
        if len(text) > _LARGEST_LINE or len(text.splitlines()) != 1 or line != _openssh(key) or not _is_of_a_site(key):
            raise ValueError("another kind of key, or more than one")
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"{path} holds no public key of a site: copy site.pub of {site} to it") from error
    return line


def _openssh(key: serialization.SSHPublicKeyTypes) -> str:
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def _is_of_a_site(key: object) -> bool:
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)


def is_local(host: str) -> bool:
    """Whether a server's host is this machine, for a trial."""
    return host in ("localhost", "127.0.0.1")


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int, signer: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
        # Python 3.13 and later refuse certificates without key identifiers.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
