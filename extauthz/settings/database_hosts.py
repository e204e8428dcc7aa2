"""`POSTGRES_HOST` and `POSTGRES_LISTEN_HOST`: lists of database servers, `host[:port]` separated by commas.

Input: the text of the variable. Output: `HostEntry`s in order. Errors: `InvalidValueError`.
"""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from extauthz.domain.host import HostRejected, canonical_host
from extauthz.domain.loopback import is_loopback
from extauthz.settings.values import InvalidValueError

MOST_HOSTS: Final = 5
"""Limit of a list: its hosts share the timeout for opening one connection."""

_FORM: Final = "host or host:port, several separated by commas, IPv6 addresses in brackets"
_PORT: Final = re.compile("[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class DatabaseHost:
    """A database server: a DNS name, an IP address or the folder of a Unix socket, and the port."""

    host: str
    port: int

    @property
    def is_unix_socket(self) -> bool:
        """Whether `host` is the folder of a Unix socket."""
        return self.host.startswith("/")

    @property
    def is_local(self) -> bool:
        """Whether connections to it stay on this machine (in Kubernetes: in this pod)."""
        return self.is_unix_socket or is_loopback(self.host.removesuffix("."))

    def __str__(self) -> str:
        """Return `host:port`, with an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class HostEntry:
    """One entry of a list of servers, as written; without a port POSTGRES_PORT applies."""

    host: str
    port: int | None = None

    def at(self, default_port: int) -> DatabaseHost:
        """Return the server, with `default_port` if the entry has no port."""
        return DatabaseHost(self.host, default_port if self.port is None else self.port)


def host_entries(value: str) -> tuple[HostEntry, ...]:
    """Return the entries of a list of `host[:port]` without repetitions.

    Raises:
        InvalidValueError: the list is empty or too long, or an entry is invalid; the text names each of them.
    """
    if not value.isprintable() or not value.strip():
        raise InvalidValueError(_FORM)
    found: list[HostEntry] = []
    problems: list[str] = []
    for text in value.split(","):
        entry = _entry(text.strip())
        if isinstance(entry, HostEntry):
            found.append(entry)
        else:
            problems.append(entry)
    if problems:
        raise InvalidValueError(f"{_FORM}: {'; '.join(dict.fromkeys(problems))}")
    entries = tuple(dict.fromkeys(found))
    if len(entries) > MOST_HOSTS:
        raise InvalidValueError(f"{_FORM}, at most {MOST_HOSTS} of them")
    return entries


def _entry(text: str) -> HostEntry | str:
    """Return the entry, or the problem with it as a text."""
    if not text:
        return "an entry is empty"
    if "@" in text or "://" in text:
        # INVARIANT: the entry is not quoted, because it may contain a password.
        return "an entry is a URL or contains a user; write host:port"
    if text.startswith("/"):
        return HostEntry(text)
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or not _is_ipv6(host) or (rest and not rest.startswith(":")):
            return f"{text[:80]!r} is not [IPv6 address]:port"
        return _with_port(text, host, rest[1:] if rest else None)
    if text.count(":") > 1:
        # `::1:5432` is ambiguous: an address, or the address `::1` with a port.
        if not _is_ipv6(text) or _is_ipv6(text.rpartition(":")[0]):
            return f"{text[:80]!r} has an IPv6 address without brackets"
        return HostEntry(text)
    host, colon, port = text.partition(":")
    if isinstance(canonical_host(host), HostRejected):
        return f"{text[:80]!r} does not begin with an IP address or the name of a host"
    return _with_port(text, host, port if colon else None)


def _with_port(text: str, host: str, port: str | None) -> HostEntry | str:
    if port is None:
        return HostEntry(host)
    if _PORT.fullmatch(port) is None or not 1 <= int(port) <= 65535:
        return f"{text[:80]!r} has a port that is not from 1 to 65535"
    return HostEntry(host, int(port))


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True
