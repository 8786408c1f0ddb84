"""Writing what a plan says: files, folders, users."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from gatepost.errors import OperationError
from gatepost.model import Directory, RenderedFile, SystemUser
from gatepost.run import rights

_SETTLED_SECONDS = 3.0
"""Seconds before now at which files seem to have been written.

Some daemons read a file again and again until its last change is two seconds old, for somebody
might still be writing it. Ours are complete before a daemon sees them. Symptom without it: after
each start and reload, every process of the MTA waits for two seconds before it greets or delivers.
"""


def write(files: Iterable[RenderedFile], folder: Path) -> tuple[Path, ...]:
    """Write rendered files below a folder, which is made; return their paths.

    Modes are set; the group too where this user may and the group exists.
    """
    written = []
    for file in files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        # Never open to others, not even for a moment.
        write_private(path, file.content, mode=file.mode, group=file.group)
        os.utime(path, (seems := time.time() - _SETTLED_SECONDS, seems))
        written.append(path)
    return tuple(written)


def write_private(path: Path, content: str, *, mode: int = 0o600, group: str = "root") -> None:
    """Write a file that only its owner may read until it has its mode and group.

    The group is set where this user may and the group exists.
    """
    descriptor = rights.open_own(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(content)
        if _is_root() and group != "root":
            with contextlib.suppress(LookupError):
                os.fchown(descriptor, -1, grp.getgrnam(group).gr_gid)
        os.fchmod(descriptor, mode)


def _is_root() -> bool:
    return os.geteuid() == 0


def make_directories(directories: Iterable[Directory]) -> None:
    """Make folders with their owners and modes; those that are there are put right."""
    for directory in directories:
        directory.path.mkdir(parents=True, exist_ok=True)
        folder = rights.open_folder(directory.path)
        try:
            owner, group = pwd.getpwnam(directory.owner), grp.getgrnam(directory.group)
            os.fchown(folder, owner.pw_uid, group.gr_gid)
            os.fchmod(folder, directory.mode)
        finally:
            os.close(folder)


def make_users(users: Iterable[SystemUser]) -> None:
    """Make system users, without a home, a shell or a password, that are missing.

    Raises `OperationError` with the words of useradd(8) when it fails.
    """
    for user in users:
        with contextlib.suppress(KeyError):
            pwd.getpwnam(user.name)
            continue
        group = ["--user-group"]
        with contextlib.suppress(KeyError):
            grp.getgrnam(user.name)
            group = ["--gid", user.name]
        command = [
            *("useradd", "--system", *group, "--no-create-home"),
            *("--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"),
            *("--comment", user.purpose, user.name),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OperationError(
                f'The system user "{user.name}" could not be made: {done.stderr.strip()}. '
                f"Make it by hand: {' '.join(command)}"
            )
