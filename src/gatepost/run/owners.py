"""Whose files daemons find in their folders: a restored backup brings other users' numbers.

A daemon that may not read its own files says so for each message, and goes on. `look` is quick on
millions of files: it looks at each folder and at a few files in it, and gives up when its time is
over. `search` is the command that looks at every file, when nothing waits for it. `mend` gives
everything to its owner.
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import shlex
import stat
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gatepost.errors import OperationError
from gatepost.model import Directory
from gatepost.run import environment

LOOK_SECONDS = 1.0
"""So much later a start is at most, however many files there are and however slow the disk is."""
_SAMPLE = 3
"""Files that are checked in each folder: a backup is restored by folders."""
_TELL_SECONDS = 3.0
_PROTECTED = Path("/proc/sys/fs/protected_hardlinks")


@dataclass(frozen=True, slots=True)
class Look:
    """The result of a search."""

    foreign: str = ""
    """A file that belongs to somebody else, and its owner; empty when none was found."""
    complete: bool = True
    """True if the time was enough for all folders."""


@dataclass(frozen=True, slots=True)
class _Owner:
    name: str
    uid: int
    gid: int | None
    """None where the group does not matter."""

    @classmethod
    def of(cls, contents: str) -> _Owner:
        user, _, group = contents.partition(":")
        return cls(
            contents, pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid if group else None
        )

    def owns(self, found: os.stat_result) -> bool:
        return found.st_uid == self.uid and self.gid in {None, found.st_gid}


def look(directories: Iterable[Directory], *, seconds: float = LOOK_SECONDS) -> Look:
    """Look for something that does not belong to whom it should, the upper folders first."""
    deadline = time.monotonic() + seconds
    waiting = deque(_trees(directories))
    while waiting:
        folder, owner = waiting.popleft()
        if time.monotonic() > deadline:
            return Look(complete=False)
        # Gone meanwhile, or not for this user to see.
        with suppress(OSError):
            for path, found, is_folder in _samples(folder):
                if not owner.owns(found):
                    return Look(f'"{path}" belongs to {_named(found)} in place of {owner.name}')
                if is_folder:
                    waiting.append((path, owner))
    return Look()


def _samples(folder: str) -> Iterator[tuple[str, os.stat_result, bool]]:
    """Yield the folders in a folder and its first few files."""
    # A folder without folders has two links: its name and its own "." (where file systems count).
    leaf = os.lstat(folder).st_nlink == 2  # noqa: PLR2004
    files = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            if is_folder or files < _SAMPLE:
                files += not is_folder
                yield entry.path, entry.stat(follow_symlinks=False), is_folder
            elif leaf:
                return


def search(directories: Iterable[Directory]) -> tuple[tuple[str, ...], ...]:
    """Return commands that print the first path which belongs to somebody else, or nothing."""
    return tuple(
        (
            *("nice", "-n", "19", "find", folder, "-mindepth", "1"),
            *("(", "!", "-uid", str(owner.uid)),
            *(("-o", "!", "-gid", str(owner.gid)) if owner.gid is not None else ()),
            *(")", "-print", "-quit"),
        )
        for folder, owner in _trees(directories)
    )


async def first_foreign(directories: Iterable[Directory]) -> str:
    """Look at every file, at leisure; return the first path that belongs to somebody else."""
    for command in search(directories):
        searching = await asyncio.create_subprocess_exec(
            *command,
            env=environment.fixed(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            said, _ = await searching.communicate()
        except asyncio.CancelledError:
            searching.kill()
            await searching.wait()
            raise
        if path := said.decode(errors="replace").removesuffix("\n"):
            return path
    return ""


def mend(directories: Iterable[Directory], tell: Callable[[str], None]) -> int:
    """Give everything to its owner, and say how far it is; return how many had another one.

    Raises `OperationError` with the command to type when this user may not.
    """
    mended = looked = 0
    next_words = time.monotonic() + _TELL_SECONDS
    for folder, owner in _trees(directories):
        for _, folders, files, descriptor in os.fwalk(folder):
            for name in (*folders, *files):
                looked += 1
                with suppress(FileNotFoundError):
                    mended += _give(folder, name, descriptor, owner)
            if time.monotonic() > next_words:
                tell(f"Mending owners below {folder}: {looked:,} checked, {mended:,} mended")
                next_words = time.monotonic() + _TELL_SECONDS
    return mended


def _give(folder: str, name: str, descriptor: int, owner: _Owner) -> bool:
    found = os.lstat(name, dir_fd=descriptor)
    if owner.owns(found):
        return False
    command = f"chown --no-dereference --recursive {owner.name} {shlex.quote(folder)}"
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1 and not _links_are_protected():
        raise OperationError(
            f'"{folder}": "{name}" belongs to {_named(found)} and has further names, which on this '
            f"kernel anybody can give to root's files ({_PROTECTED} is 0). Look whether these are "
            f"all in that folder, then type: {command}"
        )
    try:
        os.chown(
            name,
            owner.uid,
            -1 if owner.gid is None else owner.gid,
            dir_fd=descriptor,
            follow_symlinks=False,
        )
    except PermissionError as error:
        raise OperationError(
            f'"{folder}": "{name}" belongs to {_named(found)} in place of {owner.name}, and its '
            f"owner cannot be changed from here ({error.strerror}). Where the disk is, type: "
            f"{command}"
        ) from None
    return True


def _links_are_protected() -> bool:
    """Tell whether nobody can link to files that they may not write; see proc_sys_fs(5)."""
    try:
        return _PROTECTED.read_text().strip() != "0"
    except OSError:
        return False


def _trees(directories: Iterable[Directory]) -> Iterator[tuple[str, _Owner]]:
    for directory in directories:
        if directory.contents and directory.path.is_dir():
            with suppress(KeyError):  # the user is made at the first start
                yield str(directory.path), _Owner.of(directory.contents)


def _named(found: os.stat_result) -> str:
    user, group = str(found.st_uid), str(found.st_gid)
    with suppress(KeyError):
        user = pwd.getpwuid(found.st_uid).pw_name
    with suppress(KeyError):
        group = grp.getgrgid(found.st_gid).gr_name
    return f"{user}:{group}"
