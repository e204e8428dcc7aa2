"""Restricts connections to tenants' identity providers to public addresses (protection against SSRF).

A tenant chooses the host name. If it resolved to loopback, to a cloud's metadata service or to a private
network, the tenant could send requests there through this process. So the address is checked when the socket
is created, for every attempt: the checked address is the one of the connection (no DNS rebinding). Input: an
address. Output: a socket. Errors: `PrivateAddressError`.
"""

import ipaddress
import socket
from typing import Final

from aiohttp import AddrInfoType

# IANA's registries of special-purpose addresses (RFC 6890), multicast and reserved blocks. Python's tables
# (`is_global`) differ between its releases. Globally reachable addresses in a block of protocol assignments
# are refused with the block, because no identity provider uses them.
_NOT_PUBLIC_IPV4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
    )
)  # fmt: skip
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")  # RFC 4291 2.4: IANA allocates only from it
# Protocol assignments with Teredo, documentation (RFC 3849, RFC 9637), 6to4 (deprecated by RFC 7526).
_NOT_PUBLIC_IPV6: Final = tuple(
    ipaddress.IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
# RFC 6052 2.1: the last 32 bits are an IPv4 address.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class PrivateAddressError(OSError):
    """A host name resolved to an address that is not public."""


def is_public(address: str) -> bool:
    """Return whether an IP address is public; embedded IPv4 addresses (mapped, NAT64) must be public too."""
    try:
        # A zone identifier (RFC 4007 11) is not part of the address.
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:  # RFC 4291 2.5.5.2: ::ffff:a.b.c.d is an IPv4 address
            parsed = parsed.ipv4_mapped
        elif parsed in _NAT64:
            parsed = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        else:
            return parsed in _GLOBAL_UNICAST and not any(parsed in network for network in _NOT_PUBLIC_IPV6)
    return not any(parsed in network for network in _NOT_PUBLIC_IPV4)


def public_socket(info: AddrInfoType) -> socket.socket:
    """Return the socket for one connection attempt to a public address (aiohttp's `socket_factory`).

    Raises:
        PrivateAddressError: the address is not public.
    """
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        raise PrivateAddressError(
            "the host has a private address; to permit that, list host:port in JWKS_ALLOW_HOSTS"
        )
    return socket.socket(family=family, type=kind, proto=protocol)
