"""Reads a `Host` or `:authority` value as a canonical host: lower-case, without port and final dot.

Hosts decide which tenant owns a request and which routes apply, so a host that two servers could read
differently is refused like an ambiguous path. Only ASCII is read: internationalised names arrive as A-labels
(RFC 5890 2.3.2.1); a raw U-label never legally stands in a request (RFC 9110 7.2).
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

MAX_HOST_LENGTH: Final = 253
"""Of the canonical name, in octets (RFC 1035 2.3.4, without the root's label)."""

_MAX_RAW_LENGTH: Final = MAX_HOST_LENGTH + len(".:65535")


class HostProblem(StrEnum):
    """Why a host is refused: stable words, each with its row in docs/security.md."""

    EMPTY = "empty"
    TOO_LONG = "too_long"
    NON_ASCII = "non_ascii"
    ILLEGAL_CHARACTER = "illegal_character"
    USERINFO = "userinfo"
    BAD_PORT = "bad_port"
    EMPTY_LABEL = "empty_label"
    LABEL_TOO_LONG = "label_too_long"
    BAD_A_LABEL = "bad_a_label"
    BAD_ADDRESS = "bad_address"


@dataclass(frozen=True, slots=True)
class HostRejected:
    """A host that is refused: 400 `request_malformed`."""

    reason: HostProblem


def canonical_host(raw: str) -> str | HostRejected:
    """Return the canonical form of a host with optional port.

    Names are lower-case without a final dot; IPv4 addresses are dotted decimals; IPv6 addresses stand in
    brackets in the form of RFC 5952. A port must be 1 to 65535 and is dropped: routes and tenants own hosts.
    """
    if len(raw) > _MAX_RAW_LENGTH:
        return HostRejected(HostProblem.TOO_LONG)
    return _canonical_host(raw)


_ALLOWED: Final = re.compile(r"[A-Za-z0-9._:\[\]-]*+")
_PORT: Final = re.compile("[0-9]{1,5}")
_NUMBER: Final = re.compile("[0-9]+|0x[0-9a-f]*")
_A_LABEL_PREFIX: Final = "xn--"


@lru_cache(maxsize=1024)
def _canonical_host(raw: str) -> str | HostRejected:
    host = _without_port(raw) if _ALLOWED.fullmatch(raw) else _character_problem(raw)
    if isinstance(host, HostProblem):
        return HostRejected(host)
    canonical = _canonical_ipv6(host) if host.startswith("[") else _canonical_name(host.lower())
    if isinstance(canonical, HostProblem):
        return HostRejected(canonical)
    return canonical


def _character_problem(raw: str) -> HostProblem:
    if not raw.isascii():
        return HostProblem.NON_ASCII
    return HostProblem.USERINFO if "@" in raw else HostProblem.ILLEGAL_CHARACTER


def _without_port(raw: str) -> str | HostProblem:
    """Split off `:port`; a colon inside brackets belongs to the address."""
    bracket = raw.rfind("]") + 1
    host, colon, port = raw[bracket:].partition(":")
    if colon and not (_PORT.fullmatch(port) and 0 < int(port) <= 65535):
        # Two colons without brackets are an IPv6 address without its brackets.
        return HostProblem.BAD_ADDRESS if ":" in port else HostProblem.BAD_PORT
    return raw[:bracket] + host


def _canonical_ipv6(host: str) -> str | HostProblem:
    if not host.endswith("]"):
        return HostProblem.BAD_ADDRESS
    try:
        address = IPv6Address(host[1:-1])
    except AddressValueError:
        return HostProblem.BAD_ADDRESS
    if address.ipv4_mapped is not None:
        return f"[::ffff:{address.ipv4_mapped}]"
    return f"[{address.compressed}]"


def _canonical_name(host: str) -> str | HostProblem:
    if not host:
        return HostProblem.EMPTY
    name = host.removesuffix(".")
    if len(name) > MAX_HOST_LENGTH:
        return HostProblem.TOO_LONG
    labels = name.split(".")
    for label in labels:
        if problem := _label_problem(label):
            return problem
    # The WHATWG URL standard reads every name that ends in a number as an IPv4 address (`127.1`, `0x7f.1`).
    if _NUMBER.fullmatch(labels[-1]) and not _is_ipv4(name):
        return HostProblem.BAD_ADDRESS
    return name


def _label_problem(label: str) -> HostProblem | None:
    if not label:
        return HostProblem.EMPTY_LABEL
    if "[" in label or "]" in label:
        return HostProblem.BAD_ADDRESS
    if len(label) > 63:
        return HostProblem.LABEL_TOO_LONG
    if label.startswith(_A_LABEL_PREFIX) and not _is_a_label(label):
        return HostProblem.BAD_A_LABEL
    return None


def _is_a_label(label: str) -> bool:
    """Tell whether the Punycode stands for more than ASCII and is its only spelling (RFC 5891 5.4)."""
    encoded = label[len(_A_LABEL_PREFIX) :]
    try:
        name = encoded.encode("ascii").decode("punycode")
        return not name.isascii() and name.encode("punycode").decode("ascii") == encoded
    except (ValueError, OverflowError):  # CPython 3.13 raises OverflowError for a large code point
        return False


def _is_ipv4(name: str) -> bool:
    try:
        IPv4Address(name)
    except AddressValueError:
        return False
    return True
