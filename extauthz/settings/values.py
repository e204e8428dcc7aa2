"""What a setting can be: its words, and how the text of a variable becomes a value.

Each reader returns the value or raises `InvalidValueError`, which says what would be right.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeVar

from extauthz.domain.host import HostRejected, canonical_host

_QUOTES: Final = "\"'`"
_DECIMAL: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{0,12})?|\.[0-9]{1,12}")
_Word = TypeVar("_Word", bound=StrEnum)


class GrpcServer(StrEnum):
    """Which server answers gRPC checks; `auto` chooses by where it listens and what is installed."""

    AUTO = "auto"
    NATIVE = "native"
    GRPCIO = "grpcio"


class StaleAction(StrEnum):
    """What happens past `POLICY_MAX_STALENESS`: deny, or go on with the last good policies."""

    DENY = "deny"
    SERVE = "serve"


class OverflowAction(StrEnum):
    """What happens to decisions that the log cannot take (`DECISION_LOG_ON_OVERFLOW`).

    `drop`: they are made all the same and counted; lines that meet a write error are lost and counted.
    `deny`: the service denies them; lines that meet a write error are kept and tried again, so that
    their slots run out while the disk is full.
    """

    DROP = "drop"
    DENY = "deny"


class SslMode(StrEnum):
    """libpq's `sslmode`, without the two that silently fall back."""

    DISABLE = "disable"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class Pooler(StrEnum):
    """How a connection pooler between extauthz and PostgreSQL shares sessions (PgBouncer's `pool_mode`).

    `session`: a client keeps one session until it disconnects. `transaction`: until its transaction ends.
    """

    NONE = "none"
    SESSION = "session"
    TRANSACTION = "transaction"


class LogFormat(StrEnum):
    """How application logs look on stderr."""

    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """The least severe application log that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class InvalidValueError(ValueError):
    """A value that a setting cannot have; the text says what would be right."""


def text(value: str) -> str:
    """Read any text that is printable and not blank."""
    if not value.isprintable() or not value.strip():
        raise InvalidValueError("a text that is printable and not blank")
    return value


def secret(value: str) -> str:
    """Read any text that is not blank."""
    if "\0" in value or not value.strip():
        raise InvalidValueError("a text that is not blank")
    return value


def host_name(value: str) -> str:
    """Read an IP address or the name of a host."""
    found = value.strip()
    try:
        ip_address(found)
    except ValueError:
        # Names only: brackets and ports belong to URLs.
        if ":" in found or isinstance(canonical_host(found), HostRejected):
            raise InvalidValueError("an IP address or the name of a host") from None
    return found


def names(value: str) -> tuple[str, ...]:
    """Read names, separated by commas; repeated ones count once."""
    return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


def some_names(value: str) -> tuple[str, ...]:
    """Read names as `names` does; a list that is set and yet empty is refused."""
    found = names(value)
    if any(name.strip(_QUOTES) != name for name in found):
        raise InvalidValueError("names separated by commas, without quotes")
    if value and not found:
        # Set, and yet empty: read as unset it would let everything in.
        raise InvalidValueError("names separated by commas, one at least; or not set")
    return found


def flag(value: str) -> bool:
    """Read yes or no."""
    match value.strip().lower():
        case "true" | "1" | "yes" | "on":
            return True
        case "false" | "0" | "no" | "off":
            return False
    raise InvalidValueError("true or false")


def integer(lowest: int, highest: int) -> Callable[[str], int]:
    """Return the reader of whole numbers in these bounds."""

    def read(value: str) -> int:
        text = value.strip()
        if not (text.isascii() and text.isdigit() and len(text) < 12) or not lowest <= int(text) <= highest:
            raise InvalidValueError(f"an integer from {lowest} to {highest}")
        return int(text)

    return read


def seconds(lowest: float, highest: float) -> Callable[[str], float]:
    """Return the reader of a time in seconds in these bounds."""

    def read(value: str) -> float:
        text = value.strip()
        if _DECIMAL.fullmatch(text) is None or not lowest <= float(text) <= highest:
            raise InvalidValueError(f"seconds from {lowest:.12g} to {highest:.12g}")
        return float(text)

    return read


def seconds_or_none(lowest: float, highest: float) -> Callable[[str], float]:
    """Return the reader of a time in seconds in these bounds, or 0 for none."""
    bounded = seconds(lowest, highest)

    def read(value: str) -> float:
        try:
            return 0.0 if seconds(0, highest)(value) == 0 else bounded(value)
        except InvalidValueError as unusable:
            raise InvalidValueError(f"seconds from {lowest:.12g} to {highest:.12g}, or 0") from unusable

    return read


def one_of(words: type[_Word]) -> Callable[[str], _Word]:
    """Return the reader of these words, in any case."""

    def read(value: str) -> _Word:
        for word in words:
            if word.value == value.strip().lower():
                return word
        raise InvalidValueError("one of " + ", ".join(word.value for word in words))

    return read


def url(value: str) -> str:
    """Read an http or https URL without credentials in it."""
    scheme, separator, rest = value.strip().partition("://")
    authority = rest.split("/", 1)[0]
    usable = scheme in {"http", "https"} and separator and "@" not in authority
    if (
        not usable
        or isinstance(canonical_host(authority), HostRejected)
        or any(c.isspace() for c in value.strip())
    ):
        raise InvalidValueError("an http or https URL without credentials in it")
    return value.strip()


def host_ports(value: str) -> frozenset[str]:
    """Read `host:port`, several separated by commas."""
    found = names(value)
    for entry in found:
        _, colon, port = entry.rpartition(":")
        if not colon or not port or isinstance(canonical_host(entry), HostRejected):
            raise InvalidValueError("host:port, several separated by commas")
    return frozenset(entry.lower() for entry in found)


_FORBIDDEN_HEADERS: Final = frozenset(
    {
        "authorization",
        "cookie",
        "set-cookie",
        "proxy-authorization",
        "x-service-api-key",
        "x-admin-api-key",
        "x-api-key",
        "x-envoy-original-path",
    }
)

# RFC 9110 7.6.1. Of these Envoy keeps only `te: trailers` and `trailer`; a deny on another would never match.
_OF_THE_CONNECTION: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
)


def headers(value: str) -> frozenset[str]:
    """Read the names of headers that a condition may look at: no credentials, nothing a client can forge."""
    found = frozenset(name.lower() for name in names(value))
    for name in sorted(found):
        # Envoy passes it as :authority, so that a deny on the header would never match.
        if name == "host":
            raise InvalidValueError("without 'host', which no check has as a header; write request.host")
        if name in _OF_THE_CONNECTION:
            raise InvalidValueError(f"without {name!r}, which Envoy removes before a check")
        if name in _FORBIDDEN_HEADERS or name.startswith(("x-forwarded-", "x-auth-")):
            raise InvalidValueError(
                f"without {name!r}, which carries a credential or can be forged by the client"
            )
        if not all(character.isalnum() or character == "-" for character in name) or not name.isascii():
            raise InvalidValueError(f"without {name!r}; a header name has letters, digits and '-'")
    return found


def token_header(value: str) -> str:
    """Read the name of a header for a bare token: one that nobody reads for anything else."""
    name = value.strip().lower()
    if name in _FORBIDDEN_HEADERS - {"x-api-key"} or name.startswith(("x-forwarded-", "x-auth-", "x-envoy-")):
        raise InvalidValueError("a header of its own, which no other part of extauthz or Envoy reads")
    if not name or not name.isascii() or not all(each.isalnum() or each == "-" for each in name):
        raise InvalidValueError("a header name of letters, digits and '-'")
    return name


def cookie(value: str) -> str:
    """Read the name of a cookie."""
    # RFC 6265 4.1.1: a token (RFC 9110 5.6.2).
    name = value.strip()
    if (
        not name
        or not name.isascii()
        or not all(each.isalnum() or each in "!#$%&'*+-.^_`|~" for each in name)
    ):
        raise InvalidValueError("the name of a cookie")
    return name


@dataclass(frozen=True, slots=True)
class FilesSource:
    """`POLICY_SOURCE=files:DIR`."""

    directory: Path


@dataclass(frozen=True, slots=True)
class PostgresSource:
    """`POLICY_SOURCE=postgres`."""


def policy_source(value: str) -> FilesSource | PostgresSource:
    """Read where policies come from."""
    if value.strip() == "postgres":
        return PostgresSource()
    kind, colon, directory = value.partition(":")
    if kind == "files" and colon and directory:
        return FilesSource(Path(directory))
    raise InvalidValueError("'postgres' or 'files:DIR'")


def path(value: str) -> Path:
    """Read the path of a file or folder, which need not exist."""
    if "\0" in value or not value.strip():
        raise InvalidValueError("the path of a file or folder")
    return Path(value)


def admin_key(value: str) -> str:
    """Read a secret of 32 bytes or more."""
    if len(value.encode()) < 32:
        raise InvalidValueError("a secret of 32 bytes or more")
    return value
