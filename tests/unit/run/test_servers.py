"""Servers elsewhere: noticed when they are away and when they are back."""

from __future__ import annotations

import asyncio

import pytest

from gatepost.model import Address
from gatepost.run import servers


async def listen(port: int = 0) -> asyncio.Server:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    return await asyncio.start_server(hang_up, "127.0.0.1", port)


async def close(server: asyncio.Server) -> None:
    server.close()
    await server.wait_closed()


def test_a_server_is_back_after_it_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Daemons would go on waiting for minutes; or be reloaded over and over for nothing."""
    monkeypatch.setattr(servers, "EVERY", 0.01)
    told: list[str] = []

    async def main() -> None:
        server = await listen()
        address = Address(*server.sockets[0].getsockname())
        found = servers.ServerWatch(lambda: [address], told.append).back()
        coming = asyncio.ensure_future(anext(found))
        await asyncio.sleep(0.1)
        assert not coming.done(), "one that is there has not come back"
        assert not told
        for _ in range(2):
            await close(server)
            while not told or "again" in told[-1]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            assert not coming.done()
            server = await listen(address.port)
            assert await coming == address
            coming = asyncio.ensure_future(anext(found))
        coming.cancel()
        await close(server)

    asyncio.run(asyncio.wait_for(main(), 10))
    assert len(told) == 4, "once for each change"
    assert "does not answer" in told[0]
    assert "answers again" in told[1]


def test_a_server_that_was_away_between_two_looks_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections to it have ended, and a daemon finds out about each only when it asks over it."""
    monkeypatch.setattr(servers, "EVERY", 0.01)
    told: list[str] = []

    async def main() -> None:
        server = await listen()
        address = Address(*server.sockets[0].getsockname())
        watch = servers.ServerWatch(lambda: [address], told.append)
        coming = asyncio.ensure_future(anext(watch.back()))
        await asyncio.sleep(0.1)
        assert not coming.done(), "the control: nothing was missed"
        watch.missed(address)
        assert await coming == address
        await close(server)

    asyncio.run(asyncio.wait_for(main(), 10))
    assert [words.partition(" ")[2] for words in told] == ["answers again"]
