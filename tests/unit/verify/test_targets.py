"""Where probes go, and where they come from."""

from __future__ import annotations

import ipaddress

import pytest

from gatepost.model import Address, BoundListener, Listener, Protocol, Tls, Topology
from gatepost.verify import targets as room
from gatepost.verify.targets import Approach, sources_for, targets

LISTENER = Listener("smtp", Protocol.SMTP, Tls.STARTTLS, 25, 3325, 31025, 32025)
PORT = 3325


def test_a_wildcard_is_probed_at_both_loopback_addresses() -> None:
    """The default of PUBLIC_BIND_ADDRESS: neither family may be left out."""
    public = (Address("0.0.0.0", PORT), Address("::", PORT))
    bound = BoundListener(LISTENER, "toy", proxied=True, public=public, service=(), internal=())
    found = targets(Topology((bound,), {}, {}, ()), Approach.PUBLIC)
    assert [(t.family, t.address.host) for t in found] == [("IPv4", "127.0.0.1"), ("IPv6", "::1")]


def test_two_sources_that_are_neither_the_proxy_nor_trusted() -> None:
    """A probe from the proxy's own address would pass although every client looks like it."""
    trusted = (ipaddress.ip_network("127.0.0.77/32"),)
    chosen = sources_for(Address("127.0.0.1", PORT), trusted, {"127.0.0.78"}, ["127.0.0.1"])
    assert chosen == ("127.0.0.79", "127.0.0.80")


def test_doubtful_sources_are_better_than_none() -> None:
    """With all of loopback trusted there is still something to prove."""
    trusted = (ipaddress.ip_network("127.0.0.0/8"),)
    assert len(sources_for(Address("127.0.0.1", PORT), trusted, (), ())) == 2


def test_sources_of_the_other_family_or_of_no_interface_are_left_out() -> None:
    """They cannot be bound, and every probe would fail."""
    chosen = sources_for(Address("::1", PORT), (), (), ["127.0.0.1", "::1", "2001:db8::1"])
    assert chosen == ("::1",)


def test_ipv6_probes_come_from_near_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe from a temporary address fails when the address goes, and nothing is wrong."""
    monkeypatch.setattr(room, "_reaches", lambda *_: True)
    here = ("::1", "2001:db8:1::77", "fd00:6a7e:2::1", "fd00:6a7e:1::78", "fd00:6a7e:1::77")
    server = Address("fd00:6a7e:1::1", 3325)
    found = sources_for(server, (), {server.host}, here)
    assert found == ("fd00:6a7e:1::78", "fd00:6a7e:1::77")


@pytest.mark.parametrize(("here", "chosen"), [(True, ("::1",)), (False, ())])
def test_nobody_answers_to_a_loopback_address_from_elsewhere(
    monkeypatch: pytest.MonkeyPatch, *, here: bool, chosen: tuple[str, ...]
) -> None:
    """In a pod all probes over IPv6 would wait in vain: the kernel lets them leave from ::1."""
    monkeypatch.setattr(room, "_is_here", lambda _: here)
    assert sources_for(Address("::1", PORT), (), (), ["::1"]) == chosen
