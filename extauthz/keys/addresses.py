"""Which addresses a tenant's identity provider may have: only ones that are not ours.

A tenant names a host; if it could lead to loopback, to a cloud's metadata service or to a neighbour, our
process would be its way in. So the address is judged at the socket, for every attempt: what was checked is
what is connected to, whatever the name resolves to a moment later.
"""

import ipaddress
import socket
from typing import Final

from aiohttp import AddrInfoType

# IANA's registries of special-purpose addresses (RFC 6890), multicast and reserved space. Python's own tables
# (`is_global`) differ between its releases. What the registry calls reachable inside of a block for protocol
# assignments is refused with the block: no identity provider is there.
_NOT_PUBLIC_IPV4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
    )
)  # fmt: skip
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")  # RFC 4291 2.4: all that IANA allocates from
# Protocol assignments with Teredo, documentation (RFC 3849, RFC 9637), 6to4 (deprecated by RFC 7526).
_NOT_PUBLIC_IPV6: Final = tuple(
    ipaddress.IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
# RFC 6052 2.1: a translator takes the last 32 bits for an IPv4 address.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class PrivateAddressError(OSError):
    """The name led to an address that a tenant may not make us connect to."""


def is_public(address: str) -> bool:
    """Whether a textual address belongs to the public Internet, in every reading of it."""
    try:
        # A zone (RFC 4007 11) names one of our own links.
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:  # RFC 4291 2.5.5.2: ::ffff:a.b.c.d is that IPv4 address
            parsed = parsed.ipv4_mapped
        elif parsed in _NAT64:
            parsed = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        else:
            return parsed in _GLOBAL_UNICAST and not any(parsed in network for network in _NOT_PUBLIC_IPV6)
    return not any(parsed in network for network in _NOT_PUBLIC_IPV4)


def public_socket(info: AddrInfoType) -> socket.socket:
    """Make the socket for one connection attempt, if its address is public (aiohttp's `socket_factory`).

    Raises:
        PrivateAddressError: it is not.
    """
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        raise PrivateAddressError("the host has a private address; list it in JWKS_ALLOW_HOSTS if it may")
    return socket.socket(family=family, type=kind, proto=protocol)
