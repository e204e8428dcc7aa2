"""Which addresses a tenant's identity provider may have: only ones that are not ours.

A tenant names a host; if it could lead to loopback, to a cloud's metadata service or to a neighbour, our
process would be its way in. So the address is judged at the socket, for every attempt: what was checked is
what is connected to, whatever the name resolves to a moment later.
"""

import ipaddress
import socket
from typing import Final

from aiohttp import AddrInfoType

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Ways to write an IPv4 address inside of an IPv6 one that a network may translate back, and the bits before
# it: NAT64 (RFC 6052 2.1, RFC 8215), IPv4-compatible (RFC 4291 2.5.5.1) and IPv4-translated (RFC 2765 2.1).
_EMBEDDING: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96")
)
# What Python's tables, which differ between its releases, take for public: protocol assignments (RFC 6890),
# the relays of 6to4 (RFC 7526), site-local addresses (RFC 3879: deprecated, yet routed inside of sites),
# documentation (RFC 9637), and segment routing (RFC 9602).
_NOT_PUBLIC: Final = tuple(
    ipaddress.ip_network(network)
    for network in ("192.0.0.0/24", "192.88.99.0/24", "fec0::/10", "3fff::/20", "5f00::/16")
)


class PrivateAddressError(OSError):
    """The name led to an address that a tenant may not make us connect to."""


def is_public(address: str) -> bool:
    """Whether a textual address belongs to the public Internet, in every reading of it."""
    try:
        # A zone (RFC 4007 11) names one of our own links.
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(
        each.is_global and not each.is_multicast and not any(each in network for network in _NOT_PUBLIC)
        for each in _readings(parsed)
    )


def _readings(address: _Address) -> list[_Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    # RFC 4291 2.5.5.2: ::ffff:a.b.c.d is that IPv4 address.
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    readings: list[_Address] = [address]
    # RFC 3056 and RFC 4380: a relay would unpack these.
    if address.sixtofour is not None:
        readings.append(address.sixtofour)
    if address.teredo is not None:
        readings.extend(address.teredo)
    if any(address in network for network in _EMBEDDING):
        readings.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return readings


def public_socket(info: AddrInfoType) -> socket.socket:
    """Make the socket for one connection attempt, if its address is public (aiohttp's `socket_factory`).

    Raises:
        PrivateAddressError: it is not.
    """
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        raise PrivateAddressError("the host has a private address; list it in JWKS_ALLOW_HOSTS if it may")
    return socket.socket(family=family, type=kind, proto=protocol)
