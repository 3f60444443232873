"""Which addresses are of the public internet, in every form that an IPv4 address takes in IPv6."""

import ipaddress
import random

import pytest

from service.webhooks.addresses import is_private

PRIVATE = [
    *("0.0.0.0", "10.0.0.1", "100.64.0.1", "127.1.2.3", "169.254.169.254", "172.16.0.1", "192.0.0.9", "192.0.2.1"),
    *("192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1"),
    "255.255.255.255",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "9.255.255.255", "100.63.255.255", "172.32.0.1", "192.0.1.1", "223.255.255.255"]


def embedded(form, inner):
    """An IPv6 address in the given form, around an IPv4 one."""
    number = int(ipaddress.ip_address(inner))
    return str(ipaddress.IPv6Address(form(number)))


FORMS = {
    "IPv4-mapped": lambda ipv4: 0xFFFF << 32 | ipv4,
    "NAT64": lambda ipv4: 0x64_FF9B << 96 | ipv4,
    "6to4": lambda ipv4: 0x2002 << 112 | ipv4 << 80 | 1,
    "ISATAP": lambda ipv4: 0x2606_4700 << 96 | 0x5EFE << 32 | ipv4,
    "ISATAP of a public address": lambda ipv4: 0x2606_4700 << 96 | 0x0200_5EFE << 32 | ipv4,
}
CLOSED_FORMS = {
    "IPv4-compatible": lambda ipv4: ipv4,
    "IPv4-translated": lambda ipv4: 0xFFFF << 48 | ipv4,
    "NAT64 of a site": lambda ipv4: 0x64_FF9B_0001 << 80 | ipv4,
    "Teredo, of a client": lambda ipv4: 0x2001_0000 << 96 | 0x0808_0808 << 64 | (~ipv4 & 0xFFFF_FFFF),
    "Teredo, of a server": lambda ipv4: 0x2001_0000 << 96 | ipv4 << 64 | 0x7777_7777,
    "site-local": lambda ipv4: 0xFEC0 << 112 | ipv4,
    "link-local": lambda ipv4: 0xFE80 << 112 | ipv4,
    "unique local": lambda ipv4: 0xFD00 << 112 | ipv4,
    "multicast": lambda ipv4: 0xFF0E << 112 | ipv4,
    "documentation": lambda ipv4: 0x2001_0DB8 << 96 | ipv4,
    "documentation, the newer range": lambda ipv4: 0x3FFF << 112 | ipv4,
    "discarded": lambda ipv4: 0x100 << 112 | ipv4,
    "not given out": lambda ipv4: 0x4000 << 112 | ipv4,
}


@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.parametrize("form", [None, *FORMS], ids=str)
def test_an_address_that_is_not_public_is_known_in_every_form(form, address):
    assert is_private(address if form is None else embedded(FORMS[form], address))


@pytest.mark.parametrize("address", PUBLIC)
@pytest.mark.parametrize("form", [None, *FORMS], ids=str)
def test_a_public_address_is_public_where_its_form_leads_to_it(form, address):
    assert not is_private(address if form is None else embedded(FORMS[form], address))


@pytest.mark.parametrize("address", [PRIVATE[1], *PUBLIC])
@pytest.mark.parametrize("form", CLOSED_FORMS)
def test_forms_that_lead_nowhere_public_are_not_public_whatever_they_hold(form, address):
    assert is_private(embedded(CLOSED_FORMS[form], address))


def test_every_address_of_every_private_range_is_known_in_every_form():
    draw = random.Random(11)
    ranges = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "127.0.0.0/8", "192.168.0.0/16", "169.254.0.0/16")]
    for _ in range(2000):
        within = draw.choice(ranges)
        address = within[draw.randrange(within.num_addresses)]
        form = draw.choice([*FORMS.values(), *CLOSED_FORMS.values()])
        assert is_private(embedded(form, address)), embedded(form, address)


@pytest.mark.parametrize("spelt", ["[::1]", "fe80::1%eth0", "fec0::1%3", "0:0:0:0:0:ffff:7f00:1", "::FFFF:127.0.0.1"])
def test_spellings_make_no_difference(spelt):
    assert is_private(spelt)


@pytest.mark.parametrize("name", ["example.org", "localhost", "8.8.8.8.example.org", ""])
def test_names_are_not_looked_up(name):
    assert not is_private(name)
