"""Mail clients that choose the address they come from."""

from __future__ import annotations

import base64
import contextlib
import imaplib
import poplib
import re
import smtplib
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage

TIMEOUT = 15.0


def lenient() -> ssl.SSLContext:
    """Return a TLS context that takes the self-signed certificate of a test."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def connect(address: tuple[str, int], source: str) -> socket.socket:
    """Open a TCP connection from a source address."""
    return socket.create_connection(address, TIMEOUT, source_address=(source, 0))


@dataclass(frozen=True)
class From:
    """A client at an address; every connection it makes comes from there."""

    source: str

    @contextlib.contextmanager
    def smtp(
        self, address: tuple[str, int], *, helo: str = "client.test"
    ) -> Iterator[smtplib.SMTP]:
        """Open SMTP, greeted and with EHLO said."""
        client = smtplib.SMTP(
            *address, timeout=TIMEOUT, source_address=(self.source, 0), local_hostname=helo
        )
        with client:
            client.ehlo()
            yield client

    @contextlib.contextmanager
    def submission(
        self,
        address: tuple[str, int],
        login: tuple[str, str] | None = None,
        *,
        implicit: bool = False,
    ) -> Iterator[smtplib.SMTP]:
        """Open submission with TLS, logged in when a login is given."""
        client: smtplib.SMTP
        if implicit:
            client = smtplib.SMTP_SSL(
                *address,
                timeout=TIMEOUT,
                source_address=(self.source, 0),
                local_hostname="client.test",
                context=lenient(),
            )
        else:
            client = smtplib.SMTP(
                *address,
                timeout=TIMEOUT,
                source_address=(self.source, 0),
                local_hostname="client.test",
            )
            client.starttls(context=lenient())
        with client:
            client.ehlo()
            if login:
                client.login(*login)
            yield client

    @contextlib.contextmanager
    def imap(
        self,
        address: tuple[str, int],
        login: tuple[str, str] | None = None,
        *,
        implicit: bool = False,
    ) -> Iterator[imaplib.IMAP4]:
        """Open IMAP with TLS, logged in when a login is given."""
        client = _Imap(address, self.source, implicit=implicit)
        if not implicit:
            client.starttls(lenient())
        try:
            if login:
                client.login(*login)
            yield client
        finally:
            with contextlib.suppress(imaplib.IMAP4.error, OSError):
                client.logout()

    @contextlib.contextmanager
    def pop3(
        self,
        address: tuple[str, int],
        login: tuple[str, str] | None = None,
        *,
        implicit: bool = False,
    ) -> Iterator[poplib.POP3]:
        """Open POP3 with TLS, logged in when a login is given."""
        client = _Pop3(address, self.source, implicit=implicit)
        if not implicit:
            client.stls(lenient())
        try:
            if login:
                client.user(login[0])
                client.pass_(login[1])
            yield client
        finally:
            with contextlib.suppress(poplib.error_proto, OSError):
                client.quit()

    @contextlib.contextmanager
    def sieve(self, address: tuple[str, int], login: tuple[str, str]) -> Iterator[Sieve]:
        """Open ManageSieve with TLS, logged in."""
        client = Sieve(address, self.source)
        try:
            client.login(*login)
            yield client
        finally:
            client.close()

    @contextlib.contextmanager
    def raw(self, address: tuple[str, int]) -> Iterator[socket.socket]:
        """Open a bare TCP connection."""
        with connect(address, self.source) as stream:
            yield stream

    def visit(self, address: tuple[str, int], listener: str, account: tuple[str, str]) -> int:
        """Open a session on a listener, log in where that is possible; return the client's port."""
        implicit = listener in {"submissions", "imaps", "pop3s"}
        if listener == "smtp":
            with self.smtp(address) as smtp:
                assert smtp.sock
                return int(smtp.sock.getsockname()[1])
        if listener.startswith("submission"):
            with self.submission(address, account, implicit=implicit) as smtp:
                assert smtp.sock
                return int(smtp.sock.getsockname()[1])
        if listener.startswith("imap"):
            with self.imap(address, account, implicit=implicit) as imap:
                return int(imap.sock.getsockname()[1])
        if listener.startswith("pop3"):
            with self.pop3(address, account, implicit=implicit) as pop3:
                return int(pop3.sock.getsockname()[1])
        with self.sieve(address, account) as sieve:
            return sieve.port


class Sieve:
    """A small ManageSieve client (RFC 5804), for what tests need of it."""

    def __init__(self, address: tuple[str, int], source: str) -> None:
        """Connect and start TLS."""
        self._stream = connect(address, source)
        self.port = int(self._stream.getsockname()[1])
        self.greeting = self._answer()
        self.command("STARTTLS")
        self._stream = lenient().wrap_socket(self._stream)
        self.capabilities = self._answer()

    def login(self, user: str, password: str) -> None:
        """Log in with SASL PLAIN."""
        token = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        self.command(f'AUTHENTICATE "PLAIN" "{token}"')

    def put(self, name: str, script: str, *, active: bool = True) -> None:
        """Store a script, and make it the active one."""
        content = script.encode()
        self.command(f'PUTSCRIPT "{name}" {{{len(content)}+}}\r\n{script}')
        if active:
            self.command(f'SETACTIVE "{name}"')

    def deactivate(self) -> None:
        """Leave no script active."""
        self.command('SETACTIVE ""')

    def command(self, line: str) -> str:
        """Say a line; return the answer, which must be OK."""
        self._stream.sendall(line.encode() + b"\r\n")
        answer = self._answer()
        assert answer.splitlines()[-1].startswith("OK"), answer
        return answer

    def close(self) -> None:
        """Log out."""
        with contextlib.suppress(OSError, AssertionError):
            self.command("LOGOUT")
        self._stream.close()

    def _answer(self) -> str:
        text = b""
        # The last line may end in a literal: the reason of a refusal.
        while not re.search(rb"(^|\n)(OK|NO|BYE)[^\n{]*(\{\d+\}\r\n(?s:.)*)?\r\n$", text):
            more = self._stream.recv(4096)
            if not more:
                break
            text += more
        return text.decode()


class _Imap(imaplib.IMAP4):
    """`imaplib` with a source address, which it has no parameter for."""

    def __init__(self, address: tuple[str, int], source: str, *, implicit: bool) -> None:
        self._source, self._implicit = source, implicit
        super().__init__(*address, timeout=TIMEOUT)

    def _create_socket(self, timeout: float | None) -> socket.socket:  # noqa: ARG002
        plain = connect((self.host, self.port), self._source)
        return lenient().wrap_socket(plain) if self._implicit else plain


class _Pop3(poplib.POP3):
    """`poplib` with a source address, which it has no parameter for."""

    def __init__(self, address: tuple[str, int], source: str, *, implicit: bool) -> None:
        self._source, self._implicit = source, implicit
        super().__init__(*address, timeout=TIMEOUT)

    def _create_socket(self, timeout: float) -> socket.socket:  # noqa: ARG002
        plain = connect((self.host, self.port), self._source)
        return lenient().wrap_socket(plain) if self._implicit else plain


def message(
    *, to: str, sender: str = "friend@outside.test", subject: str = "hello", body: str = "Hello.\n"
) -> EmailMessage:
    """Write a small message."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, to, subject
    mail.set_content(body)
    return mail


def wait_for_mail(
    address: tuple[str, int],
    login: tuple[str, str],
    subject: str,
    *,
    body: str = "",
    folder: str = "INBOX",
    seconds: float = 15,
    source: str = "127.0.0.1",
    implicit: bool = False,
) -> bytes:
    """Read the first message with a subject over IMAP, waiting until it is there.

    `body` is a word that must occur in it as well, for subjects that many messages have.
    """
    deadline = time.monotonic() + seconds
    while True:
        with From(source).imap(address, login, implicit=implicit) as imap:
            if imap.select(folder, readonly=True)[0] == "OK":
                words = f'SUBJECT "{subject}"' + (f' BODY "{body}"' if body else "")
                _, (found,) = imap.search(None, words)
                if found:
                    _, data = imap.fetch(found.split()[0].decode(), "(BODY.PEEK[])")
                    assert isinstance(data[0], tuple)
                    return bytes(data[0][1])
        if time.monotonic() > deadline:
            raise AssertionError(f"no message with subject {subject!r} in {folder} of {login[0]}")
        time.sleep(0.1)
