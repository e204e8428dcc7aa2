"""Whom the proxy takes for extauthz, when its gRPC listener speaks TLS."""

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from extauthz.settings import Settings


@dataclass(frozen=True, slots=True)
class ProxyTls:
    """TLS files as the proxy sees them: whom it believes, and what it shows to extauthz (both or none)."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class ExpectedPeer:
    """The trust anchor, and the names of which the certificate must carry one: a CA vouches for many."""

    ca: Path
    dns: tuple[str, ...]
    uris: tuple[str, ...]
    addresses: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of every kind."""
        return (*self.dns, *self.uris, *self.addresses)


def expected_peer(settings: Settings, tls: ProxyTls) -> ExpectedPeer | str | None:
    """Read extauthz's certificate; None: there is no TLS. A text says what stands against using it."""
    certificate = settings.grpc_tls_cert
    if certificate is None:
        return None
    if settings.grpc_tls_client_ca is not None and (tls.certificate is None or tls.key is None):
        return (
            "GRPC_TLS_CLIENT_CA asks proxies for a certificate; "
            "name the proxy's own with --tls-cert FILE --tls-key FILE"
        )
    try:
        leaf = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except OSError as error:
        return f"GRPC_TLS_CERT {str(certificate)!r} cannot be read: {error.strerror}"
    except ValueError:
        return f"GRPC_TLS_CERT {str(certificate)!r} holds no PEM certificate"
    except x509.ExtensionNotFound:
        return f"GRPC_TLS_CERT {str(certificate)!r} names nobody; issue it with a subject alternative name"
    return ExpectedPeer(
        # Without the CA's file the certificate itself is the anchor: nothing else is believed.
        ca=tls.ca or certificate.absolute(),
        dns=tuple(found.get_values_for_type(x509.DNSName)),
        uris=tuple(found.get_values_for_type(x509.UniformResourceIdentifier)),
        addresses=tuple(str(address) for address in found.get_values_for_type(x509.IPAddress)),
    )
