"""The log as witness."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gatepost.contracts import Plugin
from gatepost.model import Event, Observation
from gatepost.verify.evidence.logs import LogFile
from gatepost.verify.evidence.witnesses import LogWitness


def observe(line: str) -> Observation | None:
    """Understand ``saw PORT`` and stumble over ``odd``."""
    if line == "odd":
        raise ValueError(line)
    if not line.startswith("saw "):
        return None
    return Observation("toy", Event.CONNECT, "127.0.0.77", int(line[4:]), None, line)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "gatepost.log"
    path.write_text("toy | saw 1\n")
    return path


def witness(path: Path) -> LogWitness:
    return LogWitness(LogFile(path), [Plugin(name="toy", observe=observe), Plugin(name="silent")])


def port(heard: LogWitness, number: int, seconds: float = 2) -> Observation | None:
    return heard.find(lambda o: o.port == number, deadline=time.monotonic() + seconds)


def write(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_only_what_comes_later_counts(log: Path) -> None:
    """An old line with the same port would prove a probe that was never seen."""
    with witness(log) as heard:
        write(log, "toy | noise\ntoy | odd\ntoy | saw 2\n")
        assert port(heard, 2) is not None
        assert port(heard, 1, seconds=0) is None


def test_a_line_written_in_pieces_is_read_whole(log: Path) -> None:
    """Half a line is a wrong port."""
    with witness(log) as heard:
        write(log, "toy | saw 2")
        time.sleep(0.12)
        write(log, "5\n")
        assert port(heard, 25) is not None
        assert port(heard, 2, seconds=0) is None


def test_rotation_loses_no_line(log: Path) -> None:
    """A log that is rotated during a run would fail every row."""
    with witness(log) as heard:
        write(log, "toy | saw 2\n")
        log.rename(log.with_suffix(".1"))
        log.write_text("toy | saw 3\n")
        assert port(heard, 2) is not None
        assert port(heard, 3) is not None


def test_a_log_cut_short_is_read_anew(log: Path) -> None:
    """Some rotate by truncation."""
    with witness(log) as heard:
        log.write_text("toy | saw 4\n"[:12])
        log.write_text("")
        time.sleep(0.12)
        write(log, "toy | saw 5\n")
        assert port(heard, 5) is not None


def test_no_log_is_said(tmp_path: Path) -> None:
    """Nothing can be proven then, and the check must know."""
    with witness(tmp_path / "none.log") as heard:
        absence = heard.absence("toy")
        assert absence
        assert "none.log" in absence.observed
        assert port(heard, 1, seconds=0) is None
