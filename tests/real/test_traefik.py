"""How long Traefik holds connections: as long as it takes with a route, not long without."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
import yaml
from breaking import changed, read_routes
from clients import read_until
from instance import Instance, instance

UNROUTED_SECONDS = 5
"""Traefik's ``readTimeout``."""


@pytest.fixture
def server() -> Iterator[Instance]:
    """Run a server of whose routes one is taken away."""
    with (
        instance() as found,
        changed(found.home / "config" / "current" / "traefik") as folder,
    ):
        file = folder / "dynamic.yaml"
        routes = yaml.safe_load(file.read_text())
        del routes["tcp"]["routers"]["pop3"]
        file.write_text(yaml.safe_dump(routes))
        read_routes(found)
        yield found


def test_only_a_client_without_a_route_is_hung_up_on(server: Instance) -> None:
    """Who comes while Traefik starts would wait in vain; who waits for mail would be cut."""
    with (
        socket.create_connection(server.public("imap"), 30) as routed,
        socket.create_connection(server.public("pop3"), 30) as unrouted,
    ):
        read_until(routed, b"* OK")
        begun = time.monotonic()
        assert unrouted.recv(1000) == b""
        waited = time.monotonic() - begun
        assert UNROUTED_SECONDS - 1 < waited < 2 * UNROUTED_SECONDS
        time.sleep(UNROUTED_SECONDS)
        routed.sendall(b"a NOOP\r\n")
        read_until(routed, b"a OK")
