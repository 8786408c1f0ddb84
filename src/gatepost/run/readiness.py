"""Probes of a process: a real connection and a real greeting, never a sleep."""

from __future__ import annotations

import asyncio
import contextlib

from gatepost.model import Address, Endpoint, Readiness

_EACH = 0.5
"""Seconds that one attempt may take; a proxy without its routes holds a connection in silence."""
_AGAIN = 0.04
"""Seconds between attempts."""


async def wait(probes: tuple[Readiness, ...]) -> None:
    """Return when every probe has been answered; the caller sets the limit of time."""
    await asyncio.gather(*(_until(probe) for probe in probes))


async def answers(probes: tuple[Readiness, ...]) -> bool:
    """Tell whether every probe is answered now."""
    return all(await asyncio.gather(*(_answers(probe) for probe in probes)))


async def _until(probe: Readiness) -> None:
    while not await _answers(probe):  # noqa: ASYNC110  another process has no event for us
        await asyncio.sleep(_AGAIN)


async def _connection(to: Endpoint) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(to, Address):
        return await asyncio.open_connection(to.host, to.port)
    return await asyncio.open_unix_connection(to.path)


async def _answers(probe: Readiness) -> bool:
    try:
        async with asyncio.timeout(_EACH):
            reader, writer = await _connection(probe.address)
            try:
                writer.write(probe.asks)
                said = await reader.readexactly(len(probe.greeting))
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, asyncio.IncompleteReadError, TimeoutError):
        return False
    return said == probe.greeting
