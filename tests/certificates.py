"""A certificate authority for tests, and certificates from it: P-256, valid for an hour around now."""

import base64
import datetime
import hashlib
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HALF_AN_HOUR = datetime.timedelta(minutes=30)


@dataclass(frozen=True)
class Certificate:
    chain: bytes
    key: bytes


class Authority:
    """A self-signed CA; `pem` is what verifiers trust."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self, name: str, *, uris: tuple[str, ...] = (), valid_from: datetime.datetime | None = None
    ) -> Certificate:
        """Return a certificate for `name`, 127.0.0.1 and the given URIs; of an hour from `valid_from`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = [
            x509.DNSName(name),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            *(x509.UniformResourceIdentifier(uri) for uri in uris),
        ]
        certificate = (
            _builder(subject, self._name, key.public_key(), valid_from)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Certificate(
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    valid_from: datetime.datetime | None = None,
) -> x509.CertificateBuilder:
    begin = datetime.datetime.now(datetime.UTC) - HALF_AN_HOUR if valid_from is None else valid_from
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + 2 * HALF_AN_HOUR)
    )


def thumbprint(certificate: Certificate) -> str:
    """Return `x5t#S256` (RFC 8705 3.1) of the first certificate of the chain."""
    (found, *_) = x509.load_pem_x509_certificates(certificate.chain)
    digest = hashlib.sha256(found.public_bytes(serialization.Encoding.DER)).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
