"""Checks of the way in and out, against real servers on which one way is broken."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from breaking import ask_no_name_server, both, changed, failing, postfix_with, read_routes
from instance import Instance, instance
from proving import verify


@pytest.fixture(scope="module")
def breakable() -> Iterator[Instance]:
    """Run a server behind Traefik that tests break and mend."""
    with instance() as found:
        ask_no_name_server(found)
        yield found


@contextlib.contextmanager
def routed(server: Instance, listener: str, *, to: int, announced: bool) -> Iterator[None]:
    """Have Traefik lead a listener to a port, with a PROXY header or without."""
    with changed(server.home / "config" / "current" / "traefik") as folder:
        file = folder / "dynamic.yaml"
        routes = yaml.safe_load(file.read_text())
        balancer = routes["tcp"]["services"][listener]["loadBalancer"]
        balancer["serversTransport"] = "announced" if announced else "plain"
        balancer["servers"] = [{"address": f"{server.addresses.service}:{to}"}]
        file.write_text(yaml.safe_dump(routes))
        read_routes(server)
        yield
    read_routes(server)


def test_a_healthy_server_passes(breakable: Instance) -> None:
    """A false alarm teaches admins to ignore the report."""
    assert verify(breakable).failed == set()


def test_a_proxy_that_sends_no_header_to_one_port_is_found(breakable: Instance) -> None:
    """Nobody could read mail by that port, and the proxy's log says that all is well."""
    with routed(breakable, "pop3", to=31110, announced=False):
        assert failing(verify(breakable), "banner") == both("pop3")


def test_a_proxy_that_hides_its_clients_is_found(breakable: Instance) -> None:
    """Every client would be the proxy: the mistake that this whole program is for."""
    with routed(breakable, "imap", to=32143, announced=False):
        report = verify(breakable)
        assert failing(report, "client-address") == both("imap")
    (row, _) = report.of("client-address", status="fail")
    assert "saw 127.0.0.1 port" in row["observed"] or "clients seen" in row["observed"], row


def test_a_certificate_that_was_renewed_and_not_read_is_found(breakable: Instance) -> None:
    """Months after the renewal every mail program refuses the server on one day."""
    folder = breakable.home / "config" / "current" / "dovecot"
    with changed(folder):
        own = folder / "tls"
        other = other_certificate(breakable.home)
        file = folder / "tls.conf"
        file.write_text(file.read_text().replace(str(own), str(other)))
        reload_dovecot(folder)
        rows = failing(verify(breakable), "tls")
        assert rows == both("imap", "imaps", "pop3", "pop3s", "sieve")
    reload_dovecot(folder)


def other_certificate(folder: Path) -> Path:
    """Make a pair for the same name; return its path without an ending."""
    pair = folder / "other"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "90", "-subj", "/CN=mail.example.org"),
            *("-addext", "subjectAltName=DNS:mail.example.org"),
            *("-out", f"{pair}.crt", "-keyout", f"{pair}.key"),
        ],
        check=True,
        capture_output=True,
    )
    return pair


def reload_dovecot(folder: Path) -> None:
    subprocess.run(["doveadm", "-c", str(folder / "dovecot.conf"), "reload"], check=True)
    time.sleep(1)


def test_mail_that_is_taken_and_lost_is_found(breakable: Instance) -> None:
    """Senders were told 250, and nobody will ever read it."""
    folder = breakable.home / "config" / "current" / "postfix"
    with changed(folder):
        service = "discard/unix=discard unix - - n - - discard"
        subprocess.run(["postconf", "-c", str(folder), "-M", service], check=True)
        with postfix_with(breakable, {"virtual_transport": "discard:"}, {}):
            rows = failing(verify(breakable), "round-trip")
    assert both("smtp", "submission", "submissions") <= rows
