"""Submission: who may send, as whom, and what is told about them."""

from __future__ import annotations

import smtplib
import uuid

import pytest
from accounts import ALICE, BOB, DISABLED, PASSWORD, SEND_ONLY
from clients import From, message, wait_for_mail
from instance import CLIENT, Instance
from outside import Outside

BOTH = pytest.mark.parametrize("listener", ["submission", "submissions"])


def submit(server: Instance, listener: str = "submission", login: tuple[str, str] = ALICE):  # type: ignore[no-untyped-def]  # noqa: ANN201
    """Open a submission session."""
    return From(CLIENT).submission(
        server.public(listener), login, implicit=listener == "submissions"
    )


@BOTH
def test_a_user_sends_to_the_world(server: Instance, outside: Outside, listener: str) -> None:
    """Nobody could write to anybody."""
    subject = uuid.uuid4().hex
    with submit(server, listener) as smtp:
        smtp.send_message(message(to="far@outside.test", sender=ALICE[0], subject=subject))
    received = outside.wait_for(to="far@outside.test", subject=subject)
    assert received.sender == ALICE[0]
    assert CLIENT not in received.message.as_string()
    assert not [h for h in received.message.get_all("Received", []) if "client.test" in h]


@BOTH
@pytest.mark.parametrize(
    ("login", "sender"),
    [
        pytest.param(ALICE, "alice@example.org", id="own"),
        pytest.param(ALICE, "Alice@Example.ORG", id="own-in-capitals"),
        pytest.param(ALICE, "alice+shop@example.org", id="extension"),
        pytest.param(ALICE, "sales@example.org", id="alias"),
        pytest.param(BOB, "team@example.org", id="alias-of-an-alias"),
        pytest.param(ALICE, "anything@catchall.example", id="catch-all"),
        pytest.param(SEND_ONLY, "noreply@example.org", id="send-only"),
    ],
)
def test_own_addresses_may_be_used(
    server: Instance, listener: str, login: tuple[str, str], sender: str
) -> None:
    """A user could not answer from the address that was written to."""
    with submit(server, listener, login) as smtp:
        assert smtp.mail(sender)[0] == 250
        assert smtp.rcpt("far@outside.test")[0] == 250


@BOTH
@pytest.mark.parametrize(
    ("login", "sender"),
    [
        pytest.param(ALICE, "bob@example.org", id="another-mailbox"),
        pytest.param(BOB, "anything@catchall.example", id="another-ones-catch-all"),
        pytest.param(ALICE, "noreply@catchall.example", id="mailbox-beside-own-catch-all"),
        pytest.param(ALICE, "away@example.org", id="alias-that-leads-elsewhere"),
        pytest.param(ALICE, "nobody@example.org", id="unknown-of-our-domain"),
        pytest.param(ALICE, "president@outside.test", id="foreign"),
        pytest.param(SEND_ONLY, "alice@example.org", id="send-only-as-another"),
    ],
)
def test_other_addresses_may_not(
    server: Instance, listener: str, login: tuple[str, str], sender: str
) -> None:
    """One stolen password would let a thief write as everybody."""
    with submit(server, listener, login) as smtp:
        first = smtp.mail(sender)[0]
        code, words = smtp.rcpt("far@outside.test") if first == 250 else (first, b"")
        assert code == 553, words


@BOTH
def test_nothing_without_login(server: Instance, listener: str) -> None:
    """An open relay on the port that users have."""
    with From(CLIENT).submission(
        server.public(listener), implicit=listener == "submissions"
    ) as smtp:
        smtp.mail("alice@example.org")
        assert smtp.rcpt("far@outside.test")[0] in {530, 554, 553}
        assert smtp.rcpt("bob@example.org")[0] in {530, 554, 553}


def test_nothing_without_tls(server: Instance) -> None:
    """A password or a message would cross the network in clear text."""
    with From(CLIENT).smtp(server.public("submission")) as smtp:
        assert not smtp.has_extn("auth")
        assert smtp.docmd("AUTH", "PLAIN AGEAYgBj")[0] in {530, 538}
        assert smtp.mail("alice@example.org")[0] == 530


@BOTH
@pytest.mark.parametrize(
    "login",
    [
        pytest.param((ALICE[0], "wrong"), id="wrong-password"),
        pytest.param(("nobody@example.org", PASSWORD), id="unknown-user"),
        pytest.param(DISABLED, id="disabled"),
        pytest.param(("alice+shop@example.org", PASSWORD), id="an-extension-is-no-login"),
    ],
)
def test_who_may_not_log_in(server: Instance, listener: str, login: tuple[str, str]) -> None:
    """A dismissed employee would still send."""
    mark = server.mark()
    with pytest.raises(smtplib.SMTPAuthenticationError), submit(server, listener, login):
        pass
    line = server.wait_for_log("authentication failed", since=mark)
    assert CLIENT in line, "a ban would hit the wrong host"


def test_a_send_only_account_can_send_and_not_read(server: Instance, outside: Outside) -> None:
    """A program that sends invoices needs no mailbox, and a thief of its password gets none."""
    subject = uuid.uuid4().hex
    with submit(server, "submissions", SEND_ONLY) as smtp:
        smtp.send_message(message(to="far@outside.test", sender=SEND_ONLY[0], subject=subject))
    assert outside.wait_for(to="far@outside.test", subject=subject).sender == SEND_ONLY[0]


@BOTH
def test_mail_between_users(server: Instance, listener: str) -> None:
    """Colleagues could not write to each other."""
    subject = uuid.uuid4().hex
    with submit(server, listener) as smtp:
        smtp.send_message(message(to=BOB[0], sender=ALICE[0], subject=subject))
    assert wait_for_mail(server.public("imap"), BOB, subject)


def test_what_the_user_wrote_stays(server: Instance) -> None:
    """Hiding the client must not touch a header or a forwarded message of the user's."""
    subject = uuid.uuid4().hex
    mail = message(to=BOB[0], sender=ALICE[0], subject=subject)
    mail["Received"] = (
        "from somewhere.test ([192.0.2.7]) by else.test; Mon, 1 Jan 2026 00:00:00 +0000"
    )
    mail["X-Note"] = "keep me"
    with submit(server) as smtp:
        smtp.send_message(mail)
    raw = wait_for_mail(server.public("imap"), BOB, subject)
    assert b"192.0.2.7" in raw
    assert b"keep me" in raw
    assert CLIENT.encode() not in raw
