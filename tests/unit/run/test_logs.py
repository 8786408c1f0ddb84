"""One log for all services."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest

from gatepost.model import Home
from gatepost.run import logs
from gatepost.run.logs import LogStream


def read_all(descriptor: int) -> bytes:
    os.set_blocking(descriptor, False)
    return os.read(descriptor, 100_000)


def test_each_line_carries_its_service(tmp_path: Path) -> None:
    """Nobody could tell which daemon complains."""
    log = LogStream(tmp_path / "log")
    log.feed("postfix", b"one\ntwo\n")
    log.feed("dovecot", b"three\n")
    assert (tmp_path / "log").read_text() == "postfix | one\npostfix | two\ndovecot | three\n"


def test_lines_that_come_in_pieces_stay_whole(tmp_path: Path) -> None:
    """Two daemons that write at once would tear each other's lines, and no witness be found."""
    log = LogStream(tmp_path / "log")
    log.feed("postfix", b"connect from ")
    log.feed("dovecot", b"login: ")
    log.feed("postfix", b"client\nnext")
    log.feed("dovecot", b"alice\n")
    assert (
        tmp_path / "log"
    ).read_text() == "postfix | connect from client\ndovecot | login: alice\n"


def test_the_last_words_of_a_dead_service_are_kept(tmp_path: Path) -> None:
    """Why it died stands in the line that it could not end."""
    log = LogStream(tmp_path / "log")
    log.feed("postfix", b"fatal: no room")
    assert (tmp_path / "log").read_text() == ""
    log.finish("postfix")
    log.finish("dovecot")
    assert (tmp_path / "log").read_text() == "postfix | fatal: no room\n"
    assert log.last("postfix") == ["fatal: no room"]
    assert log.last("dovecot") == []


def test_few_last_words_are_remembered(tmp_path: Path) -> None:
    """The supervisor would fill the memory with its daemons' logs."""
    log = LogStream(tmp_path / "log")
    log.feed("postfix", b"".join(b"%d\n" % number for number in range(1000)))
    assert log.last("postfix")[-1] == "999"
    assert len(log.last("postfix")) == 60


def test_the_supervisors_own_lines_tell_the_time(tmp_path: Path) -> None:
    """Nobody could tell when a service was restarted."""
    LogStream(tmp_path / "log").say("ready")
    line = (tmp_path / "log").read_text()
    assert re.fullmatch(r"gatepost \| \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ready\n", line)


def test_colour_is_for_terminals(tmp_path: Path) -> None:
    """Escape codes in a file or in a container's log break every search in it."""
    there, terminal = os.openpty()
    reading, pipe = os.pipe()
    try:
        LogStream(tmp_path / "log", terminal).feed("postfix", b"one\n")
        LogStream(None, pipe).feed("postfix", b"one\n")
        assert re.fullmatch(rb"\x1b\[\d+mpostfix \| \x1b\[0mone\r\n", read_all(there))
        assert read_all(reading) == b"postfix | one\n"
        assert (tmp_path / "log").read_text() == "postfix | one\n"
    finally:
        for descriptor in (there, terminal, reading, pipe):
            os.close(descriptor)


def test_a_closed_terminal_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts the server in the background and logs out would stop its supervision."""
    reading, pipe = os.pipe()
    os.close(reading)
    monkeypatch.setattr("sys.stderr", SimpleNamespace(fileno=lambda: pipe))
    try:
        log = LogStream(tmp_path / "log", pipe)
        log.feed("postfix", b"one\n")
        log.feed("postfix", b"two\n")
    finally:
        os.close(pipe)
    assert (tmp_path / "log").read_text() == "postfix | one\npostfix | two\n"


def test_a_full_disk_is_told_on_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines would be missing and nobody know why."""
    reading, pipe = os.pipe()
    full = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr("sys.stderr", SimpleNamespace(fileno=lambda: pipe))
    try:
        LogStream(None, full).feed("postfix", b"one\n")
        assert read_all(reading) == b"log: [Errno 28] No space left on device\n"
    finally:
        for descriptor in (reading, pipe, full):
            os.close(descriptor)


# --- rotation -------------------------------------------------------------------------------


@pytest.fixture
def rotating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[LogStream, Path]:
    """Return a log that is renamed after every second line."""
    monkeypatch.setattr(logs, "_LARGEST", 20)
    return LogStream(tmp_path / "log"), tmp_path / "log"


def test_a_large_log_is_renamed_and_few_are_kept(rotating: tuple[LogStream, Path]) -> None:
    """The log would fill the disk, and a full disk refuses mail."""
    log, path = rotating
    for number in range(100, 130):
        log.feed("postfix", b"%d\n" % number)
    kept = [path, *(path.with_name(f"log.{number}") for number in range(1, 6))]
    assert sorted(path.parent.iterdir()) == sorted(kept)
    lines = [line for file in reversed(kept) for line in file.read_text().splitlines()]
    assert lines == [f"postfix | {number}" for number in range(118, 130)]


def test_a_small_log_is_not_renamed(tmp_path: Path) -> None:
    """Each line would have a file of its own, and the sixth oldest be lost."""
    log = LogStream(tmp_path / "log")
    for number in range(100):
        log.feed("postfix", b"%d\n" % number)
    assert [file.name for file in tmp_path.iterdir()] == ["log"]


def test_a_log_goes_on_where_it_was(tmp_path: Path) -> None:
    """Each restart would delete the log that tells why."""
    LogStream(tmp_path / "log").feed("postfix", b"before\n")
    LogStream(tmp_path / "log").feed("postfix", b"after\n")
    assert (tmp_path / "log").read_text() == "postfix | before\npostfix | after\n"


def test_a_deleted_log_is_made_anew(rotating: tuple[LogStream, Path]) -> None:
    """An admin who deletes the log to make room would end logging for good."""
    log, path = rotating
    log.feed("postfix", b"a line of more than twenty bytes\n")
    path.unlink()
    log.feed("postfix", b"next\n")
    assert path.read_text() == "postfix | next\n"


def test_a_log_that_cannot_be_renamed_goes_on(
    rotating: tuple[LogStream, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk the log would end for good, and with it whatever had something to say."""
    log, path = rotating
    log.feed("postfix", b"a line of more than twenty bytes\n")
    with monkeypatch.context() as full:

        def no_room(*_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        full.setattr("os.open", no_room)
        log.feed("postfix", b"meanwhile\n")
    assert path.read_text().endswith("\npostfix | meanwhile\n")
    log.feed("postfix", b"next\n")
    assert path.read_text() == "postfix | next\n"


# --- reading --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "service", "expected"),
    [
        (2, None, ["postfix | 3", "dovecot | 4"]),
        (2, "postfix", ["postfix | 1", "postfix | 3"]),
        (99, "dovecot", ["dovecot | 2", "dovecot | 4"]),
        (99, "post", []),
        (0, None, []),
    ],
)
def test_tail_shows_the_last_lines(
    tmp_path: Path, count: int, service: str | None, expected: list[str]
) -> None:
    """`gatepost logs postfix` would show another service's lines, or too few."""
    path = tmp_path / "log"
    path.write_text("postfix | 1\ndovecot | 2\npostfix | 3\ndovecot | 4\n")
    assert logs.tail(path, count, service) == expected


def test_tail_looks_into_the_renamed_log(tmp_path: Path) -> None:
    """Right after a renaming the log would seem empty."""
    path = tmp_path / "log"
    path.with_name("log.1").write_text("a | 1\nb | 2\na | 3\n")
    path.write_text("a | 4\n")
    assert logs.tail(path, 3) == ["b | 2", "a | 3", "a | 4"]
    assert logs.tail(path, 2, "a") == ["a | 3", "a | 4"]
    assert logs.tail(tmp_path / "none", 3) == []


def acting(monkeypatch: pytest.MonkeyPatch, *actions: Callable[[], object]) -> None:
    """Have something happen each time that the follower pauses; nothing more: it ends."""
    left = list(actions)

    def pause(_seconds: float) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop(0)()

    monkeypatch.setattr(logs, "time", SimpleNamespace(sleep=pause))


def until_interrupted(lines: Iterator[str]) -> list[str]:
    """Return the lines before the interruption; at most 50, to see one repeated for ever."""
    found = []
    with contextlib.suppress(KeyboardInterrupt):
        for line in islice(lines, 50):
            found.append(line)  # noqa: PERF402  a comprehension would lose those before the end
    return found


def test_follow_shows_what_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`gatepost logs --follow` would repeat old lines or miss new ones."""
    path = tmp_path / "log"
    path.write_text("postfix | old\n")
    log = LogStream(path)
    acting(
        monkeypatch,
        lambda: log.feed("postfix", b"one\n"),
        lambda: log.feed("dovecot", b"two\nthree\n"),
    )
    assert until_interrupted(logs.follow(path)) == [
        "postfix | one",
        "dovecot | two",
        "dovecot | three",
    ]


def test_follow_shows_the_service_that_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one line that matters would be lost among the others."""
    log = LogStream(tmp_path / "log")
    acting(
        monkeypatch,
        lambda: log.feed("postfix", b"one\n"),
        lambda: log.feed("dovecot", b"two\n"),
    )
    assert until_interrupted(logs.follow(tmp_path / "log", "dovecot")) == ["dovecot | two"]


def test_follow_waits_for_the_first_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Following before the first start would end, or show nothing for ever."""
    path = tmp_path / "log"
    acting(monkeypatch, lambda: None, lambda: path.write_text("postfix | one\n"))
    assert until_interrupted(logs.follow(path)) == ["postfix | one"]


def test_follow_goes_on_in_the_next_file(
    rotating: tuple[LogStream, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a renaming, the follower would be silent."""
    log, path = rotating
    acting(monkeypatch, *(lambda n=n: log.feed("a", b"a long line %d\n" % n) for n in range(4)))
    assert until_interrupted(logs.follow(path)) == [f"a | a long line {n}" for n in range(4)]


def test_the_log_is_in_the_home(home: Home) -> None:
    """The supervisor would write where `gatepost logs` does not look."""
    assert logs.path(home) == home.root / "logs" / "gatepost.log"
    LogStream(logs.path(home)).say("ready")
    assert logs.path(home).exists()


def test_what_a_terminal_obeys_is_written_out(tmp_path: Path) -> None:
    """Whoever reads the log on a terminal would see what a client wants to be seen."""
    log = LogStream(tmp_path / "log")
    log.feed("postfix", "helo=<\x1b[2J\x07\x9b2J\r\x00>\tgrüße\n".encode())
    said = "postfix | helo=<\\x1b[2J\\x07\\x9b2J\\x0d\\x00>\tgrüße\n"
    assert (tmp_path / "log").read_text() == said
    assert log.last("postfix") == [said.removeprefix("postfix | ").rstrip("\n")]


def test_a_carriage_return_makes_no_line(tmp_path: Path) -> None:
    """A client could write a line of its own, with another's address, for `verify` to believe."""
    log = LogStream(tmp_path / "log")
    log.feed("dovecot", b"user=<x\rpostfix | connect from unknown[203.0.113.9]:1>\n")
    assert len((tmp_path / "log").read_bytes().splitlines()) == 1
    assert len(logs.tail(tmp_path / "log", 10)) == 1


def test_a_carriage_return_begins_no_line(tmp_path: Path) -> None:
    """What a client says would stand in the log under the name of another service."""
    path = tmp_path / "log"
    path.write_bytes(b"postfix | a\rdovecot | b\npostfix | c\n")
    assert logs.tail(path, 9, "dovecot") == []
    assert logs.tail(path, 9, "postfix") == ["postfix | a\rdovecot | b", "postfix | c"]
