"""Dovecot's authentication protocol (version 1.2) between one Postfix and one mail store."""

from __future__ import annotations

import asyncio
import contextlib

from gatepost.journal import Journal
from gatepost.sasl import MECHANISMS
from gatepost.sasl.store import connect

ANSWER_SECONDS = 9.0
"""Seconds that the mail store may take for one answer. Postfix gives up after ten, and keeps a
connection whose answer may still come."""

_GREETING = "".join(
    (
        "VERSION\t1\t2\n",
        *(f"MECH\t{name}\tplaintext\n" for name in MECHANISMS),
        "SPID\t1\nCUID\t1\nCOOKIE\t00000000000000000000000000000000\nDONE\n",
    )
).encode()
_TEMPORARY = b"code=temp_fail"
_ANSWERS = (b"OK", b"FAIL", b"CONT")


class _PutOffError(Exception):
    """A login that cannot be answered now; the text says why."""


class Relay:
    """Answers processes of Postfix by asking the mail store."""

    def __init__(self, server: str, journal: Journal, *, seconds: float = ANSWER_SECONDS) -> None:
        """Take where the mail store checks logins: ``HOST:PORT``, or the path of a socket."""
        self._server = server
        self._journal = journal
        self._seconds = seconds

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one process of Postfix until it hangs up, or a login must be put off."""
        try:
            async with contextlib.aclosing(_Login()) as login:
                await self._serve(reader, writer, login)
        except _PutOffError as error:
            self._journal.limited(
                str(error), f"a login is put off with 454: {self._server}: {error}"
            )
        except (OSError, ValueError):
            # Postfix hung up in the middle of a line, or said one that is far too long.
            pass
        finally:
            writer.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, login: _Login
    ) -> None:
        writer.write(_GREETING)
        greeting = await reader.readline() + await reader.readline()
        while line := await reader.readline():
            verb, number = (*line.rstrip(b"\n").split(b"\t"), b"")[:2]
            try:
                async with asyncio.timeout(self._seconds):
                    if verb == b"AUTH":
                        await login.begin(self._server, greeting)
                    answer = await login.ask(line, number)
            except TimeoutError:
                raise _PutOffError(f"no answer within {self._seconds:g} s") from None
            except OSError as error:
                raise _PutOffError(error.strerror or str(error)) from None
            writer.write(answer)
            await writer.drain()


class _Login:
    """One login at the mail store: it may take several questions and answers."""

    def __init__(self) -> None:
        """Begin without a connection."""
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def begin(self, server: str, greeting: bytes) -> None:
        """Connect; what was begun before is given up, as by a client that changed its mind."""
        await self.aclose()
        self._reader, self._writer = await connect(server)
        self._writer.write(greeting)

    async def ask(self, line: bytes, number: bytes) -> bytes:
        """Say a line of Postfix and return the answer to the login of that number.

        Raises `_PutOffError` when the mail store cannot say whether the password is right.
        """
        if not self._reader or not self._writer:
            raise _PutOffError("Postfix went on with a login that it had not begun")
        self._writer.write(line)
        await self._writer.drain()
        # Half a line is none: the rest of a name would be missing.
        while (answer := await self._reader.readline()).endswith(b"\n"):
            words = answer.rstrip(b"\n").split(b"\t")
            if words[0] in _ANSWERS and words[1:2] == [number]:
                break
        else:
            raise _PutOffError("the connection was lost")
        if words[0] == b"FAIL" and _TEMPORARY in words:
            raise _PutOffError("the mail store cannot check it now")
        if words[0] != b"CONT":
            await self.aclose()
        return answer

    async def aclose(self) -> None:
        """Close the connection to the mail store, if there is one."""
        if self._writer:
            self._writer.close()
        self._reader = self._writer = None
