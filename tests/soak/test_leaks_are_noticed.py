"""The controls of the soak: what leaks is found by the very same looks, and what does not is not.

Without them a soak that finds nothing may be one that cannot find anything.
"""

from __future__ import annotations

import random
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from idle_crowd import Idler
from log_watch import LogWatch
from sampling import COARSE, FINE, Figures, Sample, family, take
from trend import Tolerance, grows

SESSIONS = 15_000
"""About as many as the load makes in an hour."""
SAMPLES = 200

PROGRAM = """
import os, subprocess, sys
leak, folder = sys.argv[1:]
kept = []
for turn in sys.stdin:
    for number in range(10):
        match leak:
            case "memory": kept.append(b"x" * 60_000)
            case "descriptors": kept.append(open(os.devnull))
            case "processes": kept.append(subprocess.Popen(["sleep", "60"]))
            case "zombies": kept.append(subprocess.Popen(["true"]))
            case "files": open(f"{folder}/{turn.strip()}-{number}", "w").close()
            case _: bytes(60_000)
        if leak in {"processes", "zombies"}:
            break
    print(turn, end="", flush=True)
"""
"""A program that loses something with each turn, or nothing at all."""


def watched(leak: str, folder: Path) -> Figures:
    """Run the program and look at it as a soak looks at a server."""
    figures = Figures()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, leak, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdin
        assert program.stdout
        try:
            for turn in range(20):
                print(turn, file=program.stdin, flush=True)
                assert program.stdout.readline() == f"{turn}\n"
                figures.samples.append(take(program.pid, {"run": [folder]}))
        finally:
            for process in family(program.pid):
                process.kill()
    return figures


@pytest.mark.parametrize("leak", ["memory", "descriptors", "processes", "files"])
def test_a_program_that_leaks_is_noticed(leak: str, tmp_path: Path) -> None:
    """A soak would call a leaking server flat, and the leak would be met in production."""
    growing = watched(leak, tmp_path).growing(COARSE)
    assert growing
    assert all(words.startswith(leak) for words in growing), growing


def test_a_program_that_leaks_nothing_is_flat(tmp_path: Path) -> None:
    """A soak that cries wolf is switched off."""
    figures = watched("nothing", tmp_path)
    assert not figures.growing(FINE)
    assert not figures.neglected()


def test_zombies_are_noticed(tmp_path: Path) -> None:
    """Processes that nobody looks after would go unseen: they have neither memory nor files."""
    assert watched("zombies", tmp_path).neglected()


def jumping(level: float, *, grown: float = 0, seed: int = 0) -> list[float]:
    """Return figures that jump about a level as a busy daemon's do, and grow by so much."""
    chance = random.Random(seed)
    figures = [
        level * chance.uniform(0.97, 1.03) + grown * number / SAMPLES for number in range(SAMPLES)
    ]
    # Now and then a daemon is met in the middle of something large.
    for number in chance.sample(range(SAMPLES), 12):
        figures[number] *= 2
    return figures


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("level", [700e3, 14e6, 24e6])
def test_few_hundred_bytes_lost_with_each_session_are_noticed(level: float, seed: int) -> None:
    """A small leak takes weeks to bring a server down, and then at night."""
    assert grows(jumping(level, seed=seed), FINE.memory) is None
    assert grows(jumping(level, grown=400 * SESSIONS, seed=seed), FINE.memory)


def test_few_figures_tell_no_trend() -> None:
    """A soak that hardly looked at its server would pass."""
    with pytest.raises(ValueError, match="a row of 3 figures"):
        grows([1.0, 2.0, 3.0], Tolerance(0, 0))


def test_one_new_process_of_each_sort_is_noticed() -> None:
    """Each sort alone would stay within what is allowed."""

    def sample(each: int) -> Sample:
        count = {f"sort {number}": float(each) for number in range(30)}
        one = dict.fromkeys(count, 1.0)
        return Sample(one, one, count, {}, 30.0, 30.0, frozenset())

    figures = Figures([sample(1)] * 10 + [sample(2)] * 10)
    assert figures.growing(FINE) == ["processes altogether: from 30 to 60"]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[tuple[Path, LogWatch]]:
    """Watch an empty log."""
    file = tmp_path / "gatepost.log"
    file.write_text("postfix | fatal: of old\n")
    watch = LogWatch(file, {r"warning: a guess$": "a guess"}, {"sent": "status=sent"})
    watch.start()
    yield file, watch
    watch.close()


def write(file: Path, lines: Sequence[str]) -> None:
    with file.open("a") as stream:
        stream.writelines(f"{line}\n" for line in lines)


def test_an_unknown_complaint_is_noticed(log: tuple[Path, LogWatch]) -> None:
    """A daemon's call for help would drown among complaints that are expected."""
    file, watch = log
    write(file, ["postfix | warning: a guess", "dovecot | Panic: file x.c", "gate | all is well"])
    watch.read()
    assert watch.unexpected == ["dovecot | Panic: file x.c"]
    assert watch.reasons == {"a guess": 1}


def test_a_log_is_read_across_its_renaming(log: tuple[Path, LogWatch]) -> None:
    """In an hour the log is renamed, and what it said around that moment would be missed."""
    file, watch = log
    write(file, ["postfix | status=sent"])
    watch.read()
    write(file, ["postfix | status=sent", "traefik | ERR before"])
    file.rename(file.with_name("gatepost.log.1"))
    write(file, ["postfix | status=sent", "postfix | fatal: after"])
    watch.read()
    write(file, ["postfix | status=sent"])
    watch.read()
    assert watch.counts["sent"] == 4
    assert watch.unexpected == ["traefik | ERR before", "postfix | fatal: after"]


def test_a_connection_that_is_cut_is_noticed() -> None:
    """Phones whose connection ends are told of nothing, and look as calm as the others."""
    ours, servers = socket.socketpair()
    with ours, servers:
        idler = Idler("anna@example.org", ours)
        idler.begin()
        assert servers.recv(100) == b"idle1 IDLE\r\n"
        servers.sendall(b"+ idling\r\n* 1 EXISTS\r\n* 1 REC")
        idler.read()
        servers.sendall(b"ENT\r\n* OK Still here\r\n")
        idler.read()
        assert set(idler.told) == {1}
        servers.sendall(b"* BYE Disconnected for inactivity.\r\n")
        with pytest.raises(ConnectionError, match="inactivity"):
            idler.read()
        servers.close()
        with pytest.raises(ConnectionError, match="closed"):
            idler.read()


def test_only_what_keeps_sessions_may_keep_more() -> None:
    """A cache that fills would be called a leak, or a leak of any process would pass as a cache."""

    def figures(sort: str, grown: float) -> list[str]:
        rows = [{sort: 2e6 + grown * number} for number in range(20)]
        one = {sort: 1.0}
        samples = [Sample(row, one, one, {}, 0.0, 1.0, frozenset()) for row in rows]
        return Figures(samples).growing(FINE)

    assert not figures("dovecot imap-login", 300e3)
    assert figures("dovecot imap-login", 500e3)
    assert figures("dovecot auth", 300e3)
