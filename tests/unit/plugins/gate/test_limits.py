"""Limits: one client cannot take the server from the others."""

from __future__ import annotations

import socket

from gatepost.plugins.gate.configuration import Limits
from gatepost.plugins.gate.limits import ClientLimits, Connection, established


class Clock:
    """Time that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Kernel:
    """The kernel's table of connections, as a test wants it; a look takes ten milliseconds."""

    def __init__(self, clock: Clock) -> None:
        """Start with no connections."""
        self.connections: set[Connection] = set()
        self.looks = 0
        self._clock = clock

    def __call__(self) -> set[Connection]:
        """Return the established ones."""
        self.looks += 1
        self._clock.now += 0.01
        return set(self.connections)


def limits(*, at_once: int = 0, per_minute: int = 0) -> tuple[ClientLimits, Kernel, Clock]:
    clock = Clock()
    kernel = Kernel(clock)
    return ClientLimits(Limits(at_once, per_minute), kernel, clock), kernel, clock


def test_connections_per_minute() -> None:
    """A password guesser would have all the tries it wants."""
    counted, _, clock = limits(per_minute=3)
    assert [counted.refusal("192.0.2.7") is None for _ in range(5)] == [True] * 3 + [False] * 2
    assert counted.refusal("192.0.2.8") is None, "another client is not to pay for it"
    clock.now += 61
    assert counted.refusal("192.0.2.7") is None


def test_open_connections() -> None:
    """One client would hold every process that Postfix has."""
    counted, kernel, clock = limits(at_once=2)
    for port in (1, 2):
        assert counted.refusal("192.0.2.7") is None
        counted.opened("192.0.2.7", ("10.0.0.1", port))
        kernel.connections.add(("10.0.0.1", port))
    assert "2 connections" in (counted.refusal("192.0.2.7") or "")
    assert counted.refusal("192.0.2.8") is None
    kernel.connections.clear()
    clock.now += 2
    assert counted.refusal("192.0.2.7") is None, "sessions that ended still count"


def test_a_flood_does_not_read_the_kernels_table_each_time() -> None:
    """Refusing would cost more than serving."""
    counted, kernel, clock = limits(at_once=1)
    assert counted.refusal("192.0.2.7") is None
    counted.opened("192.0.2.7", ("10.0.0.1", 1))
    kernel.connections.add(("10.0.0.1", 1))
    for _ in range(1000):
        clock.now += 0.001
        assert counted.refusal("192.0.2.7")
    assert 4 <= kernel.looks <= 6, "a second, of which looking may take a twentieth"


def test_one_session_after_the_other_is_no_crowd() -> None:
    """A busy mail server that opens a session for each message would be refused."""
    counted, _, clock = limits(at_once=50)
    for port in range(1000):
        clock.now += 0.005
        assert counted.refusal("192.0.2.7") is None, port
        counted.opened("192.0.2.7", ("10.0.0.1", port))


def test_what_nobody_has_looked_at_is_no_reason_to_refuse() -> None:
    """A client whose sessions are short would pay for another that keeps everybody looking."""
    counted, kernel, clock = limits(at_once=2)
    for port in (1, 2):
        assert counted.refusal("192.0.2.7") is None
        counted.opened("192.0.2.7", ("10.0.0.1", port))
        kernel.connections.add(("10.0.0.1", port))
    assert counted.refusal("192.0.2.7"), "the control: it is at its limit"
    for port in range(10, 20):
        assert counted.refusal("192.0.2.8") is None
        counted.opened("192.0.2.8", ("10.0.0.1", port))
    kernel.connections |= {("10.0.0.1", port) for port in range(10, 20)}
    clock.now += 1
    assert counted.refusal("192.0.2.8"), "it is at its limit now, and was looked at"


def test_a_port_that_the_proxy_uses_again_is_another_clients() -> None:
    """A client would be refused for the sessions of others."""
    counted, kernel, _ = limits(at_once=1)
    assert counted.refusal("192.0.2.7") is None
    counted.opened("192.0.2.7", ("10.0.0.1", 1))
    assert counted.refusal("192.0.2.8") is None
    counted.opened("192.0.2.8", ("10.0.0.1", 1))
    kernel.connections.add(("10.0.0.1", 1))
    assert counted.refusal("192.0.2.7") is None
    assert counted.refusal("192.0.2.8"), "the control: the one who has it now"


def test_an_ipv6_customer_is_one_client() -> None:
    """A customer has 2^64 addresses; counted one by one, no limit would ever be met."""
    counted, _, _ = limits(per_minute=1)
    assert counted.refusal("2001:db8:1:1::7") is None
    assert counted.refusal("2001:db8:1:1::8")
    assert counted.refusal("2001:db8:1:2::7") is None


def test_a_customer_with_a_56_is_bounded_too() -> None:
    """With a /56, as most lines have, a flood had 256 times the limit."""
    counted, _, clock = limits(per_minute=5)
    passed = [
        counted.refusal(f"2001:db8:1:7{number:02x}::7") is None
        for number in range(256)
        for _ in range(5)
    ]
    assert sum(passed) == 4 * 5
    # The controls: the next /56, and a minute later.
    assert counted.refusal("2001:db8:1:800::7") is None
    clock.now += 61
    assert counted.refusal("2001:db8:1:7ff::7") is None


def test_a_flood_from_one_64_leaves_its_neighbours_alone() -> None:
    """Where a provider gives each customer a /64, one of them would shut out 255 others."""
    counted, _, _ = limits(per_minute=5)
    assert sum(counted.refusal("2001:db8:1:700::7") is None for _ in range(1000)) == 5
    assert all(counted.refusal("2001:db8:1:701::7") is None for _ in range(5))


def test_a_crowd_of_ipv6_clients_is_forgotten_without_a_fault() -> None:
    """The gate would end with the client that fills its memory."""
    counted, _, clock = limits(at_once=5, per_minute=5)
    for number in range(60_000):
        clock.now += 0.0005
        host = f"2001:db8:{number >> 8:x}:{(number & 255) << 8:x}::7"
        assert counted.refusal(host) is None
        counted.opened(host, ("10.0.0.1", number))
    assert len(counted._clients) <= 100_001


def test_open_connections_of_a_56_are_bounded_too() -> None:
    """A crowd of addresses in one customer's network would hold every process that Postfix has."""
    counted, kernel, clock = limits(at_once=2)
    served = 0
    for number in range(40):
        host = f"2001:db8:1:7{number:02x}::7"
        clock.now += 1
        if counted.refusal(host) is None:
            counted.opened(host, ("10.0.0.1", number))
            kernel.connections.add(("10.0.0.1", number))
            served += 1
    assert served == 4 * 2
    kernel.connections.clear()
    clock.now += 2
    assert counted.refusal("2001:db8:1:7ff::7") is None


def test_no_limit() -> None:
    """0 would mean that nobody may connect."""
    counted, kernel, _ = limits()
    assert all(counted.refusal("192.0.2.7") is None for _ in range(1000))
    assert kernel.looks == 0


def test_memory_is_bounded() -> None:
    """A flood from many addresses would fill the memory."""
    counted, _, _ = limits(per_minute=5)
    for number in range(100_500):
        counted.refusal(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(counted._clients) <= 100_000


def test_those_who_are_gone_are_forgotten() -> None:
    """The memory would grow with every address that ever sent a message, for weeks."""
    counted, kernel, clock = limits(at_once=5)
    kernel.connections.add(("10.0.0.1", 1))
    assert counted.refusal("192.0.2.7") is None
    counted.opened("192.0.2.7", ("10.0.0.1", 1))
    for number in range(20_000):
        clock.now += 0.1
        host = f"10.9.{number >> 8}.{number & 255}"
        assert counted.refusal(host) is None
        counted.opened(host, ("10.0.0.1", 2 + number))
    assert len(counted._clients) < 3000
    assert kernel.looks < 100
    assert counted._clients["192.0.2.7"].open == {("10.0.0.1", 1)}


def test_established_sees_real_connections() -> None:
    """Limits would count sessions that ended, and lock a busy client out for good."""
    families = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    for family, host in families:
        with socket.create_server((host, 0), family=family) as server:
            port = server.getsockname()[1]
            client = socket.create_connection((host, port))
            accepted, peer = server.accept()
            assert established({port}) == {peer[:2]}
            client.shutdown(socket.SHUT_WR)
            assert established({port}) == {peer[:2]}, "half-closed is open"
            accepted.close()
            client.close()
            assert established({port}) == set()
