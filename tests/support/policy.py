"""A policy service that remembers: the witness of who Postfix believes its clients are."""

from __future__ import annotations

import contextlib
import socketserver
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Policy:
    """What Postfix has asked (SMTPD_POLICY_README), newest last."""

    address: str
    requests: list[dict[str, str]] = field(default_factory=list)

    def clients(self, port: int, since: int = 0) -> set[str]:
        """Return the client addresses that were asked about with this client port.

        `since` is how many requests to pass over: the kernel gives ports out again.
        """
        asked = self.requests[since:]
        return {r["client_address"] for r in asked if r.get("client_port") == str(port)}

    def wait_for(self, port: int, since: int, seconds: float = 5) -> set[str]:
        """Wait for a request about a client port; return the addresses asked about."""
        deadline = time.monotonic() + seconds
        while not (found := self.clients(port, since)) and time.monotonic() < deadline:
            time.sleep(0.01)
        return found


@contextlib.contextmanager
def policy_service(host: str) -> Iterator[Policy]:
    """Answer Postfix on a port of the kernel's choice; no opinion about anybody."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            request: dict[str, str] = {}
            for line in self.rfile:
                name, _, value = line.decode().rstrip("\n").partition("=")
                if name:
                    request[name] = value
                    continue
                policy.requests.append(request)
                request = {}
                self.wfile.write(b"action=DUNNO\n\n")

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server((host, 0), Handler) as server:
        policy = Policy(f"{host}:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield policy
        finally:
            server.shutdown()
