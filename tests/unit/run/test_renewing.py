"""A passing fault does not keep a renewed certificate from being used."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from gatepost.model import Home, Original, Part, Plan, RenderedFile
from gatepost.run import originals, renewing
from gatepost.run.control import Applied
from gatepost.run.record import Record
from gatepost.run.renewing import Renewing

BAD = {"renewed": [], "problems": ["TLS_CERT_FILE: no certificate."], "again": False}
AWAY = {"renewed": [], "problems": ["d refuses:\n no database"], "again": True}
NOTHING = {"renewed": [], "problems": [], "again": False}


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(originals, "EVERY", 0.02)
    monkeypatch.setattr(renewing, "BACK_OFF", (0.05, 0.1))


class Place:
    """A configuration with one copy, and what making the next ends with."""

    def __init__(self, folder: Path, made: Callable[..., Plan], *answers: object) -> None:
        """Take the answers of the program that makes copies; the last one stays."""
        self.file = folder / "fullchain.pem"
        self.file.write_text("two")
        self.answers = folder / "answers"
        self.answers.write_text("".join(f"{json.dumps(one)}\n" for one in answers))
        self.tries = folder / "tries"
        self.program = folder / "program"
        self.program.write_text(
            f"""#!/bin/sh
echo >>{self.tries}
read -r next <{self.answers}
[ $(wc -l <{self.answers}) -eq 1 ] || sed -i 1d {self.answers}
case $next in [0-9]*) kill -KILL $$;; esac
printf '%s\\n' "$next"
"""
        )
        self.program.chmod(0o755)
        original = Original(Part.CHAIN, (str(self.file),), originals.digest([b"one"]))
        copy = RenderedFile(PurePosixPath("c"), "one", "d", original=original)
        self.record = Record.of(made(copy))
        self.said: list[str] = []
        self.problems: list[str] = []

    def watch(self, home: Home, seconds: float) -> Renewing:
        """Watch for some seconds."""

        async def apply() -> Applied:
            return Applied()

        async def main() -> Renewing:
            watch = Renewing(home, lambda: self.record, apply, self.said.append)
            watching = asyncio.create_task(watch.run())
            await asyncio.sleep(seconds)
            watching.cancel()
            return watch

        return asyncio.run(main())

    def tried(self) -> int:
        """Return how often it was tried to make copies."""
        return len(self.tries.read_text().splitlines())


def test_a_fault_that_may_pass_is_tried_again_and_told_once(
    home: Home, plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One restart of PostgreSQL would leave the old certificate in use until it expires."""
    place = Place(tmp_path, plan, AWAY, 9, AWAY, NOTHING)
    monkeypatch.setattr(sys, "executable", str(place.program))
    watch = place.watch(home, 1.2)
    assert place.tried() == 4, "and not again after it was done"
    away = "what is in use stays: d refuses: no database"
    killed = "what is in use stays: it could not be read anew: its program ended with exit code -9"
    assert place.said == [away, killed, away]
    assert watch.problem == ""


def test_what_is_refused_is_named(
    home: Home, plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody reads the log in the month before a certificate expires."""
    place = Place(tmp_path, plan, AWAY)
    monkeypatch.setattr(sys, "executable", str(place.program))
    watch = place.watch(home, 0.6)
    assert place.tried() > 2
    assert len(place.said) == 1
    assert "no database It is tried again within" in watch.problem
    place.record = Record.of(plan())
    assert watch.problem == "", "a `gatepost up` has made all copies anew"


def test_a_judged_pair_is_tried_once(
    home: Home, plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken certificate would be judged for ever."""
    place = Place(tmp_path, plan, BAD)
    monkeypatch.setattr(sys, "executable", str(place.program))
    watch = place.watch(home, 0.6)
    assert place.tried() == 1
    assert watch.problem.endswith("no certificate. Mend the file: that is noticed by itself")


def test_a_program_that_cannot_be_started_is_a_fault_that_may_pass(
    home: Home, plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without a free process for a second would end the watch for good."""
    place = Place(tmp_path, plan, BAD)
    monkeypatch.setattr(sys, "executable", "/no/such/program")
    watch = place.watch(home, 0.4)
    assert "/no/such/program cannot be started" in watch.problem
