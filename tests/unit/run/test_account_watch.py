"""What is to be done about a changed account is done, however often it has to be tried."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from gatepost.accounts.records import Mailbox
from gatepost.accounts.store import Store, open_store
from gatepost.model import Home, Process
from gatepost.run.account_watch import AccountWatch
from gatepost.run.supervised import State, Supervised

LINE = "anna@example.org\texample.org/anna\n"
FORGET, END = ("forget",), ("end",)


class Running:
    """A running process that notes what it is told, and refuses what `fails` names."""

    def __init__(self) -> None:
        """Begin with nothing told and nothing refused."""
        self.fails: set[tuple[str, ...]] = set()
        self.told: list[tuple[str, str]] = []

    async def tell(self, command: tuple[str, ...], text: str = "") -> str | None:
        """Note a command, or refuse it."""
        if command in self.fails:
            return "no such socket"
        self.told.append((command[0], text))
        return None


class Serving:
    """A service that runs such a process."""

    def __init__(self, place: Path) -> None:
        """Take the file that names the accounts."""
        self.process = Process(
            "store", ("x",), forget=FORGET, end_sessions=END, accounts=str(place)
        )
        self.child: Running | None = Running()
        self.state = State.READY


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    """Return accounts with one mailbox."""
    with open_store(home.database) as opened:
        opened.add_domain("example.org")
        opened.add_mailbox(Mailbox("anna@example.org", "{SSHA}x"))
        yield opened


@pytest.fixture
def serving(home: Home, tmp_path: Path) -> Serving:
    """Return a service that names these accounts."""
    place = tmp_path / "place"
    place.write_text(f"{home.database}\n")
    return Serving(place)


def looks(serving: Serving, *steps: Callable[[], object]) -> tuple[list[list[str]], list[str]]:
    """Look once, and again after each step; return what each look told, and what was logged."""
    said: list[str] = []

    async def main() -> list[list[str]]:
        watch = AccountWatch(lambda: [cast("Supervised", serving)], said.append, print)
        answers = [await watch.look()]
        for step in steps:
            step()
            answers.append(await watch.look())
            assert watch.problems == (answers[-1] if serving.state is State.READY else [])
        return answers

    return asyncio.run(main()), said


@pytest.mark.parametrize("command", [FORGET, END])
def test_what_fails_is_told_and_tried_again(
    store: Store, serving: Serving, command: tuple[str, ...]
) -> None:
    """A session of a locked mailbox would go on, and the command that locked it end with 0."""
    running = serving.child
    assert running

    def lock() -> None:
        running.fails.add(command)
        store.change_mailbox("anna@example.org", enabled=False)

    answers, said = looks(serving, lock, lambda: None, running.fails.clear, lambda: None)
    first, failed, again, done, nothing = answers
    assert first == done == nothing == []
    assert failed == again
    assert "no such socket" in failed[0]
    assert said == [*failed, "store has acted on changed accounts now"]
    assert running.told[-1] == ("end", LINE), "nobody is left who logged in by what it remembered"


def test_sessions_are_ended_once_while_it_does_not_forget(store: Store, serving: Serving) -> None:
    """Who has logged in with the new password would be thrown out at each look."""
    running = serving.child
    assert running
    running.fails = {FORGET}
    looks(serving, lambda: store.remove_mailbox("anna@example.org"), lambda: None, lambda: None)
    assert running.told == [("end", LINE)]


def test_one_that_is_starting_is_tried_without_a_complaint(store: Store, serving: Serving) -> None:
    """An account that is added while the server starts would look like a failure."""
    running = serving.child
    assert running
    running.fails, serving.state = {FORGET, END}, State.STARTING

    def be_ready() -> None:
        serving.state = State.READY
        running.fails.clear()

    answers, said = looks(
        serving, lambda: store.remove_mailbox("anna@example.org"), be_ready, lambda: None
    )
    assert answers == [[], [], [], []]
    assert said == []
    assert running.told == [("forget", ""), ("end", LINE)]


def test_one_that_has_ended_has_nothing_left_to_do(store: Store, serving: Serving) -> None:
    """The new process would be told for ever of what it never knew."""
    running = serving.child
    assert running
    running.fails = {FORGET, END}

    def end() -> None:
        serving.child = None

    answers, _ = looks(serving, lambda: store.remove_mailbox("anna@example.org"), end)
    assert answers[1]
    assert answers[2] == []


def test_accounts_that_cannot_be_read_are_told(
    store: Store, serving: Serving, tmp_path: Path
) -> None:
    """The command would end with 0 though nobody has heard of its change."""
    store.change_mailbox("anna@example.org", enabled=False)
    (tmp_path / "place").write_text(f"{tmp_path}/none\n")

    async def main() -> list[str]:
        return await AccountWatch(lambda: [cast("Supervised", serving)], print, print).look()

    (problem,) = asyncio.run(main())
    assert problem == "store cannot be informed of changed accounts: unable to open database file"


@pytest.mark.usefixtures("store")
def test_a_connection_that_ends_is_told_once(serving: Serving, tmp_path: Path) -> None:
    """A database that was away for a moment has ended the daemons' connections too."""
    lost: list[Process] = []
    place = tmp_path / "place"
    there, none = place.read_text(), f"{tmp_path}/none\n"

    async def main() -> list[int]:
        watch = AccountWatch(lambda: [cast("Supervised", serving)], print, lost.append)
        counts = []
        for words in (none, there, none, none, there):
            place.write_text(words)
            await watch.look()
            counts.append(len(lost))
        return counts

    counts = asyncio.run(main())
    assert counts == [0, 0, 1, 1, 1], "one that never stood has not ended"
    assert lost == [serving.process]
