"""Tells which hosts can only be this machine (in Kubernetes: this pod)."""

from ipaddress import IPv4Network, IPv6Address, ip_address
from typing import Final

_IPV4: Final = IPv4Network("127.0.0.0/8")  # RFC 1122 3.2.1.3
_IPV6: Final = IPv6Address("::1")  # RFC 4291 2.5.3


def is_loopback(host: str) -> bool:
    """Tell whether a host, an IPv6 address without brackets, is `localhost` or a loopback address.

    `IPv6Address.is_loopback` is not asked: only since CPython 3.13 does it know IPv4-mapped addresses.
    """
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return address == _IPV6
        address = address.ipv4_mapped
    return address in _IPV4
