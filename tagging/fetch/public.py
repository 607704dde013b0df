"""Which IP addresses belong to the public Internet.

`ipaddress.is_global` follows the registries of the day on which its Python was made, and calls an
address global that only wraps an inner one. So the ranges stand here, from IANA's registries of
special-purpose addresses (RFC 6890 and what it was updated by); for IPv6 what is allowed is
listed rather than what is not.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv4Address | IPv6Address

_V4_SPECIAL: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # "this network", RFC 791; Linux takes 0.0.0.0 for itself
        "10.0.0.0/8",  # private, RFC 1918
        "100.64.0.0/10",  # carrier-grade NAT, RFC 6598
        "127.0.0.0/8",  # loopback, RFC 1122
        "168.63.129.16/32",  # Azure's inner services, behind an address that looks public
        "169.254.0.0/16",  # link-local, RFC 3927; 169.254.169.254 tells clouds' secrets
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments, RFC 6890
        "192.0.2.0/24",  # documentation, RFC 5737
        "192.88.99.0/24",  # 6to4 relays, withdrawn by RFC 7526
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks, RFC 2544
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast, RFC 5771
        "240.0.0.0/4",  # reserved, and 255.255.255.255, broadcast
    )
)
_V6_GLOBAL: Final = IPv6Network("2000::/3")
_V6_SPECIAL: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # IETF protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation, RFC 3849
        "2002::/16",  # 6to4, which wraps an IPv4 address; withdrawn by RFC 7526
        "3fff::/20",  # documentation, RFC 9637
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
"""Wraps an IPv4 address (RFC 6052). Machines that have IPv6 only reach all of IPv4 through it."""


def is_public(address: Address) -> bool:
    """Whether anybody on the Internet could reach `address`, as far as its number tells.

    What only wraps a public IPv4 address (mapped, compatible, 6to4, Teredo) is not public either:
    nobody needs it; NAT64 alone is looked into. An operator's own NAT64 prefix cannot be known.
    """
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _V4_SPECIAL)
    if address.scope_id is not None:
        return False
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _V6_GLOBAL and not any(address in network for network in _V6_SPECIAL)
