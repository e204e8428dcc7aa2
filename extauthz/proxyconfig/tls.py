"""The TLS identity that a proxy expects of extauthz: the trust anchor, and the names of the certificate.

Input: `Settings` and the TLS files of the proxy. Output: `ExpectedPeer`, None without TLS, or the problem as
a text.
"""

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from extauthz.settings import Settings


@dataclass(frozen=True, slots=True)
class ProxyTls:
    """Paths of TLS files in the proxy's file system: its trusted CA, and its client certificate with key.

    `certificate` and `key` are either both set or both None.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class ExpectedPeer:
    """The trust anchor, and the subject alternative names of which the certificate must have one.

    The names are required because the CA may issue certificates for other servers too.
    """

    ca: Path
    dns: tuple[str, ...]
    uris: tuple[str, ...]
    addresses: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all types."""
        return (*self.dns, *self.uris, *self.addresses)


def expected_peer(settings: Settings, tls: ProxyTls) -> ExpectedPeer | str | None:
    """Return the identity in the certificate of extauthz; None without TLS; a text if it is unusable.

    A proxy that reads its own certificate from files needs one where extauthz requires it.
    """
    needs_own = settings.grpc_tls_cert is not None and settings.grpc_tls_client_ca is not None
    if needs_own and (tls.certificate is None or tls.key is None):
        return (
            "GRPC_TLS_CLIENT_CA requires a client certificate; "
            "name the proxy's with --tls-cert FILE --tls-key FILE"
        )
    return certified_peer(settings, tls)


def certified_peer(settings: Settings, tls: ProxyTls) -> ExpectedPeer | str | None:
    """Return the identity as `expected_peer` does, for a proxy whose own certificate is set elsewhere."""
    certificate = settings.grpc_tls_cert
    if certificate is None:
        return None
    try:
        leaf = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except OSError as error:
        return f"GRPC_TLS_CERT {str(certificate)!r} cannot be read: {error.strerror}"
    except ValueError:
        return f"GRPC_TLS_CERT {str(certificate)!r} holds no PEM certificate"
    except x509.ExtensionNotFound:
        return (
            f"GRPC_TLS_CERT {str(certificate)!r} has no subject alternative name; "
            "issue a certificate with one"
        )
    return ExpectedPeer(
        # Without a CA file the certificate itself is the only trust anchor.
        ca=tls.ca or certificate.absolute(),
        dns=tuple(found.get_values_for_type(x509.DNSName)),
        uris=tuple(found.get_values_for_type(x509.UniformResourceIdentifier)),
        addresses=tuple(str(address) for address in found.get_values_for_type(x509.IPAddress)),
    )
