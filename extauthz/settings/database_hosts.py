"""`POSTGRES_HOST` and `POSTGRES_LISTEN_HOST`: database servers as `host[:port]`, in their order."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from extauthz.domain.host import HostRejected, canonical_host
from extauthz.domain.loopback import is_loopback
from extauthz.settings.values import InvalidValueError

MOST_HOSTS: Final = 5
"""The hosts of a list share the bound on opening one connection."""

_FORM: Final = "host or host:port, several separated by commas, IPv6 addresses in brackets"
_PORT: Final = re.compile("[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class DatabaseHost:
    """One server: a name, an IP address or the folder of a Unix socket, and its port."""

    host: str
    port: int

    @property
    def is_unix_socket(self) -> bool:
        """Whether `host` is the folder of a Unix socket."""
        return self.host.startswith("/")

    @property
    def is_local(self) -> bool:
        """Whether connections to it cannot leave this machine (in Kubernetes: this pod)."""
        return self.is_unix_socket or is_loopback(self.host.removesuffix("."))

    def __str__(self) -> str:
        """Return `host:port`, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class HostEntry:
    """One entry of a list of servers, as it is written; without a port POSTGRES_PORT holds."""

    host: str
    port: int | None = None

    def at(self, default_port: int) -> DatabaseHost:
        """Return the server that is meant."""
        return DatabaseHost(self.host, default_port if self.port is None else self.port)


def host_entries(value: str) -> tuple[HostEntry, ...]:
    """Read a list of `host[:port]`; the refusal names each entry that is wrong. Repeated ones count once."""
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
    """Return the entry, or what is wrong with it."""
    if not text:
        return "an entry is empty"
    if "@" in text or "://" in text:
        # INVARIANT: not quoted, a password may stand in it.
        return "an entry is a URL or holds a user; write host:port"
    if text.startswith("/"):
        return HostEntry(text)
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or not _is_ipv6(host) or (rest and not rest.startswith(":")):
            return f"{text[:80]!r} is not [IPv6 address]:port"
        return _with_port(text, host, rest[1:] if rest else None)
    if text.count(":") > 1:
        # `::1:5432` is an address as it stands, and an address with a port.
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
