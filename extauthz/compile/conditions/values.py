"""Values that conditions compare: their kinds, three-valued equality and order.

Types never coerce (docs/reference/policy-language.md#operators): a boolean is not a number, `"3"` is not 3;
integers and decimals
compare exactly. A comparison of kinds that do not go together is unknown, written None; Kleene's other two
values are True and False.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Kleene = bool | None
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Missing(Enum):
    """Why an attribute has no value to compare.

    INVARIANT: `ABSENT` is definite (positive operators are false), `UNKNOWN` makes the condition unknown.
    """

    ABSENT = "absent"
    UNKNOWN = "unknown"


ABSENT: Final = Missing.ABSENT
UNKNOWN: Final = Missing.UNKNOWN


class Kind(Enum):
    """The types that conditions tell apart."""

    TEXT = "string"
    BOOLEAN = "boolean"
    NUMBER = "number"
    LIST = "list"
    TIME = "time"
    ADDRESS = "IP address"


_KINDS: Final[dict[type, Kind]] = {
    str: Kind.TEXT,
    bool: Kind.BOOLEAN,
    int: Kind.NUMBER,
    Decimal: Kind.NUMBER,
    tuple: Kind.LIST,
    datetime: Kind.TIME,
    IPv4Address: Kind.ADDRESS,
    IPv6Address: Kind.ADDRESS,
}
ORDERED_TYPES: Final[dict[type, frozenset[type]]] = {
    one: frozenset(types) for types in ((int, Decimal), (datetime,)) for one in types
}
"""The types that a value of an ordered kind is compared with: those of its own kind."""
_MAPPED_BITS: Final = 96


def kind_of(value: object) -> Kind | None:
    """Return the kind of a value, None for objects and null, which nothing compares with."""
    return _KINDS.get(type(value))


def equal(left: object, right: object) -> Kleene:
    """Compare two values of one kind; lists entry by entry."""
    kind = _KINDS.get(type(left))
    if kind is None or kind is not _KINDS.get(type(right)):
        return None
    if kind is Kind.LIST:
        assert isinstance(left, tuple)
        assert isinstance(right, tuple)
        if len(left) != len(right):
            return False
        return every(equal(ours, theirs) for ours, theirs in zip(left, right, strict=True))
    return left == right


def ordered(left: object, right: object, holds: Callable[[object, object], bool]) -> Kleene:
    """Compare two numbers, or two times, with `holds`."""
    return holds(left, right) if type(right) in ORDERED_TYPES.get(type(left), ()) else None


def every(values: Iterable[Kleene]) -> Kleene:
    """Kleene's AND: false if any is false, else unknown if any is unknown."""
    outcome: Kleene = True
    for value in values:
        if value is False:
            return False
        if value is None:
            outcome = None
    return outcome


def some(values: Iterable[Kleene]) -> Kleene:
    """Kleene's OR: true if any is true, else unknown if any is unknown."""
    outcome: Kleene = False
    for value in values:
        if value is True:
            return True
        if value is None:
            outcome = None
    return outcome


def negated(value: Kleene) -> Kleene:
    """Kleene's NOT: unknown stays unknown."""
    return None if value is None else not value


def parse_address(text: str) -> Address | None:
    """Read an IP address; an IPv4-mapped IPv6 address is its IPv4 address. None when it is not one."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        return address.ipv4_mapped or address
    return address


def parse_network(text: str) -> Network | None:
    """Read a network in CIDR notation, or a single address; None when it is not one or has host bits.

    A network of IPv4-mapped IPv6 addresses is the IPv4 network, as its addresses are IPv4 addresses.
    """
    _, slash, prefix = text.partition("/")
    if "%" in text or (slash and not (prefix.isascii() and prefix.isdigit())):
        return None
    try:
        network = ip_network(text)
    except ValueError:
        return None
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network
