"""Sieve: sorting, forwarding and answering, without a relay for anyone else."""

from __future__ import annotations

import uuid

import pytest
from accounts import ALICE, BOB, PASSWORD
from clients import From, wait_for_mail
from instance import CLIENT, Instance, instance
from outside import Outside
from sieve_scripts import active, send


def test_sorting(server: Instance) -> None:
    """A user's filters would do nothing."""
    with active(server, BOB, 'require ["fileinto"]; fileinto "Archive";'):
        subject = send(server, BOB[0])
        assert wait_for_mail(server.public("imap"), BOB, subject, folder="Archive")


def test_redirect_reaches_the_outside(server: Instance, outside: Outside) -> None:
    """Forwarding by Sieve is what users set up in webmail."""
    with active(server, BOB, 'require "copy"; redirect :copy "elsewhere@outside.test";'):
        subject = send(server, BOB[0])
        received = outside.wait_for(to="elsewhere@outside.test", subject=subject)
        assert wait_for_mail(server.public("imap"), BOB, subject)
    assert received.message["Subject"] == subject


def test_vacation_answers_the_outside(server: Instance, outside: Outside) -> None:
    """Whoever writes to somebody on leave would wait for ever."""
    words = f"I am away {uuid.uuid4().hex}"
    sender = f"asking-{uuid.uuid4().hex[:8]}@outside.test"
    with active(server, BOB, f'require "vacation"; vacation :days 1 "{words}";'):
        send(server, BOB[0], sender=sender)
        answer = outside.wait_for(to=sender)
    assert words in answer.message.as_string()
    assert answer.message["Auto-Submitted"]


@pytest.mark.parametrize("source", [CLIENT, "127.0.0.1", "service"])
def test_nobody_else_gains_a_relay(server: Instance, source: str) -> None:
    """What lets Sieve out must not let a neighbour out: not by address, not by TLS alone."""
    origin = server.addresses.service if source == "service" else source
    for address in (server.public("smtp"), server.internal("smtp")):
        for encrypted in (False, True):
            with From(origin).smtp(address) as smtp:
                if encrypted:
                    smtp.starttls()
                    smtp.ehlo()
                smtp.mail(ALICE[0])
                assert smtp.rcpt("far@outside.test")[0] == 554


def test_redirect_goes_through_the_proxy_when_told_so(outside: Outside) -> None:
    """The reference document points MTA_SMTP_ADDRESS at the proxy; forwarding must still work."""
    with instance({"RELAYHOST": f"[{outside.host}]:{outside.port}"}, start=False) as server:
        server.settings["MTA_SMTP_ADDRESS"] = f"{server.addresses.public}:3325"
        server.up()
        server.call("domain", "add", "example.org")
        server.call("mailbox", "add", BOB[0], "--password-stdin", stdin=PASSWORD)
        with active(server, BOB, 'redirect "proxied@outside.test";'):
            mark = server.mark()
            subject = send(server, BOB[0])
            assert outside.wait_for(to="proxied@outside.test", subject=subject)
            assert "internal" not in server.wait_for_log(
                "to=<proxied@outside.test>", "status=sent", since=mark
            )
