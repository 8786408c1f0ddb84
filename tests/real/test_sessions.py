"""Sessions end with the account that they logged in to, and a new owner begins with nothing."""

from __future__ import annotations

import contextlib
import imaplib
import json
import os
import smtplib
import socket
import ssl
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from accounts import BOB, PASSWORD
from clients import From, Sieve, message, wait_for_mail
from instance import CLIENT, Instance, instance
from sleeping import wait_until_all_sleep

from gatepost.accounts.database import database_of
from gatepost.accounts.passwords import hashed
from gatepost.accounts.store import open_store
from gatepost.registry import load

SECONDS = 1.0
"""How soon a session must have ended."""
NEW = "another password of somebody else"


@pytest.fixture(scope="module")
def server() -> Iterator[Instance]:
    """Run a server whose accounts these tests may change."""
    with instance({"REVERSE_PROXY": "none"}) as made:
        made.call("domain", "add", "example.org")
        add(made, BOB[0])
        yield made


@pytest.fixture
def anna(server: Instance) -> Iterator[tuple[str, str]]:
    """Add a mailbox, and remove it afterwards."""
    address = f"anna-{uuid.uuid4().hex[:8]}@example.org"
    add(server, address)
    yield address, PASSWORD
    server.run("mailbox", "remove", address)


def add(server: Instance, address: str, *options: str, password: str = PASSWORD) -> None:
    server.call("mailbox", "add", address, "--password-stdin", *options, stdin=password)


def remove(server: Instance, address: str) -> None:
    server.call("mailbox", "remove", address)


def disable(server: Instance, address: str) -> None:
    server.call("mailbox", "disable", address)


def passwd(server: Instance, address: str) -> None:
    server.call("mailbox", "passwd", address, "--password-stdin", stdin=NEW)


def replace(server: Instance, address: str) -> None:
    """Give the address to somebody else."""
    remove(server, address)
    add(server, address, password=NEW)


def elsewhere(server: Instance, address: str) -> None:
    """Remove it by a command that cannot reach the supervisor, as on another node."""
    with open_store(database_of(load(server.environment))) as store:
        store.remove_mailbox(address)


ALL = (remove, disable, passwd, replace, elsewhere)
CHANGES = pytest.mark.parametrize("change", ALL)
Change = Callable[[Instance, str], None]


def ended(stream: socket.socket | None) -> bool:
    """Tell whether the server closes a connection in time; what it says before is read."""
    assert stream
    deadline = time.monotonic() + SECONDS
    with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
        while True:
            stream.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                if not stream.recv(4096):
                    return True
            except TimeoutError:
                return False
    return True


@pytest.mark.parametrize(
    ("change", "state"),
    [
        *((change, "idle") for change in ALL),
        (remove, "selected"),
        (remove, "authenticated"),
    ],
)
def test_imap_ends(server: Instance, anna: tuple[str, str], change: Change, state: str) -> None:
    """Whoever had the old password would read on, the mail of the next owner too."""
    address = server.public("imaps")
    with From(CLIENT).imap(address, anna, implicit=True) as imap:
        if state != "authenticated":
            imap.select()
        if state == "idle":
            imap.send(b"i1 IDLE\r\n")
            assert imap.readline().startswith(b"+")
        change(server, anna[0])
        assert ended(imap.sock)


@CHANGES
def test_pop3_ends(server: Instance, anna: tuple[str, str], change: Change) -> None:
    """Whoever had the old password would read on."""
    with From(CLIENT).pop3(server.public("pop3s"), anna, implicit=True) as pop3:
        change(server, anna[0])
        assert ended(pop3.sock)


@CHANGES
def test_managesieve_ends(server: Instance, anna: tuple[str, str], change: Change) -> None:
    """Whoever had the old password could redirect the mail of the next owner."""
    sieve = Sieve(server.public("sieve"), CLIENT)
    sieve.login(*anna)
    change(server, anna[0])
    assert ended(sieve._stream)
    sieve._stream.close()


@pytest.mark.parametrize(
    ("change", "listener", "begun"),
    [
        *((change, "submission", "recipient") for change in ALL),
        *((replace, "submissions", begun) for begun in ("nothing", "sender", "recipient", "data")),
    ],
)
def test_submission_ends(
    server: Instance, anna: tuple[str, str], change: Change, listener: str, begun: str
) -> None:
    """An old session would send as the new owner, a message that it had begun before as well."""
    subject = uuid.uuid4().hex
    implicit = listener == "submissions"
    with (
        contextlib.suppress(smtplib.SMTPServerDisconnected),
        From(CLIENT).submission(server.public(listener), anna, implicit=implicit) as smtp,
    ):
        if begun != "nothing":
            assert smtp.mail(anna[0])[0] == 250
        if begun in {"recipient", "data"}:
            assert smtp.rcpt(BOB[0])[0] == 250
        if begun == "data":
            assert smtp.docmd("DATA")[0] == 354
        change(server, anna[0])
        if change is elsewhere:
            time.sleep(SECONDS)
        if begun == "nothing":
            smtp.mail(anna[0])
        if begun in {"nothing", "sender"}:
            answer = smtp.rcpt(BOB[0])
        else:
            if begun == "recipient":
                assert smtp.docmd("DATA")[0] == 354
            text = message(to=BOB[0], sender=anna[0], subject=subject).as_bytes()
            smtp.send(text.replace(b"\n", b"\r\n") + b".\r\n")
            answer = smtp.getreply()
        assert answer[0] == 421, answer
        assert ended(smtp.sock)
    with From(CLIENT).imap(server.public("imaps"), BOB, implicit=True) as imap:
        imap.select()
        assert imap.search(None, "SUBJECT", subject) == ("OK", [b""])


def test_no_message_more(server: Instance, anna: tuple[str, str]) -> None:
    """An old session would send with an empty sender, or after a message that went well."""
    with From(CLIENT).submission(server.public("submission"), anna) as smtp:
        smtp.send_message(message(to=BOB[0], sender=anna[0]))
        replace(server, anna[0])
        smtp.mail("")
        assert smtp.rcpt(BOB[0])[0] == 421


def test_others_are_left_alone(server: Instance, anna: tuple[str, str]) -> None:
    """The control: everybody would be logged out whenever one account changes."""
    star = (f"{anna[0].partition('@')[0][:-1]}*@example.org", PASSWORD)
    add(server, star[0])
    with (
        From(CLIENT).imap(server.public("imaps"), anna, implicit=True) as imap,
        From(CLIENT).pop3(server.public("pop3s"), anna, implicit=True) as pop3,
        From(CLIENT).sieve(server.public("sieve"), anna) as sieve,
        From(CLIENT).submission(server.public("submission"), anna) as smtp,
        From(CLIENT).imap(server.public("imaps"), star, implicit=True) as other,
    ):
        imap.select()
        # An address with a wildcard of doveadm in it.
        remove(server, star[0])
        assert ended(other.sock)
        assert imap.noop()[0] == "OK"
        assert pop3.noop().startswith(b"+OK")
        sieve.command("NOOP")
        smtp.send_message(message(to=BOB[0], sender=anna[0]))


def test_a_new_password_may_leave_sessions_alone(server: Instance, anna: tuple[str, str]) -> None:
    """Owners who change their password could not keep their mail programs connected."""
    with (
        From(CLIENT).imap(server.public("imaps"), anna, implicit=True) as imap,
        From(CLIENT).submission(server.public("submission"), anna) as smtp,
    ):
        server.call("mailbox", "passwd", "--keep-sessions", anna[0], "--password-stdin", stdin=NEW)
        assert imap.noop()[0] == "OK"
        smtp.send_message(message(to=BOB[0], sender=anna[0]))
    with (
        pytest.raises(imaplib.IMAP4.error),
        From(CLIENT).imap(server.public("imaps"), anna, implicit=True),
    ):
        pass


def test_the_new_password_serves_everywhere(server: Instance, anna: tuple[str, str]) -> None:
    """The owner could read and not send, or the reverse, once a password was changed."""
    for _ in range(2):
        passwd(server, anna[0])
    login = (anna[0], NEW)
    subject = uuid.uuid4().hex
    with From(CLIENT).submission(server.public("submission"), login) as smtp:
        smtp.send_message(message(to=anna[0], sender=anna[0], subject=subject))
    wait_for_mail(server.public("imap"), login, subject)


def test_enabling_revives_no_session(server: Instance, anna: tuple[str, str]) -> None:
    """A thief's session would sleep through the time in which the account was disabled."""
    with From(CLIENT).submission(server.public("submission"), anna) as smtp:
        disable(server, anna[0])
        server.call("mailbox", "enable", anna[0])
        smtp.mail(anna[0])
        assert smtp.rcpt(BOB[0])[0] == 421
    with From(CLIENT).submission(server.public("submission"), anna) as smtp:
        smtp.send_message(message(to=BOB[0], sender=anna[0]))


def test_send_only_reads_no_more(server: Instance, anna: tuple[str, str]) -> None:
    """An account that must not read any more would read on."""
    with (
        From(CLIENT).imap(server.public("imaps"), anna, implicit=True) as imap,
        From(CLIENT).submission(server.public("submission"), anna) as smtp,
    ):
        server.call("mailbox", "set", "--send-only", anna[0])
        assert ended(imap.sock)
        smtp.send_message(message(to=BOB[0], sender=anna[0]))


def test_a_removed_domain_ends_sessions(server: Instance) -> None:
    """All accounts of a domain would live on in their sessions."""
    server.call("domain", "add", "leaving.example")
    logins = [(f"{name}@leaving.example", PASSWORD) for name in ("one", "two")]
    with contextlib.ExitStack() as stack:
        sessions = []
        for login in logins:
            add(server, login[0])
            session = From(CLIENT).imap(server.public("imaps"), login, implicit=True)
            sessions.append(stack.enter_context(session))
        server.call("domain", "remove", "--force", "leaving.example")
        assert all(ended(session.sock) for session in sessions)


@pytest.mark.parametrize("change", [remove, elsewhere])
def test_a_sleeping_session_ends(
    server: Instance, anna: tuple[str, str], change: Change, tmp_path: Path
) -> None:
    """A phone in IDLE, which Dovecot puts to sleep, would go on; or all phones would be cut.

    And what root does for it in the mailbox would empty a file that a planted link leads to.
    """
    address = server.public("imaps")
    precious = tmp_path / "precious"
    precious.write_text("precious")
    with (
        From(CLIENT).imap(address, anna, implicit=True) as imap,
        From(CLIENT).imap(address, BOB, implicit=True) as other,
    ):
        for session in (imap, other):
            session.select("Sent" if session is imap else "INBOX")
            if session is imap:
                domain = server.home / "mail" / anna[0].partition("@")[2]
                (folder,) = domain.glob(f"{anna[0].partition('@')[0]}*/Maildir/.Sent/cur")
                (folder / ".wake").symlink_to(precious)
                os.chown(folder / ".wake", *_owner(folder), follow_symlinks=False)
            session.send(b"i1 IDLE\r\n")
            assert session.readline().startswith(b"+")
        wait_until_all_sleep(server)
        change(server, anna[0])
        assert ended(imap.sock)
        assert precious.read_text() == "precious"
        assert not ended(other.sock)
        other.send(b"DONE\r\n")
        assert other.readline().startswith(b"i1 OK")


def _owner(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_uid, found.st_gid


# --- the store ------------------------------------------------------------------------------


def subjects(server: Instance, login: tuple[str, str], folder: str = "INBOX") -> int:
    with From(CLIENT).imap(server.public("imaps"), login, implicit=True) as imap:
        assert imap.select(folder)[0] == "OK"
        return len(imap.search(None, "ALL")[1][0].split())


def deliver(server: Instance, login: tuple[str, str]) -> None:
    subject = uuid.uuid4().hex
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.send_message(message(to=login[0], subject=subject))
    wait_for_mail(server.public("imap"), login, subject)


@pytest.mark.parametrize("how", ["command", "import"])
def test_a_new_owner_begins_with_nothing(server: Instance, anna: tuple[str, str], how: str) -> None:
    """The new owner would read the old one's mail, and the old one's filters would go on."""
    owner = (anna[0], NEW)
    deliver(server, anna)
    with From(CLIENT).sieve(server.public("sieve"), anna) as sieve:
        sieve.put("old", 'require "fileinto"; fileinto "Junk";')
    remove(server, anna[0])
    if how == "command":
        add(server, anna[0], "--quota", "100M", password=NEW)
    else:
        row = {"type": "mailbox", "address": anna[0], "password_hash": hashed(NEW), "quota": "100M"}
        server.call("import", "-", "--format", "jsonl", stdin=f"{json.dumps(row)}\n")
    assert subjects(server, owner) == 0
    deliver(server, owner)
    assert subjects(server, owner) == 1
    with From(CLIENT).sieve(server.public("sieve"), owner) as sieve:
        assert sieve.command("LISTSCRIPTS").splitlines() == ['OK "Listscripts completed."']
    with From(CLIENT).imap(server.public("imaps"), owner, implicit=True) as imap:
        _, (_, root) = imap.getquotaroot("INBOX")
        assert b"(STORAGE 1 " in root[0], root
    old = server.home / "mail" / "example.org" / anna[0].partition("@")[0]
    assert len([f for f in old.rglob("*") if f.parent.name in {"cur", "new"}]) == 1


def test_the_administrator_may_hand_mail_over(server: Instance, anna: tuple[str, str]) -> None:
    """Somebody who removed a mailbox by mistake could not bring its mail back."""
    deliver(server, anna)
    remove(server, anna[0])
    add(server, anna[0])
    deliver(server, anna)
    deliver(server, anna)
    remove(server, anna[0])
    add(server, anna[0], "--old-mail")
    assert subjects(server, anna) == 2
    remove(server, anna[0])
    add(server, anna[0])
    assert subjects(server, anna) == 0


def test_mail_from_before_is_kept_aside(server: Instance) -> None:
    """Mail that was left before folders were on record would go to the next owner."""
    left = server.home / "mail" / "example.org" / "early" / "Maildir" / "cur"
    left.mkdir(parents=True)
    (left / "1.M1.host:2,S").write_text("Subject: early\n\nsecret\n")
    subprocess.run(
        ["chown", "-R", "gatepost-mail:", str(server.home / "mail" / "example.org" / "early")],
        check=True,
    )
    add(server, "early@example.org")
    assert subjects(server, ("early@example.org", PASSWORD)) == 0
    remove(server, "early@example.org")
