"""A load of mail programs, IMAP, POP3 and SMTP: many at once, in processes of their own.

Debian has no generator that logs in, and smtp-source(1) of Postfix 3.7 speaks no TLS. Clients are
coroutines, spread over `PROCESSES` so that one of them is never what is measured; `Load` tells how
much processor time they took.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import multiprocessing
import os
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from clients import lenient

Address = tuple[str, int]
Login = tuple[str, str]

PROCESSES = 2
SECONDS = 60.0
"""How long a client waits for an answer."""
LINE = 1 << 20
MESSAGE = "\r\n".join(
    (
        *("From: A user <user@example.org>", "To: user@example.org", "Subject: A load"),
        *("Date: Mon, 02 Mar 2026 10:00:00 +0000", "Message-ID: <load@example.org>", ""),
        *(["A line of a message of two kilobytes, of which there are as many as it takes."] * 22),
        ".",
    )
)
"""What is submitted: 2 kB, with the full stop that ends DATA."""


# --- one client -----------------------------------------------------------------------------


@dataclass
class Client:
    """A connection of either protocol."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    tags: Iterator[int]

    async def say(self, line: str, *, ends: bytes) -> bytes:
        """Say a line, and read lines until one begins with these words; return that one."""
        self.writer.write(f"{line}\r\n".encode())
        while True:
            answer = await self.reader.readline()
            if answer.startswith(ends):
                return answer
            if not answer or answer.startswith((b"* BYE", b"-ERR", b"4", b"5")):
                raise ConnectionError(f"{line.split(maxsplit=1)[0]}: {answer!r}")

    async def imap(self, command: str) -> None:
        """Give an IMAP command and pass over its answers; anything but OK is an error."""
        tag = f"a{next(self.tags)}"
        answer = await self.say(f"{tag} {command}", ends=tag.encode())
        if not answer.startswith(f"{tag} OK".encode()):
            raise ConnectionError(f"{command.split(maxsplit=1)[0]}: {answer!r}")

    async def smtp(self, line: str, code: int) -> None:
        """Give an SMTP command, or the text after DATA, and read its answer, of several lines."""
        await self.say(line, ends=f"{code} ".encode())

    async def fetch(self, items: str) -> int:
        """Fetch these items of every message; return the number of bytes that came."""
        tag = f"a{next(self.tags)}"
        self.writer.write(f"{tag} FETCH 1:* ({items})\r\n".encode())
        size, end = 0, f"\r\n{tag} OK".encode()
        tail = b""
        while end not in tail:
            part = await self.reader.read(LINE)
            if not part:
                raise ConnectionError(f"FETCH {items}: closed after {size} bytes")
            size += len(part)
            tail = tail[-200:] + part
        return size


@contextlib.asynccontextmanager
async def connected(address: Address, tls: ssl.SSLContext | None) -> AsyncIterator[Client]:
    """Connect, over TLS from the first byte on or without it, and read the greeting."""
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection(*address, ssl=tls, limit=LINE)
    try:
        client = Client(reader, writer, itertools.count())
        if not (await reader.readline()).startswith((b"* OK", b"+OK", b"220 ")):
            raise ConnectionError("no greeting")
        yield client
    finally:
        writer.transport.abort()


async def imap_session(address: Address, tls: ssl.SSLContext, login: Login) -> None:
    """Log in, open the inbox, and log out."""
    async with connected(address, tls) as client, asyncio.timeout(SECONDS):
        await client.imap('LOGIN "{}" "{}"'.format(*login))
        await client.imap("SELECT INBOX")
        await client.say("z LOGOUT", ends=b"* BYE")


async def pop3_session(address: Address, tls: ssl.SSLContext, login: Login) -> None:
    """Log in, ask what is there, and quit."""
    async with connected(address, tls) as client, asyncio.timeout(SECONDS):
        for line in (f"USER {login[0]}", f"PASS {login[1]}", "STAT", "QUIT"):
            await client.say(line, ends=b"+OK")


async def smtp_session(address: Address, _tls: ssl.SSLContext, _login: Login) -> None:
    """Say hello and goodbye, without TLS and without a message."""
    async with connected(address, None) as client, asyncio.timeout(SECONDS):
        await client.smtp("EHLO client.test", 250)
        await client.smtp("QUIT", 221)


async def submission_session(address: Address, tls: ssl.SSLContext, login: Login) -> None:
    """Log in and send a message to oneself."""
    secret = base64.b64encode("\0{}\0{}".format(*login).encode()).decode()
    async with connected(address, tls) as client, asyncio.timeout(SECONDS):
        await client.smtp("EHLO client.test", 250)
        await client.smtp(f"AUTH PLAIN {secret}", 235)
        await client.smtp(f"MAIL FROM:<{login[0]}>", 250)
        await client.smtp(f"RCPT TO:<{login[0]}>", 250)
        await client.smtp("DATA", 354)
        await client.smtp(MESSAGE, 250)
        await client.smtp("QUIT", 221)


SESSIONS = {
    "imap": imap_session,
    "pop3": pop3_session,
    "smtp": smtp_session,
    "submission": submission_session,
}


# --- many -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Load:
    """What a crowd of sessions took."""

    sessions: int
    seconds: float
    client_seconds: float
    """Processor time of the clients themselves."""

    @property
    def rate(self) -> float:
        """Sessions a second."""
        return self.sessions / self.seconds


def sessions(
    protocol: str, address: Address, logins: Sequence[Login], *, parallel: int, count: int
) -> Load:
    """Make so many sessions, so many of them at a time, with one login after the other."""
    workers = min(PROCESSES, parallel)
    own = [range(n, count, workers) for n in range(workers)]
    at_once = [len(range(n, parallel, workers)) for n in range(workers)]

    def work(index: int) -> Callable[[], Awaitable[None]]:
        turns = iter([logins[n % len(logins)] for n in own[index]])
        return lambda: _crowd(protocol, address, turns, at_once[index])

    start = time.perf_counter()
    used = in_processes([work(index) for index in range(workers)])
    return Load(count, time.perf_counter() - start, sum(used))


async def _crowd(protocol: str, address: Address, turns: Iterator[Login], parallel: int) -> None:
    tls, session = lenient(), SESSIONS[protocol]

    async def one() -> None:
        for login in turns:
            await session(address, tls, login)

    async with asyncio.TaskGroup() as group:
        for _ in range(parallel):
            group.create_task(one())


def in_processes(works: Sequence[Callable[[], Awaitable[None]]]) -> list[float]:
    """Do each work in a process of its own; return the processor seconds that each took."""
    context = multiprocessing.get_context("fork")
    workers = []
    for work in works:
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, work), daemon=True)
        process.start()
        theirs.close()
        workers.append((process, ours))
    used = [ours.recv() for _, ours in workers]
    for process, _ in workers:
        process.join()
    return used


def _work(result: Connection, work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(_awaited(work))
    times = os.times()
    result.send(times.user + times.system)


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()


# --- idlers ---------------------------------------------------------------------------------


@contextlib.contextmanager
def idlers(address: Address, logins: Sequence[Login], count: int) -> Iterator[None]:
    """Hold so many IMAP connections in IDLE for as long as the block lasts.

    When the block ends each of them must still be there: a connection that was lost is an error.
    """
    context = multiprocessing.get_context("fork")
    workers = []
    for index in range(PROCESSES):
        ours, theirs = context.Pipe()
        own = [logins[n % len(logins)] for n in range(index, count, PROCESSES)]
        process = context.Process(target=_idle, args=(theirs, address, own), daemon=True)
        process.start()
        theirs.close()
        workers.append((process, ours))
    try:
        for _, ours in workers:
            # When one could not be opened its process says why and ends: EOFError.
            ours.recv()
        yield
        for _, ours in workers:
            ours.send("end")
            lost = ours.recv()
            assert not lost, f"{lost} idle connections were lost"
    finally:
        for process, ours in workers:
            ours.close()
            process.terminate()
            process.join()


def _idle(told: Connection, address: Address, logins: Sequence[Login]) -> None:
    asyncio.run(_hold(told, address, logins))


async def _hold(told: Connection, address: Address, logins: Sequence[Login]) -> None:
    tls, turns = lenient(), iter(logins)
    async with contextlib.AsyncExitStack() as stack:
        clients: list[Client] = []

        async def open_some() -> None:
            for login in turns:
                client = await stack.enter_async_context(connected(address, tls))
                async with asyncio.timeout(SECONDS):
                    await client.imap('LOGIN "{}" "{}"'.format(*login))
                    await client.imap("SELECT INBOX")
                    await client.say("i IDLE", ends=b"+")
                clients.append(client)

        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(open_some())
        told.send("idle")
        await asyncio.to_thread(told.recv)
        told.send(sum(client.reader.at_eof() for client in clients))
