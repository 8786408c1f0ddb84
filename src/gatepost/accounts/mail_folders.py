"""Names of IMAP folders on the disk, where a dot separates them and ``^`` begins a number.

A folder "v1.0" lies in ``.v1^2e0``. Mailboxes from before this rule may have folders with ``^``
itself in their names: `escape_names` renames them once.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

ESCAPE_CHAR = "^"
"""What stands before two hexadecimal digits; hardly any name holds it."""

_BARE = re.compile(r"\^(?!5e)")
"""A ``^`` that stands for itself. One that was written by the rule already is left alone, so a run
that was interrupted may be repeated."""
_ESCAPED = "^5e"


def escape_names(mail: Path, done: Path) -> int:
    """Rename the folders of all mailboxes below `mail` to the rule; return how many there were.

    `done` is a file that tells that this has been done.
    """
    if done.exists():
        return 0
    renamed = sum(_mailbox(maildir) for maildir in mail.glob("*/*/Maildir"))
    done.parent.mkdir(parents=True, exist_ok=True)
    done.touch()
    return renamed


def _mailbox(maildir: Path) -> int:
    renamed = 0
    with os.scandir(maildir) as entries:
        found = [e.name for e in entries if e.name.startswith(".") and _BARE.search(e.name)]
    for name in found:
        (maildir / name).rename(maildir / _BARE.sub(_ESCAPED, name))
        renamed += 1
    if renamed:
        with contextlib.suppress(FileNotFoundError):
            _subscriptions(maildir / "subscriptions")
    return renamed


def _subscriptions(file: Path) -> None:
    """Write the list of subscribed folders anew, which has the names as they are on the disk."""
    text = file.read_bytes().decode(errors="surrogateescape")
    status = file.stat()
    partial = file.with_name("subscriptions.new")
    partial.write_bytes(_BARE.sub(_ESCAPED, text).encode(errors="surrogateescape"))
    os.chown(partial, status.st_uid, status.st_gid)
    partial.chmod(status.st_mode & 0o777)
    partial.replace(file)
