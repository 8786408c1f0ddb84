"""Whether a process answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from gatepost.model import Address, Readiness, SocketPath
from gatepost.run import readiness


async def greeter(words: bytes, port: int = 0) -> tuple[asyncio.Server, Address]:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        await writer.drain()
        await asyncio.sleep(0.3 if not words else 0)
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", port)
    return server, Address(*server.sockets[0].getsockname())


@pytest.mark.parametrize(
    ("says", "wanted", "ready"),
    [
        (b"220 mail.example.org ESMTP\r\n", b"220 ", True),
        (b"* OK ready\r\n", b"* OK", True),
        (b"421 too busy\r\n", b"220 ", False),
        (b"22", b"220 ", False),
        (b"", b"220 ", False),
        (b"", b"", True),
    ],
)
def test_ready_is_who_greets_as_it_should(
    monkeypatch: pytest.MonkeyPatch, says: bytes, wanted: bytes, *, ready: bool
) -> None:
    """An open port of a daemon that refuses everybody would count as a running server."""
    # Only whoever must be found silent is waited for to the end.
    monkeypatch.setattr(readiness, "_EACH", 10 if ready else 0.05)

    async def main() -> bool:
        server, address = await greeter(says)
        async with server:
            return await readiness.answers((Readiness(address, wanted),))

    assert asyncio.run(main()) is ready


@pytest.mark.parametrize("asks", [b"GET / HTTP/1.0\r\n\r\n", b""], ids=["asked", "silent"])
def test_a_server_that_waits_for_its_client_is_asked(
    monkeypatch: pytest.MonkeyPatch, asks: bytes
) -> None:
    """A port that the supervisor holds is open, whatever became of the website behind it."""
    monkeypatch.setattr(readiness, "_EACH", 10 if asks else 0.05)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        writer.close()

    async def main() -> bool:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            address = Address(*server.sockets[0].getsockname())
            return await readiness.answers((Readiness(address, b"HTTP/1.", asks),))

    assert asyncio.run(main()) is bool(asks)


def test_a_socket_is_asked_as_a_port_is(tmp_path: Path) -> None:
    """A mail store that takes no messages yet would count as ready."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org\r\n")
        writer.close()

    async def main() -> list[bool]:
        path = tmp_path / "lmtp"
        probes = [Readiness(SocketPath(path, "postfix"), said) for said in (b"220 ", b"250 ")]
        before = await readiness.answers((probes[0],))
        async with await asyncio.start_unix_server(greet, path):
            return [before, *[await readiness.answers((probe,)) for probe in probes]]

    assert asyncio.run(main()) == [False, True, False]


def test_a_closed_port_is_not_ready(free_port: Callable[[], int]) -> None:
    """A service that has not opened its port yet would be sent mail."""
    probe = Readiness(Address("127.0.0.1", free_port()))
    assert asyncio.run(readiness.answers((probe,))) is False


def test_no_probe_is_ready() -> None:
    """A process that listens nowhere would never be ready."""
    assert asyncio.run(readiness.answers(())) is True


def test_waiting_ends_with_the_last_probe(free_port: Callable[[], int]) -> None:
    """IMAP answers first, and a user who then sends mail would be refused."""

    async def main() -> tuple[bool, bool]:
        first, one = await greeter(b"220 a\r\n")
        late = Address("127.0.0.1", free_port())
        waiting = asyncio.create_task(
            readiness.wait((Readiness(one, b"220 "), Readiness(late, b"220 ")))
        )
        await asyncio.sleep(0.08)
        before = waiting.done()
        second, _ = await greeter(b"220 b\r\n", late.port)
        async with first, second:
            await asyncio.wait_for(waiting, 2)
        return before, waiting.done()

    assert asyncio.run(main()) == (False, True)
