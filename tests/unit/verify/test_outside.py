"""Another machine: what a target may be, and what becomes of checks that cannot look inside."""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from gatepost.errors import UsageError
from gatepost.model import Address, BoundListener, Status, Topology
from gatepost.registry import plugins
from gatepost.settings.concerns import PublicPorts
from gatepost.verify.catalogue import CHECKS
from gatepost.verify.check import Proof
from gatepost.verify.checks import tls
from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.runner import prove
from gatepost.verify.targets import Target, has_route
from gatepost.verify.vantage import outside

NOWHERE = "127.45.45.45"
"""An address of this machine where nobody listens."""


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("0:0::1", "::1"),
        ("localhost", "localhost"),
        ("localhost.", "localhost"),
    ],
)
def test_a_target_is_a_name_or_an_address(target: str, host: str) -> None:
    """However an admin writes it."""
    assert outside.find(target).host == host


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("", "neither a host name nor an IP address"),
        ("mail example", "neither a host name"),
        ("https://mail.example.org/", "neither a host name"),
        ("-v", "neither a host name"),
        ("user@mail.example.org", "neither a host name"),
        ("x" * 64 + ".example.org", "neither a host name"),
        ("a." * 130 + "org", "neither a host name"),
        ("localhost:25", "has a port"),
        ("[::1]:25", "has a port"),
        ("nobody.invalid", "leads to no address"),
    ],
)
def test_a_wrong_target_is_told_with_examples(
    target: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A traceback of the resolver would help nobody."""

    def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(UsageError, match=words) as raised:
        outside.find(target)
    assert f'"{target}"' in str(raised.value)
    assert "192.0.2.1" in str(raised.value)


def test_a_name_server_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The resolver waits half a minute by itself."""

    def slow(*_: object, **__: object) -> list[object]:
        time.sleep(1)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(outside, "_NAME_SERVER_SECONDS", 0.1)
    with pytest.raises(UsageError, match="no answer within"):
        outside.find("mail.example.org")


def machine(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> outside.Machine:
    answers = [(0, 0, 0, "", (address, 0)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    return outside.find("mail.example.org")


def test_the_first_address_of_each_family_is_probed_and_others_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Silence about the third address would pass for a proof of it."""
    found = machine(monkeypatch, "127.0.0.1", "127.0.0.2", "::1")
    assert found.addresses == ("127.0.0.1", "::1")
    assert found.others == ("127.0.0.2",)
    assert "127.0.0.1 and ::1" in found.notes[0]
    assert "127.0.0.2" in found.notes[1]
    assert "--target ADDRESS" in found.notes[1]


def test_a_family_without_a_way_there_is_not_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop without IPv6 must not call the server's IPv6 broken."""
    monkeypatch.setattr(outside, "has_route", lambda address: not address.is_ipv6)
    found = machine(monkeypatch, "127.0.0.1", "2001:db8::1")
    assert found.addresses == ("127.0.0.1",)
    rows = outside.unreached(CHECKS, found)
    assert {row.check for row in rows} == {check.name for check in CHECKS if check.outside}
    assert {(row.family, row.status) for row in rows} == {("IPv6", Status.NOT_PROVEN)}
    assert all("2001:db8::1" in row.observed and row.fix for row in rows)


def test_ports_are_the_standard_ones_or_the_entry_points() -> None:
    """Port 25 is where other servers come; 3325 is where a proxy in a container listens."""
    here = outside.Machine("mail.example.org", ("127.0.0.1", "::1"), (), ())
    standard = outside.subject(here, plugins(), PublicPorts.STANDARD).topology
    assert standard.named("smtp").public == (Address("127.0.0.1", 25), Address("::1", 25))
    entry_points = outside.subject(here, plugins(), PublicPorts.ENTRYPOINTS).topology
    assert entry_points.named("imaps").public[0] == Address("127.0.0.1", 33993)


def test_nobody_there_fails_and_what_needs_the_inside_is_one_row_each() -> None:
    """Nothing is passed that was not seen, and the way to test it is told."""
    there = outside.find(NOWHERE)
    subject = outside.subject(there, plugins(), PublicPorts.ENTRYPOINTS)
    # Ports that nobody uses, whatever else runs on this machine.
    subject = replace(subject, topology=_elsewhere(subject.topology))
    told: list[tuple[int, int]] = []
    found = prove(
        subject,
        CHECKS,
        seconds=3,
        tell=lambda done, total: told.append((done, total)),
    )
    assert {f.status for f in found if f.check == "banner"} == {Status.FAIL}
    assert {f.status for f in found if f.check != "banner"} == {Status.NOT_PROVEN}
    inside = {check.name for check in CHECKS if not check.outside}
    assert inside
    for name in inside:
        (row,) = (f for f in found if f.check == name)
        assert row.listener == "server"
        assert str(row.fix) == f"On {NOWHERE}: gatepost verify --only {name}"
    assert told[-1][0] == told[-1][1] == len(told)


def _elsewhere(topology: Topology) -> Topology:
    def moved(bound: BoundListener) -> BoundListener:
        public = tuple(Address(a.host, a.port % 1000 + 900) for a in bound.public)
        return replace(bound, public=public)

    return replace(topology, listeners=tuple(map(moved, topology.listeners)))


def test_a_machine_to_which_there_is_no_way_is_not_proven() -> None:
    """Without a network nothing can be said, neither good nor bad."""
    lost = outside.Machine("mail.example.org", (), ("192.0.2.1",), ())
    subject = outside.subject(lost, plugins(), PublicPorts.STANDARD)
    found = prove(subject, CHECKS, seconds=3)
    assert {f.status for f in found} == {Status.NOT_PROVEN}
    assert len(found) == len(CHECKS)
    (banner,) = (f for f in found if f.check == "banner")
    assert banner.observed == "no way from this machine to 192.0.2.1"


def test_remedies_for_another_machine_speak_of_that_machine() -> None:
    """`gatepost up` here would not start the server there."""
    machine = outside.Machine("mail.example.org", ("127.0.0.1",), (), ())
    there = outside.subject(machine, plugins(), PublicPorts.STANDARD)
    bound = there.topology.named("smtp")
    target = Target(bound, bound.public[0], ())
    for trouble in Trouble:
        words = there.vantage.remedy(ProbeError(trouble, "x"), target)
        assert words
        assert "gatepost up" not in words
    blocked = there.vantage.remedy(ProbeError(Trouble.UNREACHABLE, "x"), target)
    assert "port 25" in blocked
    assert "mail.example.org" in blocked


def test_routes_are_the_kernels() -> None:
    """Loopback is always there; the other answer depends on the machine."""
    assert has_route(Address("127.0.0.1", 25))
    assert ipaddress.ip_address(NOWHERE).is_loopback
    assert not (Path(os.devnull) / "logs").exists(), "what stands for a log that is not here"


# --- the name in the certificate ------------------------------------------------------------------


def wrong_name(host: str, *names: x509.GeneralName) -> list[tuple[Status, str]]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    run = cast("Proof", SimpleNamespace(mailname=host, vantage=SimpleNamespace(host=host)))
    return [(flaw.status, str(flaw.observed)) for flaw in tls._wrong_name(run, certificate)]


def test_the_name_in_the_certificate_is_held_against_the_target() -> None:
    """Mail programs do the same, and refuse."""
    name = x509.DNSName("mail.example.org")
    assert wrong_name("mail.example.org", name) == []
    assert wrong_name("mail.example.net", name) == [
        (Status.FAIL, "made out for mail.example.org, not for mail.example.net")
    ]


def test_an_address_says_nothing_of_the_name() -> None:
    """Neither a pass nor a failure would be true."""
    name = x509.DNSName("mail.example.org")
    address = x509.IPAddress(ipaddress.ip_address("192.0.2.1"))
    ((status, words),) = wrong_name("192.0.2.1", name)
    assert status is Status.NOT_PROVEN
    assert "probe it by name" in words
    assert wrong_name("192.0.2.1", name, address) == []
