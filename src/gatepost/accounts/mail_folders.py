"""Names of IMAP folders on the disk: a dot separates folders, and ``^`` begins a character's code.

The folder "v1.0" is stored as ``.v1^2e0``. Older mailboxes may have folders with ``^`` itself in
their names: `escape_names` renames them once.

Root does this in folders that belong to the user of mail. Therefore it works with descriptors and
follows no links, which could lead to other files.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

ESCAPE_CHAR = "^"
"""Prefix of two hexadecimal digits; hardly any name contains it."""

_BARE = re.compile(r"\^(?!5e)")
"""A ``^`` that stands for itself. The pattern skips names that are escaped already, so an
interrupted run can be repeated."""
_ESCAPED = "^5e"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEPTH = 3
"""Levels of folders: a domain, a mailbox, and "Maildir"."""
_SUBSCRIPTIONS = "subscriptions"

Tell = Callable[[str], None]


def escape_names(mail: Path, done: Path, tell: Tell) -> int:
    """Rename the folders of all mailboxes below `mail` by the rule; return their number.

    The file `done` marks that this is finished. `tell` gets a warning for each link that was not
    followed.
    """
    if done.exists():
        return 0
    descriptor = os.open(mail, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        renamed = sum(
            _mailbox(path, maildir, tell) for path, maildir in _maildirs(mail, descriptor, tell)
        )
    finally:
        os.close(descriptor)
    done.parent.mkdir(parents=True, exist_ok=True)
    done.touch()
    return renamed


def _maildirs(
    path: Path, folder: int, tell: Tell, depth: int = _DEPTH
) -> Iterator[tuple[Path, int]]:
    """Yield each "Maildir" at this depth, and a descriptor that is closed afterwards."""
    if depth == 0:
        yield path, folder
        return
    for name in _names(folder):
        if depth == 1 and name != "Maildir":
            continue
        try:
            below = os.open(name, _FOLDER, dir_fd=folder)
        except NotADirectoryError:  # a file, or a link
            if stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode):
                tell(_passed_over(path / name, "a symbolic link"))
            continue
        except FileNotFoundError:  # removed meanwhile
            continue
        try:
            yield from _maildirs(path / name, below, tell, depth - 1)
        finally:
            os.close(below)


def _names(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries)


def _mailbox(path: Path, maildir: int, tell: Tell) -> int:
    found = [n for n in _names(maildir) if n.startswith(".") and _BARE.search(n)]
    for name in found:
        os.rename(name, _BARE.sub(_ESCAPED, name), src_dir_fd=maildir, dst_dir_fd=maildir)
    # Needed even if no folder was renamed: an earlier run may have been interrupted in between.
    with contextlib.suppress(FileNotFoundError):
        _subscriptions(path, maildir, tell)
    return len(found)


def _subscriptions(path: Path, maildir: int, tell: Tell) -> None:
    """Rewrite the list of subscribed folders, which has the names as they are on the disk."""
    seen = os.lstat(_SUBSCRIPTIONS, dir_fd=maildir)
    if not _is_plain(seen):
        tell(_passed_over(path / _SUBSCRIPTIONS, "not a plain file with one name"))
        return
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(_SUBSCRIPTIONS, flags, dir_fd=maildir), "rb") as old:
        status = os.fstat(old.fileno())
        if not os.path.samestat(seen, status) or not _is_plain(status):
            tell(_passed_over(path / _SUBSCRIPTIONS, "changing just now"))
            return
        text = old.read().decode(errors="surrogateescape")
    if not _BARE.search(text):
        return
    partial = f"{_SUBSCRIPTIONS}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(partial, flags, 0o600, dir_fd=maildir), "wb") as new:
        new.write(_BARE.sub(_ESCAPED, text).encode(errors="surrogateescape"))
        os.fchown(new.fileno(), status.st_uid, status.st_gid)
        os.fchmod(new.fileno(), stat.S_IMODE(status.st_mode) & 0o777)
    os.replace(partial, _SUBSCRIPTIONS, src_dir_fd=maildir, dst_dir_fd=maildir)


def _is_plain(found: os.stat_result) -> bool:
    """Return whether it is a regular file without another hard link."""
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def _passed_over(path: Path, what: str) -> str:
    return (
        f'"{path}" is {what}, so names with "{ESCAPE_CHAR}" of IMAP folders there were not brought '
        f"to the new rule. Look at it: ls -ld {shlex.quote(str(path))}"
    )
