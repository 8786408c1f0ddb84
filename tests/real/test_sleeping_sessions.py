"""What a session in IDLE reports after Dovecot has put it to sleep and woken it."""

from __future__ import annotations

import contextlib
import imaplib
import uuid
from collections.abc import Iterator

import pytest
from accounts import PASSWORD
from clients import From, imap_line
from instance import CLIENT, Instance, instance
from sleeping import dovecot_with, wait_until_all_sleep

ADMIN = ("admin@example.org", PASSWORD)
NOT_OFFERED = r"(?s)\n# QRESYNC .*?\nimap_capability( =[^\n]*| \{.*?\n\})\n"
"""What takes QRESYNC out of the list, in both dialects."""
GONE = rb"\* (\d+ EXPUNGE|VANISHED )"


@pytest.fixture(scope="module")
def server() -> Iterator[Instance]:
    """Run a server in which sessions fall asleep after a second."""
    with instance({"REVERSE_PROXY": "none"}) as made:
        made.call("domain", "add", "example.org")
        made.call("mailbox", "add", ADMIN[0], "--password-stdin", stdin=PASSWORD)
        soon = (r"(imap_hibernate_timeout =) \S+", r"\1 1s")
        with dovecot_with(made, ADMIN, "processes.conf", *soon):
            yield made


@pytest.fixture
def anna(server: Instance) -> tuple[str, str]:
    """Add a mailbox with three messages."""
    login = (f"anna-{uuid.uuid4().hex[:8]}@example.org", PASSWORD)
    server.call("mailbox", "add", login[0], "--password-stdin", stdin=PASSWORD)
    with session(server, login) as imap:
        for number in range(3):
            imap.append("INBOX", "", None, b"Subject: %d\r\n\r\n%d\r\n" % (number, number))
    return login


@contextlib.contextmanager
def session(server: Instance, login: tuple[str, str]) -> Iterator[imaplib.IMAP4]:
    with From(CLIENT).imap(server.public("imaps"), login, implicit=True) as imap:
        yield imap


def offered(imap: imaplib.IMAP4) -> set[str]:
    """Return what a server says it can do; after the login, which adds to it."""
    listed = imap.capability()[1][-1]
    return set(listed.decode().split())


def heard_after_sleep(server: Instance, login: tuple[str, str], feature: str) -> bytes:
    """Return how a session hears that the second of three messages is gone, after a sleep."""
    with session(server, login) as imap:
        imap.enable(feature)
        imap.select()
        imap.send(b"i1 IDLE\r\n")
        assert imap.readline().startswith(b"+")
        wait_until_all_sleep(server)
        with session(server, login) as other:
            other.select()
            other.store("2", "+FLAGS", r"(\Deleted)")
            other.expunge()
        heard = imap_line(imap, GONE)
        imap.send(b"DONE\r\n")
        imap_line(imap, rb"i1 OK")
        # What is left has the numbers that follow from what was heard.
        assert imap.uid("FETCH", "3", "(UID)")[1] == [b"2 (UID 3)"]
    return heard.strip()


def test_a_sleeper_hears_what_it_was_promised(server: Instance, anna: tuple[str, str]) -> None:
    """A mail program would drop the connection, or take the wrong message out of its list."""
    with session(server, anna) as imap:
        has_qresync = "QRESYNC" in offered(imap)
    heard = heard_after_sleep(server, anna, "QRESYNC" if has_qresync else "CONDSTORE")
    assert heard == (b"* VANISHED 2" if has_qresync else b"* 2 EXPUNGE")


def test_only_qresync_is_missing(server: Instance, anna: tuple[str, str]) -> None:
    """Programs would do without what the list lost; a flag would be lost without CONDSTORE."""
    with session(server, anna) as imap:
        ours = offered(imap)
    with (
        dovecot_with(server, ADMIN, "processes.conf", NOT_OFFERED, "\n"),
        session(server, anna) as imap,
    ):
        dovecots = offered(imap)
    assert dovecots - ours == {"QRESYNC"}
    assert ours - dovecots == set()
    assert "CONDSTORE" in ours


def test_qresync_must_be_enabled_first(server: Instance, anna: tuple[str, str]) -> None:
    """A program that does not look at the list would believe that it got what it asked for."""
    with session(server, anna) as imap:
        imap.send(b"s1 SELECT INBOX (QRESYNC (1 1))\r\n")
        assert imap_line(imap, rb"s1 ").startswith(b"s1 BAD")


def test_control_dovecot_forgets_qresync(server: Instance, anna: tuple[str, str]) -> None:
    """When this fails, Dovecot has been corrected, and QRESYNC may be offered again."""
    assert heard_after_sleep(server, anna, "QRESYNC") == b"* 2 EXPUNGE"
