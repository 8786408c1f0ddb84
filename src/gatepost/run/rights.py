"""Whose the home is: nobody but root may plant, replace or read what root works with.

Two guards. `problems` looks at the folders of the home, at those above it, and at what lies in the
folders that are root's alone: a file or link of somebody else was planted there, or came with a
backup. `open_own` opens a single file without following a link, and sets its rights by descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gatepost.errors import PreflightError
from gatepost.model import Home

_ACL = "system.posix_acl_access"
_ROOTS_OWN = ("config", "config/generations", "secrets", "logs", "run", "accounts", "state")
"""Folders in which every entry is root's, but for the folders that daemons have in them."""
_WITH_FOLDERS_OF_DAEMONS = ("run", "state")
_LONGEST_LIST = 5


@dataclass(frozen=True, slots=True)
class Danger:
    """A way for others to plant files in the home, or a file that they may have planted."""

    reason: str
    command: str = ""
    """The command that ends it, with an alternative; empty for a remark."""

    def __str__(self) -> str:
        """Return both as one sentence."""
        return f"{self.reason}: {self.command}" if self.command else self.reason


def open_own(path: Path, flags: int, mode: int) -> int:
    """Open a file that is this user's, and never one that a link leads to; return a descriptor.

    The mode is set by descriptor, so that a file from before is put right too. With `O_TRUNC` it
    is emptied once it is known whose it is. Raises `PreflightError` for a link, for somebody else's
    file and for one with a second name.
    """
    careful = flags & ~os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, careful, mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PreflightError(
                f'"{path}" is a symbolic link, and Gatepost keeps a file there. Somebody may have '
                f"planted it: look where it leads, then remove it: rm {shlex.quote(str(path))}"
            ) from None
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
        os.close(descriptor)
        raise PreflightError(
            f'"{path}" is not a plain file of {_name(os.geteuid())} with one name, but '
            f"{_name(found.st_uid)}'s. Somebody may have planted it: look at it, then remove "
            f"it: rm {shlex.quote(str(path))}"
        )
    if stat.S_IMODE(found.st_mode) != mode:
        os.fchmod(descriptor, mode)
    if flags & os.O_TRUNC:
        os.ftruncate(descriptor, 0)
    return descriptor


def open_folder(path: Path) -> int:
    """Open a folder; a link is followed only when it is this user's own. Return a descriptor.

    Raises `PreflightError` for a link that somebody else has made, or what is no folder.
    """
    seen = path.lstat()
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    if not stat.S_ISLNK(seen.st_mode):
        flags |= os.O_NOFOLLOW
    elif seen.st_uid != os.geteuid():
        raise PreflightError(str(_foreign(path, seen)))
    try:
        return os.open(path, flags)
    except NotADirectoryError:
        raise PreflightError(
            f'"{path}" is not a folder, and Gatepost keeps one there. Move it away: '
            f"mv {shlex.quote(str(path))} {shlex.quote(f'{path}.old')}"
        ) from None


def require_own_folder(folder: Path) -> None:
    """Raise `PreflightError` for a folder, or a link to one, in which others may plant links."""
    me, quoted = os.geteuid(), shlex.quote(str(folder))
    seen, found = folder.lstat(), folder.stat()
    for owner, option in ((seen.st_uid, "--no-dereference "), (found.st_uid, "")):
        if owner != me:
            raise PreflightError(
                f'"{folder}" belongs to {_name(owner)}, who could put links there that lead what '
                f"is written to other files. Name a new folder, or give this one to {_name(me)}: "
                f"chown {option}{me} {quoted}"
            )
    if found.st_mode & 0o022:
        raise PreflightError(
            f'"{folder}" may be written by others than {_name(me)} (mode '
            f"{stat.S_IMODE(found.st_mode):o}), who could put links there that lead what is "
            f"written to other files. Close it, then type this again: chmod go-w {quoted}"
        )


def require(home: Home, *, in_container: bool = False) -> None:
    """Raise `PreflightError` with each of the `problems` when this is root.

    In a container a home of root's own that others may write is closed to them: a volume of
    a pod begins open to all of its containers, and nobody else is in there.
    """
    if os.geteuid() != 0:
        return
    if in_container and home.root.is_dir():
        found = home.root.stat()
        if found.st_uid == 0 and found.st_mode & 0o022:
            # A read-only volume is reported by the look at its free room.
            with contextlib.suppress(OSError):
                home.root.chmod(stat.S_IMODE(found.st_mode) & ~0o022)
    if found_wrong := list(map(str, problems(home))):
        raise PreflightError(*found_wrong)


def problems(home: Home) -> Iterator[Danger]:
    """Yield each reason why others could plant files in the home, or have done so."""
    open_to_others = list(_way(home.root))
    yield from open_to_others
    if not open_to_others:
        yield from _planted(home)


def _way(root: Path) -> Iterator[Danger]:
    """Look at the home, at each folder above it, and at each link on the way."""
    for folder in dict.fromkeys((*_above(root), *_above(root.resolve()))):
        try:
            found = folder.lstat()
        except FileNotFoundError:
            return
        what = "GATEPOST_HOME" if folder == root else "a folder above GATEPOST_HOME"
        if stat.S_ISLNK(found.st_mode):
            what = what.replace("folder", "link")
        quoted = shlex.quote(str(folder))
        otherwise = "" if folder == root else "; or choose another GATEPOST_HOME"
        if found.st_uid not in {0, os.geteuid()}:
            yield Danger(
                f'GATEPOST_HOME: "{folder}", {what}, belongs to {_name(found.st_uid)}, who could '
                "put other files in the place of root's. Give it to root",
                f"chown --no-dereference root:root {quoted}{otherwise}",
            )
        elif not stat.S_ISLNK(found.st_mode) and _others_may_write(folder, found):
            # In a folder with the sticky bit nobody renames what is not theirs; in ours anybody
            # could make a new file first.
            if found.st_mode & stat.S_ISVTX and folder != root.resolve():
                continue
            yield Danger(
                f'GATEPOST_HOME: "{folder}", {what}, may be written by others than root (mode '
                f"{stat.S_IMODE(found.st_mode):o}), who could put other files in the place of "
                "root's. Close it",
                f"chmod go-w {quoted}{otherwise}",
            )


def _above(path: Path) -> tuple[Path, ...]:
    return (*reversed(path.parents), path)


def _others_may_write(folder: Path, found: os.stat_result) -> bool:
    if found.st_mode & stat.S_IWOTH:
        return True
    # An access control list shows its mask as the group's bits.
    return bool(found.st_mode & stat.S_IWGRP) and (found.st_gid != 0 or _ACL in _xattrs(folder))


def _xattrs(folder: Path) -> list[str]:
    try:
        return os.listxattr(folder)
    except OSError:  # a file system without them
        return []


def _planted(home: Home) -> Iterator[Danger]:
    """Find what is not root's in the folders that are root's alone."""
    foreign: list[tuple[Path, os.stat_result]] = []
    for name in ("queue", "mail", *(n for n in _ROOTS_OWN if "/" not in n)):
        folder = home.root / name
        if folder.is_symlink() and not _is_ours(folder.lstat()):
            foreign.append((folder, folder.lstat()))
    for name in _ROOTS_OWN:
        folder = home.root / name
        if folder.is_dir():
            foreign += [(p, s) for p, s in _entries(folder) if _is_planted(name, p == folder, s)]
    for path, found in foreign[:_LONGEST_LIST]:
        yield _foreign(path, found)
    if len(foreign) > _LONGEST_LIST:
        yield Danger(
            f"There are {len(foreign) - _LONGEST_LIST} more of this kind below {home.root}."
        )


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    yield folder, folder.stat()
    for path in sorted(folder.iterdir()):
        try:
            yield path, path.lstat()
        except FileNotFoundError:
            continue


def _is_planted(name: str, itself: bool, found: os.stat_result) -> bool:  # noqa: FBT001
    """Tell whether root could be led astray: the folders of daemons' users are theirs to fill."""
    theirs = stat.S_ISDIR(found.st_mode) and name in _WITH_FOLDERS_OF_DAEMONS and not itself
    return not _is_ours(found) and not theirs


def _is_ours(found: os.stat_result) -> bool:
    return found.st_uid in {0, os.geteuid()}


def _foreign(path: Path, found: os.stat_result) -> Danger:
    quoted = shlex.quote(str(path))
    kind = "link" if stat.S_ISLNK(found.st_mode) else "file"
    return Danger(
        f'"{path}" is a {kind} of {_name(found.st_uid)} where only root\'s are expected. If you '
        f"put it there, for example from a backup: chown --no-dereference root {quoted}. "
        "If not, somebody planted it",
        f"rm {quoted}",
    )


def _name(uid: int) -> str:
    try:
        return f'"{pwd.getpwuid(uid).pw_name}"'
    except KeyError:
        return f"user number {uid}"
