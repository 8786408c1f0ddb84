"""What is stored as it came: long lines, the address that was written to; and a full mailbox."""

from __future__ import annotations

import uuid

import pytest
from accounts import ALICE, BOB, PASSWORD
from clients import From, message, wait_for_mail
from instance import CLIENT, Instance
from outside import Outside
from sieve_scripts import active, send

LONG_LINES = (
    b"a" * 999,
    b"b" * 5000,
    ("ü" * 3001).encode(),
    b"x" + ("€" * 2000).encode(),
)


@pytest.mark.parametrize("listener", ["smtp", "submission"])
def test_long_lines_are_stored_as_received(server: Instance, listener: str) -> None:
    """A signature of the message would no longer fit, and characters would be broken."""
    subject = uuid.uuid4().hex
    body = b"\r\n".join(LONG_LINES) + b"\r\n"
    head = f"From: {BOB[0]}\r\nTo: {ALICE[0]}\r\nSubject: {subject}\r\n\r\n"
    client = From(CLIENT)
    with (
        client.smtp(server.public("smtp"))
        if listener == "smtp"
        else client.submission(server.public("submission"), BOB)
    ) as smtp:
        sender = "friend@outside.test" if listener == "smtp" else BOB[0]
        smtp.sendmail(sender, [ALICE[0]], head.encode() + body)
    assert wait_for_mail(server.public("imap"), ALICE, subject).endswith(b"\r\n\r\n" + body)


def test_a_script_sees_the_alias(server: Instance) -> None:
    """Whoever sorts by the address that was written to would sort nothing."""
    text = (
        'require ["envelope", "fileinto"];'
        'if envelope :is "to" "sales@example.org" { fileinto "Archive"; }'
    )
    with active(server, BOB, text):
        by_alias, directly = send(server, "sales@example.org"), send(server, BOB[0])
        assert wait_for_mail(server.public("imap"), BOB, by_alias, folder="Archive")
        assert wait_for_mail(server.public("imap"), BOB, directly)


def test_a_script_sees_the_extension(server: Instance) -> None:
    """Whoever sorts by address extension would sort nothing."""
    text = (
        'require ["envelope", "subaddress", "fileinto"];'
        'if envelope :detail "to" "lists" { fileinto "Archive"; }'
    )
    with active(server, BOB, text):
        subject = send(server, "bob+lists@example.org")
        assert wait_for_mail(server.public("imap"), BOB, subject, folder="Archive")


@pytest.mark.parametrize("address", ["sales@example.org", "team@example.org", "bob@example.org"])
def test_a_vacation_answers_for_every_address(
    server: Instance, outside: Outside, address: str
) -> None:
    """Whoever writes to an alias of somebody on leave would wait for ever."""
    asking = f"asking-{uuid.uuid4().hex[:8]}@outside.test"
    text = f'require "vacation"; vacation :handle "{uuid.uuid4().hex}" "away";'
    with active(server, BOB, text):
        send(server, address, sender=asking)
        answer = outside.wait_for(to=asking)
    assert answer.message["From"] == address, "an answer tells where an alias leads"


def test_a_vacation_does_not_answer_a_blind_copy(server: Instance, outside: Outside) -> None:
    """An answer would tell that somebody was written to behind the others' backs."""
    asking = f"asking-{uuid.uuid4().hex[:8]}@outside.test"
    text = f'require "vacation"; vacation :handle "{uuid.uuid4().hex}" "away";'
    with active(server, BOB, text):
        mail = message(to=ALICE[0], sender=asking, subject=uuid.uuid4().hex)
        with From(CLIENT).smtp(server.public("smtp")) as smtp:
            smtp.send_message(mail, asking, [ALICE[0], "sales@example.org"])
        assert wait_for_mail(server.public("imap"), BOB, mail["Subject"])
        send(server, BOB[0], sender=asking)
        outside.wait_for(to=asking)
    assert len([m for m in outside.messages if asking in m.recipients]) == 1


def test_delivered_to_names_ones_own_address_and_no_other(server: Instance) -> None:
    """Readers of a message would learn who got a blind copy."""
    mail = message(to=ALICE[0], subject=uuid.uuid4().hex)
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.send_message(mail, "friend@outside.test", [ALICE[0], "bob+secret@example.org"])
    to_alice = wait_for_mail(server.public("imap"), ALICE, mail["Subject"])
    to_bob = wait_for_mail(server.public("imap"), BOB, mail["Subject"])
    assert b"\r\nDelivered-To: alice@example.org\r\n" in to_alice
    assert b"bob" not in to_alice
    assert b"\r\nDelivered-To: bob+secret@example.org\r\n" in to_bob


@pytest.mark.parametrize("listener", ["smtp", "submission"])
def test_receipts_of_servers_are_not_offered(server: Instance, listener: str) -> None:
    """The mail store would refuse such a message, and it would bounce."""
    client = From(CLIENT)
    with (
        client.smtp(server.public("smtp"))
        if listener == "smtp"
        else client.submission(server.public("submission"), BOB)
    ) as smtp:
        assert not smtp.has_extn("dsn")
        assert smtp.mail(BOB[0])[0] == 250
        assert smtp.rcpt(ALICE[0], ["NOTIFY=SUCCESS"])[0] == 501


@pytest.mark.parametrize("how", ["all at once", "one by one"])
def test_a_mailbox_over_its_limit_can_be_emptied(direct: Instance, how: str) -> None:
    """Its owner could delete nothing, and would get no mail for ever."""
    login = (f"full-{uuid.uuid4().hex[:8]}@example.org", PASSWORD)
    direct.call("mailbox", "add", login[0], "--quota", "200K", "--password-stdin", stdin=PASSWORD)
    for size in (90_000, 90_000, 700_000):
        assert wait_for_mail(
            direct.public("imap"), login, send(direct, login[0], body="x" * 60 + "\n" + "y" * size)
        )
    with From(CLIENT).smtp(direct.public("smtp")) as smtp:
        smtp.mail("friend@outside.test")
        assert smtp.rcpt(login[0])[0] == 552, "the mailbox is not full"
    with From(CLIENT).imap(direct.public("imap"), login) as imap:
        (count,) = imap.select("INBOX")[1]
        assert count
        for which in ["1:*"] if how == "all at once" else ["1"] * int(count):
            assert imap.copy(which, "Trash")[0] == "OK"
            imap.store(which, "+FLAGS", r"(\Deleted)")
            imap.expunge()
        assert imap.search(None, "ALL")[1] == [b""]
        assert imap.select("Trash")[1] == [count]
        imap.store("1:*", "+FLAGS", r"(\Deleted)")
        imap.expunge()
    assert wait_for_mail(direct.public("imap"), login, send(direct, login[0]))
