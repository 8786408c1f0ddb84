"""A small HTTP server for small answers: health and metrics.

It runs in a thread of its own. Each peer has a few seconds and a few kilobytes for its whole
request, and only so many peers are held at once: half a request, an endless line or a crowd of
silent peers keeps nobody else from an answer. It asks no name server, and writes no log.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus

_REQUEST_SECONDS = 5.0
"""From the connection to the last byte of the answer."""
_LONGEST_REQUEST = 8192
_MOST_PEERS = 100
"""Peers held at once; one more closes the connection of the one that has been there longest."""
_WORDS_OF_A_REQUEST_LINE = 3


@dataclass(frozen=True, slots=True)
class Request:
    """A request, as far as answers depend on it."""

    path: str
    accept: str
    """The ``Accept`` header; empty when there is none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a request."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


Respond = Callable[[Request], Answer]
"""Returns an answer at once: all peers wait for it."""


@contextlib.contextmanager
def serving(listening: Sequence[socket.socket], respond: Respond, *, name: str) -> Iterator[None]:
    """Answer on listening sockets for as long as a block lasts; then close them."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(_serve(listening, respond, stop)),
        name=name,
        daemon=True,
    )
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket; the IPv6 wildcard takes IPv4 as well. Raise `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, dualstack_ipv6=host == "::")


async def _serve(listening: Sequence[socket.socket], respond: Respond, stop: asyncio.Event) -> None:
    peers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task  # noqa: S101  each peer has one
        peers[task] = writer
        if len(peers) > _MOST_PEERS:
            next(iter(peers.values())).transport.abort()
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                writer.write(await _answer(reader, respond))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError):  # hung up, or out of time
            pass
        finally:
            # Without it a peer that does not read would keep what is still to be sent.
            writer.transport.abort()
            del peers[task]

    servers = [
        await asyncio.start_server(answer, sock=one, limit=_LONGEST_REQUEST) for one in listening
    ]
    await stop.wait()
    for server in servers:
        server.close()
    for writer in peers.values():
        writer.transport.abort()
    await asyncio.gather(*peers)


async def _answer(reader: asyncio.StreamReader, respond: Respond) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return _written(_refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), with_body=True)
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != _WORDS_OF_A_REQUEST_LINE or not words[2].startswith("HTTP/1."):
        return _written(_refusal(HTTPStatus.BAD_REQUEST), with_body=True)
    method, target, _ = words
    if method not in {"GET", "HEAD"}:
        return _written(_refusal(HTTPStatus.METHOD_NOT_ALLOWED), with_body=True)
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines)
    }
    request = Request(target.partition("?")[0], headers.get("accept", ""))
    return _written(respond(request), with_body=method == "GET")


def _refusal(status: HTTPStatus) -> Answer:
    return Answer(status, f"{status.phrase}\n".encode())


def _written(answer: Answer, *, with_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\n"
        f"Content-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\n"
        "Connection: close\r\n\r\n"
    ).encode()
    return head + answer.body if with_body else head
