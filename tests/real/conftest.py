"""Servers that many tests share; a test that breaks a server starts one of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from accounts import ALICE, PASSWORD, populate
from instance import CLIENT6, Instance, free_host, instance, loopback6
from outside import Outside, outside_world
from postgres import Cluster, cluster


@pytest.fixture(scope="session")
def outside(servers_address: str) -> Iterator[Outside]:
    """Run the rest of the world, which is the relay host of the shared servers."""
    with outside_world(servers_address) as world:
        yield world


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """Run a PostgreSQL server, with a database for each test that asks for one."""
    with cluster() as server:
        yield server


@pytest.fixture(scope="session")
def servers_address() -> str:
    """Return a free address at which the outside world of the shared servers listens."""
    return free_host(2525)


@pytest.fixture(scope="session")
def client6() -> Iterator[str]:
    """Give the loopback interface a second IPv6 address to come from."""
    with loopback6(CLIENT6):
        yield CLIENT6


@pytest.fixture(scope="module")
def own() -> Iterator[Instance]:
    """Run a server that one module may stop and hurt."""
    with instance() as server:
        server.call("domain", "add", "example.org")
        server.call("mailbox", "add", ALICE[0], "--password-stdin", stdin=PASSWORD)
        yield server


@pytest.fixture
def running(own: Instance) -> Instance:
    """Have a module's own server run, whatever the test before has done."""
    if not own.status()["ready"]:
        own.up()
    return own


@pytest.fixture(scope="session")
def behind_traefik(outside: Outside, client6: str) -> Iterator[Instance]:  # noqa: ARG001
    """Run a whole server behind Traefik, as `make up` does."""
    settings = {
        "RELAYHOST": f"[{outside.host}]:{outside.port}",
        "MYNETWORKS": "127.0.0.78/32",
        "MESSAGE_SIZE_LIMIT": "1M",
    }
    with instance(settings) as server:
        populate(server)
        yield server


@pytest.fixture(scope="session")
def direct(outside: Outside, client6: str) -> Iterator[Instance]:  # noqa: ARG001
    """Run a whole server with no proxy in front: the control case."""
    settings = {
        "REVERSE_PROXY": "none",
        "RELAYHOST": f"[{outside.host}]:{outside.port}",
        "MYNETWORKS": "127.0.0.78/32",
        "MESSAGE_SIZE_LIMIT": "1M",
    }
    with instance(settings) as server:
        populate(server)
        yield server


@pytest.fixture(params=["behind_traefik", "direct"])
def server(request: pytest.FixtureRequest) -> Instance:
    """Run the test once through Traefik and once without any proxy."""
    chosen: Instance = request.getfixturevalue(request.param)
    return chosen
