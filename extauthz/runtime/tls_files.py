"""The certificate files of the listeners, read again when they change.

Input: paths of PEM files. Output: `TlsIdentity`. Errors: `InvalidCertificateError`.

A certificate that is not valid now never replaces one that is. At the start, and in place of one that is not
valid either, it is used, and `report` logs it: clients that do not verify it are still answered.
"""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from extauthz.check.grpc_tls import GrpcTls, TlsIdentity
from extauthz.keys.file_stamp import FileStamp, file_stamp
from extauthz.settings import Settings

_Stamp = tuple[FileStamp, ...]

_PEM: Final = serialization.Encoding.PEM
_PUBLIC: Final = serialization.PublicFormat.SubjectPublicKeyInfo

_log = structlog.get_logger("extauthz.runtime")


class InvalidCertificateError(ValueError):
    """A certificate file cannot be read or is invalid; the text names the file and is one line."""


class CertificateFiles:
    """Certificate chain, key and client CA on disk. A rotation takes effect when all files match."""

    def __init__(
        self,
        chain: Path,
        key: Path,
        client_ca: Path | None,
        *,
        clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        """Store the paths; no file is read yet."""
        self._clock = clock
        self._used: x509.Certificate | None = None
        self._reported: str | None = None
        self._chain, self._key, self._client_ca = chain, key, client_ca
        self._files = [chain, key, *([] if client_ca is None else [client_ca])]
        self._seen: _Stamp | None = None

    def read(self) -> TlsIdentity:
        """Return the current content of the files.

        Raises:
            InvalidCertificateError: a file cannot be read, the key does not belong to the certificate, or
                the certificate is not valid now and the one before is.
        """
        # The stamp is taken first: a change while the files are read is noticed by the next call.
        stamp = self._stamp()
        identity = TlsIdentity(
            _content(self._chain),
            _content(self._key),
            None if self._client_ca is None else _content(self._client_ca),
        )
        leaf = self._check(identity)
        problem = self._not_valid(leaf)
        if problem is not None and self._used is not None and self._not_valid(self._used) is None:
            raise InvalidCertificateError(problem)
        self._seen, self._used = stamp, leaf
        return identity

    def changed(self) -> TlsIdentity | None:
        """Return the new identity; None if the files have not changed since they were last read.

        Raises:
            InvalidCertificateError: the files changed and are not valid yet.
        """
        return None if self._stamp() == self._seen else self.read()

    def report(self, listener: str) -> None:
        """Log once that the certificate in use is not valid now, if so; clients refuse it."""
        problem = None if self._used is None else self._not_valid(self._used)
        if problem != self._reported and problem is not None:
            _log.error("tls_certificate_not_valid", listener=listener, problem=problem)
        self._reported = problem

    def forget(self) -> None:
        """Have the next call of `changed` read the files again."""
        self._seen = None

    def _stamp(self) -> _Stamp:
        try:
            # stat follows symbolic links: Kubernetes replaces a mounted Secret by changing a link.
            return tuple(file_stamp(file.stat()) for file in self._files)
        except OSError as error:
            raise InvalidCertificateError(_unreadable(error)) from error

    def _not_valid(self, leaf: x509.Certificate) -> str | None:
        """Return why the certificate is not valid now; None if it is."""
        now = self._clock()
        if now > leaf.not_valid_after_utc:
            return f"the certificate in {str(self._chain)!r} expired at {_shown(leaf.not_valid_after_utc)}"
        if now < leaf.not_valid_before_utc:
            return (
                f"the certificate in {str(self._chain)!r} is not valid before "
                f"{_shown(leaf.not_valid_before_utc)}"
            )
        return None

    def _check(self, identity: TlsIdentity) -> x509.Certificate:
        chain = _certificates(self._chain, identity.certificate_chain)
        if identity.client_ca is not None and self._client_ca is not None:
            _certificates(self._client_ca, identity.client_ca)
        try:
            key = serialization.load_pem_private_key(identity.private_key, None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InvalidCertificateError(
                f"{str(self._key)!r} is not a private key in PEM without a passphrase"
            ) from error
        ours, theirs = (
            each.public_bytes(_PEM, _PUBLIC) for each in (key.public_key(), chain[0].public_key())
        )
        if ours != theirs:
            raise InvalidCertificateError(
                f"{str(self._key)!r} is not the key of the first certificate in {str(self._chain)!r}"
            )
        return chain[0]


def grpc_tls(settings: Settings) -> GrpcTls | None:
    """Return the TLS configuration of the gRPC listener; None without TLS.

    Raises:
        InvalidCertificateError: a file cannot be read or is invalid.
    """
    if settings.grpc_tls_cert is None or settings.grpc_tls_key is None:
        return None
    files = CertificateFiles(settings.grpc_tls_cert, settings.grpc_tls_key, settings.grpc_tls_client_ca)

    def changed() -> TlsIdentity | None:
        identity = files.changed()
        files.report("grpc")
        return identity

    identity = files.read()
    files.report("grpc")
    return GrpcTls(identity, changed, frozenset(settings.grpc_tls_client_sans))


def _shown(time: datetime.datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidCertificateError(_unreadable(error)) from error


def _unreadable(error: OSError) -> str:
    return f"{error.filename!r} cannot be read: {(error.strerror or str(error)).lower()}"


def _certificates(file: Path, content: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise InvalidCertificateError(f"{str(file)!r} holds no certificates in PEM") from error
