"""Checks of what the server lets people do, against real servers that let them do too much.

One server is broken behind Gatepost's back in one way after another, and mended each time.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from breaking import ask_no_name_server, both, changed, failing, postfix_with
from instance import CLIENT, Instance, instance
from proving import Report, verify

from gatepost.model import (
    Address,
    BoundListener,
    Certificate,
    Home,
    Listener,
    Protocol,
    Status,
    Tls,
    Topology,
)
from gatepost.verify.check import Proof
from gatepost.verify.checks.auth_offer import auth_offer
from gatepost.verify.clients.mailbox import Login
from gatepost.verify.evidence.logs import LogFile
from gatepost.verify.evidence.witnesses import LogWitness
from gatepost.verify.targets import Target
from gatepost.verify.vantage.here import Here

LOGIN = Login("alice@example.org", "correct horse battery")
POLICY = ("auth-offer", "open-relay", "sender-forgery")


def test_a_healthy_server_passes(direct_server: Instance) -> None:
    """A false alarm about relaying costs an admin a night, and a second one the trust."""
    report = verify(direct_server)
    assert not report.failed, report
    relay = passes_with_all_rows(report)
    # 127.0.0.78 is in MYNETWORKS here, and relaying is its right.
    assert relay["smtp", "IPv4"] == (
        f"13 attempts refused as {CLIENT}; the probe's own mailbox accepted"
    )


def passes_with_all_rows(report: Report) -> dict[tuple[str, str], str]:
    """See that all rows of these checks are there and pass; return what open-relay observed."""
    for check in POLICY:
        assert report.of(check) == report.of(check, status="pass"), report
    assert len(report.of("auth-offer")) == 16
    relay = {(row["listener"], row["family"]): row["observed"] for row in report.of("open-relay")}
    assert set(relay) == both("smtp", "submission", "submissions")
    forgery = {(row["listener"], row["family"]) for row in report.of("sender-forgery")}
    assert forgery == both("submission", "submissions")
    return relay


def test_an_offer_to_the_servers_own_address_is_no_failure(direct_server: Instance) -> None:
    """Where ``::1`` is the only source there is, the row would fail on every healthy server."""
    host, port = direct_server.public("imap")
    row = Listener("imap", Protocol.IMAP, Tls.STARTTLS, port, port, port, port)
    there = (Address(host, port),)
    bound = BoundListener(row, "dovecot", proxied=False, public=there, service=there, internal=())
    run = Proof(
        nonce="0123456789abcdef",
        topology=Topology((bound,), {}, {}, ()),
        mailname="mail.example.org",
        certificate=Certificate(Path("unread"), Path("unread")),
        witness=LogWitness(LogFile(direct_server.log_file), ()),
        login=LOGIN,
        no_login="",
        selected=frozenset({"auth-offer"}),
        vantage=Here(Home(direct_server.home)),
        deadline=time.monotonic() + 5,
    )
    own = auth_offer(run, Target(bound, there[0], (host,)))
    assert own.status is Status.PASS, own
    if subprocess.check_output(["dovecot", "--version"]).startswith(b"2.3."):
        assert "offered to the server's own address only, and refused" in own.observed
    other = auth_offer(run, Target(bound, there[0], (CLIENT,)))
    assert "no login offered, and one tried was refused" in other.observed


# --- one server, broken in many ways --------------------------------------------------------------


@pytest.fixture(scope="module")
def breakable() -> Iterator[Instance]:
    """Run a server behind Traefik that tests break and mend."""
    with instance() as found:
        ask_no_name_server(found)
        yield found


@pytest.fixture(scope="module")
def direct_server() -> Iterator[Instance]:
    """Run a server with no proxy in front, which relays for one address."""
    with instance({"REVERSE_PROXY": "none", "MYNETWORKS": "127.0.0.78/32"}) as found:
        found.call("domain", "add", "example.org")
        found.call("mailbox", "add", LOGIN.address, "--password-stdin", stdin=f"{LOGIN.password}\n")
        ask_no_name_server(found)
        yield found


@contextlib.contextmanager
def dovecot_that_offers_clear_text(server: Instance, *, and_takes_it: bool) -> Iterator[None]:
    """Run Dovecot, of either version, with TLS as a choice.

    Gatepost's query for a password is a second lock: it finds nobody without TLS.
    """
    with changed(server.home / "config" / "current" / "dovecot") as folder:
        for name, demanded, optional in (
            ("tls.conf", "\nssl = required\n", "\nssl = yes\n"),
            ("authentication.conf", "disable_plaintext_auth = yes", "disable_plaintext_auth = no"),
            ("authentication.conf", "auth_allow_cleartext = no", "auth_allow_cleartext = yes"),
        ):
            file = folder / name
            file.write_text(file.read_text().replace(demanded, optional))
        for name in ("sql.conf.ext", "sql.conf") if and_takes_it else ():
            if (file := folder / name).exists():
                file.write_text(file.read_text().replace("' = 'TLS'", "' = 'TLS' OR 1 = 1"))
        reload_dovecot(server, folder, disabled=False)
        yield
    reload_dovecot(server, folder, disabled=True)


def reload_dovecot(server: Instance, folder: Path, *, disabled: bool) -> None:
    subprocess.run(["doveadm", "-c", str(folder / "dovecot.conf"), "reload"], check=True)
    deadline = time.monotonic() + 10
    while True:
        # Whoever comes while Dovecot reads its files again may be sent away.
        with (
            contextlib.suppress(OSError),
            socket.create_connection(
                server.public("imap"), timeout=5, source_address=(CLIENT, 0)
            ) as probe,
        ):
            greeting = probe.recv(4096)
            if greeting and (b"LOGINDISABLED" in greeting) is disabled:
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


# --- logins ---------------------------------------------------------------------------------------


def test_logins_where_none_belong_are_found_in_postfix(breakable: Instance) -> None:
    """Guessers try port 25 first, where nobody looks; a phone in a café tells the whole room."""
    services = {
        "gate-smtp/pass/smtpd_sasl_auth_enable": "yes",
        "gate-submission/pass/smtpd_tls_auth_only": "no",
        "gate-submission/pass/smtpd_tls_security_level": "may",
    }
    with postfix_with(breakable, {}, services):
        report = verify(breakable)
    assert failing(report, "auth-offer") == both("smtp", "submission")
    for row in report.of("auth-offer", status="fail"):
        said = '"AUTH PLAIN LOGIN" offered, and a login was accepted'
        if row["listener"] == "smtp":
            assert row["observed"] == f"after STARTTLS: {said}"
            assert "Port 25 is for other servers" in row["fix"]
        else:
            assert row["observed"] == f"without TLS: {said}"
            assert "demand TLS before a login" in row["fix"]


@pytest.mark.parametrize("taken", [True, False])
def test_passwords_in_clear_text_to_dovecot_are_found(breakable: Instance, *, taken: bool) -> None:
    """An offer alone has mail programs send the password, and refusing it comes too late."""
    with dovecot_that_offers_clear_text(breakable, and_takes_it=taken):
        report = verify(breakable)
    assert failing(report, "auth-offer") == both("imap", "pop3", "sieve")
    words = {row["listener"]: row["observed"] for row in report.of("auth-offer", status="fail")}
    assert words["imap"].startswith('without TLS: "LOGIN AUTH=PLAIN')
    assert words["pop3"].startswith('without TLS: "')
    assert "USER" in words["pop3"]
    assert words["sieve"].startswith('without TLS: "PLAIN')
    end = "offered, and a login was accepted" if taken else "offered; when tried, it was refused"
    assert all(text.endswith(end) for text in words.values())


# --- relaying -------------------------------------------------------------------------------------


def test_trust_for_the_machines_own_network_is_found(breakable: Instance) -> None:
    """Behind a proxy that is the whole world; with a header, whoever claims to be from here."""
    home = "127.0.0.0/8,[::1]/128"
    services = {"gate-smtp/pass/mynetworks": home}
    with postfix_with(breakable, {"mynetworks": home}, services):
        report = verify(breakable)
    assert failing(report, "open-relay") == both("smtp")
    told = {row["family"]: row["observed"] for row in report.of("open-relay", status="fail")}
    assert told["IPv4"].endswith(f" as {CLIENT}")
    assert told["IPv6"].endswith(" as ::1")


def test_a_relay_for_everyone_is_found(breakable: Instance) -> None:
    """Spammers find it within hours, and every block list within a day."""
    main = {
        "smtpd_relay_restrictions": "check_client_access static:OK, reject_unauth_destination",
        "submission_client_restrictions": "permit",
        "submission_relay_restrictions": "check_client_access static:OK, reject",
    }
    with postfix_with(breakable, main, {}):
        report = verify(breakable)
    assert failing(report, "open-relay") == both("smtp", "submission", "submissions")
    for row in report.of("open-relay", status="fail"):
        assert " attempts would relay, such as <" in row["observed"]
        assert row["witness"].startswith("250 2.1.5 Ok")


@pytest.mark.parametrize(
    ("restriction", "told"),
    [
        (
            "check_sender_access inline:{ {postmaster@mail.example.org = OK} }",
            "1 of 13 attempts would relay, such as <postmaster@mail.example.org> to <relay-",
        ),
        (
            "check_recipient_access regexp:{ {/@mail.example.org/ OK} }",
            "@mail.example.org.elsewhere.invalid>",
        ),
    ],
    ids=["by a sender anyone may claim", "by a pattern without end"],
)
def test_a_relay_for_who_knows_the_trick_is_found(
    breakable: Instance, restriction: str, told: str
) -> None:
    """One exception for a friend is one for everybody who has heard of it."""
    main = {"smtpd_relay_restrictions": f"{restriction}, reject_unauth_destination"}
    with postfix_with(breakable, main, {}):
        report = verify(breakable, "--only", "open-relay", "--only", "sender-forgery")
    assert failing(report, "open-relay") == both("smtp")
    for row in report.of("open-relay", status="fail"):
        assert told in row["observed"]


def test_who_refuses_everybody_does_not_pass_as_closed(breakable: Instance) -> None:
    """A server that takes no mail at all proves nothing about relaying."""
    with postfix_with(breakable, {"smtpd_recipient_restrictions": "reject"}, {}):
        report = verify(breakable, "--only", "open-relay", "--only", "sender-forgery")
    assert not report.failed, report
    assert not report.of("open-relay", status="pass")
    assert not report.of("sender-forgery", status="pass")
    for row in report.findings:
        assert "round-trip" in row["fix"]


# --- other people's addresses ---------------------------------------------------------------------


def test_sending_as_somebody_else_is_found(breakable: Instance) -> None:
    """Any user, and whoever guesses the password of one, could write as the director."""
    with postfix_with(breakable, {"submission_sender_restrictions": "reject_non_fqdn_sender"}, {}):
        report = verify(breakable)
    assert failing(report, "sender-forgery") == both("submission", "submissions")
    for row in report.of("sender-forgery", status="fail"):
        assert "it may send as postmaster@mail.example.org, " in row["observed"]
        assert "stranger@elsewhere.invalid" in row["observed"]


def test_a_mended_server_passes_again(breakable: Instance) -> None:
    """What follows a repair must be a pass, or nobody would know that it was one."""
    report = verify(breakable)
    assert not report.failed, report
    relay = passes_with_all_rows(report)
    claimed = "13 attempts refused as {} and {}; the probe's own mailbox accepted"
    assert relay["smtp", "IPv4"] == claimed.format(CLIENT, "127.0.0.1")
    assert " and ::1; " in relay["submissions", "IPv6"]
