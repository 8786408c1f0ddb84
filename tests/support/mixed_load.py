"""What a mail server meets all day: every kind of client at a modest pace, honest and not."""

from __future__ import annotations

import contextlib
import imaplib
import itertools
import poplib
import random
import smtplib
import socket
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from clients import From, message, wait_for_mail
from instance import STRANGER, Instance

from gatepost.proxy_protocol import build_1, build_2

PASSWORD = "correct horse battery staple"
OUTSIDE = "friend@outside.test"
LARGE = 100_000
KEPT_FAILURES = 20

SMALL_BODY = "Hello, this is a line of an everyday message.\n" * 40
LARGE_BODY = ("An attachment's line has some seventy characters " + "x" * 23 + "\n") * (LARGE // 73)


def addresses(seed: int) -> Iterator[str]:
    """Yield clients' addresses without end, hardly one twice, as the internet has them."""
    chance = random.Random(seed)
    while True:
        yield f"127.{chance.randint(16, 31)}.{chance.randint(0, 255)}.{chance.randint(1, 254)}"


@dataclass
class Done:
    """What was done of one kind."""

    count: int = 0
    failed: int = 0
    seconds: list[float] = field(default_factory=list)


@dataclass
class MixedLoad:
    """Clients of all kinds; each kind has a thread, and comes again every so many seconds."""

    server: Instance
    imap_logins: Sequence[tuple[str, str]]
    """Logins of mailboxes to write to, which IMAP clients read and empty."""
    pop3_logins: Sequence[tuple[str, str]]
    """The same for POP3 clients: two that empty one mailbox would surprise each other."""
    seed: int
    done: dict[str, Done] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    accepted: Counter[str] = field(default_factory=Counter)
    """Recipients of messages that were answered with 250."""

    def __post_init__(self) -> None:
        """Ask once where the listeners are: ``status`` is a client of its own here."""
        rows = self.server.status()["listeners"]
        self._public = {row["name"]: self._first(row, "public") for row in rows}
        self._service = {row["name"]: self._first(row, "service") for row in rows}
        self._chance = random.Random(self.seed)
        self._sources = addresses(self.seed)
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._password = PASSWORD
        self._kinds: dict[str, tuple[float, Callable[[], None]]] = {
            "message by SMTP": (0.4, self._mail),
            "message of 100 kB": (3, self._large),
            "unknown recipient": (2, self._unknown),
            "refused by SMTP": (2, self._refused),
            "cut in a message": (5, self._cut),
            "submission": (1.5, self._submit),
            "wrong password": (6, self._wrong_password),
            "IMAP session": (1, self._imap),
            "POP3 session": (2, self._pop3),
            "ManageSieve session": (5, self._sieve),
            "forged PROXY header": (3, self._forge),
            "no mail client at all": (5, self._garbage),
            "account changed": (8, self._change),
            "status": (10, self._status),
        }

    @staticmethod
    def _first(row: dict[str, Any], kind: str) -> tuple[str, int]:
        host, _, port = row["addresses"][kind][0].rpartition(":")
        return host, int(port)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Work for as long as the block lasts; what was begun is finished."""
        stop = threading.Event()
        threads = [
            threading.Thread(target=self._repeat, args=(kind, every, do, stop))
            for kind, (every, do) in self._kinds.items()
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    @property
    def kinds(self) -> set[str]:
        """Names of all that it does."""
        return set(self._kinds)

    @property
    def total(self) -> int:
        """How much was done altogether."""
        return sum(done.count for done in self.done.values())

    def _repeat(
        self, kind: str, every: float, do: Callable[[], None], stop: threading.Event
    ) -> None:
        done = self.done.setdefault(kind, Done())
        while not stop.wait(every * self._chance.uniform(0.5, 1.5)):
            begun = time.monotonic()
            try:
                do()
            # Whatever goes wrong is a finding, an exception of the load's own too.
            except Exception:  # noqa: BLE001
                done.failed += 1
                if len(self.failures) < KEPT_FAILURES:
                    self.failures.append(f"{kind}: {traceback.format_exc(limit=-3)}")
            done.count += 1
            done.seconds.append(time.monotonic() - begun)

    # --- mail in ---------------------------------------------------------------------------

    def _client(self) -> From:
        with self._lock:
            return From(next(self._sources))

    def _login(self) -> tuple[str, str]:
        return self._chance.choice([*self.imap_logins, *self.pop3_logins])

    def send(self, to: str, body: str = SMALL_BODY) -> str:
        """Send a message as a mail server outside would, with TLS or without; tell its subject."""
        subject = f"number {next(self._numbers)}."
        with self._client().smtp(self._public["smtp"]) as smtp:
            if self._chance.random() < 0.5:
                smtp.starttls()
            smtp.send_message(message(to=to, subject=subject, body=body))
        self._accept(to)
        return subject

    def _accept(self, to: str) -> None:
        with self._lock:
            self.accepted[to] += 1

    def _mail(self) -> None:
        self.send(self._login()[0])

    def _large(self) -> None:
        self.send(self._login()[0], LARGE_BODY)

    def _unknown(self) -> None:
        with self._client().smtp(self._public["smtp"]) as smtp:
            smtp.mail(OUTSIDE)
            _expect(550, smtp.rcpt(f"nobody-{next(self._numbers)}@example.org"))

    def _refused(self) -> None:
        with self._client().smtp(self._public["smtp"]) as smtp:
            match self._chance.randrange(4):
                case 0:
                    smtp.mail(OUTSIDE)
                    _expect(554, smtp.rcpt("somebody@elsewhere.test"))
                case 1:
                    _expect(552, smtp.mail(OUTSIDE, ["SIZE=999999999"]))
                case 2:
                    smtp.mail("no-domain")
                    _expect(504, smtp.rcpt(self._login()[0]))
                case _:
                    _expect(502, smtp.verify(self._login()[0]))

    def _cut(self) -> None:
        with self._client().raw(self._public["smtp"]) as stream:
            stream.recv(500)
            for line in ("EHLO client.test", f"MAIL FROM:<{OUTSIDE}>", "RCPT TO:<{}>", "DATA"):
                stream.sendall(f"{line.format(self._login()[0])}\r\n".encode())
                stream.recv(4096)
            stream.sendall(b"Subject: it is not to arrive\r\n\r\nhalf a li")

    # --- those with an account -------------------------------------------------------------

    def _submit(self) -> None:
        login, (to, _) = self._login(), self._login()
        listener = self._chance.choice(["submission", "submissions"])
        implicit = listener == "submissions"
        with self._client().submission(self._public[listener], login, implicit=implicit) as smtp:
            if self._chance.random() < 0.2:
                smtp.mail("somebody-else@example.org")
                _expect(553, smtp.rcpt(to))
                return
            smtp.send_message(message(sender=login[0], to=to, body=SMALL_BODY))
        self._accept(to)

    def _wrong_password(self) -> None:
        login = (self._login()[0], "a guess")
        match self._chance.randrange(3):
            case 0:
                with (
                    _raises(smtplib.SMTPAuthenticationError),
                    self._client().submission(self._public["submission"], login),
                ):
                    pass
            case 1:
                with (
                    _raises(imaplib.IMAP4.error),
                    self._client().imap(self._public["imap"], login),
                ):
                    pass
            case _:
                with (
                    _raises(poplib.error_proto),
                    self._client().pop3(self._public["pop3"], login),
                ):
                    pass

    def _imap(self) -> None:
        login = self._chance.choice(self.imap_logins)
        implicit = self._chance.random() < 0.5
        address = self._public["imaps" if implicit else "imap"]
        with self._client().imap(address, login, implicit=implicit) as imap:
            _ok(imap.select("INBOX"))
            text = message(to=login[0], subject="appended", body=SMALL_BODY).as_bytes()
            _ok(imap.append("INBOX", "", imaplib.Time2Internaldate(time.time()), text))
            _ok(imap.noop())
            (found,) = _ok(imap.uid("SEARCH", "ALL"))
            uids = found.decode().split()
            _ok(imap.uid("FETCH", uids[-1], "(BODY.PEEK[])"))
            _ok(imap.uid("SEARCH", "SUBJECT", "appended"))
            # The folder stays small: all but the newest go, half of them by way of the trash.
            if len(uids) > 10:
                _ok(imap.uid("MOVE", ",".join(uids[:5]), "Trash"))
                _ok(imap.uid("STORE", ",".join(uids[5:-5]), "+FLAGS", "(\\Deleted)"))
                _ok(imap.expunge())
                _ok(imap.select("Trash"))
                imap.uid("STORE", "1:*", "+FLAGS", "(\\Deleted)")
                _ok(imap.expunge())

    def _pop3(self) -> None:
        login = self._chance.choice(self.pop3_logins)
        implicit = self._chance.random() < 0.5
        address = self._public["pop3s" if implicit else "pop3"]
        with self._client().pop3(address, login, implicit=implicit) as pop3:
            count, _ = pop3.stat()
            if count:
                pop3.retr(count)
            for number in range(1, count + 1):
                pop3.dele(number)

    def _sieve(self) -> None:
        with self._client().sieve(self._public["sieve"], self._login()) as sieve:
            sieve.put("soak", "keep;\r\n")
            assert '"soak"' in sieve.command("LISTSCRIPTS")

    # --- those who are no clients ----------------------------------------------------------

    def _forge(self) -> None:
        listener = self._chance.choice(["smtp", "submission", "imap", "imaps", "pop3s", "sieve"])
        claimed = ("203.0.113.7", 4711)
        address = self._service[listener]
        header = self._chance.choice([build_1, build_2])(claimed, address)
        with From(STRANGER).raw(address) as stream:
            stream.sendall(header)
            with contextlib.suppress(ConnectionResetError):
                answer = stream.recv(4096)
                assert not answer or answer.startswith(b"421 "), answer

    def _garbage(self) -> None:
        listener = self._chance.choice(sorted(self._public))
        with self._client().raw(self._public[listener]) as stream:
            stream.sendall(self._chance.randbytes(300) + b"\r\n")
            stream.settimeout(2)
            with contextlib.suppress(OSError):
                while stream.recv(4096):
                    stream.shutdown(socket.SHUT_WR)

    # --- the admin -------------------------------------------------------------------------

    def _status(self) -> None:
        assert self.server.status()["ready"] is True

    def _change(self) -> None:
        self._chance.choice([self._change_password, self._change_alias, self._change_mailbox])()

    def _change_password(self) -> None:
        user, old = "changing@example.org", self._password
        self._password = f"password number {next(self._numbers)}"
        self.server.call("mailbox", "passwd", user, "--password-stdin", stdin=self._password)
        with self._client().imap(self._public["imap"], (user, self._password)):
            pass
        with _raises(imaplib.IMAP4.error), self._client().imap(self._public["imap"], (user, old)):
            pass

    def _change_alias(self) -> None:
        alias, (target, _) = f"alias-{next(self._numbers)}@example.org", self._login()
        self.server.call("alias", "add", alias, target)
        self.send(alias)
        self.server.call("alias", "remove", alias)
        with self._client().smtp(self._public["smtp"]) as smtp:
            smtp.mail(OUTSIDE)
            _expect(550, smtp.rcpt(alias))

    def _change_mailbox(self) -> None:
        user = "passing@example.org"
        self.server.call("mailbox", "add", user, "--password-stdin", stdin=PASSWORD)
        subject = self.send(user)
        wait_for_mail(self._public["imaps"], (user, PASSWORD), subject, implicit=True)
        self.server.call("mailbox", "disable", user)
        with (
            _raises(imaplib.IMAP4.error),
            self._client().imap(self._public["imap"], (user, PASSWORD)),
        ):
            pass
        self.server.call("mailbox", "remove", user)


def _expect(code: int, answer: tuple[int, bytes]) -> None:
    assert answer[0] == code, f"expected {code}, got {answer}"


def _ok(answer: tuple[str, list[Any]]) -> list[Any]:
    assert answer[0] == "OK", answer
    return answer[1]


@contextlib.contextmanager
def _raises(kind: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kind:
        return
    raise AssertionError("it was let in")
