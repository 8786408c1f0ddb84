"""Trust: who may say who a client is."""

from __future__ import annotations

import ipaddress

import pytest

from gatepost.plugins.gate.trust import Trust

TRUST = Trust([ipaddress.ip_network("10.42.0.0/16"), ipaddress.ip_network("fd00:42::/64")])


@pytest.mark.parametrize("host", ["10.42.0.1", "10.42.255.255", "fd00:42::9", "fd00:42::9%eth0"])
def test_a_proxy_is_trusted(host: str) -> None:
    """All mail would be refused."""
    assert host in TRUST
    assert host in TRUST, "the remembered answer differs"


@pytest.mark.parametrize(
    "host", ["10.43.0.1", "127.0.0.1", "fd00:43::9", "::1", "::ffff:10.43.0.1"]
)
def test_a_neighbour_is_not(host: str) -> None:
    """Any neighbour could pose as any client."""
    assert host not in TRUST
    assert host not in TRUST, "the remembered answer differs"


def test_nobody_is_trusted_without_networks() -> None:
    """An empty list that trusts everyone is the hole that this program closes."""
    assert "127.0.0.1" not in Trust([])


def test_a_flood_of_strangers_is_forgotten() -> None:
    """The memory would fill with addresses seen once."""
    trust = Trust([ipaddress.ip_network("10.0.0.0/8")])
    for number in range(10_000):
        assert f"192.168.{number // 250}.{number % 250}" not in trust
    assert len(trust._answers) <= 4096
    assert "10.1.1.1" in trust
