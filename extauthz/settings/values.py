"""Types of settings, and readers that convert the text of a variable into a value.

Input: text. Output: the value. Errors: `InvalidValueError`, whose text states the valid form.
"""

import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeVar

from extauthz.domain.forwarding import MAX_CLAIM_HEADERS, claim_header_problem
from extauthz.domain.host import HostRejected, canonical_host

_QUOTES: Final = "\"'`"
_DECIMAL: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{0,12})?|\.[0-9]{1,12}")
_Word = TypeVar("_Word", bound=StrEnum)


class GrpcServer(StrEnum):
    """The server for gRPC checks; `auto` selects it by the listen address and the installed packages."""

    AUTO = "auto"
    NATIVE = "native"
    GRPCIO = "grpcio"


class StaleAction(StrEnum):
    """How requests are decided after `POLICY_MAX_STALENESS`: denied, or by the last good policies."""

    DENY = "deny"
    SERVE = "serve"


class OverflowAction(StrEnum):
    """How requests are decided while the decision log is full (`DECISION_LOG_ON_OVERFLOW`).

    `drop`: as usual; decisions that cannot be logged are counted, as are lines lost by a write error.
    `deny`: requests are denied; after a write error the lines are kept and written again, so that the log
    becomes full while the disk is full.
    """

    DROP = "drop"
    DENY = "deny"


class CorsPreflight(StrEnum):
    """How CORS preflights are decided: `off` as all requests are, `policy` by the route they ask about."""

    OFF = "off"
    POLICY = "policy"


class SslMode(StrEnum):
    """libpq's `sslmode`, without `allow` and `prefer`, which fall back to plaintext."""

    DISABLE = "disable"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class Pooler(StrEnum):
    """How a connection pooler between extauthz and PostgreSQL assigns sessions (PgBouncer's `pool_mode`).

    `session`: to a client until it disconnects. `transaction`: to a client until its transaction ends.
    """

    NONE = "none"
    SESSION = "session"
    TRANSACTION = "transaction"


class LogFormat(StrEnum):
    """The format of application logs on standard error."""

    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """The lowest severity of application logs that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class InvalidValueError(ValueError):
    """The text of a variable is invalid; the message states the valid form."""


def text(value: str) -> str:
    """Return the text; it must be printable and not blank."""
    if not value.isprintable() or not value.strip():
        raise InvalidValueError("a text that is printable and not blank")
    return value


def secret(value: str) -> str:
    """Return the text of a secret; it must not be blank or contain NUL."""
    if "\0" in value or not value.strip():
        raise InvalidValueError("a text that is not blank")
    return value


def one_word(value: str) -> str:
    """Return a secret that a header can carry: printable ASCII characters without a space."""
    if not value.isascii() or not value.isprintable() or not value or " " in value:
        raise InvalidValueError("one word of printable ASCII characters")
    return value


def host_name(value: str) -> str:
    """Return an IP address or a host name."""
    found = value.strip()
    try:
        ip_address(found)
    except ValueError:
        # Brackets and ports are not part of a host name.
        if ":" in found or isinstance(canonical_host(found), HostRejected):
            raise InvalidValueError("an IP address or the name of a host") from None
    return found


def names(value: str) -> tuple[str, ...]:
    """Return names separated by commas, without repetitions."""
    return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


def some_names(value: str) -> tuple[str, ...]:
    """Return names as `names` does; a list with separators only is invalid."""
    found = names(value)
    if any(name.strip(_QUOTES) != name for name in found):
        raise InvalidValueError("names separated by commas, without quotes")
    if value and not found:
        # INVARIANT: a list without names is not read as unset, because unset permits every name.
        raise InvalidValueError("names separated by commas, at least one; or unset")
    return found


def flag(value: str) -> bool:
    """Return a boolean."""
    match value.strip().lower():
        case "true" | "1" | "yes" | "on":
            return True
        case "false" | "0" | "no" | "off":
            return False
    raise InvalidValueError("true or false")


def integer(lowest: int, highest: int) -> Callable[[str], int]:
    """Return the reader of integers from `lowest` to `highest`."""

    def read(value: str) -> int:
        text = value.strip()
        if not (text.isascii() and text.isdigit() and len(text) < 12) or not lowest <= int(text) <= highest:
            raise InvalidValueError(f"an integer from {lowest} to {highest}")
        return int(text)

    return read


def seconds(lowest: float, highest: float) -> Callable[[str], float]:
    """Return the reader of a time in seconds from `lowest` to `highest`."""

    def read(value: str) -> float:
        text = value.strip()
        if _DECIMAL.fullmatch(text) is None or not lowest <= float(text) <= highest:
            raise InvalidValueError(f"seconds from {lowest:.12g} to {highest:.12g}")
        return float(text)

    return read


def seconds_or_none(lowest: float, highest: float) -> Callable[[str], float]:
    """Return the reader of a time in seconds from `lowest` to `highest`, or 0."""
    bounded = seconds(lowest, highest)

    def read(value: str) -> float:
        try:
            return 0.0 if seconds(0, highest)(value) == 0 else bounded(value)
        except InvalidValueError as unusable:
            raise InvalidValueError(f"seconds from {lowest:.12g} to {highest:.12g}, or 0") from unusable

    return read


def one_of(words: type[_Word]) -> Callable[[str], _Word]:
    """Return the reader of the values of an enumeration, in any case."""

    def read(value: str) -> _Word:
        for word in words:
            if word.value == value.strip().lower():
                return word
        raise InvalidValueError("one of " + ", ".join(word.value for word in words))

    return read


def url(value: str) -> str:
    """Return an http or https URL; it must not contain credentials."""
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
    """Return entries `host:port`, separated by commas, in lower case."""
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

# RFC 9110 7.6.1. Envoy forwards only `te: trailers` and `trailer`; a deny on another would never match.
_OF_THE_CONNECTION: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
)


def headers(value: str) -> frozenset[str]:
    """Return the names of headers that conditions may use; credentials and forgeable headers are invalid."""
    found = frozenset(name.lower() for name in names(value))
    for name in sorted(found):
        # Envoy sends it as :authority, so that a deny on the header would never match.
        if name == "host":
            raise InvalidValueError("without 'host', which no check has as a header; use request.host")
        if name in _OF_THE_CONNECTION:
            raise InvalidValueError(f"without {name!r}, which Envoy removes before a check")
        if name in _FORBIDDEN_HEADERS or name.startswith(("x-forwarded-", "x-auth-")):
            raise InvalidValueError(
                f"without {name!r}, which carries a credential or can be forged by the client"
            )
        if not all(character.isalnum() or character == "-" for character in name) or not name.isascii():
            raise InvalidValueError(f"without {name!r}; a header name has letters, digits and '-'")
    return found


def claim_headers(value: str) -> frozenset[str]:
    """Return the names of headers that may be set from claims; those with another meaning are invalid."""
    found = frozenset(name.lower() for name in names(value))
    for name in sorted(found):
        if problem := claim_header_problem(name):
            raise InvalidValueError(f"without {name!r}: {problem}")
    if len(found) > MAX_CLAIM_HEADERS:
        raise InvalidValueError(f"at most {MAX_CLAIM_HEADERS} header names")
    return found


# RFC 9110 5.6.2
_TOKEN_CHARACTERS: Final = frozenset(string.ascii_lowercase + string.digits + "!#$%&'*+-.^_`|~")
_READ_OTHERWISE: Final = _OF_THE_CONNECTION | {
    "authorization", "cookie", "set-cookie", "host", "te", "trailer", "expect", "content-length",
    "content-type", "origin", "access-control-request-method", "x-service-api-key", "x-admin-api-key",
    "x-request-id", "traceparent", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
    "x-forwarded-port", "x-forwarded-client-cert",
}  # fmt: skip


def token_header(value: str) -> str:
    """Return the name of a header for a bare token; extauthz, HTTP and Envoy must not use it otherwise."""
    name = value.strip().lower()
    if name == "authorization":
        raise InvalidValueError("a header other than Authorization, which is read where it is unset")
    if name == "cookie":
        raise InvalidValueError("a header other than Cookie; TOKEN_COOKIE names a cookie")
    if (
        not name
        or not name.isascii()
        or not all(each.isalnum() or each in "!#$%&'*+-.^_`|~" for each in name)
    ):
        raise InvalidValueError("the name of a header (RFC 9110 5.6.2)")
    read_like = "".join(each if each.isalnum() else "-" for each in name)
    if read_like.startswith("x-auth-"):
        raise InvalidValueError(
            "a header without the prefix x-auth-, which proxies remove from what clients send"
        )
    if name in _READ_OTHERWISE or name.startswith("x-envoy-"):
        raise InvalidValueError("a header that no other part of extauthz, HTTP or Envoy reads")
    return name


# RFC 3986 2.3, unreserved; segments that no server or proxy reads in two ways.
_PREFIX: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~\-]+)+")


def path_prefix(value: str) -> str:
    """Return a path prefix without a final slash, of segments that have one reading."""
    found = value.strip()
    if len(found) > 256 or _PREFIX.fullmatch(found) is None:
        raise InvalidValueError("a path such as /check, of letters, digits and '-._~', without a final slash")
    return found


def cookie(value: str) -> str:
    """Return the name of a cookie."""
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
    """`POLICY_SOURCE=files:DIR`: policies are files in a folder."""

    directory: Path


@dataclass(frozen=True, slots=True)
class PostgresSource:
    """`POLICY_SOURCE=postgres`: policies are rows in PostgreSQL."""


def path(value: str) -> Path:
    """Return the path of a file or folder, which need not exist."""
    if "\0" in value or not value.strip():
        raise InvalidValueError("the path of a file or folder")
    return Path(value)


def admin_key(value: str) -> str:
    """Return a secret of 32 bytes or more."""
    if len(value.encode()) < 32:
        raise InvalidValueError("a secret of 32 bytes or more")
    return value
