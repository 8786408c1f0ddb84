"""Rights of a file of settings: users who can write it decide what root runs."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
import sys
from pathlib import Path

from gatepost.errors import SettingsError


def refuse_what_others_may_write(file: Path) -> None:
    """Raise `SettingsError` for a file that somebody else owns or may write.

    Its owner may be this user, root, the user who called sudo, or the owner of this program, who
    could change the program as well.
    """
    found = file.stat()
    absolute = shlex.quote(str(file.absolute()))
    if found.st_uid not in _trusted():
        raise SettingsError(
            f'"{file}" belongs to {_name(found.st_uid)}, who could change every setting of the '
            "server. Look at what stands in it; if it is yours, take it over: "
            f"chown {_name(os.geteuid())} {absolute}"
        )
    if found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and _has_others(found)):
        raise SettingsError(
            f'"{file}" may be written by other users (mode {stat.S_IMODE(found.st_mode):o}), who '
            "could change every setting of the server. Look at what stands in it, then close it: "
            f"chmod go-w {absolute}"
        )


def _trusted() -> set[int]:
    trusted = {0, os.geteuid(), Path(sys.prefix).stat().st_uid}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdigit():
        trusted.add(int(os.environ["SUDO_UID"]))
    return trusted


def _has_others(found: os.stat_result) -> bool:
    """Tell whether a file's group is more than root's, or its owner's own group."""
    if found.st_gid == 0:
        return False
    try:
        owner, group = pwd.getpwuid(found.st_uid), grp.getgrgid(found.st_gid)
    except KeyError:
        return True
    return owner.pw_gid != found.st_gid or bool(set(group.gr_mem) - {owner.pw_name})


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user number {uid}"
