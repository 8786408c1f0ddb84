"""Health over HTTP, as the probes of a container ask for it: ``/live`` and ``/ready``.

Answered from a thread of its own, from the first moment on: a pod that waits for its database says
so instead of refusing connections. Nothing is logged, however often somebody asks.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from gatepost.errors import PreflightError

PORT = 2007
_STUCK_SECONDS = 60.0
"""Without a sign of life for so long the supervisor hangs; its slowest step takes some seconds."""
_CLIENT_SECONDS = 5.0


class Health:
    """What is told about this container; anyone may call anything from any thread."""

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

    class Handler(BaseHTTPRequestHandler):
        timeout = _CLIENT_SECONDS

        def do_GET(self) -> None:
            status, text = health.answer(self.path)
            body = f"{text}\n".encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name there
            """Write nothing: a line for each probe would bury the mail log."""

    class Server(ThreadingHTTPServer):
        # The IPv6 wildcard takes IPv4 connections too.
        address_family = socket.AF_INET6 if ipv6 else socket.AF_INET

        def server_bind(self) -> None:
            # Without HTTPServer's look-up of the own name, which may wait for a name server.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if ipv6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            self.socket.bind(self.server_address)

        def handle_error(self, request: object, client_address: object) -> None:
            """Write nothing about a prober that hung up."""

    try:
        server = Server(("::" if ipv6 else "0.0.0.0", port), Handler)  # noqa: S104  for the kubelet
    except OSError as error:
        raise PreflightError(
            f"Port {port}, where health is told, cannot be opened: {error.strerror}. In a "
            "container of its own nobody else has it; elsewhere set GATEPOST_PLACE=machine."
        ) from None
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
