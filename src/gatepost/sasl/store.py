"""Connections to the mail store: by TCP, or by a UNIX socket of the same machine."""

from __future__ import annotations

import asyncio

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(server: str) -> Streams:
    """Connect to ``HOST:PORT``, or to the path of a UNIX socket. Raises `OSError`."""
    if server.startswith("/"):
        return await asyncio.open_unix_connection(server)
    host, _, port = server.rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), port)
