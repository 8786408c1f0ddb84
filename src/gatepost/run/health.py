"""Health over HTTP, as the probes of a container ask for it: ``/live`` and ``/ready``.

Answered from a thread of its own, from the first moment on: a pod that waits for its database says
so instead of refusing connections. Nothing is logged, however often somebody asks.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus

from gatepost import http_port
from gatepost.errors import PreflightError
from gatepost.http_port import Answer, Request

PORT = 2007
_STUCK_SECONDS = 60.0
"""Without a sign of life for so long the supervisor hangs; its slowest step takes some seconds."""


class Health:
    """The health of this container; anyone may call anything from any thread."""

    def __init__(self) -> None:
        """Begin alive and not ready."""
        self.obstacle: Callable[[], str | None] = lambda: "starting"
        """Returns what is not ready in one line, or None when everything is."""
        self.beat()

    def beat(self) -> None:
        """Give a sign of life."""
        self._alive = time.monotonic()

    def wait_for(self, reason: str) -> None:
        """Be alive and not ready because of this."""
        self.beat()
        self.obstacle = lambda: reason

    def answer(self, path: str) -> tuple[HTTPStatus, str]:
        """Return the answer to a request."""
        if path == "/live":
            silent = time.monotonic() - self._alive
            if silent > _STUCK_SECONDS:
                return HTTPStatus.SERVICE_UNAVAILABLE, f"no sign of life for {silent:.0f} s"
            return HTTPStatus.OK, "alive"
        if path == "/ready":
            obstacle = self.obstacle()
            if obstacle:
                return HTTPStatus.SERVICE_UNAVAILABLE, obstacle
            return HTTPStatus.OK, "ready"
        return HTTPStatus.NOT_FOUND, "ask for /live or /ready"


@contextlib.contextmanager
def serving(health: Health, *, ipv6: bool, port: int = PORT) -> Iterator[None]:
    """Answer on all addresses for as long as a block lasts; raise `PreflightError` when taken."""

    def respond(request: Request) -> Answer:
        status, text = health.answer(request.path)
        return Answer(status, f"{text}\n".encode())

    try:
        listening = http_port.listen("::" if ipv6 else "0.0.0.0", port)  # noqa: S104  for the kubelet
    except OSError as error:
        raise PreflightError(
            f"Port {port}, where health is reported, cannot be opened: {error.strerror}. In a "
            "container of its own nobody else has it; elsewhere set GATEPOST_PLACE=machine."
        ) from None
    with http_port.serving([listening], respond, name="health"):
        yield
