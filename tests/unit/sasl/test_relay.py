"""The login relay between a Postfix and a mail store that the test plays."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gatepost.journal import Journal
from gatepost.sasl.relay import Relay

POSTFIX = b"VERSION\t1\t1\nCPID\t4711\n"
DOVECOT = b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\tx\nDONE\n"
AUTH = b"AUTH\t1\tPLAIN\tservice=smtp\tnologin\tresp=AGE=\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Store:
    """A mail store: what it was told, and what it says to each line but the greeting."""

    answers: list[bytes | None]
    """After None, and half a line, it hangs up."""
    told: list[bytes] = field(default_factory=list)
    open: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer as it was told to."""
        self.open += 1
        with contextlib.suppress(ConnectionError):
            writer.write(DOVECOT)
            while line := await reader.readline():
                self.told.append(line)
                if line.startswith((b"VERSION", b"CPID")):
                    continue
                answer = self.answers.pop(0)
                writer.write(answer or b"")
                if answer is None or (answer and not answer.endswith(b"\n")):
                    break
        writer.close()
        self.open -= 1


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def relayed(store: Serve, folder: Path, log: io.StringIO) -> AsyncIterator[Streams]:
    """Run a mail store and a relay before it; yield Postfix's connection to the relay."""
    behind, before = str(folder / "store"), str(folder / "relay")
    relay = Relay(behind, Journal(log), seconds=0.3)
    async with (
        await asyncio.start_unix_server(store, behind),
        await asyncio.start_unix_server(relay.serve, before),
    ):
        reader, writer = await asyncio.open_unix_connection(before)
        writer.write(POSTFIX)
        greeting = await reader.readuntil(b"DONE\n")
        assert greeting.startswith(b"VERSION\t1\t")
        assert b"MECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t" in greeting
        yield reader, writer
        writer.close()


async def ask(streams: Streams, line: bytes) -> bytes:
    reader, writer = streams
    writer.write(line)
    return await reader.readline()


def run(store: Store, folder: Path, *lines: bytes) -> tuple[list[bytes], str]:
    """Have Postfix say lines, one after the other; return the answers and the log."""
    log = io.StringIO()

    async def talk() -> list[bytes]:
        async with relayed(store.serve, folder, log) as streams:
            return [await ask(streams, line) for line in lines]

    return asyncio.run(talk()), log.getvalue()


@pytest.mark.parametrize(
    "answer",
    [
        b"OK\t1\tuser=anna@example.org\n",
        b"FAIL\t1\tuser=anna@example.org\n",
        b"FAIL\t1\tuser=anna@example.org\tcode=user_disabled\n",
        b"FAIL\t1\tuser=code\treason=code=temp_fail of another field\n",
    ],
)
def test_what_is_certain_is_passed_on(tmp_path: Path, answer: bytes) -> None:
    """Nobody could log in, or everybody, or guessers would be told to come again."""
    store = Store([answer])
    answers, log = run(store, tmp_path, AUTH)
    assert answers == [answer]
    assert b"".join(store.told) == POSTFIX + AUTH
    assert store.open == 0, "the connection is for one login"
    assert log == ""


def test_a_login_in_several_steps_keeps_its_connection(tmp_path: Path) -> None:
    """AUTH LOGIN asks for the name and then for the password."""
    steps = (b"AUTH\t7\tLOGIN\n", b"CONT\t7\tYQ==\n", b"CONT\t7\tYg==\n")
    said = [b"CONT\t7\tVXNlcg==\n", b"CONT\t7\tUGFzcw==\n", b"OK\t7\tuser=a\n"]
    store = Store(list(said))
    assert run(store, tmp_path, *steps)[0] == said
    assert store.told.count(b"CPID\t4711\n") == 1


def test_each_login_has_a_connection_of_its_own(tmp_path: Path) -> None:
    """One that went stale meanwhile would cost a right password."""
    store = Store([b"FAIL\t1\n", b"CONT\t2\t\n", b"OK\t3\tuser=a\n"])
    lines = (AUTH, b"AUTH\t2\tLOGIN\n", b"AUTH\t3\tPLAIN\tresp=AGE=\n")
    assert run(store, tmp_path, *lines)[0] == [b"FAIL\t1\n", b"CONT\t2\t\n", b"OK\t3\tuser=a\n"]
    assert store.told.count(b"CPID\t4711\n") == 3


def test_an_answer_to_another_login_is_none(tmp_path: Path) -> None:
    """A late answer would let the next one in."""
    store = Store([b"OK\t99\tuser=b\nFAIL\t1\n"])
    assert run(store, tmp_path, AUTH)[0] == [b"FAIL\t1\n"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"FAIL\t1\tuser=a\tcode=temp_fail\n", "cannot check it now"),
        (b"FAIL\t1\tcode=temp_fail\treason=x\n", "cannot check it now"),
        (None, "the connection was lost"),
        (b"OK\t1\tuser=a", "the connection was lost"),
        (b"OK\t2\tuser=a\n", "no answer within 0.3 s"),
        (b"", "no answer within 0.3 s"),
    ],
)
def test_what_is_not_certain_is_put_off(tmp_path: Path, answer: bytes | None, why: str) -> None:
    """Postfix answers 454 when it loses its connection, and 535 to any words."""
    answers, log = run(Store([answer, None]), tmp_path, AUTH)
    assert answers == [b""]
    assert f"{tmp_path}/store: " in log
    assert why in log


def test_a_mail_store_that_is_away_puts_off(tmp_path: Path) -> None:
    """A session begins all the same, and ends with 454."""
    log = io.StringIO()

    async def talk() -> bytes:
        relay = Relay("127.0.0.1:1", Journal(log))
        async with await asyncio.start_unix_server(relay.serve, str(tmp_path / "relay")):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "relay"))
            writer.write(POSTFIX)
            await reader.readuntil(b"DONE\n")
            return await ask((reader, writer), AUTH)

    assert asyncio.run(talk()) == b""
    assert "127.0.0.1:1: " in log.getvalue()
    assert "Connect" in log.getvalue()


def test_a_step_without_a_beginning_is_put_off(tmp_path: Path) -> None:
    """Nothing would answer it."""
    assert run(Store([]), tmp_path, b"CONT\t1\tYQ==\n")[0] == [b""]
