"""Sieve: sorting, forwarding and answering, without a relay for anyone else."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

import pytest
from accounts import ALICE, BOB, PASSWORD
from clients import From, message, wait_for_mail
from instance import CLIENT, Instance, instance
from outside import Outside


@contextlib.contextmanager
def script(server: Instance, login: tuple[str, str], text: str) -> Iterator[None]:
    """Have a Sieve script in force for as long as the block lasts."""
    with From(CLIENT).sieve(server.public("sieve"), login) as sieve:
        sieve.put("test", text)
    try:
        yield
    finally:
        with From(CLIENT).sieve(server.public("sieve"), login) as sieve:
            sieve.deactivate()


def send(server: Instance, recipient: str, *, sender: str = "friend@outside.test") -> str:
    """Send a message from outside and return its subject."""
    subject = uuid.uuid4().hex
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.send_message(
            message(to=recipient, sender=sender, subject=subject), sender, [recipient]
        )
    return subject


def test_sorting(server: Instance) -> None:
    """A user's filters would do nothing."""
    with script(server, BOB, 'require ["fileinto"]; fileinto "Archive";'):
        subject = send(server, BOB[0])
        assert wait_for_mail(server.public("imap"), BOB, subject, folder="Archive")


def test_redirect_reaches_the_outside(server: Instance, outside: Outside) -> None:
    """Forwarding by Sieve is what users set up in webmail."""
    with script(server, BOB, 'require "copy"; redirect :copy "elsewhere@outside.test";'):
        subject = send(server, BOB[0])
        received = outside.wait_for(to="elsewhere@outside.test", subject=subject)
        assert wait_for_mail(server.public("imap"), BOB, subject)
    assert received.message["Subject"] == subject


def test_vacation_answers_the_outside(server: Instance, outside: Outside) -> None:
    """Whoever writes to somebody on leave would wait for ever."""
    words = f"I am away {uuid.uuid4().hex}"
    sender = f"asking-{uuid.uuid4().hex[:8]}@outside.test"
    with script(server, BOB, f'require "vacation"; vacation :days 1 "{words}";'):
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
        with script(server, BOB, 'redirect "proxied@outside.test";'):
            mark = server.mark()
            subject = send(server, BOB[0])
            assert outside.wait_for(to="proxied@outside.test", subject=subject)
            assert "internal" not in server.wait_for_log(
                "to=<proxied@outside.test>", "status=sent", since=mark
            )


def test_a_failing_redirect_loses_nothing(server: Instance) -> None:
    """A message whose forwarding fails would be gone."""
    with script(server, BOB, 'redirect "refused@outside.test";'):
        subject = send(server, BOB[0])
        # The outside refuses later, so the sender hears of it; until then it is in our queue.
        server.wait_for_log("refused@outside.test", "status=bounced")
    assert subject
