"""IMAP, POP3 and ManageSieve: who may log in, what they find, and how much fits."""

from __future__ import annotations

import base64
import imaplib
import poplib
import time
import unicodedata
import uuid
from typing import Literal

import pytest
from accounts import ALICE, BOB, DISABLED, PASSWORD, READER, SEND_ONLY, SMALL
from clients import From, imap_line, message, read_until, wait_for_mail
from instance import CLIENT, Instance

IMAP = pytest.mark.parametrize("listener", ["imap", "imaps"])
POP3 = pytest.mark.parametrize("listener", ["pop3", "pop3s"])
REFUSED = pytest.mark.parametrize(
    "login",
    [
        pytest.param((ALICE[0], "wrong"), id="wrong-password"),
        pytest.param(("nobody@example.org", PASSWORD), id="unknown-user"),
        pytest.param(DISABLED, id="disabled"),
        pytest.param(SEND_ONLY, id="send-only"),
    ],
)


@IMAP
@REFUSED
def test_imap_refuses(server: Instance, listener: str, login: tuple[str, str]) -> None:
    """Mail would be open to whoever asks."""
    mark = server.mark()
    address, implicit = server.public(listener), listener == "imaps"
    with (
        pytest.raises(imaplib.IMAP4.error, match=r"(?i)authentication"),
        From(CLIENT).imap(address, login, implicit=implicit),
    ):
        pass
    server.wait_for_log(f"rip={CLIENT}", login[0], since=mark)


@POP3
@REFUSED
def test_pop3_refuses(server: Instance, listener: str, login: tuple[str, str]) -> None:
    """Mail would be open to whoever asks."""
    address, implicit = server.public(listener), listener == "pop3s"
    with (
        pytest.raises(poplib.error_proto),
        From(CLIENT).pop3(address, login, implicit=implicit),
    ):
        pass


@REFUSED
def test_sieve_refuses(server: Instance, login: tuple[str, str]) -> None:
    """A stranger could redirect everybody's mail to himself."""
    with (
        pytest.raises(AssertionError, match="NO"),
        From(CLIENT).sieve(server.public("sieve"), login),
    ):
        pass


@pytest.mark.parametrize("kind", ["public", "internal"])
@pytest.mark.parametrize("source", [CLIENT, "127.0.0.1", "same"])
def test_no_login_without_tls(server: Instance, kind: str, source: str) -> None:
    """A password in clear text is lost; that it comes from nearby is no excuse."""
    imap, pop3 = getattr(server, kind)("imap"), getattr(server, kind)("pop3")
    origin = From(imap[0] if source == "same" else source)
    with origin.raw(imap) as stream:
        greeting = read_until(stream, b"\r\n")
        # To a client at its own address Dovecot offers a login, and refuses it all the same.
        offered = source == "same" and b"LOGINDISABLED" not in greeting
        assert (b"LOGINDISABLED" not in greeting) is offered, greeting
        assert (b"AUTH=PLAIN" in greeting) is offered
        stream.sendall(f'a LOGIN {ALICE[0]} "{PASSWORD}"\r\n'.encode())
        read_until(stream, b"a NO")
    with origin.raw(pop3) as stream:
        read_until(stream, b"\r\n")
        stream.sendall(b"CAPA\r\n")
        assert (b"USER" in read_until(stream, b"\r\n.\r\n")) is offered
        stream.sendall(f"USER {ALICE[0]}\r\n".encode())
        answer = read_until(stream, b"\r\n")
        if offered:
            stream.sendall(f"PASS {PASSWORD}\r\n".encode())
            answer = read_until(stream, b"\r\n")
        assert answer.startswith(b"-ERR")


def test_the_password_may_change(server: Instance) -> None:
    """The owner of a leaked password could not put things right at once."""
    user = "changing@example.org"
    server.call("mailbox", "add", user, "--password-stdin", stdin="first password")
    address = server.public("imaps")
    with From(CLIENT).imap(address, (user, "first password"), implicit=True):
        pass
    server.call("mailbox", "passwd", user, "--password-stdin", stdin="second password")
    with From(CLIENT).imap(address, (user, "second password"), implicit=True):
        pass
    server.call("mailbox", "remove", user)


def test_special_folders_exist(server: Instance) -> None:
    """Mail programs would make Sent and Trash folders of their own, each another."""
    with From(CLIENT).imap(server.public("imap"), BOB) as imap:
        _, rows = imap.list()
        _, subscribed = imap.lsub()
    text = b"\n".join(row for row in rows if isinstance(row, bytes)).decode()
    for folder, flag in (
        ("Drafts", "\\Drafts"),
        ("Sent", "\\Sent"),
        ("Junk", "\\Junk"),
        ("Trash", "\\Trash"),
        ("Archive", "\\Archive"),
    ):
        assert [row for row in text.splitlines() if folder in row and flag in row], text
        assert [row for row in subscribed if isinstance(row, bytes) and folder.encode() in row]


def test_an_international_domain_logs_in(server: Instance) -> None:
    """Owners of such a domain could not read their mail."""
    with From(CLIENT).imap(server.public("imaps"), READER, implicit=True) as imap:
        assert imap.select()[0] == "OK"


@pytest.mark.parametrize("domain", ["bücher.example", "bu\u0308cher.example", "BÜCHER.Example"])
def test_a_domain_in_its_own_letters_logs_in(server: Instance, domain: str) -> None:
    """Who types the address as it was given to `mailbox add` would be refused."""
    user = f"lesen@{domain}"
    token = f"\0{user}\0{PASSWORD}".encode()
    with From(CLIENT).imap(server.public("imaps"), implicit=True) as imap:
        assert imap.authenticate("PLAIN", lambda _: token)[0] == "OK"
        assert imap.select()[0] == "OK"
    with From(CLIENT).submission(server.public("submission")) as smtp:
        assert smtp.docmd("AUTH PLAIN", base64.b64encode(token).decode())[0] == 235
        smtp.mail(READER[0])
        assert smtp.rcpt(BOB[0])[0] == 250
    with (
        pytest.raises(imaplib.IMAP4.error),
        From(CLIENT).imap(server.public("imaps"), implicit=True) as imap,
    ):
        imap.authenticate("PLAIN", lambda _: token.replace(b"lesen", b"nobody"))


@pytest.mark.parametrize("given", ["NFC", "NFD"])
def test_a_password_is_composed_or_not(server: Instance, given: Literal["NFC", "NFD"]) -> None:
    """The same keys on another system would be a wrong password."""
    user, password = f"letters-{uuid.uuid4().hex[:8]}@example.org", "Grüße, ça va?"
    server.call("mailbox", "add", user, "--password-stdin", stdin="first")
    text = unicodedata.normalize(given, password)
    server.call("mailbox", "passwd", user, "--password-stdin", stdin=text)
    for secret, right in (
        (unicodedata.normalize("NFC", password), True),
        (unicodedata.normalize("NFD", password), True),
        ("Gru\u0308ße, ça va?", False),
        ("first", False),
    ):
        token = f"\0{user}\0{secret}".encode()
        with From(CLIENT).submission(server.public("submission")) as smtp:
            code = smtp.docmd("AUTH PLAIN", base64.b64encode(token).decode())[0]
        assert code == (235 if right else 535), ascii(secret)
        assert imap_takes(server, token) is right, ascii(secret)
    server.call("mailbox", "remove", user)


def imap_takes(server: Instance, token: bytes) -> bool:
    """Tell whether IMAP lets somebody in with a token of SASL PLAIN."""
    with From(CLIENT).imap(server.public("imaps"), implicit=True) as imap:
        try:
            return imap.authenticate("PLAIN", lambda _: token)[0] == "OK"
        except imaplib.IMAP4.error:
            return False


def test_a_login_is_case_blind(server: Instance) -> None:
    """Phones capitalise the first letter."""
    with From(CLIENT).imap(server.public("imap"), ("Alice@Example.org", PASSWORD)) as imap:
        assert imap.select()[0] == "OK"


def test_mail_is_kept_in_a_maildir(server: Instance) -> None:
    """Backups and migrations rely on one file for each message."""
    subject = uuid.uuid4().hex
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.send_message(message(to=BOB[0], subject=subject))
    wait_for_mail(server.public("imap"), BOB, subject)
    folder = server.home / "mail" / "example.org" / "bob"
    files = [f for f in folder.rglob("*") if f.is_file() and f.parent.name in {"cur", "new"}]
    assert any(subject.encode() in file.read_bytes() for file in files)
    assert {file.owner() for file in files} == {"gatepost-mail"}
    assert not [file for file in files if file.stat().st_mode & 0o007], "readable by anyone"


def test_quota_is_reported_and_warned_about(server: Instance) -> None:
    """A user would learn that the mailbox is full from somebody's bounce."""
    user = (f"warned-{server.settings.get('REVERSE_PROXY', 'traefik')}@example.org", PASSWORD)
    server.call("mailbox", "add", user[0], "--password-stdin", "--quota", "200K", stdin=PASSWORD)
    filler = "\n".join(["z" * 70] * 600)
    for _ in range(4):
        with From(CLIENT).smtp(server.public("smtp")) as smtp:
            smtp.send_message(message(to=user[0], body=filler))
        time.sleep(0.3)
    with From(CLIENT).imap(server.public("imap"), user) as imap:
        assert b"QUOTA" in imap.capability()[1][0]
        _, (_, root) = imap.getquotaroot("INBOX")
        assert b"STORAGE" in root[0], root
        assert b" 200)" in root[0], root
    warning = wait_for_mail(server.public("imap"), user, "80")
    assert b"80" in warning
    assert b"postmaster@example.org" in warning


def test_sizes_may_change(server: Instance) -> None:
    """Somebody who paid for more space would still be refused."""
    server.call("mailbox", "set", SMALL[0], "--quota", "50M")
    try:
        deadline = time.monotonic() + 10
        while True:
            with From(CLIENT).imap(server.public("imap"), SMALL) as imap:
                _, (_, root) = imap.getquotaroot("INBOX")
            if b" 51200)" in root[0]:
                break
            assert time.monotonic() < deadline, root
            time.sleep(0.5)
    finally:
        server.call("mailbox", "set", SMALL[0], "--quota", "100K")


def test_idle_lasts_through_the_proxy(server: Instance) -> None:
    """Phones would poll, or miss mail."""
    subject = uuid.uuid4().hex
    with From(CLIENT).imap(server.public("imap"), ALICE) as imap:
        imap.select()
        imap.send(b"i1 IDLE\r\n")
        imap_line(imap, rb"\+")
        with From(CLIENT).smtp(server.public("smtp")) as smtp:
            smtp.send_message(message(to=ALICE[0], subject=subject))
        imap.sock.settimeout(15)
        imap_line(imap, rb"\* \d+ EXISTS")
        imap.send(b"DONE\r\n")
        imap_line(imap, b"i1 OK")
