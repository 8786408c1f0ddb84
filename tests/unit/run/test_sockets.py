"""Listening sockets outlive the processes that accept on them."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from gatepost.model import Address, Process, SocketPath
from gatepost.run.child import Child
from gatepost.run.sockets import Sockets
from gatepost.startup import SOCKETS as VARIABLE

HOST = "127.74.0.1"

ACCEPT = f"""
import os, socket
for entry in os.environ["{VARIABLE}"].split(","):
    name, _, descriptor = entry.partition(":")
    accepted, _ = socket.socket(fileno=int(descriptor)).accept()
    accepted.sendall(name.encode())
"""


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    """Return none, and close what a test opens."""
    sockets = Sockets()
    yield sockets
    sockets.close()


def address(free_port: Callable[[], int], host: str = HOST) -> Address:
    return Address(host, free_port())


def answers(where: Address) -> bool:
    """Tell whether somebody listens."""
    try:
        socket.create_connection((where.host, where.port), 3).close()
    except ConnectionRefusedError:
        return False
    return True


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_is_open_stays(sockets: Sockets, free_port: Callable[[], int]) -> None:
    """A restart would reset whoever has connected meanwhile."""
    where = address(free_port)
    sockets.open([("smtp", where)])
    with socket.create_connection((where.host, where.port), 3) as waiting:
        before = sockets.descriptors
        sockets.open([("smtp", where)])
        assert sockets.descriptors == before
        with socket.socket(fileno=os.dup(before[0])) as listening:
            listening.settimeout(3)
            accepted, peer = listening.accept()
            accepted.close()
        assert peer == waiting.getsockname()


def test_what_changed_is_opened_anew(sockets: Sockets, free_port: Callable[[], int]) -> None:
    """A port that was taken from the settings would stay open, a new one closed."""
    one, other = address(free_port), address(free_port)
    sockets.open([("smtp", one)])
    # The same port again, although there were connections on it.
    assert answers(one)
    sockets.open([("smtp", one), ("submission", other)])
    assert answers(one)
    assert answers(other)
    sockets.open([("submission", other)])
    assert not answers(one)
    assert answers(other)
    assert sockets.environment == {VARIABLE: f"submission:{sockets.descriptors[0]}"}


def test_none(sockets: Sockets) -> None:
    """A daemon that has no such sockets would find a variable that names none."""
    sockets.open([])
    assert (sockets.descriptors, sockets.environment) == ((), {})


def test_an_ipv6_socket_is_for_ipv6_only(sockets: Sockets, free_port: Callable[[], int]) -> None:
    """The socket for IPv4 could not be opened beside it: address already in use."""
    port = free_port()
    both = [("smtp", Address("127.0.0.1", port)), ("smtp", Address("::1", port))]
    try:
        sockets.open(both)
    except OSError as error:
        if "::1" not in str(error):
            raise
        pytest.skip("no IPv6 here")
    assert all(answers(where) for _, where in both)
    with socket.socket(fileno=os.dup(sockets.descriptors[1])) as six:
        assert six.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


@pytest.mark.parametrize("host", [HOST, "192.0.2.1", "name.invalid"])
def test_an_error_names_the_address_and_leaves_nothing_open(
    sockets: Sockets, free_port: Callable[[], int], host: str
) -> None:
    """The log would say "address in use" of one of six; half the ports would answer nobody."""
    fine = address(free_port)
    with socket.create_server((HOST, 0)) as taken:
        bad = Address(host, taken.getsockname()[1])
        before = open_descriptors()
        with pytest.raises(OSError, match=r"\w") as told:
            sockets.open([("smtp", fine), ("submission", bad)])
        assert str(told.value).endswith(f": {bad}")
        assert "Unknown error" not in str(told.value)
        assert open_descriptors() == before
        assert not answers(fine)
    assert sockets.descriptors == ()
    # Control: what was in the way is gone.
    if host == HOST:
        sockets.open([("smtp", fine), ("submission", bad)])
        assert answers(fine)


def test_a_child_accepts_on_them_and_the_next_one_too(
    sockets: Sockets, free_port: Callable[[], int]
) -> None:
    """The gate would have no ports; or who connects during its restart would be refused."""
    wanted = [("smtp", address(free_port)), ("submission", address(free_port))]
    process = Process("gate", (sys.executable, "-I", "-S", "-c", ACCEPT))
    said: list[bytes] = []

    async def main() -> None:
        sockets.open(wanted)
        for _ in range(2):
            # They connect while nobody runs.
            streams = [await asyncio.open_connection(a.host, a.port) for _, a in wanted]
            child = await Child.start(process, said.append, sockets)
            async with asyncio.timeout(5):
                assert [await reader.read() for reader, _ in streams] == [b"smtp", b"submission"]
                assert await child.wait() == 0
            for _, writer in streams:
                writer.close()

    asyncio.run(main())
    assert said == []


def test_a_local_socket_is_one_users(sockets: Sockets, tmp_path: Path) -> None:
    """Any user of the machine could guess passwords there."""
    where = SocketPath(tmp_path / "logins", psutil.Process().username())
    where.path.touch()  # what a killed supervisor has left
    sockets.open([("logins", where)])
    assert stat.filemode(where.path.stat().st_mode) == "srw-rw----"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(where))
    sockets.close()
    assert not where.path.exists()


def test_a_local_socket_for_nobody_says_so(sockets: Sockets, tmp_path: Path) -> None:
    """A service would not start, for no reason that anybody reads."""
    with pytest.raises(OSError, match=r'no user "nobody-of-that-name" to open it: .*/logins'):
        sockets.open([("logins", SocketPath(tmp_path / "logins", "nobody-of-that-name"))])
    assert not sockets.descriptors
