"""Versions of what processes run: which were started, and which are installed.

A version belongs to a *part*. A part is the name of a Debian package, the path of a program that no
package owns, or `GATEPOST`: our own source, the packages of others that add plug-ins, and the
Python libraries that all of these require. An upgrade replaces parts under running processes. The
supervisor notes the versions when it starts a process, and ``gatepost up`` restarts what runs other
versions than those installed.
"""

from __future__ import annotations

import hashlib
import os
import re
import site
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import gatepost
from gatepost.run import environment

GATEPOST = "gatepost"
"""The part that is Gatepost itself."""
GROUP = "gatepost.plugins"
"""`gatepost.discovery.GROUP`, whose module is too large for the supervisor's memory."""
_DIGITS = 12
"""Hexadecimal digits of a digest that are shown and compared: one in 280 million million."""
_METADATA = ".dist-info"
_REQUIRED = re.compile(r"Requires-Dist: ([\w.-]+)(?!.*\bextra\b)")
"""A library that is always required; see the core metadata specification."""


@dataclass(frozen=True, slots=True)
class Older:
    """A part of a running process that was replaced since it started."""

    name: str
    """The process."""
    part: str
    running: str | None
    """The version with which it was started; None when a supervisor of before did not note it."""
    installed: str


def own() -> tuple[str, ...]:
    """Return the parts of every process that is a Python program of ours."""
    return (GATEPOST, str(Path(sys.executable).resolve()))


def installed(parts: Iterable[str]) -> dict[str, str]:
    """Return the version of each part as it is installed now; empty when it is not."""
    parts = tuple(parts)
    packages = debian([part for part in parts if part != GATEPOST and not part.startswith("/")])
    return {
        part: _gatepost()
        if part == GATEPOST
        else _file(Path(part))
        if part.startswith("/")
        else packages.get(part, "")
        for part in parts
    }


def older(running: Mapping[str, Mapping[str, str]]) -> tuple[Older, ...]:
    """Return each part of a running process that has another version installed now."""
    now = installed(dict.fromkeys(part for parts in running.values() for part in parts))
    return tuple(
        Older(name, part, version, now[part])
        for name, parts in running.items()
        for part, version in parts.items()
        if version not in {"", now[part]}
    )


def debian(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of the Debian packages that are installed, of those named."""
    names = tuple(names)
    if not names:
        return {}
    try:
        done = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Status}\n", *names],
            env=environment.fixed(),
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:  # not a Debian
        return {}
    rows = (line.split() for line in done.stdout.splitlines())
    return {row[0]: row[1] for row in rows if row[2:] == ["installed"]}


def _file(path: Path) -> str:
    """Return what differs when a file was replaced or written: time, size, device and inode."""
    try:
        found = path.stat()
    except OSError:
        return ""
    changed = datetime.fromtimestamp(found.st_mtime_ns // 1000 / 1e6, UTC)
    return f"{changed.isoformat()} {found.st_size} {found.st_dev}:{found.st_ino}"


def _gatepost() -> str:
    """Return our version with a digest of our source and of the libraries' versions."""
    whole = hashlib.sha256()
    _add_source(os.path.dirname(gatepost.__file__), whole)  # noqa: PTH120  see below
    distributions = _distributions()
    libraries: dict[str, str] = {}
    _add_libraries(GATEPOST, distributions, libraries)
    for name, (_, metadata) in sorted(distributions.items()):
        for package in _packages_of_plugins(metadata):
            _add_libraries(name, distributions, libraries)
            _add_source(str(metadata.parent / package), whole)
    whole.update(repr(sorted(libraries.items())).encode())
    return f"{libraries.get(GATEPOST, '0')}+{whole.hexdigest()[:_DIGITS]}"


def _add_source(root: str, whole: hashlib._Hash) -> None:
    """Add the Python files below a folder to a digest."""
    for folder, folders, files in os.walk(root):  # pathlib takes ten times as long
        folders.sort()
        for file in sorted(files):
            if file.endswith(".py"):
                path = os.path.join(folder, file)  # noqa: PTH118
                whole.update(f"{path.removeprefix(root)}\n".encode())
                with suppress(OSError):  # an upgrade replaces it just now
                    whole.update(Path(path).read_bytes())


def _packages_of_plugins(metadata: Path) -> list[str]:
    """Return the packages of a distribution that adds plug-ins; see `gatepost.discovery`."""
    with suppress(OSError):
        points = (metadata / "entry_points.txt").read_text(errors="replace")
        _, _, group = points.partition(f"[{GROUP}]")
        modules = (line.partition("=")[2] for line in group.partition("\n[")[0].splitlines())
        return sorted({module.strip().partition(".")[0] for module in modules} - {""})
    return []


def _distributions() -> dict[str, tuple[str, Path]]:
    """Return the version and the folder of metadata of each Python distribution, by name.

    importlib.metadata would take a parser of e-mail into the supervisor's memory, and ten times as
    long (https://packaging.python.org/en/latest/specifications/recording-installed-packages/).
    """
    found: dict[str, tuple[str, Path]] = {}
    # Not sys.path: a caller's PYTHONPATH does not reach the supervisor.
    for place in site.getsitepackages():
        with suppress(OSError):
            for entry in sorted(os.listdir(place)):  # noqa: PTH208  as above
                if entry.endswith(_METADATA):
                    name, _, version = entry.removesuffix(_METADATA).partition("-")
                    found.setdefault(_normal(name), (version, Path(place, entry)))
    return found


def _add_libraries(
    name: str, distributions: Mapping[str, tuple[str, Path]], found: dict[str, str]
) -> None:
    """Add the version of a distribution and of all that it requires."""
    if name in found or name not in distributions:
        return
    found[name], folder = distributions[name]
    with suppress(OSError), (folder / "METADATA").open(errors="replace") as stream:
        for line in iter(stream.readline, "\n"):
            if not line:
                break
            if required := _REQUIRED.match(line):
                _add_libraries(_normal(required[1]), distributions, found)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
