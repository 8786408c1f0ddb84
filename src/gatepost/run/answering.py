"""The supervisor's end of the control protocol (`gatepost.run.control`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gatepost.model import Home
from gatepost.run import control
from gatepost.run.control import Refused, Request

REQUEST_SECONDS = 5.0
"""Seconds that a program may take to send its request; ours send it at once."""

Handler = Callable[[], Awaitable[Any]]
"""Returns the answer to one kind of request."""


class Answering:
    """Reads requests and writes what their handlers return."""

    def __init__(
        self, handlers: Mapping[Request[Any], Handler], say: Callable[[str], None]
    ) -> None:
        """Take a handler for each request; `say` writes into the log."""
        self._handlers = {request.name: handler for request, handler in handlers.items()}
        self._say = say

    async def listen(self, home: Home) -> asyncio.Server:
        """Open the socket of a home to this user only; one that a dead supervisor left goes."""
        path = control.path(home)
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, str(path))
        path.chmod(0o600)
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                line = await reader.readline()
            answer = control.written(await self._answer(json.loads(line)["do"]))
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError, LookupError, TypeError) as error:
            self._say(f"a request could not be answered: {error!r}")
        finally:
            writer.close()

    async def _answer(self, word: str) -> Any:
        if handler := self._handlers.get(word):
            return await handler()
        self._say(f"a request could not be answered: there is none named {word!r}")
        return Refused(
            f"this supervisor speaks version {control.PROTOCOL} of the control protocol, which "
            f'has no request "{word}"'
        )
