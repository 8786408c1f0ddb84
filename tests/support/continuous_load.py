"""Mail that comes in all the time, and an account of what became of each message.

Senders behave as mail servers do: whoever is not answered with 250 comes again with the same
message. `Load` sends and remembers every answer; `found` looks what is in the mailboxes::

    load = Load(smtp=server.public("smtp"), recipients=(ALICE[0], BOB[0]))
    with load.running():
        ...  # whatever shall happen meanwhile
    load.account(server.home / "mail")
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from clients import From

SENDER = "friend@outside.test"
ID_FIELD = "X-Load-Id"
LETTER_BYTES = 2000
_HEADER_BYTES = 8192
_ID = re.compile(rb"(?mi)^" + ID_FIELD.encode() + rb": ([0-9a-f]{32})\r?$")


@dataclass
class Letter:
    """One message, and how its attempts went."""

    to: str
    sender: str = SENDER
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    accepted: bool = False
    """It was answered with 250 after its last byte: now it is the server's."""
    later: list[str] = field(default_factory=list)
    """Answers of 4xx."""
    refused: list[str] = field(default_factory=list)
    """Answers of 5xx, after which a real sender gives up."""
    locked_out: list[str] = field(default_factory=list)
    """Logins answered with 5xx: a mail program asks for the password and keeps the message."""
    cut: int = 0
    """Times that the connection ended before the message was complete."""
    unknown: int = 0
    """Times that it ended between the last byte and the answer: perhaps accepted."""

    @property
    def text(self) -> bytes:
        """The message as it is sent, without the dot at its end."""
        head = (
            f"From: <{self.sender}>\r\nTo: <{self.to}>\r\nSubject: {self.id}\r\n"
            f"Message-ID: <{self.id}@outside.test>\r\n{ID_FIELD}: {self.id}\r\n\r\n"
        )
        line = "What was promised must be kept, whatever is killed meanwhile.\r\n"
        return (head + line * ((LETTER_BYTES - len(head)) // len(line))).encode()


@dataclass
class Load:
    """Senders that send until they are told to stop; see the module's beginning."""

    smtp: tuple[str, int]
    recipients: Sequence[str]
    submission: tuple[str, int] | None = None
    logins: Sequence[tuple[str, str]] = ()
    """Address and password of those who submit, one sender each, with STARTTLS and AUTH."""
    senders: int = 3
    """How many send as other mail servers do."""
    pause: float = 0.1
    """Seconds between two messages of a sender, and before it comes again."""
    source: str = "127.0.0.1"
    inside: Callable[[], AbstractContextManager[object]] = nullcontext
    """Entered by each sender's thread, for example `network.Host.inside`."""
    letters: list[Letter] = field(default_factory=list)
    _beside: list[threading.Thread] = field(default_factory=list, repr=False)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Send for as long as the block lasts; no letter is begun afterwards."""
        stop = threading.Event()
        logins: list[tuple[str, str] | None] = [None] * self.senders
        if self.submission:
            logins += self.logins
        threads = [
            threading.Thread(target=self._send, args=(number, login, stop), daemon=True)
            for number, login in enumerate(logins)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in (*threads, *self._beside):
                thread.join()

    def send_beside(self, letter: Letter) -> None:
        """Try once in a thread of its own, while the load is running."""
        self.letters.append(letter)
        thread = threading.Thread(target=self._try_inside, args=(letter,), daemon=True)
        self._beside.append(thread)
        thread.start()

    def send_once(self, letter: Letter, login: tuple[str, str] | None = None) -> None:
        """Try once to hand a letter over, and write down how that went."""
        attempt = _Attempt(letter)
        # How the session ends afterwards (QUIT may fail as well) says nothing about the letter.
        with contextlib.suppress(OSError, smtplib.SMTPException):
            try:
                with self._session(login) as smtp, attempt.judged():
                    attempt.make(smtp)
            except (OSError, smtplib.SMTPException) as error:
                attempt.judge(error)

    # --- what became of it -----------------------------------------------------------------

    @property
    def accepted(self) -> list[Letter]:
        """What must be in a mailbox or in the queue."""
        return [letter for letter in self.letters if letter.accepted]

    @property
    def refused(self) -> list[str]:
        """Every answer of 5xx."""
        return [answer for letter in self.letters for answer in letter.refused]

    def missing(self, mail: Path) -> list[Letter]:
        """Return what was accepted and is in no mailbox below a folder of mail."""
        there = found(mail)
        return [letter for letter in self.accepted if not there[letter.id]]

    def figures(self, mail: Path) -> Figures:
        """Count what happened."""
        there = found(mail)
        return Figures(
            sent=len(self.letters),
            accepted=len(self.accepted),
            lost=len(self.missing(mail)),
            duplicates=sum(there[letter.id] - 1 for letter in self.letters if there[letter.id]),
            later=sum(len(letter.later) for letter in self.letters),
            refused=len(self.refused),
            locked_out=sum(len(letter.locked_out) for letter in self.letters),
            cut=sum(letter.cut for letter in self.letters),
            unknown=sum(letter.unknown for letter in self.letters),
        )

    @property
    def answers(self) -> list[str]:
        """Every answer of 4xx and 5xx."""
        kinds = ((*a.later, *a.refused, *a.locked_out) for a in self.letters)
        return [answer for answers in kinds for answer in answers]

    # --- sending ---------------------------------------------------------------------------

    def _send(self, number: int, login: tuple[str, str] | None, stop: threading.Event) -> None:
        with self.inside():
            while not stop.is_set():
                to = self.recipients[(number + len(self.letters)) % len(self.recipients)]
                letter = Letter(to, login[0] if login else SENDER)
                self.letters.append(letter)
                self.send_once(letter, login)
                while not (letter.accepted or letter.refused or stop.wait(self.pause)):
                    self.send_once(letter, login)
                stop.wait(self.pause)

    def _try_inside(self, letter: Letter) -> None:
        with self.inside():
            self.send_once(letter)

    @contextlib.contextmanager
    def _session(self, login: tuple[str, str] | None) -> Iterator[smtplib.SMTP]:
        if login and self.submission:
            with From(self.source).submission(self.submission, login) as smtp:
                yield smtp
        else:
            with From(self.source).smtp(self.smtp) as smtp:
                yield smtp


@dataclass(frozen=True)
class Figures:
    """The account of a load, in numbers."""

    sent: int
    accepted: int
    lost: int
    duplicates: int
    later: int
    refused: int
    locked_out: int
    cut: int
    unknown: int

    def __str__(self) -> str:
        """Write them in a line."""
        return (
            f"{self.sent} letters, {self.accepted} answered 250, {self.lost} lost, "
            f"{self.duplicates} duplicates; attempts: {self.later} answered 4xx, "
            f"{self.refused} answered 5xx, {self.locked_out} logins refused, "
            f"{self.cut} cut, {self.unknown} without an answer"
        )


def found(mail: Path) -> Counter[str]:
    """Return how many copies of each letter are in the mailboxes below a folder of mail."""
    there: Counter[str] = Counter()
    for state in ("new", "cur"):
        for file in mail.glob(f"*/*/Maildir/{state}/*"):
            # A client that reads moves it from new to cur.
            with contextlib.suppress(FileNotFoundError), file.open("rb") as stream:
                if match := _ID.search(stream.read(_HEADER_BYTES)):
                    there[match[1].decode()] += 1
    return there


def wait_until(true: Callable[[], bool], what: str, seconds: float) -> float:
    """Wait until something is so; return how long that took."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < seconds, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - begun


class _Attempt:
    """One attempt to hand over a letter; the first thing that goes wrong decides."""

    def __init__(self, letter: Letter) -> None:
        self._letter = letter
        self._complete = False
        self._judged = False

    def make(self, smtp: smtplib.SMTP) -> None:
        """Hand it over in an open session."""
        _expect(250, smtp.mail(self._letter.sender))
        _expect(250, smtp.rcpt(self._letter.to))
        _expect(354, smtp.docmd("DATA"))
        smtp.send(self._letter.text)
        self._complete = True
        smtp.send(b".\r\n")
        _expect(250, smtp.getreply())
        self._letter.accepted = self._judged = True

    @contextlib.contextmanager
    def judged(self) -> Iterator[None]:
        """Judge what goes wrong in a block before anything else can."""
        try:
            yield
        except (OSError, smtplib.SMTPException) as error:
            self.judge(error)
            raise

    def judge(self, error: Exception) -> None:
        """Write down what an attempt ended with."""
        if self._judged:
            return
        self._judged = True
        if isinstance(error, smtplib.SMTPAuthenticationError) and error.smtp_code >= 500:
            self._letter.locked_out.append(str(error))
            return
        code = error.smtp_code if isinstance(error, smtplib.SMTPResponseException) else 0
        if 400 <= code < 600:
            answers = self._letter.later if code < 500 else self._letter.refused
            answers.append(str(error))
        elif self._complete:
            self._letter.unknown += 1
        else:
            self._letter.cut += 1


def _expect(code: int, answer: tuple[int, bytes]) -> None:
    if answer[0] != code:
        raise smtplib.SMTPResponseException(answer[0], answer[1].decode(errors="replace"))
