"""Whoever writes in a home holds it first, and nobody but root can hold it."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gatepost.errors import PreflightError
from gatepost.model import Home
from gatepost.run import locks


def test_two_that_write_at_once_are_refused(home: Home) -> None:
    """Two admins would write over each other's configuration."""
    with locks.writing(home):
        assert locks.is_writing(home)
        assert locks.at_work(home) == f"gatepost up (process {os.getpid()})"
        with pytest.raises(PreflightError) as told, locks.writing(home):
            pass
    assert str(told.value) == (
        f"gatepost up (process {os.getpid()}) is at work in {home.root}. "
        "Nothing was changed. Wait until it is done, then type this again."
    )
    assert locks.at_work(home) is None
    with locks.writing(home):
        pass


def test_a_renewal_is_waited_for(home: Home) -> None:
    """The supervisor renews certificates when it sees them, and an admin's `up` would fail."""
    with locks.writing(home):
        pass
    lock = locks.open_lock(home.run / "up.lock")
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.ftruncate(lock, 0)
    os.write(lock, locks.RENEWAL.encode())
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"], pass_fds=(lock,))
    os.close(lock)
    with locks.writing(home):
        pass
    child.wait()


def test_a_second_supervisor_finds_the_lock_taken(home: Home) -> None:
    """Two would start everything twice."""
    lock = locks.one_supervisor(home)
    assert locks.supervising(home) is None
    assert locks.at_work(home) == f"the supervisor (process {os.getpid()})"
    with pytest.raises(PreflightError, match=r"runs in .* already"):
        locks.one_supervisor(home)
    os.close(lock)
    assert locks.at_work(home) is None


def test_a_lock_is_handed_on(home: Home) -> None:
    """Between `up` and its supervisor there would be a moment in which nobody holds the home."""
    lock = locks.one_supervisor(home)
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,)
    )
    os.close(lock)
    try:
        assert locks.supervising(home) is None
    finally:
        child.communicate(b"\n")
    again = locks.supervising(home)
    assert again is not None
    os.close(again)


def test_a_look_hinders_nobody(home: Home) -> None:
    """`gatepost down` looks whether `up` is at work, and that `up` would be refused."""
    with locks.writing(home):
        pass
    lock = os.open(home.run / "up.lock", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(0.2)"], pass_fds=(lock,)
    )
    os.close(lock)
    with locks.writing(home):
        pass
    child.wait()


def test_the_files_are_roots_alone(home: Home) -> None:
    """Anybody who can open a lock's file can lock it, and the server would never start again."""
    (home.run / "up.lock").write_text("")
    (home.run / "up.lock").chmod(0o644)
    with locks.writing(home):
        pass
    os.close(locks.one_supervisor(home))
    for name in ("up.lock", "supervisor.lock"):
        assert stat.S_IMODE((home.run / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["link", "second name", "pipe"])
def test_what_was_planted_is_refused(home: Home, tmp_path: Path, kind: str) -> None:
    """Root would empty, lock or wait for whatever a link leads to."""
    target = tmp_path / "precious"
    target.write_text("precious")
    file = home.run / "up.lock"
    if kind == "link":
        file.symlink_to(target)
    elif kind == "second name":
        os.link(target, file)
    else:
        os.mkfifo(file)
    with pytest.raises(PreflightError, match=r"planted it.*rm /") as told, locks.writing(home):
        pass
    assert str(file) in str(told.value)
    assert target.read_text() == "precious"
