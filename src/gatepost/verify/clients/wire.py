"""One TCP connection of a probe: lines and TLS, with one deadline for everything.

A timeout for each call would let a server that sends a byte now and then hold a probe for ever;
here all calls share one point in time.
"""

from __future__ import annotations

import errno
import socket
import ssl
import time
from enum import StrEnum
from types import TracebackType
from typing import Self

from gatepost.model import Address
from gatepost.model.words import Detail, Duration, Text, Words

_LONGEST_LINE = 8192
"""Bytes; no mail protocol's answers have lines near this."""
_MOST_BYTES = 1_000_000
"""Bytes that one connection may send us: far more than a probe ever asks for."""
_SHOWN = 120
"""Characters of a server's words that are worth showing."""


class Trouble(StrEnum):
    """The kind of trouble that a probe met."""

    REFUSED = "refused"
    """No one listens on the port."""
    UNREACHABLE = "unreachable"
    """No connection came about, and no one refused it."""
    SILENT = "silent"
    """Connected, and no (further) word came in time."""
    CLOSED = "closed"
    """The other side hung up."""
    GARBAGE = "garbage"
    """The answer is not in the protocol."""
    TLS = "tls"
    """TLS could not be established."""
    DENIED = "denied"
    """A refusal in the protocol's own words."""


class ProbeError(Exception):
    """The trouble that stopped a probe, in words for a finding."""

    def __init__(self, trouble: Trouble, observed: Words, reply: str = "") -> None:
        """Keep the kind of trouble, what was observed, and the server's reply if it is a part."""
        super().__init__(str(observed))
        self.reply = reply
        self.trouble = trouble
        self.observed = observed


def shown(words: bytes) -> str:
    """Return a server's words fit for a terminal: one line, nothing but printable ASCII."""
    text = words.strip(b"\r\n").decode("ascii", "backslashreplace")
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


class Wire:
    """A connection from one source address to one listener."""

    def __init__(self, address: Address, *, source: str | None, deadline: float) -> None:
        """Connect; `deadline` is in seconds of `time.monotonic`. Raise `ProbeError`."""
        self._deadline = deadline
        self._buffer = bytearray()
        self._received = 0
        self.began = time.monotonic()
        """When it was opened, in seconds of `time.monotonic`."""
        try:
            self._socket: socket.socket = socket.create_connection(
                (address.host, address.port),
                self._remaining(),
                source_address=(source, 0) if source else None,
            )
        except TimeoutError:
            waited = time.monotonic() - self.began
            raise ProbeError(
                Trouble.UNREACHABLE,
                Text("no connection to ", Detail(address), " within ", Duration(waited)),
            ) from None
        except OSError as error:
            refused = error.errno == errno.ECONNREFUSED
            kind = Trouble.REFUSED if refused else Trouble.UNREACHABLE
            reason = "connection refused" if refused else (error.strerror or str(error))
            raise ProbeError(kind, Text(Detail(address), f": {reason}")) from None
        name = self._socket.getsockname()
        self.client = Address(str(name[0]), int(name[1]))
        """The probe's own address and port: what the daemon should see."""

    def __enter__(self) -> Self:
        """Return the connection, which is closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Hang up, without the politeness that could block."""
        self._socket.close()

    # --- bytes ---------------------------------------------------------------------------------

    def send(self, words: bytes) -> None:
        """Send bytes."""
        try:
            self._socket.settimeout(self._remaining())
            self._socket.sendall(words)
        except OSError as error:
            raise self._broken(error) from None

    def line(self) -> bytes:
        """Return the next line without its end."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _LONGEST_LINE:
                raise ProbeError(
                    Trouble.GARBAGE,
                    f'a line of over {_LONGEST_LINE} bytes: "{shown(bytes(self._buffer))}"',
                )
            self._receive()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r")

    def exactly(self, count: int) -> bytes:
        """Return that many bytes."""
        while len(self._buffer) < count:
            self._receive()
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _receive(self) -> None:
        try:
            self._socket.settimeout(self._remaining())
            more = self._socket.recv(65536)
        except OSError as error:
            raise self._broken(error) from None
        if not more:
            raise ProbeError(Trouble.CLOSED, f"the connection was closed{self._so_far()}")
        self._received += len(more)
        if self._received > _MOST_BYTES:
            raise ProbeError(Trouble.GARBAGE, f"over {_MOST_BYTES} bytes, and no end")
        self._buffer += more

    # --- TLS -----------------------------------------------------------------------------------

    def start_tls(self, context: ssl.SSLContext, server_name: str) -> None:
        """Begin TLS; raise `ProbeError` with OpenSSL's reason when it cannot be established.

        Words that came before TLS are an error: they could be an attacker's, taken for the
        server's (CVE-2011-0411).
        """
        if self._buffer:
            raise ProbeError(
                Trouble.GARBAGE, f'words before TLS began: "{shown(bytes(self._buffer))}"'
            )
        try:
            self._socket.settimeout(self._remaining())
            self._socket = context.wrap_socket(self._socket, server_hostname=server_name)
        except TimeoutError:
            raise ProbeError(Trouble.SILENT, "the TLS handshake did not end in time") from None
        except ssl.SSLCertVerificationError as error:
            raise ProbeError(Trouble.TLS, error.verify_message) from None
        except ssl.SSLError as error:
            reason = (error.reason or str(error)).lower().replace("_", " ")
            raise ProbeError(Trouble.TLS, f"no TLS: {reason}") from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise ProbeError(Trouble.TLS, f"no TLS: {reason}") from None

    @property
    def certificate(self) -> bytes:
        """The server's certificate as DER; empty when there is no TLS."""
        if isinstance(self._socket, ssl.SSLSocket):
            return self._socket.getpeercert(binary_form=True) or b""
        return b""

    @property
    def tls_version(self) -> str:
        """Such as ``TLSv1.3``; empty when there is no TLS."""
        if isinstance(self._socket, ssl.SSLSocket):
            return self._socket.version() or ""
        return ""

    # --- time and words ------------------------------------------------------------------------

    def _remaining(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _so_far(self, nothing: str = " without a word") -> str:
        if self._buffer:
            return f' after "{shown(bytes(self._buffer))}"'
        return "" if self._received else nothing

    def _broken(self, error: OSError) -> ProbeError:
        if isinstance(error, TimeoutError):
            so_far = self._so_far(", not a word")
            return ProbeError(Trouble.SILENT, f"no answer in time{so_far}")
        if isinstance(error, ssl.SSLError):
            return ProbeError(Trouble.TLS, f"TLS broke: {error.reason or error}")
        reason = error.strerror or str(error)
        return ProbeError(Trouble.CLOSED, f"the connection broke{self._so_far()}: {reason}")
