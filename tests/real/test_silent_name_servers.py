"""What clients and mail notice of name servers that never answer.

The server runs in a mount namespace with a resolv.conf and a hosts file of its own. The name
servers in it are sockets that take each question and say nothing.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from accounts import ALICE, populate
from clients import From, message
from instance import CLIENT, Instance, free_host, instance
from outside import Outside, outside_world

from gatepost.proxy_protocol import build_2

PROXY = "127.0.0.9"
RELAY = "relay.hosts.test"
GREETING_SECONDS = 5.0
START_SECONDS = 20.0
AT_ONCE_SECONDS = 1.0
"""For a greeting that waits for no name; a busy machine takes a part of it."""
NETWORKS = "127.0.0.78/32"


@dataclass(frozen=True)
class Unnamed:
    """A server whose name servers are silent, and how many questions they got."""

    server: Instance
    outside: Outside
    name_servers: list[socket.socket]
    started_after: float
    """How many seconds the start took."""

    def questions(self) -> int:
        """Take the questions that came since the last look, and count them."""
        count = 0
        for one in self.name_servers:
            with contextlib.suppress(BlockingIOError):
                while one.recv(4096, socket.MSG_DONTWAIT):
                    count += 1
        return count


@contextlib.contextmanager
def unnamed(folder: Path, **settings: str) -> Iterator[Unnamed]:
    """Run a server in a namespace with three silent name servers, and a relay host in its hosts."""
    with contextlib.ExitStack() as stack:
        host = free_host(53, 2525)
        outside = stack.enter_context(outside_world(host))
        name_servers = []
        for last in (1, 2, 3):
            one = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            one.bind((f"{host.rpartition('.')[0]}.{last}", 53))
            name_servers.append(one)
        resolv, hosts = folder / "resolv.conf", folder / "hosts"
        resolv.write_text("".join(f"nameserver {s.getsockname()[0]}\n" for s in name_servers))
        # The machine's own name is missing, as in many containers.
        hosts.write_text(f"127.0.0.1 localhost\n{outside.host} {RELAY}\n")
        mounts = (
            f"mount --bind {resolv} /etc/resolv.conf && mount --bind {hosts} /etc/hosts && "
            'exec "$@"'
        )
        within = ("unshare", "--mount", "sh", "-c", mounts, "sh")
        chosen = {"RELAYHOST": f"[{RELAY}]:{outside.port}", "MYNETWORKS": NETWORKS, **settings}
        began = time.monotonic()
        server = stack.enter_context(instance(chosen, within=within))
        started_after = time.monotonic() - began
        populate(server)
        found = Unnamed(server, outside, name_servers, started_after)
        found.questions()
        yield found


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unnamed]:
    """Run a server that clients reach without a proxy."""
    with unnamed(tmp_path_factory.mktemp("direct"), REVERSE_PROXY="none") as found:
        yield found


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unnamed]:
    """Run a server behind the test as its proxy."""
    settings = {
        "REVERSE_PROXY": "none",
        "MTA_UPSTREAM_PROXY": "yes",
        "MTA_DIRECT_CLIENTS": "accept",
        "TRUSTED_PROXIES": PROXY,
    }
    with unnamed(tmp_path_factory.mktemp("proxied"), **settings) as found:
        yield found


def greeted_after(address: tuple[str, int], source: str, header: bytes = b"") -> float:
    """Connect, and return the seconds until the greeting."""
    began = time.monotonic()
    with socket.create_connection(address, 60, source_address=(source, 0)) as stream:
        stream.sendall(header)
        assert stream.recv(100).startswith(b"220 ")
    return time.monotonic() - began


def ways(found: Unnamed, listener: str) -> Iterator[float]:
    """Come by every way to a listener; yield the seconds until each greeting."""
    yield greeted_after(found.server.service(listener), CLIENT)
    if "TRUSTED_PROXIES" in found.server.settings:
        header = build_2(("203.0.113.7", 4711), ("192.0.2.1", 25))
        yield greeted_after(found.server.service(listener), PROXY, header)


@pytest.fixture(params=["direct", "proxied"])
def silent(request: pytest.FixtureRequest) -> Unnamed:
    """Run the test without a proxy, and behind one."""
    chosen: Unnamed = request.getfixturevalue(request.param)
    return chosen


def test_the_server_starts(silent: Unnamed) -> None:
    """Dovecot and its checker would ask for this machine's own name, half a minute each."""
    assert silent.started_after < START_SECONDS


def test_port_25_greets_in_time(silent: Unnamed) -> None:
    """Other servers give up, or come back hours later."""
    for seconds in ways(silent, "smtp"):
        assert seconds < GREETING_SECONDS
        # The control: the name servers were asked, and were waited for.
        assert silent.questions()
        assert seconds > AT_ONCE_SECONDS


@pytest.mark.parametrize("listener", ["submission"])
def test_submission_greets_at_once(silent: Unnamed, listener: str) -> None:
    """A mail program gives up after some seconds and says that the server is broken."""
    for seconds in ways(silent, listener):
        assert seconds < AT_ONCE_SECONDS
        assert not silent.questions()


@pytest.mark.parametrize("listener", ["smtp", "submission"])
def test_internal_ports_greet_at_once(silent: Unnamed, listener: str) -> None:
    """Webmail would take half a minute for each message."""
    assert greeted_after(silent.server.internal(listener), CLIENT) < AT_ONCE_SECONDS
    assert not silent.questions()


def test_implicit_tls_greets_at_once(silent: Unnamed) -> None:
    """The same for the port that mail programs use today."""
    address = silent.server.internal("submissions")
    if "TRUSTED_PROXIES" not in silent.server.settings:
        address = silent.server.service("submissions")
    began = time.monotonic()
    with From(CLIENT).submission(address, ALICE, implicit=True):
        # The login's hash takes some of it.
        assert time.monotonic() - began < 2 * AT_ONCE_SECONDS
    assert not silent.questions()


def test_a_relay_host_of_the_hosts_file_is_found(direct: Unnamed) -> None:
    """All outgoing mail would wait until the name servers are back."""
    mail = message(to="friend@outside.test", sender=ALICE[0], subject="by the hosts file")
    began = time.monotonic()
    with From(CLIENT).submission(direct.server.internal("submission"), ALICE) as smtp:
        smtp.send_message(mail)
    direct.outside.wait_for(to="friend@outside.test", subject="by the hosts file")
    assert time.monotonic() - began < GREETING_SECONDS
