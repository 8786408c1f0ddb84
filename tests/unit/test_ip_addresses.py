"""One form of every address, so that nobody is two clients."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.ip_addresses import address, network, network_within, plain, within


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::192.0.2.1", "::192.0.2.1"),
        ("64:ff9b::192.0.2.1", "64:ff9b::192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_plain(written: str, meant: str) -> None:
    """Block lists and limits would miss a client; Postfix would die of a scope."""
    assert plain(written) == meant


@pytest.mark.parametrize("written", ["::ffff:192.0.2.1", "::FFFF:192.0.2.1", "::ffff:c000:201"])
def test_a_mapped_address_is_read_in_every_spelling(written: str) -> None:
    """An administrator copies it from a log or a socket list, each of which has its own form."""
    assert str(address(written)) == "192.0.2.1"
    assert str(network(written)) == "192.0.2.1/32"
    assert str(address("2001:db8::ffff:c000:201")) == "2001:db8::ffff:c000:201"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("::/0", "::/0"),
        ("::fffe:0:0/95", "::fffe:0:0/95"),
        ("2001:db8::/32", "2001:db8::/32"),
    ],
)
def test_a_network_in_ipv6_form_is_the_ipv4_network(written: str, meant: str) -> None:
    """It would be taken, and hold nobody."""
    assert str(network(written)) == meant


def test_bits_beyond_the_prefix_are_an_error() -> None:
    """A typing error would trust another network than the one that was meant."""
    with pytest.raises(ValueError, match="host bits"):
        network("::ffff:192.0.2.1/120")
    assert str(network("::ffff:192.0.2.1/120", strict=False)) == "192.0.2.0/24"


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("192.0.2.7", True),
        ("::ffff:192.0.2.7", True),
        ("192.0.3.7", False),
        ("::ffff:192.0.3.7", False),
        ("fe80::7%eth0", True),
        ("2001:db8::7", False),
    ],
)
def test_an_address_is_inside_in_whatever_form(host: str, *, inside: bool) -> None:
    """A trusted proxy that writes IPv4 as IPv6 would be a stranger, or a stranger trusted."""
    networks = [network("192.0.2.0/24"), network("fe80::/10")]
    assert within(host, networks) is inside
    assert within(address(host.partition("%")[0]), networks) is inside


def test_nothing_is_inside_no_network() -> None:
    """An empty list would trust everybody."""
    assert not within("192.0.2.7", [])


@given(st.ip_addresses())
def test_each_address_has_one_form(
    given_address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """One function would call a client by another name than the other."""
    once = address(str(given_address))
    assert address(str(once)) == once
    assert plain(str(once)) == str(once)
    if isinstance(given_address, ipaddress.IPv4Address):
        assert address(f"::ffff:{given_address}") == given_address
        assert plain(f"::ffff:{given_address}") == str(given_address)


@pytest.mark.parametrize(
    ("inner", "inside"),
    [("10.0.0.0/24", True), ("10.0.0.7/32", True), ("10.0.0.0/8", False), ("fd00::/64", False)],
)
def test_a_network_is_inside_one_that_is_as_wide(inner: str, inside: bool) -> None:  # noqa: FBT001
    """A wide network would be trusted for its first address."""
    outer = network("10.0.0.0/16")
    assert network_within(network(inner), [outer]) is inside
