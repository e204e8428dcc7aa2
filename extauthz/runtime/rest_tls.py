"""TLS of the REST listeners: certificates that follow their files, and clients that are verified.

Input: paths of PEM files. Output: an `ssl.SSLContext` for each new connection. Errors: at the start
`InvalidCertificateError`; later files that cannot be used leave the last good certificate in use.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import structlog

from extauthz.runtime.tls_files import CertificateFiles, InvalidCertificateError
from extauthz.settings import Settings

_PROTOCOLS: Final = ["http/1.1"]

_log = structlog.get_logger("extauthz.runtime")


class RestTls:
    """The certificate of one listener, and the client certificates that it requires, if any."""

    def __init__(
        self, chain: Path, key: Path, client_ca: Path | None, client_sans: frozenset[str], *, listener: str
    ) -> None:
        """Read the files; `listener` names the listener in the log. Raises InvalidCertificateError."""
        self._files = CertificateFiles(chain, key, client_ca)
        self._chain, self._key = chain, key
        self._client_sans = client_sans
        self._listener = listener
        self._problem: str | None = None
        self.requires_client = client_ca is not None
        self._context = self._load(self._files.read().client_ca)
        self._files.report(listener)

    def context(self) -> ssl.SSLContext:
        """Return the context of a new connection; of new files as soon as they can be used."""
        try:
            identity = self._files.changed()
            if identity is not None:
                self._context = self._load(identity.client_ca)
                self._problem = None
                _log.info("tls_reloaded", listener=self._listener)
        except InvalidCertificateError as error:
            # Once for each problem, not for each connection.
            if str(error) != self._problem:
                self._problem = str(error)
                _log.error("tls_reload_failed", listener=self._listener, problem=self._problem)
        self._files.report(self._listener)
        return self._context

    def accepts(self, certificate: Mapping[str, Any] | None) -> bool:
        """Return whether a client may ask; `certificate` is its verified one, as `getpeercert` returns it."""
        if not self.requires_client:
            return True
        if not certificate:
            return False
        names = {str(name) for _, name in certificate.get("subjectAltName", ())}
        return not self._client_sans or not self._client_sans.isdisjoint(names)

    def _load(self, client_ca: bytes | None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A client could have this process compute handshakes without end on one connection.
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(_PROTOCOLS)
        try:
            # OpenSSL compares key and certificate again, in case the files changed after they were checked.
            # The password keeps it from asking for one at the terminal.
            context.load_cert_chain(self._chain, self._key, password=b"")
            if client_ca is not None:
                context.load_verify_locations(cadata=client_ca.decode("ascii"))
                # Probes come without a certificate: what needs one is refused by its request.
                context.verify_mode = ssl.CERT_OPTIONAL
        except (OSError, ValueError) as error:
            self._files.forget()
            raise InvalidCertificateError(f"{str(self._chain)!r}, {str(self._key)!r}: {error}") from error
        return context


def rest_tls(settings: Settings) -> RestTls | None:
    """Return the TLS of PORT; None for plaintext. Raises InvalidCertificateError."""
    if settings.rest_tls_cert is None or settings.rest_tls_key is None:
        return None
    return RestTls(
        settings.rest_tls_cert,
        settings.rest_tls_key,
        settings.rest_tls_client_ca,
        frozenset(settings.rest_tls_client_sans),
        listener="rest",
    )


def admin_tls(settings: Settings) -> RestTls | None:
    """Return the TLS of ADMIN_PORT: what is not set of it is that of PORT. Raises InvalidCertificateError."""
    chain, key = settings.admin_tls_cert, settings.admin_tls_key
    if chain is None or key is None:
        chain, key = settings.rest_tls_cert, settings.rest_tls_key
    if chain is None or key is None:
        return None
    return RestTls(
        chain,
        key,
        settings.admin_tls_client_ca or settings.rest_tls_client_ca,
        frozenset(settings.admin_tls_client_sans or settings.rest_tls_client_sans),
        listener="admin",
    )
