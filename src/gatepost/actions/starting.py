"""The supervisor of this machine's server: started in the background, awaited, replaced."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from gatepost.errors import StartError
from gatepost.model import Home
from gatepost.run import control, environment, locks, logs, programs, versions
from gatepost.run.control import Running

Tell = Callable[[str], None]
"""Prints what is being done, a line for each step."""

STOP_SECONDS = 60.0
_BACKGROUND = "gatepost.run.supervise"
"""Module that a supervisor in the background runs; it stands in its command line."""


def lock_or_running(home: Home, tell: Tell) -> int | None:
    """Take the lock of a supervisor that is to be started; return None when one answers.

    A supervisor that is stopping is waited for: `up` after `down` means that a server is wanted.
    One that an interrupted `up` has left may be just starting.
    """
    deadline = time.monotonic() + STOP_SECONDS
    told = False
    while True:
        running = control.request(home, control.STATUS)
        if running and not running.stopping:
            return None
        if running is None and (lock := locks.supervising(home)) is not None:
            return lock
        if running and not told:
            tell("Waiting for the server that is being stopped")
            told = True
        if time.monotonic() > deadline:
            raise StartError(
                f"{locks.at_work(home) or 'The supervisor'} neither answers nor ends within "
                f"{STOP_SECONDS:g} s. Look at its log with `gatepost logs gatepost`, or end that "
                "process; then type this again."
            ).about("supervisor-silent", object="supervisor", value=str(home.root))
        time.sleep(0.05)


def in_background(home: Home, tell: Tell, lock: int) -> None:
    """Start a supervisor in the background, and return when all its processes are ready.

    `lock` is its lock. Raises `StartError` with the reason when they do not become ready.
    """
    tell("Starting the services")
    child = subprocess.Popen(
        [sys.executable, "-m", _BACKGROUND, str(home.root), str(lock)],
        pass_fds=(lock,),
        env=environment.fixed(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd="/",
        start_new_session=True,
    )
    while (answer := control.request(home, control.WAIT)) is None:
        if child.poll() is not None:
            said = child.communicate()[1].decode().strip()
            raise StartError(
                said or "The mail server was stopped while it started: gatepost down"
            ).about("not-ready", object="server", value=str(home.root))
        time.sleep(0.02)
    if answer.problem:
        child.wait()
        raise StartError(answer.problem).about("not-ready", object="server", value=str(home.root))
    tell("The mail server is ready")


def apply_changes(home: Home, tell: Tell) -> None:
    """Have the running supervisor go over to the configuration in use.

    Raises `StartError` with what went wrong.
    """
    answer = control.request(home, control.APPLY)
    if answer is None:
        raise StartError("The supervisor has ended meanwhile. Start it again: gatepost up").about(
            "not-running", object="supervisor", value=str(home.root)
        )
    for change in answer.changed:
        tell(change)
    if answer.problem:
        raise StartError(answer.problem).about("not-applied", object="server", value=str(home.root))
    tell("The mail server is up to date" if answer.changed else "Nothing has changed")


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore what ends a command, for the length of a block.

    While a supervisor is replaced, nobody but this command would start the server again. The
    handlers do nothing, and are not inherited by children as ignored signals are.
    """
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are not delivered here
        return
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def replace_older(home: Home, tell: Tell) -> bool:
    """Replace a supervisor that is older than this program; return False when none was.

    Raises as `stop_older` and `in_background`.
    """
    with uninterrupted():
        lock = stop_older(home, tell)
        if lock is not None:
            in_background(home, tell, lock)
    return lock is not None


def stop_older(home: Home, tell: Tell) -> int | None:
    """Stop the running server when its supervisor is older than this program; return its lock.

    Return None when it is not older, or runs in the foreground of something else, such as systemd,
    which has to restart it. A supervisor cannot hand its processes to another one: only a parent
    learns how its child ended and reads what it prints. So all of them are restarted. No mail is
    lost: what was accepted is on the disk, and other servers try again what was not.
    """
    running = control.request(home, control.STATUS)
    if running is None or not (reason := _older(running)):
        return None
    pid = running.processes[0]
    if not _is_in_background(pid):
        tell(
            f"Warning: The supervisor (process {pid}) {reason}, and may not know all of the new "
            "configuration. It was not started with --detach, so restart it where it was started, "
            "for example with systemctl"
        )
        return None
    tell(f"The supervisor (process {pid}) {reason}: all services are restarted")
    deadline = time.monotonic() + STOP_SECONDS
    if answer := control.request(home, control.STOP):
        await_end(home, answer.pid, deadline)
    while (lock := locks.supervising(home)) is None:
        if time.monotonic() > deadline:
            raise StartError(
                f"{locks.at_work(home) or 'The supervisor'} does not end. Look at its log with "
                "`gatepost logs gatepost`, or end that process; then type this again."
            ).about("supervisor-silent", object="supervisor", value=str(home.root))
        time.sleep(0.05)
    return lock


def _older(running: Running) -> str:
    """Return in what the supervisor is older than this program; empty when it is not."""
    own = running.versions.get(logs.OWN_NAME)
    if own is None:
        return "is of an earlier version of Gatepost"
    for one in versions.older({logs.OWN_NAME: own}):
        return f"runs {one.part} {one.running}, and {one.installed or 'none'} is installed"
    if file := programs.outdated(running.processes[0]):
        return f"runs {file}, which an update has replaced"
    return ""


def _is_in_background(pid: int) -> bool:
    try:
        return _BACKGROUND in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


def await_end(home: Home, pid: int, deadline: float) -> None:
    """Wait until a supervisor's process has ended, until a time of the monotonic clock.

    Raises `StartError` when it takes longer.
    """
    while _lives(pid):
        if time.monotonic() > deadline:
            raise StartError(
                f"The supervisor of {home.root} (process {pid}) is still stopping after "
                f"{STOP_SECONDS:g} s. Look at its log: gatepost logs gatepost"
            ).about("still-stopping", object="supervisor", value=str(pid))
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
