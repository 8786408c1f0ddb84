"""The environment of child processes: the same at every start, whoever types the command.

Variables of the caller would decide what a daemon loads (``LD_PRELOAD``), which configuration a
tool reads (``MAIL_CONFIG``) and where a client connects (``PGHOST``), and those of the next caller
would be others.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from gatepost.model import Process

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TIME_ZONE = re.compile(r"[A-Za-z0-9_+:,./<>-]{1,100}")
"""The time zones that tzset(3) reads."""


def fixed(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of every child.

    Only ``TZ`` is taken from the caller: it gives a container its time zone.
    """
    zone = environ.get("TZ", "")
    return {"PATH": PATH, "LANG": "C.UTF-8"} | (
        {"TZ": zone} if _TIME_ZONE.fullmatch(zone) and ".." not in zone else {}
    )


def unreadable(process: Process) -> str | None:
    """Tell what keeps the users of a process from reading its program; None when nothing does.

    A program of ours needs all files of its Python: root has started it, and it reads more of it
    when it has given up root.
    """
    program = Path(process.argv[0])
    if not program.is_absolute():
        return None
    wanted = [program]
    if program.parent == Path(sys.executable).parent:
        wanted += [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parent]
    for user in (process.user, process.becomes):
        for path in wanted:
            if user not in {"", "root"} and (obstacle := _obstacle(user, path)):
                what = "Python" if len(wanted) > 1 else "program"
                return (
                    f'its user "{user}" cannot read its {what}, "{path}": "{obstacle}" is closed '
                    f"to that user. Keep {what} and checkout where everybody may read, for example "
                    f"below /opt or /srv; or open the way: chmod o+rx {obstacle}"
                )
    return None


def _obstacle(user: str, path: Path) -> Path | None:
    """Return the first folder or file on the way, links followed, that a user may not read."""
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return None
    groups = {account.pw_gid, *(g.gr_gid for g in grp.getgrall() if user in g.gr_mem)}
    for way in dict.fromkeys((path, path.resolve())):
        for part in (*reversed(way.parents), way):
            try:
                found = part.stat()
            except OSError:
                return part
            if not _may_read(found, account.pw_uid, groups):
                return part
    return None


def _may_read(found: os.stat_result, uid: int, groups: set[int]) -> bool:
    shift = 6 if found.st_uid == uid else 3 if found.st_gid in groups else 0
    bits = found.st_mode >> shift
    return bool(bits & 1) if stat.S_ISDIR(found.st_mode) else bool(bits & 4)
