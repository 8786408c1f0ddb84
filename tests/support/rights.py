"""Who runs as whom and which file is whose: what a page says, and what a running server shows."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from sampling import OURS

_CAPABILITIES = {
    0: "chown",
    1: "dac_override",
    5: "kill",
    6: "setgid",
    7: "setuid",
    10: "net_bind_service",
    18: "sys_chroot",
}
"""Bits of capabilities(7) that anything here has which has not all of them."""

_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFSOCK: "socket",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "pipe",
    stat.S_IFREG: "file",
}


# --- the page -------------------------------------------------------------------------------


def rows(page: Path, heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading of a page, without its head."""
    section = page.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


# --- processes ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rights:
    """What a process may."""

    user: str
    group: str
    groups: frozenset[str]
    capabilities: frozenset[str]


def processes_of(page: Path) -> dict[str, Rights]:
    """Return what a page says of each process, by its name."""
    found = {}
    for names, user, group, groups, capabilities, _ in rows(page, "Processes"):
        rights = Rights(user, group, _words(groups), _words(capabilities) - {"none"})
        for name in re.findall(r"`([^`]+)`", names):
            assert name not in found, f"{name} is there twice"
            found[name] = rights
    return found


def _words(cell: str) -> frozenset[str]:
    return frozenset(filter(None, re.split(r"[,\s]+", cell)))


def running(supervisor: psutil.Process) -> Iterator[tuple[str, Rights]]:
    """Yield every process of a server with its name on the page and what it may."""
    most = _capabilities(supervisor.pid)
    for process in (supervisor, *supervisor.children(recursive=True)):
        try:
            words, status = process.cmdline(), _status(process.pid)
            capabilities = _capabilities(process.pid)
            name = _name(process, words)
            ended = not words or process.status() == psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            continue  # ended meanwhile
        if ended:
            continue
        users, groups = status["Uid"].split(), status["Gid"].split()
        assert len(set(users)) == len(set(groups)) == 1, f"{words} may change back: {users}"
        yield (
            name,
            Rights(
                user=pwd.getpwuid(int(users[0])).pw_name,
                group=grp.getgrgid(int(groups[0])).gr_name,
                groups=frozenset(grp.getgrgid(int(g)).gr_name for g in status["Groups"].split()),
                capabilities=frozenset({"all"}) if capabilities == most else capabilities,
            ),
        )


def _name(process: psutil.Process, words: list[str]) -> str:
    for module, ours in OURS.items():
        if module in words:
            return ours
    name = process.name()
    if name == "auth" and "-w" in words:
        return "auth-worker"
    parent = process.parent()
    both_have_one = name in {"lmtp", "anvil"} and parent and parent.name() == "master"
    return f"{name} of Postfix" if both_have_one else name


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _capabilities(pid: int) -> frozenset[str]:
    bits = int(_status(pid)["CapEff"], 16)
    return frozenset(_CAPABILITIES.get(bit, f"{bit}") for bit in range(64) if bits >> bit & 1)


# --- files ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class File:
    """What lies below a home."""

    path: str
    kind: str
    owner: str
    group: str
    mode: str


@dataclass(frozen=True)
class Pattern:
    """A path of the page, with what is said of everything that fits it."""

    text: str
    kind: str
    owner: str
    group: str
    modes: frozenset[str]

    def fits(self, path: str, kind: str) -> bool:
        """Tell whether a path below the home is meant."""
        parts = re.split(r"(\*\*|\*)", self.text)
        marks = {"**": ".*", "*": "[^/]*"}
        pattern = "".join(marks.get(part, re.escape(part)) for part in parts)
        return kind == self.kind and re.fullmatch(pattern, path) is not None

    def tells_of(self, file: File) -> bool:
        """Tell whether owner, group and mode are as the page says."""
        same = (self.owner, self.group) == (file.owner, file.group)
        return same and file.mode in self.modes


def files_of(page: Path, database: str) -> list[Pattern]:
    """Return what a page says of files, in its order, for a server with such a database."""
    found = []
    for paths, owner, group, modes, only, _ in rows(page, "Files"):
        if only not in {"", database}:
            continue
        for text, kind in re.findall(r"`([^`]+)`(?: (folder|socket|link|pipe))?", paths):
            found.append(Pattern(text, kind or "file", owner, group, _words(modes)))
    return found


def files_below(home: Path) -> Iterator[File]:
    """Yield the home and everything below it."""
    for folder, folders, names in os.walk(home):
        for name in (".", *names, *(n for n in folders if (Path(folder) / n).is_symlink())):
            path = Path(folder) / name
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue  # a temporary file, gone meanwhile
            yield File(
                path=str(path.relative_to(home)),
                kind=_KINDS[stat.S_IFMT(found.st_mode)],
                owner=pwd.getpwuid(found.st_uid).pw_name,
                group=grp.getgrgid(found.st_gid).gr_name,
                mode=f"{stat.S_IMODE(found.st_mode):o}",
            )
