"""Questions about aliases, between a Postfix and a mail store that the test plays."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gatepost.accounts.lookups import JUDGED
from gatepost.journal import Journal
from gatepost.sasl import NOBODY
from gatepost.sasl.takers import AT_ONCE, LINE_BYTES, Takers

FULL = b"552 5.2.2 The mailbox is full (over quota)"
LARGE = b"552 5.2.3 The message is larger than what is left of the mailbox's quota"
LATER = b"DEFER_IF_PERMIT Internal error occurred"
ROOM = b"DUNNO"


def question(recipient: str = "team@example.org", size: str = "1234") -> bytes:
    """Write a question as Postfix does, with attributes that nobody needs."""
    return (
        "request=smtpd_access_policy\nprotocol_state=RCPT\nhelo_name=a=b\nsender=\n"
        f"recipient={recipient}\nsize={size}\nccert_subject=\n\n"
    ).encode()


@dataclass
class Store:
    """A mail store with so many mailboxes behind each alias, and what it was asked."""

    actions: list[bytes]
    raw: bytes = b""
    """Said instead of every answer."""
    seconds: float = 0.0
    asked: list[dict[str, str]] = field(default_factory=list)
    open: int = 0
    most: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer about the mailbox of the number that begins the name."""
        self.open += 1
        self.most = max(self.most, self.open)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while text := await reader.readuntil(b"\n\n"):
                found = dict(line.split("=", 1) for line in text.decode().split("\n") if line)
                self.asked.append(found)
                await asyncio.sleep(self.seconds)
                place = int(found["recipient"][:2])
                action = self.actions[place - 1] if place <= len(self.actions) else NOBODY
                writer.write(self.raw or b"action=" + action + b"\n\n")
                if self.raw:
                    break
        writer.close()
        self.open -= 1


def run(store: Store | None, folder: Path, *said: bytes, seconds: float = 2) -> tuple[bytes, str]:
    """Have Postfix say something and hang up; return all that it was answered, and the log."""
    log = io.StringIO()
    behind, before = str(folder / "store"), str(folder / "takers")

    async def talk() -> bytes:
        takers = Takers(behind, Journal(log), seconds=seconds)
        async with contextlib.AsyncExitStack() as stack:
            if store:
                await stack.enter_async_context(
                    await asyncio.start_unix_server(store.serve, behind)
                )
            await stack.enter_async_context(
                await asyncio.start_unix_server(takers.serve, before, limit=LINE_BYTES)
            )
            reader, writer = await asyncio.open_unix_connection(before)
            answers = b""
            with contextlib.suppress(ConnectionError):
                for words in said:
                    writer.write(words)
                    await writer.drain()
                writer.write_eof()
                answers = await reader.read()
            writer.close()
            return answers

    return asyncio.run(talk()), log.getvalue()


@pytest.mark.parametrize(
    ("actions", "answer"),
    [
        ([FULL], FULL),
        ([FULL, FULL, FULL], FULL),
        ([FULL, LARGE], FULL),
        ([LARGE, FULL], LARGE),
        ([FULL, FULL, ROOM], ROOM),
        ([ROOM, FULL], ROOM),
        # A mailbox that cannot be looked at now may have room.
        ([FULL, LATER], LATER),
        ([LATER, FULL], LATER),
        ([LATER, FULL, ROOM], ROOM),
        ([], ROOM),
        ([FULL] * (JUDGED - 1), FULL),
        ([FULL] * (JUDGED - 2) + [ROOM], ROOM),
        # No refusal that is known, so the message is taken.
        ([FULL, b"REDIRECT eve@outside.test"], ROOM),
        ([FULL, b""], ROOM),
        ([b"552 " + b"x" * 501], ROOM),
        ([b"552 caf\xc3\xa9"], ROOM),
    ],
)
def test_it_is_refused_when_every_mailbox_refuses(
    tmp_path: Path, actions: list[bytes], answer: bytes
) -> None:
    """Mail that nobody takes would bounce, or mail that somebody takes be refused."""
    store = Store(actions)
    answers, log = run(store, tmp_path, question())
    assert answers == b"action=" + answer + b"\n\n"
    assert log == ""
    assert store.open == 0, "the connection is for one question"


def test_the_size_and_the_number_are_passed_on(tmp_path: Path) -> None:
    """A message that is larger than every mailbox would bounce."""
    store = Store([FULL, FULL])
    run(store, tmp_path, question())
    assert [found["recipient"] for found in store.asked] == [
        "01!team@example.org",
        "02!team@example.org",
        "03!team@example.org",
    ]
    assert {found["size"] for found in store.asked} == {"1234"}
    assert {found["protocol_state"] for found in store.asked} == {"RCPT"}


@pytest.mark.parametrize("size", ["", "-1", "1x", "٣", "9" * 4000])
def test_a_size_that_is_none_counts_as_unknown(tmp_path: Path, size: str) -> None:
    """The number goes to the mail store."""
    store = Store([FULL])
    answers, _ = run(store, tmp_path, question(size=size))
    assert answers == b"action=" + FULL + b"\n\n"
    assert store.asked[0]["size"] == "0"


@pytest.mark.parametrize("local", ["a{b}", "a,b", "a=b", "%u", '"a b"@x', "a\tb", "\\", "a!b", "/"])
def test_a_name_brings_nothing_of_its_own(tmp_path: Path, local: str) -> None:
    """A stranger chooses the local part at a catch-all."""
    store = Store([FULL])
    answers, _ = run(store, tmp_path, question(f"{local}@example.org"))
    assert answers == b"action=" + FULL + b"\n\n"
    assert list(store.asked[0]) == ["request", "protocol_state", "recipient", "size"]
    assert re.fullmatch(r"01![!-~]+@example\.org", store.asked[0]["recipient"])


def test_questions_follow_one_another_on_a_connection(tmp_path: Path) -> None:
    """Each smtpd keeps one; a new one for each recipient would cost more than the question."""
    store = Store([FULL])
    answers, _ = run(store, tmp_path, question("a@example.org") + question("b@example.org"))
    assert answers == 2 * (b"action=" + FULL + b"\n\n")
    assert {found["recipient"][3:] for found in store.asked} == {"a@example.org", "b@example.org"}


@pytest.mark.parametrize(
    "said",
    [
        b"\0\xff\n\n",
        b"recipient\n\n",
        b"x" * (LINE_BYTES + 1),
        b"recipient=" + b"x" * LINE_BYTES + b"\n\n",
        b"recipient=caf\xc3\xa9@example.org\n\n",
        b"a=b\n" * 101 + b"\n",
        b"recipient=half@example",
        b"recipient=a@example.org\n",
    ],
)
def test_what_is_no_question_is_hung_up_on(tmp_path: Path, said: bytes) -> None:
    """Postfix takes the message then; memory would fill up otherwise."""
    store = Store([FULL])
    assert run(store, tmp_path, said)[0] == b""
    assert store.asked == []


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"action=552 5.2.2 half", "the answer is none"),
        (b"\n\n", "the answer is none"),
        (b"x" * 100_000, "chunk exceed"),
        (b"action=552 x\nmore=1\n\n", "the answer is none"),
    ],
)
def test_an_answer_that_is_none_refuses_nobody(tmp_path: Path, raw: bytes, why: str) -> None:
    """A mail store that ends in the middle would refuse mail for good."""
    answers, log = run(Store([], raw=raw), tmp_path, question())
    assert answers == b"action=DUNNO\n\n"
    assert f"mail for an alias is taken without a look at quotas: {tmp_path}/store: " in log
    assert why in log


def test_a_mail_store_that_is_away_or_slow_refuses_nobody(tmp_path: Path) -> None:
    """The front door would refuse mail because a mail store restarts."""
    answers, log = run(None, tmp_path, question())
    assert answers == b"action=DUNNO\n\n"
    assert "No such file or directory" in log
    answers, log = run(Store([FULL, FULL], seconds=0.2), tmp_path, question(), seconds=0.3)
    assert answers == b"action=DUNNO\n\n"
    assert "no answer within 0.3 s" in log


def test_a_flood_waits(tmp_path: Path) -> None:
    """All of Dovecot's processes would be busy with one list, and single mailboxes wait."""
    store, answers = Store([FULL], seconds=0.02), []

    async def talk() -> None:
        takers = Takers(str(tmp_path / "store"), Journal(io.StringIO()))
        async with (
            await asyncio.start_unix_server(store.serve, str(tmp_path / "store")),
            await asyncio.start_unix_server(takers.serve, str(tmp_path / "takers")),
        ):

            async def one() -> None:
                reader, writer = await asyncio.open_unix_connection(str(tmp_path / "takers"))
                writer.write(question())
                answers.append(await reader.readline())
                writer.close()

            await asyncio.gather(*(one() for _ in range(5 * AT_ONCE)))

    asyncio.run(talk())
    assert answers == [b"action=" + FULL + b"\n"] * 5 * AT_ONCE
    assert store.most <= AT_ONCE
