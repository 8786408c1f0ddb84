"""Sieve as a sender: a script sends in nobody's name but its owner's, and loses nothing."""

from __future__ import annotations

import uuid

import pytest
from accounts import BOB
from clients import From, message, wait_for_mail
from instance import CLIENT, Instance
from outside import Outside
from sieve_scripts import active, send, sent_by, stored

FORGED = "president@outside.test"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            f'require "enotify"; notify :from "{FORGED}" "mailto:{FORGED}";', id="enotify"
        ),
        pytest.param('require "notify"; notify;', id="the-older-notify"),
        pytest.param('require "vnd.dovecot.report"; report "abuse" "x" "a@b.test";', id="report"),
        pytest.param('require "vnd.dovecot.pipe"; pipe "sendmail";', id="a-program"),
        pytest.param('require "editheader"; addheader "From" "a@b.test";', id="editheader"),
    ],
)
def test_scripts_that_send_as_others_are_refused(server: Instance, text: str) -> None:
    """A user could write to hundreds of people a message, with any sender."""
    with (
        From(CLIENT).sieve(server.public("sieve"), BOB) as sieve,
        pytest.raises(AssertionError, match="NO "),
    ):
        sieve.put("test", text)


def test_a_script_that_may_no_longer_run_keeps_the_mail(server: Instance, outside: Outside) -> None:
    """A script from before the refusal would go on sending, or mail would be lost."""
    text = f'require "enotify"; notify :from "{FORGED}" "mailto:notified@outside.test"; discard;'
    with stored(server, BOB[0], text):
        subject = send(server, BOB[0])
        assert wait_for_mail(server.public("imap"), BOB, subject)
    assert not sent_by(outside, "notified@outside.test")


def test_a_redirect_carries_the_owners_address(server: Instance, outside: Outside) -> None:
    """Mail would leave with a sender that its owner may not use."""
    target = f"far-{uuid.uuid4().hex[:8]}@outside.test"
    with active(server, BOB, f'redirect "{target}";'):
        send(server, BOB[0], sender=FORGED)
        assert outside.wait_for(to=target).sender == BOB[0]


def test_redirects_are_counted(server: Instance, outside: Outside) -> None:
    """One message to a mailbox would become any number of messages to strangers."""
    name = uuid.uuid4().hex[:8]
    redirects = "".join(f'redirect "{name}-{n}@outside.test";' for n in range(5))
    with active(server, BOB, redirects):
        subject = send(server, BOB[0])
        assert wait_for_mail(server.public("imap"), BOB, subject)
    assert not [m for m in outside.messages if m.recipients[0].startswith(name)]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            f'require "vacation"; vacation :from "{FORGED}" :handle "HANDLE" "away";', id="vacation"
        ),
        pytest.param('require "reject"; reject "not here";', id="reject"),
    ],
)
def test_an_answer_has_an_empty_sender(server: Instance, outside: Outside, text: str) -> None:
    """A bounce of the answer would reach somebody who never wrote it."""
    asking = f"asking-{uuid.uuid4().hex[:8]}@outside.test"
    with active(server, BOB, text.replace("HANDLE", uuid.uuid4().hex)):
        send(server, BOB[0], sender=asking)
        answer = outside.wait_for(to=asking)
    assert answer.sender == ""
    assert answer.recipients == [asking], "an answer goes to the one who wrote"
    assert str(answer.message["Auto-Submitted"]).startswith("auto-replied")


@pytest.mark.usefixtures("outside")
def test_the_owner_finds_the_bounce_of_a_redirect(server: Instance) -> None:
    """The bounce would be redirected to the very address that refuses, and be gone."""
    target = f"refused-{uuid.uuid4().hex[:8]}@outside.test"
    with active(server, BOB, f'redirect "{target}";'):
        send(server, BOB[0])
        bounce = wait_for_mail(
            server.public("imap"), BOB, "Undelivered Mail Returned to Sender", body=target
        )
    assert b"nobody of that name here" in bounce


def test_mail_with_an_empty_sender_is_never_redirected(server: Instance, outside: Outside) -> None:
    """A redirected bounce that bounces is thrown away: no server may write a third one."""
    target = f"far-{uuid.uuid4().hex[:8]}@outside.test"
    with active(server, BOB, f'redirect "{target}";'):
        subject = send(server, BOB[0], sender="")
        assert wait_for_mail(server.public("imap"), BOB, subject)
        control = send(server, BOB[0])
        assert outside.wait_for(to=target, subject=control)
    assert len(sent_by(outside, target)) == 1


@pytest.mark.parametrize("value", ["not redirected", ":".join(["ab"] * 32)])
@pytest.mark.parametrize("sender", ["friend@outside.test", ""])
def test_the_mark_of_others_is_a_header_like_any_other(
    server: Instance, outside: Outside, sender: str, value: str
) -> None:
    """Whoever writes it into a post to a list would have all members here refuse the list's mail.

    Nor does it stop a redirect: the message would stay where its owner does not look.
    """
    target = f"far-{uuid.uuid4().hex[:8]}@outside.test"
    subject = uuid.uuid4().hex
    mail = message(to=BOB[0], sender="friend@outside.test", subject=subject)
    mail["X-Sieve-Empty-Sender"] = value
    with active(server, BOB, f'require "copy"; redirect :copy "{target}";'):
        for listener in ("public", "internal"):
            with From(CLIENT).smtp(getattr(server, listener)("smtp")) as smtp:
                smtp.send_message(mail, sender, [BOB[0]])
        assert wait_for_mail(server.public("imap"), BOB, subject)
        if sender:
            assert outside.wait_for(to=target, subject=subject)
        else:
            control = send(server, BOB[0])
            assert outside.wait_for(to=target, subject=control)
            assert len(sent_by(outside, target)) == 1


def test_mail_with_an_empty_sender_is_sorted(server: Instance) -> None:
    """Whoever keeps bounces in a folder would find them in the inbox."""
    with active(server, BOB, 'require ["fileinto"]; fileinto "Archive";'):
        subject = send(server, BOB[0], sender="")
        assert wait_for_mail(server.public("imap"), BOB, subject, folder="Archive")


@pytest.mark.parametrize("listener", ["submission", "submissions"])
def test_no_empty_sender_after_login(server: Instance, listener: str) -> None:
    """With the empty sender a thief of one password would write as nobody, in any name."""
    with From(CLIENT).submission(
        server.public(listener), BOB, implicit=listener == "submissions"
    ) as smtp:
        assert smtp.mail("")[0] == 250
        code, words = smtp.rcpt("far@outside.test")
        assert code == 553
        assert b"address of your own" in words
        smtp.rset()
        assert smtp.mail(BOB[0])[0] == 250
        assert smtp.rcpt("far@outside.test")[0] == 250


def test_the_header_is_the_authors(server: Instance, outside: Outside) -> None:
    """The README says that only the envelope is checked; so it must be."""
    subject = uuid.uuid4().hex
    with From(CLIENT).submission(server.public("submission"), BOB) as smtp:
        smtp.send_message(
            message(to="far@outside.test", sender=FORGED, subject=subject),
            BOB[0],
            ["far@outside.test"],
        )
    assert outside.wait_for(to="far@outside.test", subject=subject).sender == BOB[0]
