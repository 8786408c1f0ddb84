"""Two locks of a home. Whoever writes there holds one first.

``up.lock`` belongs to a command that changes the configuration, until the change has its effect.
``supervisor.lock`` belongs to the supervisor for as long as it lives; a command that is going to
start one takes it before it writes anything, and hands it on. Only root can open the files, since
anybody who can open a file can lock it (flock(2)).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from gatepost.errors import PreflightError
from gatepost.model import Home
from gatepost.run import rights

_WRITING = "up.lock"
_SUPERVISING = "supervisor.lock"
UP = "gatepost up"
RENEWAL = "the renewal of certificates"
"""The name that a command that writes gives itself."""
_LOOK_SECONDS = 0.5
"""For so long a lock may be held by a command that only looks whether it is free."""
_RENEWAL_SECONDS = 20.0
"""For so long the supervisor may need to renew certificates, which nobody has asked for."""


@contextlib.contextmanager
def writing(home: Home, who: str = UP) -> Iterator[None]:
    """Hold the home against another command that writes, for as long as the block lasts."""
    lock = _take(home, _WRITING)
    if lock is None:
        raise PreflightError(
            f"{_writer(home)}{_by(home, _WRITING)} is at work in {home.root}. "
            "Nothing was changed. Wait until it is done, then type this again."
        )
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, who.encode(), 0)
        yield
    finally:
        os.close(lock)


def supervising(home: Home) -> int | None:
    """Take the supervisor's lock; return its descriptor, or None when a supervisor lives.

    The lock lasts until the last copy of the descriptor is closed.
    """
    return _take(home, _SUPERVISING)


def one_supervisor(home: Home) -> int:
    """Take the supervisor's lock as `supervising`; raise `PreflightError` when it is held."""
    lock = supervising(home)
    if lock is None:
        raise PreflightError(
            f"A mail server{_by(home, _SUPERVISING)} runs in {home.root} already. Nothing was "
            "changed. See it with `gatepost status`, stop it with `gatepost down`, or give this "
            "one a home of its own with GATEPOST_HOME."
        )
    return lock


def at_work(home: Home) -> str | None:
    """Name a command that writes or a supervisor that lives; None when there is neither."""
    for name in (_WRITING, _SUPERVISING):
        if _is_held(home, name):
            what = _writer(home) if name == _WRITING else "the supervisor"
            return f"{what}{_by(home, name)}"
    return None


def is_writing(home: Home) -> bool:
    """Tell whether a command that writes is at work; False too for who may not know."""
    return _is_held(home, _WRITING)


def open_lock(path: Path) -> int:
    """Open a lock's file, which only this user can open; return its descriptor."""
    return rights.open_own(path, os.O_RDWR | os.O_CREAT, 0o600)


def _take(home: Home, name: str) -> int | None:
    home.run.mkdir(parents=True, exist_ok=True)
    lock = open_lock(home.run / name)
    began = time.monotonic()
    deadline = began + _LOOK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if name == _WRITING and _writer(home) == RENEWAL:
                deadline = began + _RENEWAL_SECONDS
            if time.monotonic() > deadline:
                os.close(lock)
                return None
            time.sleep(0.02)
        else:
            return lock


def _writer(home: Home) -> str:
    """Return what the last command that wrote has called itself."""
    try:
        return (home.run / _WRITING).read_text(encoding="utf-8") or UP
    except OSError:
        return UP


def _is_held(home: Home, name: str) -> bool:
    try:
        lock = os.open(home.run / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _by(home: Home, name: str) -> str:
    """Say in brackets which process holds a lock, where the kernel tells; see proc_locks(5)."""
    with contextlib.suppress(OSError, ValueError):
        inode = (home.run / name).stat().st_ino
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            words = line.split()
            if words[1] == "FLOCK" and int(words[5].rpartition(":")[2]) == inode:
                return f" (process {words[4]})"
    return ""
