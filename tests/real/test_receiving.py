"""Port 25: what strangers may send, to whom, and what they are told."""

from __future__ import annotations

import email
import shutil
import smtplib
import socket
import subprocess
import time
import uuid

import pytest
from accounts import ALICE, BOB, DISABLED, PASSWORD, POSTMASTER, READER, SMALL
from clients import From, lenient, message, wait_for_mail
from instance import CLIENT, Instance
from outside import Outside

FRIEND = "friend@outside.test"


def deliver(server: Instance, recipient: str, *, body: str = "Hello.\n") -> str:
    """Send a message to a recipient from outside and return its subject."""
    subject = uuid.uuid4().hex
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.send_message(message(to=recipient, subject=subject, body=body), to_addrs=[recipient])
    return subject


def refusal(server: Instance, recipient: str, *, sender: str = FRIEND) -> tuple[int, str]:
    """Return what RCPT TO is answered with."""
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.mail(sender)
        code, words = smtp.rcpt(recipient)
        return code, words.decode()


@pytest.mark.parametrize(
    ("recipient", "readers"),
    [
        pytest.param("alice@example.org", [ALICE], id="mailbox"),
        pytest.param("Alice@EXAMPLE.org", [ALICE], id="case"),
        pytest.param("alice+shop@example.org", [ALICE], id="extension"),
        pytest.param("sales@example.org", [ALICE, BOB], id="alias-of-two"),
        pytest.param("sales+eu@example.org", [ALICE, BOB], id="alias-extension"),
        pytest.param("team@example.org", [ALICE, BOB], id="alias-of-an-alias"),
        pytest.param("whoever@catchall.example", [ALICE], id="catch-all"),
        pytest.param("lesen@xn--bcher-kva.example", [READER], id="international-domain"),
        pytest.param("postmaster@example.org", [POSTMASTER], id="postmaster-mailbox"),
        pytest.param("postmaster@xn--bcher-kva.example", [POSTMASTER], id="postmaster-of-a-domain"),
        pytest.param("postmaster@mail.example.org", [POSTMASTER], id="postmaster-of-the-host"),
        pytest.param("postmaster", [POSTMASTER], id="postmaster-alone"),
    ],
)
def test_mail_reaches_whom_it_is_for(
    server: Instance, recipient: str, readers: list[tuple[str, str]]
) -> None:
    """Mail would bounce, or land in the wrong mailbox."""
    subject = deliver(server, recipient)
    for reader in readers:
        assert wait_for_mail(server.public("imap"), reader, subject)


def test_an_alias_may_point_outside(server: Instance, outside: Outside) -> None:
    """Forwarding to a private address would not work."""
    subject = deliver(server, "away@example.org")
    received = outside.wait_for(to="friend@outside.test", subject=subject)
    assert received.message["Subject"] == subject


def test_a_disabled_mailbox_still_receives(server: Instance) -> None:
    """Mail of somebody on leave would bounce; the message waits for the day they are back."""
    subject = deliver(server, DISABLED[0])
    server.call("mailbox", "enable", DISABLED[0])
    try:
        assert wait_for_mail(server.public("imap"), DISABLED, subject)
    finally:
        server.call("mailbox", "disable", DISABLED[0])


@pytest.mark.parametrize(
    ("recipient", "code", "words"),
    [
        pytest.param("nobody@example.org", 550, "5.1.1", id="unknown"),
        pytest.param("alice-x@example.org", 550, "5.1.1", id="not-our-delimiter"),
        pytest.param("noreply@example.org", 550, "5.7.1", id="send-only"),
        pytest.param("noreply+x@example.org", 550, "5.7.1", id="send-only-extension"),
        pytest.param("noreply@catchall.example", 550, "5.7.1", id="send-only-beside-catch-all"),
        pytest.param("somebody@outside.test", 554, "5.7.1", id="relay"),
        pytest.param("somebody%outside.test@example.org", 554, "5.7.1", id="relay-percent"),
        pytest.param('"somebody@outside.test"@example.org', 550, "5.1.1", id="relay-quoted"),
        pytest.param("@example.org:somebody@outside.test", 554, "5.7.1", id="relay-source-route"),
        pytest.param("outside.test!somebody@example.org", 554, "5.7.1", id="relay-bang"),
        pytest.param("root@mail.example.org", 550, "5.1.1", id="system-user"),
    ],
)
def test_what_is_refused_is_refused_at_rcpt(
    server: Instance, recipient: str, code: int, words: str
) -> None:
    """Accepted and bounced later, it would make us a source of backscatter, or a relay."""
    answer, said = refusal(server, recipient)
    assert answer == code or (recipient.count("@") > 1 and answer in {550, 553, 554}), said
    assert words in said or recipient.count("@") > 1, said


def test_a_new_mailbox_is_known_at_once(direct: Instance) -> None:
    """A process that read the accounts before would refuse new mailboxes while it lives."""
    with From(CLIENT).smtp(direct.public("smtp")) as smtp:
        for _ in range(3):
            address = f"{uuid.uuid4().hex}@example.org"
            smtp.mail(FRIEND)
            assert smtp.rcpt(address)[0] == 550
            direct.call("mailbox", "add", address, "--password-stdin", stdin=PASSWORD)
            assert smtp.rcpt(address)[0] == 250
            direct.call("mailbox", "remove", address)
            smtp.rset()
            smtp.mail(FRIEND)
            assert smtp.rcpt(address)[0] == 550
            smtp.rset()


def test_no_relay_for_a_claimed_local_sender(server: Instance) -> None:
    """Spammers write our own address into MAIL FROM."""
    assert refusal(server, "somebody@outside.test", sender=ALICE[0])[0] == 554


def test_over_quota_is_refused_at_rcpt(server: Instance) -> None:
    """The sender would learn of it from a bounce instead of at once."""
    deliver(server, SMALL[0], body="x" * 70 + "\n")
    filler = "\n".join(["y" * 70] * 800)
    for _ in range(4):
        if refusal(server, SMALL[0])[0] != 250:
            break
        deliver(server, SMALL[0], body=filler)
        time.sleep(0.5)
    code, words = refusal(server, SMALL[0])
    assert code == 552, words
    assert "quota" in words.lower() or "5.2.2" in words
    assert refusal(server, ALICE[0])[0] == 250


def test_the_mail_store_keeps_to_limits_itself(server: Instance) -> None:
    """Mail that was queued before a mailbox was full would fill the disk.

    One connection, for its process serves mailboxes with and without a limit in turn.
    """
    full = f"full-{uuid.uuid4().hex[:8]}@example.org"
    server.call("mailbox", "add", full, "--password-stdin", "--quota", "10K", stdin=PASSWORD)
    text = message(to=full, body="\n".join(["y" * 70] * 100)).as_bytes()
    answers = []
    with smtplib.LMTP(str(server.home / "run" / "dovecot" / "lmtp")) as lmtp:
        for recipient in (ALICE[0], full, ALICE[0], full, ALICE[0], full, ALICE[0]):
            lmtp.mail(FRIEND)
            lmtp.rcpt(recipient)
            answers.append(lmtp.data(text)[0])
            lmtp.rset()
    assert answers[::2] == [250] * 4, answers
    assert answers[1] == 250, answers
    assert answers[-2] == 552, answers


def test_mail_from_before_a_limit_counts(server: Instance) -> None:
    """A mailbox is not counted while it has no limit: one that is set would find it empty."""
    account = (f"grown-{uuid.uuid4().hex[:8]}@example.org", PASSWORD)
    server.call("mailbox", "add", account[0], "--password-stdin", stdin=PASSWORD)
    subject = deliver(server, account[0], body="\n".join(["y" * 70] * 300))
    wait_for_mail(server.public("imap"), account, subject)
    assert refusal(server, account[0])[0] == 250
    server.call("mailbox", "set", account[0], "--quota", "10K")
    code, words = refusal(server, account[0])
    assert code == 552, words


def test_port_25_offers_no_login(server: Instance) -> None:
    """Passwords would be guessed at the one port that must stay open to all."""
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        assert not smtp.has_extn("auth")
        assert smtp.docmd("AUTH", "PLAIN AGEAYgBj")[0] in {502, 503}
        smtp.starttls(context=lenient())
        smtp.ehlo()
        assert not smtp.has_extn("auth")
    with (
        From(CLIENT).smtp(server.internal("smtp")) as smtp,
        pytest.raises(smtplib.SMTPNotSupportedError),
    ):
        smtp.login(ALICE[0], PASSWORD)


def test_too_large_is_refused(server: Instance) -> None:
    """A 1 GB message would fill the disk before anybody could refuse it."""
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        assert smtp.esmtp_features["size"] == str(1024 * 1024)
        assert smtp.mail(FRIEND, ["size=2000000"])[0] == 552
        smtp.rset()
        smtp.mail(FRIEND)
        smtp.rcpt(ALICE[0])
        code, words = smtp.data(b"Subject: big\r\n\r\n" + b"z" * 76 * 14000)
        assert code == 552, words


def test_old_tls_is_refused(server: Instance) -> None:
    """TLS 1.0 and 1.1 are broken; a client that insists on them must not be served."""
    import ssl  # noqa: PLC0415

    for version, welcome in (("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)):
        context = lenient()
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        wanted = getattr(ssl.TLSVersion, version)
        context.minimum_version = context.maximum_version = wanted
        for listener in ("imaps", "pop3s", "submissions"):
            with From(CLIENT).raw(server.public(listener)) as stream:
                try:
                    context.wrap_socket(stream).close()
                    served = True
                except (ssl.SSLError, OSError):
                    served = False
            assert served is welcome, (listener, version)


@pytest.mark.parametrize(
    "ending", [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r.\r\n"], ids=repr
)
def test_smtp_smuggling(server: Instance, ending: bytes) -> None:
    """A second message hidden in the first would arrive with a forged sender that passes SPF."""
    hidden, subject = uuid.uuid4().hex, uuid.uuid4().hex
    second = (
        f"MAIL FROM:<ceo@example.org>\r\nRCPT TO:<{BOB[0]}>\r\nDATA\r\n"
        f"Subject: {hidden}\r\n\r\nforged\r\n.\r\n"
    ).encode()
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.mail(FRIEND)
        smtp.rcpt(BOB[0])
        smtp.docmd("DATA")
        assert smtp.sock
        smtp.sock.sendall(f"Subject: {subject}\r\n\r\nfirst".encode() + ending + second)
        try:
            smtp.getreply()
            smtp.quit()
        except (smtplib.SMTPException, OSError):
            pass
    witness = deliver(server, BOB[0])
    wait_for_mail(server.public("imap"), BOB, witness)
    with pytest.raises(AssertionError):
        wait_for_mail(server.public("imap"), BOB, hidden, seconds=0.5)


def test_pipelining_before_the_answer_is_refused(server: Instance) -> None:
    """Only spam programs talk before they are answered."""
    with socket.create_connection(server.public("smtp"), 10, source_address=(CLIENT, 0)) as stream:
        stream.recv(500)
        stream.sendall(b"EHLO a.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<alice@example.org>\r\n")
        stream.settimeout(10)
        said = b""
        while b"5.5.0" not in said and b"503" not in said and b"554" not in said:
            more = stream.recv(2000)
            if not more:
                break
            said += more
        assert b"550 5.1.1" not in said
        assert b"503" in said or b"554" in said, said


def test_a_bounce_returns_to_the_sender(server: Instance, outside: Outside) -> None:
    """A message that cannot be delivered would vanish without a word."""
    assert shutil.which("swaks"), "swaks is missing: run make test, which installs it"
    mark = len(outside.messages)
    subject = uuid.uuid4().hex
    # Accepted for relay by a network that may, refused by the outside world: a bounce follows.
    with From("127.0.0.78").smtp(server.internal("smtp")) as smtp:
        smtp.send_message(
            message(to="refused@outside.test", sender=FRIEND, subject=subject),
            to_addrs=["refused@outside.test"],
        )
    bounce = outside.wait_for(to=FRIEND, since=mark, containing=subject)
    assert bounce.sender == ""
    assert "undelivered" in bounce.message["Subject"].lower()


def test_a_bounce_reaches_a_mailbox(server: Instance) -> None:
    """Our own users would never learn that their message failed."""
    subject = uuid.uuid4().hex
    with From(CLIENT).submission(server.public("submission"), ALICE) as smtp:
        smtp.send_message(
            message(to="refused@outside.test", sender=ALICE[0], subject=subject),
            to_addrs=["refused@outside.test"],
        )
    raw = wait_for_mail(server.public("imap"), ALICE, "Undelivered Mail Returned to Sender")
    assert email.message_from_bytes(raw)["Auto-Submitted"] == "auto-replied"


def test_swaks_agrees(server: Instance) -> None:
    """Another real client must see the same: STARTTLS on port 25, and a message that arrives."""
    host, port = server.public("smtp")
    subject = uuid.uuid4().hex
    done = subprocess.run(
        [
            *("swaks", "--server", host, "--port", str(port), "--local-interface", CLIENT),
            *("--tls", "--helo", "client.test", "--from", FRIEND, "--to", ALICE[0]),
            *("--header", f"Subject: {subject}"),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    raw = wait_for_mail(server.public("imap"), ALICE, subject)
    assert b"using TLSv1.3" in raw
