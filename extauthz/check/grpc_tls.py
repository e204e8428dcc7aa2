"""TLS and mutual TLS for gRPC listeners, with certificates that can change while the server runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import grpc
import structlog

_log = structlog.get_logger("extauthz.check")


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """The listener's certificate, key and client CA, in PEM; with a client CA, clients need a certificate."""

    certificate_chain: bytes
    private_key: bytes = field(repr=False)
    client_ca: bytes | None = None


@dataclass(frozen=True, slots=True)
class GrpcTls:
    """The identity to start with, and how to learn of a newer one.

    `reload` is called before every handshake and returns the new identity, or None when nothing changed; it
    raises ValueError for an identity that cannot be used.
    Whether client certificates are required is settled at the start. `client_sans`, if not empty, are the
    subject alternative names (URI or DNS) of which a client must have one.
    """

    identity: TlsIdentity
    reload: Callable[[], TlsIdentity | None]
    client_sans: frozenset[str] = frozenset()


def server_credentials(tls: GrpcTls) -> grpc.ServerCredentials:
    """Return credentials whose certificates follow `tls.reload`; a failing reload changes nothing."""
    mutual = tls.identity.client_ca is not None
    told: list[str] = []

    def reload() -> grpc.ServerCertificateConfiguration | None:
        try:
            identity = tls.reload()
        except ValueError as error:
            # Once for each problem, not for each handshake.
            if [str(error)] != told:
                told[:] = [str(error)]
                _log.error("tls_reload_failed", listener="grpc", problem=str(error))
            return None
        except Exception:  # noqa: BLE001  # whatever is wrong with new files, the old certificate still works
            _log.exception("tls_reload_failed")
            return None
        if identity is None:
            return None
        told.clear()
        if (identity.client_ca is not None) is not mutual:
            _log.error("tls_reload_refused", problem="a client CA can be replaced, not added or taken away")
            return None
        return _configuration(identity)

    # The stubs leave out that a reload may return None for "no change".
    return grpc.dynamic_ssl_server_credentials(
        _configuration(tls.identity),
        reload,  # type: ignore[arg-type]
        require_client_authentication=mutual,
    )


def is_expected_peer(tls: GrpcTls, context: grpc.ServicerContext) -> bool:
    """Tell whether the verified client certificate carries one of the expected names."""
    if not tls.client_sans:
        return True
    # The stubs say bytes; every property is a sequence of them.
    properties = cast("Mapping[str, Sequence[bytes]]", context.auth_context())
    names = [name.decode("utf-8", "replace") for name in properties.get("x509_subject_alternative_name", ())]
    if tls.client_sans.isdisjoint(names):
        _log.warning("tls_client_refused", names=names)
        return False
    return True


def _configuration(identity: TlsIdentity) -> grpc.ServerCertificateConfiguration:
    pair = (identity.private_key, identity.certificate_chain)
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=identity.client_ca)
