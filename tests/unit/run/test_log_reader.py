"""Reading the log of all services."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gatepost.run import log_reader
from gatepost.run.log_reader import LogReader


def read(path: Path, most: int) -> list[str]:
    return list(log_reader.newest_first(path, most=most, deadline=time.monotonic() + 5))


def test_lines_come_newest_first_and_go_on_in_the_renamed_file(tmp_path: Path) -> None:
    """A log that was rotated a minute ago would say that nobody comes."""
    path = tmp_path / "gatepost.log"
    lines = [f"line {n} {'x' * (n % 97)}" for n in range(5000)]
    path.with_name("gatepost.log.1").write_text("\n".join(lines[:3000]) + "\n")
    path.write_text("\n".join(lines[3000:]) + "\n")
    assert read(path, 10_000_000) == lines[::-1]
    size = path.stat().st_size
    assert read(path, size) == lines[3000:][::-1]
    assert read(path, size - 1) == lines[3001:][::-1], "half a line is left out"
    some = read(path, size + 1000)
    assert some == lines[::-1][: len(some)]
    assert len(some) > 2000


def test_no_log_and_no_time_are_no_lines(tmp_path: Path) -> None:
    """A missing file is no reason to break, and reading must not outlast the run."""
    path = tmp_path / "gatepost.log"
    assert read(path, 1000) == []
    path.write_text("one\ntwo\n")
    assert list(log_reader.newest_first(path, most=1000, deadline=time.monotonic() - 1)) == []


def test_a_renaming_loses_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line written just before a renaming, at the busiest time, would not be read."""
    path = tmp_path / "log"
    path.write_text("old\n")
    reader = LogReader(path)
    assert reader.skip()
    really_renamed = reader._renamed
    left = [True]

    def renamed() -> bool:
        if left:
            left.pop()
            path.write_text("old\nlast of the old\n")
            path.rename(path.with_name("log.1"))
            path.write_text("first of the new\nhalf a li")
        return really_renamed()

    monkeypatch.setattr(reader, "_renamed", renamed)
    assert list(reader.read()) == ["last of the old", "first of the new"]
    assert list(reader.read()) == []
    with path.open("a") as file:
        file.write("ne\n")
    assert list(reader.read()) == ["half a line"]


def test_a_log_that_is_cut_short_is_read_anew(tmp_path: Path) -> None:
    """An administrator who makes room on a full disk would see nothing more."""
    path = tmp_path / "log"
    path.write_text("one\ntwo\n")
    reader = LogReader(path)
    reader.skip()
    path.write_text("new\n")
    assert list(reader.read()) == ["new"]


def test_a_log_that_is_not_there_yet(tmp_path: Path) -> None:
    """Following before the first start would end in a traceback, or read nothing for ever."""
    path = tmp_path / "log"
    reader = LogReader(path)
    assert not reader.skip()
    assert list(reader.read()) == []
    path.write_text("first\n")
    assert list(reader.read()) == ["first"]
    reader.close()
