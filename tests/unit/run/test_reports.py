"""Files that users name: refused in time, replaced whole, readable by others."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gatepost.run import reports


def test_a_file_is_replaced_whole_and_readable_by_others(tmp_path: Path) -> None:
    """node_exporter runs as a user of its own, and may read at any moment."""
    file = tmp_path / "gatepost.prom"
    file.write_text("old")
    before = file.stat().st_ino
    mask = os.umask(0o077)
    try:
        reports.write(file, b"new")
    finally:
        os.umask(mask)
    assert file.read_bytes() == b"new"
    assert file.stat().st_ino != before
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [file]


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    """Its other end is where somebody reads."""
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.xml"
    link.symlink_to(tmp_path / "there" / "file.xml")
    reports.write(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "there" / "file.xml").read_bytes() == b"new"


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    """As root, replacing /dev/stdout would break the machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert reports.obstacle(pipe) == ""
        reports.write(pipe, b"new")
        assert os.read(reader, 9) == b"new"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("name", "words"), [("no/such/file.xml", "there is no folder"), (".", "is a folder")]
)
def test_obstacles_are_told(tmp_path: Path, name: str, words: str) -> None:
    """Ten seconds of probing for a file that cannot be written are wasted."""
    assert words in reports.obstacle(tmp_path / name)
    assert reports.obstacle(tmp_path / "file.xml") == ""


def test_nothing_is_left_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk must not fill further with pieces."""

    def full(_self: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        reports.write(tmp_path / "file.xml", b"new")
    assert list(tmp_path.iterdir()) == []
