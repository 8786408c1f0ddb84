"""Logging in with any password, over every protocol that takes one."""

from __future__ import annotations

import base64
import contextlib
import imaplib
import poplib
import smtplib
import ssl
from collections.abc import Callable, Mapping
from enum import StrEnum

from clients import From, imap_line
from instance import CLIENT, Instance

Ports = Mapping[str, tuple[str, int]]
"""Listener → where it is."""


def public_ports(server: Instance) -> Ports:
    """Ask a server once where its listeners are."""
    found = {}
    for row in server.status()["listeners"]:
        host, _, port = row["public"].rpartition(":")
        found[row["name"]] = (host, int(port))
    return found


def _token(user: str, password: str) -> bytes:
    """Return what SASL PLAIN sends (RFC 4616); Python's clients know no user with a NUL in it."""
    return f"\0{user}\0{password}".encode()


def imap_authenticate(ports: Ports, user: str, password: str) -> None:
    with From(CLIENT).imap(ports["imaps"], implicit=True) as imap:
        imap.authenticate("PLAIN", lambda _: _token(user, password))


def imap_login(ports: Ports, user: str, password: str) -> None:
    """Log in with LOGIN, its words as literals, which hold any text (RFC 3501)."""
    with From(CLIENT).imap(ports["imap"]) as imap:
        for line in (
            f"a LOGIN {{{len(user.encode())}}}\r\n",
            f"{user} {{{len(password.encode())}}}\r\n",
        ):
            imap.send(line.encode())
            if not imap_line(imap, rb"\+|a ").startswith(b"+"):
                raise imaplib.IMAP4.error("no literal is taken")
        imap.send(password.encode() + b"\r\n")
        answer = imap_line(imap, b"a ")
        if not answer.startswith(b"a OK"):
            raise imaplib.IMAP4.error(answer.decode())


def pop3(ports: Ports, user: str, password: str) -> None:
    with From(CLIENT).pop3(ports["pop3s"], (user, password), implicit=True):
        pass


def pop3_plain(ports: Ports, user: str, password: str) -> None:
    with From(CLIENT).pop3(ports["pop3"]) as client:
        client._shortcmd("AUTH PLAIN")  # type: ignore[attr-defined]
        client._shortcmd(base64.b64encode(_token(user, password)).decode())  # type: ignore[attr-defined]


def sieve(ports: Ports, user: str, password: str) -> None:
    with From(CLIENT).sieve(ports["sieve"], (user, password)):
        pass


def submission(ports: Ports, user: str, password: str) -> None:
    with From(CLIENT).submission(ports["submission"]) as smtp:
        _auth_plain(smtp, user, password)


def submissions(ports: Ports, user: str, password: str) -> None:
    with From(CLIENT).submission(ports["submissions"], implicit=True) as smtp:
        _auth_plain(smtp, user, password)


def submission_login(ports: Ports, user: str, password: str) -> None:
    """Log in with AUTH LOGIN, which asks for one word after the other."""
    with From(CLIENT).submission(ports["submission"]) as smtp:
        answer = smtp.docmd("AUTH LOGIN")
        for word in (user, password):
            if answer[0] == 334:
                answer = smtp.docmd(base64.b64encode(word.encode()).decode())
        _want(answer, 235)


def _auth_plain(smtp: smtplib.SMTP, user: str, password: str) -> None:
    _want(smtp.docmd("AUTH", "PLAIN " + base64.b64encode(_token(user, password)).decode()), 235)


def _want(answer: tuple[int, bytes], code: int) -> None:
    if answer[0] != code:
        raise smtplib.SMTPResponseException(*answer)


Login = Callable[[Ports, str, str], None]

LOGINS: dict[str, Login] = {
    "IMAP AUTHENTICATE": imap_authenticate,
    "IMAP LOGIN": imap_login,
    "POP3 USER": pop3,
    "POP3 AUTH": pop3_plain,
    "ManageSieve": sieve,
    "SMTP AUTH PLAIN": submission,
    "SMTP AUTH PLAIN over TLS": submissions,
    "SMTP AUTH LOGIN": submission_login,
}
"""Every way to log in; each raises one of `REFUSED` when it is not let in."""

REFUSED = (
    AssertionError,  # of the ManageSieve client
    OSError,
    imaplib.IMAP4.error,
    poplib.error_proto,
    smtplib.SMTPException,
)


def let_in(login: Login, ports: Ports, user: str, password: str) -> bool:
    """Tell whether a login succeeds."""
    with contextlib.suppress(*REFUSED):
        login(ports, user, password)
        return True
    return False


class Verdict(StrEnum):
    """What a client may take an answer for."""

    IN = "let in"
    LATER = "try again later"
    REFUSED = "wrong password: ask the user for it"
    CUT = "the server closes the connection"


_WORDS = {
    Verdict.LATER: ("(454, ", "[UNAVAILABLE]", "[SYS/TEMP]", "NO (TRYLATER)"),
    Verdict.CUT: ("(421, ", "-ERR Shutting down", "-ERR EOF", 'BYE "'),
    Verdict.REFUSED: ("(535, ", "[AUTHENTICATIONFAILED]", "[AUTH]", 'NO "Authentication failed'),
}


def verdict(login: Login, ports: Ports, user: str, password: str) -> tuple[Verdict, str]:
    """Log in; return what the answer means, and its words.

    RFC 4954 section 6, RFC 5530 section 3, RFC 3206 and RFC 5804 section 1.3 say which words mean
    what; any others are a mistake.
    """
    try:
        login(ports, user, password)
    except (
        *(imaplib.IMAP4.abort, smtplib.SMTPServerDisconnected, ssl.SSLError),
        *(ConnectionError, TimeoutError),
    ) as error:
        return Verdict.CUT, repr(error)
    except REFUSED as error:
        words = str(error)
    else:
        return Verdict.IN, ""
    meanings = [one for one, marks in _WORDS.items() if any(mark in words for mark in marks)]
    assert len(meanings) == 1, f"{words} means {meanings}"
    return meanings[0], words
