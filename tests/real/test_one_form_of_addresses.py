"""An IPv4 client is known by its IPv4 address, in whatever form a proxy or a setting writes it.

The proxy is a real HAProxy with a dual-stack bind, which names IPv4 clients as ``::ffff:a.b.c.d``.
"""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from accounts import ALICE, populate
from clients import From
from instance import Instance, instance

from gatepost.proxy_protocol import build_2

CLIENT = "127.0.0.77"
MAPPED = f"::ffff:{CLIENT}"
LISTENERS = ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "sieve")


@pytest.fixture(scope="module")
def server() -> Iterator[Instance]:
    """Run a server that trusts HAProxy, whose address is set in its IPv6 form."""
    settings = {
        "REVERSE_PROXY": "none",
        "MTA_UPSTREAM_PROXY": "yes",
        "MDA_UPSTREAM_PROXY": "yes",
        "TRUSTED_PROXIES": "::ffff:127.0.0.9",
    }
    with instance(settings) as found:
        populate(found)
        yield found


def free_ports(count: int) -> list[int]:
    """Return ports that are free on all addresses, and that the kernel gives to no client."""
    found: list[int] = []
    for port in random.sample(range(10_000, 30_000), 200):
        with contextlib.suppress(OSError):
            socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True).close()
            found.append(port)
            if len(found) == count:
                return found
    raise RuntimeError("no free ports")


@pytest.fixture(scope="module", params=["send-proxy", "send-proxy-v2"])
def haproxy(
    request: pytest.FixtureRequest, server: Instance, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[str, int]]]:
    """Run HAProxy before all listeners; yield where clients connect."""
    ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))
    blocks = [
        f"listen {name}\n  bind :::{port} v4v6\n"
        f"  server gatepost {host}:{to} {request.param} source 127.0.0.9\n"
        for name, port in ports.items()
        for host, to in [server.service(name)]
    ]
    file: Path = tmp_path_factory.mktemp("haproxy") / "haproxy.cfg"
    timeouts = "  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n"
    file.write_text(f"defaults\n  mode tcp\n{timeouts}" + "".join(blocks))
    with subprocess.Popen(["haproxy", "-db", "-f", str(file)]) as process:
        try:
            deadline = time.monotonic() + 10
            for port in ports.values():
                while True:
                    with contextlib.suppress(ConnectionRefusedError):
                        socket.create_connection(("127.0.0.1", port), 5).close()
                        break
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            yield {name: ("127.0.0.1", port) for name, port in ports.items()}
        finally:
            process.terminate()


@pytest.mark.parametrize("listener", LISTENERS)
def test_both_daemons_log_an_ipv4_client_as_ipv4(
    server: Instance, haproxy: dict[str, tuple[str, int]], listener: str
) -> None:
    """A ban or a rule by address would miss the client on half of the ports."""
    mark = server.mark()
    port = From(CLIENT).visit(haproxy[listener], listener, ALICE)
    if listener.startswith(("smtp", "submission")):
        server.wait_for_log(f"postfix/{listener}/smtpd", f"[{CLIENT}]:{port}", since=mark)
    else:
        server.wait_for_log("-login: ", f" rip={CLIENT}, rport={port}, lip=127.0.0.1, ", since=mark)
    assert MAPPED not in server.log(mark)


def test_a_failed_login_is_logged_so_too(
    server: Instance, haproxy: dict[str, tuple[str, int]]
) -> None:
    """Guessers are whom bans are for."""
    mark = server.mark()
    with pytest.raises(Exception, match="AUTHENTICATIONFAILED"):
        From(CLIENT).visit(haproxy["imap"], "imap", (ALICE[0], "wrong"))
    server.wait_for_log("-login: ", "auth failed", f" rip={CLIENT}, ", since=mark)


@pytest.mark.parametrize("listener", ["smtp", "imap"])
def test_an_ipv6_client_stays_one(server: Instance, listener: str) -> None:
    """The control: what only looks like it would become somebody else's address."""
    for host in ("2001:db8::ffff:7f00:4d", "64:ff9b::7f00:4d", "::ffff:0:7f00:4d"):
        mark = server.mark()
        header = build_2((host, 4711), ("2001:db8::1", 25))
        with socket.create_connection(
            server.service(listener), 10, source_address=("127.0.0.9", 0)
        ) as stream:
            stream.sendall(header)
            assert stream.recv(100)
        canonical = socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, host))
        words = f"[{canonical}]:4711" if listener == "smtp" else f" rip={canonical}, rport=4711, "
        server.wait_for_log(words, since=mark)


def test_a_setting_in_ipv6_form_is_the_ipv4_address(server: Instance) -> None:
    """`TRUSTED_PROXIES=::ffff:10.0.0.2` would be taken and trust nobody."""
    shown = server.run("config", "show").stdout
    assert "127.0.0.9/32" in shown
    assert "::ffff" not in shown
