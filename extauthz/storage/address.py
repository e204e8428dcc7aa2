"""The address of the database: servers, user, password, and the TLS mode of each server.

Output: `DatabaseAddress`, an `ssl.SSLContext` per server. Errors: `InvalidCaError`, `SecretFileError`.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from extauthz.settings import DatabaseHost, Pooler, current_secret

if TYPE_CHECKING:
    from pathlib import Path

SslMode = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]


class InvalidCaError(OSError):
    """The file of POSTGRES_SSLROOTCERT is unreadable or invalid; the text names it."""


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """The servers of the database, the user, and the password.

    `sslmode` None means `require` for a host that is not loopback, or with a CA; else `prefer`. `fallbacks`
    are tried in order if `host` is not a primary. `listen` are the PostgreSQL servers behind a pooler. With
    `password_file` the password is the content of that file when a connection is opened.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    sslmode: SslMode | None = None
    sslrootcert: str | None = None
    fallbacks: tuple[DatabaseHost, ...] = ()
    pooler: Pooler = Pooler.NONE
    listen: tuple[DatabaseHost, ...] = ()
    password_file: Path | None = None

    @property
    def hosts(self) -> tuple[DatabaseHost, ...]:
        """The servers in the order in which they are tried."""
        return (DatabaseHost(self.host, self.port), *self.fallbacks)

    @property
    def place(self) -> str:
        """The servers and the database, for messages."""
        return f"{','.join(map(str, self.hosts))}/{self.database}"

    @property
    def for_notifications(self) -> DatabaseAddress:
        """The address of the PostgreSQL servers behind a pooler, which alone deliver notifications."""
        first, *others = self.listen
        return replace(
            self, host=first.host, port=first.port, fallbacks=tuple(others), pooler=Pooler.NONE, listen=()
        )

    def current_password(self) -> str:
        """Return the password; read from `password_file` at each call.

        Raises:
            SecretFileError: the file cannot be read, or is blank.
        """
        if self.password_file is None:
            return self.password
        return current_secret("POSTGRES_PASSWORD", self.password_file)

    def check_ca(self) -> None:
        """Check the CA file, also if no host uses TLS.

        Raises:
            InvalidCaError: the file cannot be read, or contains no certificate.
        """
        if self.sslrootcert is not None:
            _load_ca(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), self.sslrootcert)

    def sslmode_of(self, host: DatabaseHost) -> SslMode:
        """Return the TLS mode of one server. As in libpq, a Unix socket never uses TLS."""
        if host.is_unix_socket:
            return "disable"
        if self.sslmode is not None:
            return self.sslmode
        return "prefer" if host.is_local and self.sslrootcert is None else "require"

    def tls_of(self, host: DatabaseHost) -> ssl.SSLContext | None:
        """Return the TLS context for one server; None without TLS.

        With a CA, `require` verifies the chain as `verify-ca` does (libpq, "SSL Certificate Verification").
        The environment and the home directory are not used.

        Raises:
            InvalidCaError: the CA file cannot be read, or contains no certificate.
        """
        mode = self.sslmode_of(host)
        if mode == "disable":
            return None
        # Not ssl.create_default_context: from Python 3.13 it sets VERIFY_X509_STRICT and refuses certificates
        # that earlier versions accept, and it writes session keys to the file that SSLKEYLOGFILE names.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = mode == "verify-full"
        if mode == "prefer" or (mode == "require" and self.sslrootcert is None):
            context.verify_mode = ssl.CERT_NONE
        elif self.sslrootcert is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            _load_ca(context, self.sslrootcert)
        return context


def _load_ca(context: ssl.SSLContext, file: str) -> None:
    try:
        context.load_verify_locations(cafile=file)
    except ssl.SSLError:
        raise InvalidCaError(f"POSTGRES_SSLROOTCERT {file!r} holds no certificate in PEM form") from None
    except OSError as error:
        raise InvalidCaError(f"POSTGRES_SSLROOTCERT {file!r} cannot be read: {error.strerror}") from None
    if not context.cert_store_stats()["x509"]:
        raise InvalidCaError(f"POSTGRES_SSLROOTCERT {file!r} holds no certificate in PEM form")
