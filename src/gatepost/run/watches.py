"""Keeps what watches for ever at work: an unexpected fault ends one look, not all later ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

PAUSE = 10.0
"""Seconds until a watch that has failed is started again."""


async def keep(name: str, watch: Callable[[], Awaitable[None]], say: Callable[[str], None]) -> None:
    """Run a watch until it ends by itself; log what it fails with and start it again."""
    while True:
        try:
            return await watch()
        except Exception as error:  # noqa: BLE001  whatever it is, nothing else would report it
            words = " ".join(str(error).split())
            say(
                f"the watch over {name} has failed ({type(error).__name__}: {words}) and starts "
                f"again in {PAUSE:g} s"
            )
        await asyncio.sleep(PAUSE)
