"""Files that a user names for a report: found writable before the work, then replaced in one step.

Whoever reads such a file meanwhile (node_exporter, a CI system) sees the old or the new one.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_MODE = 0o644
"""Readers are often other users; a report holds no secret."""


def obstacle(path: Path) -> str:
    """Say why a file could not be written there, with the way out; empty when it could."""
    folder = path.resolve().parent
    if path.is_dir():
        return "is a folder. Name a file in it"
    if not folder.is_dir():
        return f"cannot be written: there is no folder {folder}. Make it first: mkdir -p {folder}"
    if _is_special(path):
        return "" if os.access(path, os.W_OK) else "cannot be written by this user"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"cannot be written: this user may not write in {folder}. Name another folder"
    return ""


def write(path: Path, content: bytes) -> None:
    """Replace a file in one step; a pipe or a device such as /dev/stdout is written to.

    Raises `OSError`.
    """
    if _is_special(path):
        path.write_bytes(content)
        return
    path = path.resolve()  # a symbolic link stays one
    # The name is hidden and has another ending: nobody takes the unfinished file for a report.
    # tempfile would take half a megabyte of the supervisor's memory.
    name = path.with_name(f".{path.name}.{os.urandom(8).hex()}.partial")
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), _MODE)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file()
