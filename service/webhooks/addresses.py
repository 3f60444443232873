"""Which IP addresses are of the public internet, by IANA's registries of special-purpose addresses.

Many IPv6 addresses carry an IPv4 address inside; what is sent to them may come out there. They are public only where
both are.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

UNICAST = ipaddress.IPv6Network("2000::/3")
"""All that IANA gives out of IPv6 (RFC 4291, 2.4); beside it only the translations below lead anywhere public."""
NOT_PUBLIC: tuple[Network, ...] = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",  # IETF protocol assignments, RFC 6890
            "192.88.99.0/24",  # relays of 6to4, RFC 7526
            "2001::/23",  # IETF protocol assignments, RFC 2928; Teredo's 2001::/32 (RFC 4380) is in it
            "3fff::/20",  # documentation, RFC 9637
        ),
    )
)
"""Ranges that older versions of Python do not know as such."""


@dataclass(frozen=True)
class Embedding:
    """A range of IPv6 addresses that hold an IPv4 address, with `after` bits behind it."""

    network: ipaddress.IPv6Network
    after: int
    alone: bool = False
    """The IPv4 address is all that counts: a translation leads there from a range that is itself not public."""


EMBEDDINGS = (
    Embedding(ipaddress.IPv6Network("::ffff:0:0/96"), 0, alone=True),  # IPv4-mapped, RFC 4291
    Embedding(ipaddress.IPv6Network("64:ff9b::/96"), 0, alone=True),  # NAT64, RFC 6052
    Embedding(ipaddress.IPv6Network("2002::/16"), 80),  # 6to4, RFC 3056
)
ISATAP = {0x0000_5EFE, 0x0200_5EFE}
"""The upper half of the interface identifiers that end in an IPv4 address (RFC 5214)."""


def is_private(host: str) -> bool:
    """True of an IP address that is not of the public internet; names of hosts are not looked up."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return not _is_public(address)


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return _is_global(address)
    for embedding in EMBEDDINGS:
        if address in embedding.network:
            inner = _is_global(_ipv4_at(address, embedding.after))
            return inner and (embedding.alone or _is_global(address))
    if (int(address) >> 32) & 0xFFFF_FFFF in ISATAP and not _is_global(_ipv4_at(address, 0)):
        return False
    return address in UNICAST and _is_global(address)


def _ipv4_at(address: ipaddress.IPv6Address, after: int) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address((int(address) >> after) & 0xFFFF_FFFF)


def _is_global(address: Address) -> bool:
    return address.is_global and not address.is_multicast and not any(address in network for network in NOT_PUBLIC)
