"""The checks about PROXY headers, on a whole server that is broken in one way after the other.

What is broken is what the daemons and the proxy read. Where a port must answer as none of the
server's does, it gets one more port, and the listener table that verify reads leads there.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from instance import Instance, instance
from proving import Report, verify

HEADER_CHECKS = ("forged-through-proxy", "forged-direct", "missing-header", "header-versions")
LISTENERS = {"smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "sieve"}
CREDULOUS = 33_994
"""An entry point of Traefik's that believes whoever sends a PROXY header."""
LENIENT = 33_996
"""One that believes the proxy's address and serves it without a header, too."""
UNGUARDED = 31_125
"""Postfix's own listener with the PROXY protocol, which believes everyone."""


@dataclass
class Broken:
    """A server that can be broken and mended."""

    server: Instance

    @property
    def config(self) -> Path:
        """Where its daemons read what they are told."""
        return self.server.home / "config" / "current"

    def pid(self, service: str) -> int:
        """Return the process that a service has now."""
        rows = self.server.status()["services"]
        return next(int(row["pid"]) for row in rows if row["name"] == service)

    @contextmanager
    def changed(self, file: str, change: Callable[[str], str], service: str = "") -> Iterator[None]:
        """Change a file for as long as the block lasts, and have a service read it."""
        path = self.config / file
        before = path.read_text()
        after = change(before)
        assert after != before
        path.write_text(after)
        self._read(service)
        try:
            yield
        finally:
            path.write_text(before)
            self._read(service)

    def _read(self, service: str) -> None:
        if service:
            os.kill(self.pid(service), signal.SIGHUP)
            time.sleep(0.7)

    @contextmanager
    def led_to(self, listener: str, place: str, port: int) -> Iterator[None]:
        """Have verify look for a listener at another port of the same address, by IPv4 only."""

        def change(text: str) -> str:
            plan = json.loads(text)
            for bound in plan["topology"]["listeners"]:
                if bound["listener"]["name"] == listener:
                    host = next(a["host"] for a in bound[place] if ":" not in a["host"])
                    bound[place] = [{"host": host, "port": port}]
            return json.dumps(plan)

        with self.changed("plan.json", change):
            yield


@pytest.fixture(scope="module")
def broken() -> Iterator[Broken]:
    """Run a server with three ports more than it should have."""
    with instance() as server:
        found = Broken(server)
        _add_postfix_listener(found)
        _add_entry_points(found)
        yield found


def _add_postfix_listener(broken: Broken) -> None:
    folder = str(broken.config / "postfix")
    name = f"{broken.server.addresses.service}:{UNGUARDED}"

    def postconf(*arguments: str) -> None:
        subprocess.run(["postconf", "-c", folder, *arguments], check=True)

    # What a name server has to say of loopback addresses, and when, is not tested here.
    postconf("-e", "smtpd_peername_lookup=no")
    postconf("-M", f"{name}/inet={name} inet n - n - 100 smtpd")
    postconf("-P", f"{name}/inet/syslog_name=postfix/smtp")
    postconf("-P", f"{name}/inet/smtpd_upstream_proxy_protocol=haproxy")
    postconf("-P", f"{name}/inet/smtpd_upstream_proxy_timeout=3s")
    subprocess.run(["postfix", "-c", folder, "reload"], check=True, capture_output=True)


def _add_entry_points(broken: Broken) -> None:
    folder = broken.config / "traefik"
    static = yaml.safe_load((folder / "traefik.yaml").read_text())
    dynamic = yaml.safe_load((folder / "dynamic.yaml").read_text())
    own, public, service = (
        "127.0.0.1",
        broken.server.addresses.public,
        broken.server.addresses.service,
    )
    static["entryPoints"] |= {
        "credulous": {"address": f"{public}:{CREDULOUS}", "proxyProtocol": {"insecure": True}},
        "lenient": {"address": f"{service}:{LENIENT}", "proxyProtocol": {"trustedIPs": [own]}},
    }
    dynamic["tcp"]["routers"]["imaps"]["entryPoints"] += ["credulous", "lenient"]
    (folder / "traefik.yaml").write_text(yaml.safe_dump(static))
    (folder / "dynamic.yaml").write_text(yaml.safe_dump(dynamic))
    os.kill(broken.pid("traefik"), signal.SIGKILL)
    deadline = time.monotonic() + 15
    for address in ((public, CREDULOUS), (service, LENIENT), broken.server.public("smtp")):
        while socket.socket().connect_ex(address):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def listeners(rows: list[dict[str, Any]]) -> set[str]:
    return {row["listener"] for row in rows}


def only_fails(report: Report, check: str, words: str, *on: str) -> list[dict[str, Any]]:
    """See that nothing but a check fails, on these listeners; return its failed rows."""
    assert report.failed == {check}, report
    rows = report.of(check, status="fail")
    assert listeners(rows) == set(on), report
    for row in rows:
        assert words in row["observed"], row
        assert row["fix"]
    return rows


# --- as it should be ------------------------------------------------------------------------------


def test_a_healthy_server_passes(broken: Broken) -> None:
    """A false alarm teaches admins to ignore the report."""
    report = verify(broken.server)
    assert not report.failed, report
    for check in HEADER_CHECKS:
        rows = report.of(check, status="pass")
        assert len(rows) == 2 * len(LISTENERS), report
        assert listeners(rows) == LISTENERS
    for row in report.of("forged-through-proxy"):
        assert "rip=" in row["witness"] or "connect from " in row["witness"], row
    for row in report.of("forged-direct"):
        assert "421 4.7.0" in row["witness"] or "Client not trusted" in row["witness"], row
    for row in report.of("missing-header"):
        assert row["observed"].startswith("disconnected after 3."), row


def test_a_direct_client_may_be_served_as_itself(broken: Broken) -> None:
    """MTA_DIRECT_CLIENTS=accept is a choice and no hole: its header is a command like another."""
    accept = {"accept_direct": True}
    with broken.changed("gate/gate.json", lambda t: json.dumps(json.loads(t) | accept), "gate"):
        report = verify(broken.server, "--only", "forged-direct")
    assert not report.failed, report
    rows = [row for row in report.of("forged-direct", status="pass") if "smtp" in row["listener"]]
    assert len(rows) == 2, report
    for row in rows:
        assert "was served as itself" in row["observed"]
        assert "connect from " in row["witness"]


# --- broken ---------------------------------------------------------------------------------------


def test_a_proxy_that_believes_its_clients_is_found(broken: Broken) -> None:
    """`proxyProtocol.insecure` is in many a guide, and everybody may then be anybody."""
    with broken.led_to("imaps", "public", CREDULOUS):
        report = verify(broken.server)
    rows = only_fails(report, "forged-through-proxy", "as it claimed", "imaps")
    assert "rip=127.0.0.1, " in rows[0]["witness"]
    assert "proxyProtocol.insecure" in rows[0]["fix"]


def test_postfix_that_believes_everyone_is_found(broken: Broken) -> None:
    """It is what Postfix does by itself: whoever reaches the port is whom it likes."""
    with broken.led_to("smtp", "service", UNGUARDED):
        report = verify(broken.server)
    (row,) = only_fails(report, "forged-direct", "as it claimed", "smtp")
    assert "took 127.0.0.77 for 127.0.0.1:" in row["observed"]
    assert "connect from " in row["witness"]


def test_dovecot_that_believes_everyone_is_found(broken: Broken) -> None:
    """A network too many in one file undoes what the others forbid."""

    def trust_everyone(text: str) -> str:
        return _trust(text, "0.0.0.0/0 ::/0")

    with broken.changed("dovecot/listeners.conf", trust_everyone, "dovecot"):
        report = verify(broken.server)
    rows = only_fails(
        report, "forged-direct", "as it claimed", "imap", "imaps", "pop3", "pop3s", "sieve"
    )
    assert len(rows) == 10
    assert all(" rip=" in row["witness"] for row in rows)


def test_a_port_that_serves_without_a_header_is_found(broken: Broken) -> None:
    """Whoever comes without a header has the proxy's address, which no list ever blocks."""
    with broken.led_to("imaps", "service", LENIENT):
        report = verify(broken.server)
    only_fails(report, "missing-header", "takes clients without a header", "imaps")


def test_a_port_that_waits_for_ever_is_found(broken: Broken) -> None:
    """A proxy without the PROXY protocol would look like a server that hangs."""
    patient = {"header_seconds": 60.0}
    with broken.changed("gate/gate.json", lambda t: json.dumps(json.loads(t) | patient), "gate"):
        report = verify(broken.server)
    rows = only_fails(
        report, "missing-header", "silence instead of a header: still open after", *_SMTP
    )
    assert "MTA_PROXY_HEADER_SECONDS" in rows[0]["fix"]


def test_a_trusted_proxy_that_is_refused_is_found(broken: Broken) -> None:
    """A proxy that moves to IPv6 one day would serve nobody."""

    def forget_ipv6(text: str) -> str:
        return _trust(text, "127.0.0.1")

    with broken.changed("dovecot/listeners.conf", forget_ipv6, "dovecot"):
        report = verify(broken.server)
    rows = only_fails(
        report, "header-versions", "each header from", "imap", "imaps", "pop3", "pop3s", "sieve"
    )
    assert {row["family"] for row in rows} == {"IPv6"}
    assert "Client not trusted" in rows[0]["witness"]
    # What is refused to everyone is not refused for being forged, nor for being no header.
    for check in ("forged-direct", "missing-header"):
        unsure = report.of(check, status="not_proven")
        assert {(r["listener"], r["family"]) for r in unsure} == {
            (r["listener"], r["family"]) for r in rows
        }, report


_SMTP = ("smtp", "submission", "submissions")


def _trust(text: str, networks: str) -> str:
    name = "haproxy_trusted_networks = "
    lines = [name + networks if ln.startswith(name) else ln for ln in text.splitlines()]
    return "\n".join(lines) + "\n"
