"""Writing what a plan says: files, folders, users."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from gatepost.errors import OperationError
from gatepost.model import Directory, RenderedFile, SystemUser


def write(files: Iterable[RenderedFile], folder: Path) -> tuple[Path, ...]:
    """Write rendered files below a folder, which is made; return their paths.

    Modes are set; the group too where this user may and the group exists.
    """
    written = []
    for file in files:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        # Never open to others, not even for a moment.
        write_private(path, file.content)
        if os.geteuid() == 0 and file.group != "root":
            with contextlib.suppress(LookupError):
                shutil.chown(path, group=file.group)
        path.chmod(file.mode)
        written.append(path)
    return tuple(written)


def write_private(path: Path, content: str) -> None:
    """Write a file that only its owner may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(content)


def make_directories(directories: Iterable[Directory]) -> None:
    """Make folders with their owners and modes; those that are there are put right."""
    for directory in directories:
        directory.path.mkdir(parents=True, exist_ok=True)
        shutil.chown(directory.path, directory.owner, directory.group)
        directory.path.chmod(directory.mode)


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
