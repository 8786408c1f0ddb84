"""Mail protocols of clients: just enough SMTP, IMAP, POP3 and ManageSieve for probes.

The standard library's clients have a timeout for each call and none for all, choose no
source address (IMAP, POP3) and know no ManageSieve; these speak over a `Wire`.
"""

from __future__ import annotations

import base64
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator

from gatepost.errors import printable
from gatepost.model import Protocol
from gatepost.verify.clients.wire import ProbeError, Trouble, Wire, shown

_MOST_LINES = 2000
_NUMBER = rb"[0-9]{1,10}"
"""RFC 3501 has 32 bits; a longer one Python may refuse to read."""


class Session(ABC):
    """A conversation in one protocol. Every method raises `ProbeError`."""

    def __init__(self, wire: Wire, name: str) -> None:
        """Speak over a wire; `name` is what the client calls itself."""
        self.wire = wire
        self._name = name
        self.greeting = ""

    @abstractmethod
    def greet(self) -> None:
        """Read the server's first words."""

    @abstractmethod
    def ask_tls(self) -> None:
        """Ask for TLS and read the server's consent; the handshake comes next."""

    @abstractmethod
    def offer(self) -> list[str]:
        """Ask what there is to log in with at this point; return it as the protocol spells it."""

    @abstractmethod
    def login(self, user: str, password: str) -> None:
        """Log in."""

    @abstractmethod
    def leave(self) -> None:
        """Say goodbye."""

    def after_tls(self) -> None:  # noqa: B027  IMAP and POP3 have nothing to do
        """Do what the protocol demands once STARTTLS is done."""

    def _odd(self, line: bytes, awaited: str) -> ProbeError:
        return ProbeError(Trouble.GARBAGE, f'"{shown(line)}" instead of {awaited}', shown(line))


class Smtp(Session):
    """RFC 5321, with STARTTLS (RFC 3207) and AUTH PLAIN (RFC 4954)."""

    extensions: frozenset[str] = frozenset()
    """The answer to the last EHLO, upper case, without parameters."""
    _logins: tuple[str, ...] = ()
    """The lines of that answer that offer a login."""

    def greet(self) -> None:
        """Read the 220 line."""
        self.greeting = self._reply(220)

    def ehlo(self) -> None:
        """Give our name and read the offer."""
        self.wire.send(f"EHLO {self._name}\r\n".encode())
        lines = self._reply(250).split("\n")[1:]
        self.extensions = frozenset(line.split()[0].upper() for line in lines if line.split())
        # Old servers write "AUTH=LOGIN" for old mail programs.
        self._logins = tuple(ln for ln in lines if re.match(r"AUTH\b", ln, re.IGNORECASE))

    def ask_tls(self) -> None:
        """STARTTLS."""
        self.ehlo()
        if "STARTTLS" not in self.extensions:
            raise ProbeError(Trouble.TLS, "STARTTLS is not offered")
        self.command("STARTTLS", 220)

    def after_tls(self) -> None:
        """Forget what was offered before TLS and ask anew (RFC 3207 section 4.2)."""
        self.ehlo()

    def offer(self) -> list[str]:
        """EHLO, and its lines about AUTH."""
        self.ehlo()
        return list(self._logins)

    def login(self, user: str, password: str) -> None:
        """AUTH PLAIN."""
        if not self.extensions:
            self.ehlo()
        self.command(f"AUTH PLAIN {_plain(user, password)}", 235)

    def send(self, sender: str, recipient: str, content: bytes) -> str:
        """Hand over a message whose lines end in CRLF; return the server's receipt."""
        if not self.extensions:
            self.ehlo()
        self.command(f"MAIL FROM:<{sender}>", 250)
        self.command(f"RCPT TO:<{recipient}>", 250)
        self.command("DATA", 354)
        self.wire.send(re.sub(rb"(?m)^\.", b"..", content) + b".\r\n")
        return self._reply(250)

    def envelope(self, sender: str, recipient: str) -> tuple[int, str]:
        """Begin a message and drop it; return the answer to the recipient, or to the sender."""
        if not self.extensions:
            self.ehlo()
        answer = self.ask(f"MAIL FROM:<{sender}>")
        if answer[0] == 250:  # noqa: PLR2004
            answer = self.ask(f"RCPT TO:<{recipient}>")
        self.command("RSET", 250)
        return answer

    def leave(self) -> None:
        """QUIT."""
        self.command("QUIT", 221)

    def command(self, line: str, awaited: int) -> str:
        """Say a line; return the answer, whose code must be `awaited`."""
        self.wire.send(line.encode() + b"\r\n")
        return self._reply(awaited)

    def ask(self, line: str) -> tuple[int, str]:
        """Say a line; return the code of the answer, whatever it is, and its last line."""
        self.wire.send(line.encode() + b"\r\n")
        code, _, last = self._lines("an SMTP reply")
        return code, shown(last)

    def _reply(self, awaited: int) -> str:
        code, texts, last = self._lines(f"an SMTP reply {awaited}")
        if code != awaited:
            reply = shown(last)
            raise ProbeError(Trouble.DENIED, f"{reply} (awaited: {awaited})", reply)
        return "\n".join(texts)

    def _lines(self, awaited: str) -> tuple[int, list[str], bytes]:
        """Return a reply's code, the text of each line, and the last line as it came."""
        texts: list[str] = []
        for _ in range(_MOST_LINES):
            line = self.wire.line()
            found = re.fullmatch(rb"(\d{3})(?:([ -])(.*))?", line)
            if not found:
                raise self._odd(line, awaited)
            texts.append(shown(found[3] or b""))
            if found[2] != b"-":
                return int(found[1]), texts, line
        raise ProbeError(Trouble.GARBAGE, "an SMTP reply without end")


class Imap(Session):
    """RFC 3501."""

    _tag = 0

    def greet(self) -> None:
        """Read the ``* OK`` line."""
        line = self.wire.line()
        if not line.upper().startswith(b"* OK"):
            raise self._odd(line, 'an IMAP greeting "* OK"')
        self.greeting = shown(line)

    def ask_tls(self) -> None:
        """STARTTLS."""
        self.command("STARTTLS")

    def offer(self) -> list[str]:
        """CAPABILITY: each ``AUTH=``, and ``LOGIN`` unless ``LOGINDISABLED`` is there."""
        found = re.search(rb"(?im)^\* CAPABILITY( .*)$", self.command("CAPABILITY"))
        words = found[1].decode("ascii", "replace").upper().split() if found else []
        words = [printable(word) for word in words]
        logins = [word for word in words if word.startswith("AUTH=")]
        return logins if "LOGINDISABLED" in words else ["LOGIN", *logins]

    def login(self, user: str, password: str) -> None:
        """LOGIN."""
        self.command(f'LOGIN "{user}" "{password}"')

    def leave(self) -> None:
        """LOGOUT."""
        self.command("LOGOUT")

    def examine(self) -> None:
        """Open the inbox for reading only."""
        self.command("EXAMINE INBOX")

    def empty(self) -> None:
        """Remove all messages of the inbox."""
        self.command("SELECT INBOX")
        if self.uids():
            self.command("UID STORE 1:* +FLAGS.SILENT (\\Deleted)")
            self.command("EXPUNGE")

    def uids(self) -> list[int]:
        """Return the identifiers of all messages there are now."""
        self.command("NOOP")
        found = re.findall(rb"(?im)^\* SEARCH([ \d]*)$", self.command("UID SEARCH ALL"))
        numbers = [number for some in found for number in some.split()]
        if odd := next((number for number in numbers if not re.fullmatch(_NUMBER, number)), b""):
            raise self._odd(odd, "an IMAP message number")
        return [int(number) for number in numbers]

    def message(self, uid: int) -> bytes:
        """Return a message; it stays unseen."""
        answer = self.command(f"UID FETCH {uid} BODY.PEEK[]")
        found = re.search(rb"\{(" + _NUMBER + rb")\}\n", answer)
        if not found:
            raise self._odd(answer, "a message")
        return answer[found.end() : found.end() + int(found[1])]

    def command(self, line: str) -> bytes:
        """Say a line; return all that is answered before the tagged OK."""
        self._tag += 1
        tag = f"g{self._tag}".encode()
        self.wire.send(tag + b" " + line.encode() + b"\r\n")
        answer = bytearray()
        for _ in range(_MOST_LINES):
            got = self.wire.line()
            if got.startswith(tag + b" "):
                if not got[len(tag) + 1 :].upper().startswith(b"OK"):
                    raise ProbeError(Trouble.DENIED, f'{line.partition(" ")[0]}: "{shown(got)}"')
                return bytes(answer)
            if not answer.endswith(b"}\n") and not re.match(rb"[*+ )\"A-Za-z]", got):
                raise self._odd(got, "an IMAP answer")
            answer += got + b"\n"
            if literal := re.search(rb"\{(" + _NUMBER + rb")\}$", got):
                answer += self.wire.exactly(int(literal[1])) + b"\n"
        raise ProbeError(Trouble.GARBAGE, "an IMAP answer without end")


class Pop3(Session):
    """RFC 1939, with STLS (RFC 2595)."""

    def greet(self) -> None:
        """Read the ``+OK`` line."""
        self.greeting = self._status("a POP3 greeting")

    def ask_tls(self) -> None:
        """STLS."""
        self.command("STLS")

    def offer(self) -> list[str]:
        """CAPA: ``USER``, and ``SASL`` when mechanisms follow it (RFC 2449)."""
        self.command("CAPA")
        offers = [shown(line).upper() for line in self._until_the_dot()]
        return [line for line in offers if line == "USER" or line.startswith("SASL ")]

    def login(self, user: str, password: str) -> None:
        """USER and PASS."""
        self.command(f"USER {user}")
        self.command(f"PASS {password}")

    def leave(self) -> None:
        """QUIT."""
        self.command("QUIT")

    def count(self) -> int:
        """Return how many messages there were at login."""
        answer = self.command("STAT")
        found = re.match(r"\+OK (\d+) ", answer)
        if not found:
            raise self._odd(answer.encode(), "a POP3 drop listing")
        return int(found[1])

    def message(self, number: int) -> bytes:
        """Return a message; it stays where it is."""
        self.command(f"RETR {number}")
        return b"".join(line + b"\r\n" for line in self._until_the_dot())

    def command(self, line: str) -> str:
        """Say a line; return the ``+OK`` line."""
        self.wire.send(line.encode() + b"\r\n")
        return self._status("a POP3 answer", line.partition(" ")[0])

    def _until_the_dot(self) -> Iterator[bytes]:
        """Yield the rest of an answer that has many lines."""
        while (line := self.wire.line()) != b".":
            yield line.removeprefix(b".")

    def _status(self, awaited: str, command: str = "") -> str:
        line = self.wire.line()
        if line.startswith(b"-ERR"):
            words = f'{command}: "{shown(line)}"'.removeprefix(": ")
            raise ProbeError(Trouble.DENIED, words, shown(line))
        if not line.startswith(b"+OK"):
            raise self._odd(line, f'{awaited} "+OK"')
        return shown(line)


class Sieve(Session):
    """ManageSieve, RFC 5804."""

    _mechanisms = ""
    """Value of the last ``"SASL"`` that the server said."""

    def greet(self) -> None:
        """Read the capabilities."""
        self.greeting = self._answer("")

    def ask_tls(self) -> None:
        """STARTTLS."""
        self.command("STARTTLS")

    def after_tls(self) -> None:
        """Read the capabilities that the server sends anew (RFC 5804 section 2.2)."""
        self._answer("")

    def offer(self) -> list[str]:
        """CAPABILITY, and what follows ``"SASL"``."""
        self._mechanisms = ""
        self.command("CAPABILITY")
        return self._mechanisms.split()

    def login(self, user: str, password: str) -> None:
        """AUTHENTICATE PLAIN."""
        self.command(f'AUTHENTICATE "PLAIN" "{_plain(user, password)}"')

    def leave(self) -> None:
        """LOGOUT."""
        self.command("LOGOUT")

    def command(self, line: str) -> str:
        """Say a line; return the answer's first line."""
        self.wire.send(line.encode() + b"\r\n")
        return self._answer(line.partition(" ")[0])

    def _answer(self, command: str) -> str:
        first = b""
        for _ in range(_MOST_LINES):
            line = self.wire.line()
            first = first or line
            if re.match(rb"(?i)OK\b", line):
                return shown(first)
            if re.match(rb"(?i)(NO|BYE)\b", line):
                raise ProbeError(Trouble.DENIED, f'{command}: "{shown(line)}"'.removeprefix(": "))
            if not line.startswith(b'"'):
                raise self._odd(line, "a ManageSieve answer")
            if sasl := re.match(rb'(?i)"SASL" "(.*)"$', line):
                self._mechanisms = shown(sasl[1])
        raise ProbeError(Trouble.GARBAGE, "a ManageSieve answer without end")


def _plain(user: str, password: str) -> str:
    return base64.b64encode(f"\0{user}\0{password}".encode()).decode()


SESSIONS: dict[Protocol, type[Session]] = {
    Protocol.SMTP: Smtp,
    Protocol.IMAP: Imap,
    Protocol.POP3: Pop3,
    Protocol.SIEVE: Sieve,
}
