"""The plan: files to write and processes to start. No I/O, and no decisions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath

from gatepost.model.listeners import Address, Endpoint, Topology
from gatepost.model.place import Original


class OnChange(StrEnum):
    """The action that a process needs when one of its files changes."""

    RELOAD = "reload"
    RESTART = "restart"
    NOTHING = "nothing"
    """The process watches the file itself, or reads it at every use."""


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """A configuration file, ready to be written."""

    path: PurePosixPath
    """Relative to the configuration's folder (`Home.config`), such as ``toy/bell.conf``."""
    content: str
    process: str
    """Name of the process that reads it."""
    on_change: OnChange = OnChange.RELOAD
    mode: int = 0o644
    group: str = "root"
    original: Original | None = None
    """Files that it is a copy of. The supervisor watches them and renews the copy."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A folder that must exist before anything starts."""

    path: Path
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"
    contents: str = ""
    """Whose everything below it is, as ``OWNER:GROUP``, or ``OWNER`` where the group does not
    matter; empty when nobody looks."""


@dataclass(frozen=True, slots=True)
class SystemUser:
    """An unprivileged system user (and group of the same name) that must exist."""

    name: str
    purpose: str
    """For the user database's comment field."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """An endpoint that answers when its process is ready."""

    address: Endpoint
    greeting: bytes = b""
    """The beginning of the answer; empty when an open port is proof enough. It is not where the
    supervisor opens the port (`Process.sockets`): connections then wait for a process that may have
    ended."""
    asks: bytes = b""
    """Request that is sent first, where the client speaks first, as in HTTP."""


@dataclass(frozen=True, slots=True)
class Check:
    """A daemon's own configuration checker; ``{config}`` in `argv` is the staged folder."""

    process: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Process:
    """A child process of the supervisor."""

    name: str
    """Name in logs, in ``status`` and on the command line."""
    argv: tuple[str, ...]
    after: tuple[str, ...] = ()
    """Processes that must be ready before this one starts; stopped in reverse."""
    ready: tuple[Readiness, ...] = ()
    """All of these must answer before the process counts as ready."""
    reload: tuple[str, ...] = ()
    """Command that makes the running process read its files again; empty: it must restart.

    ``{pid}`` in an argument stands for the process id.
    """
    forget: tuple[str, ...] = ()
    """Command that makes the running process forget what it remembers of accounts."""
    end_sessions: tuple[str, ...] = ()
    """Command that ends the sessions of accounts, which it reads from standard input: a line for
    each, with the address, a tab, and the folder of its mail below `Home.mail`."""
    accounts: str = ""
    """File that names the database of accounts (`gatepost.accounts.changes.open_changes`) whose
    changes `forget` and `end_sessions` are for; only root reads it."""
    servers: tuple[Address, ...] = ()
    """Servers elsewhere that its programs ask. When one is back after it was away, the process
    reads its files again: its programs may have given up asking for minutes."""
    sockets: tuple[tuple[str, Endpoint], ...] = ()
    """Listening sockets that the supervisor opens and keeps for it, each with a name. The process
    finds them in ``GATEPOST_SOCKETS``, as ``NAME:DESCRIPTOR,…``; a restart refuses nobody."""
    overlaps: bool = False
    """True if it may run beside its successor: on a restart the new one starts first, and the old
    one keeps its open connections until they end."""
    leftovers: tuple[Path, ...] = ()
    """Files that only a dead process can have left when this one starts, and that would keep it
    from starting."""
    events: str = ""
    """Pattern of the lines that it writes about clients and messages, of which there are as many as
    there is traffic; the first group is their kind. All others are limited strictly."""
    user: str = "root"
    becomes: str = ""
    """User that a process of root's becomes by itself for good; empty for none."""
    capabilities: tuple[str, ...] = ()
    """Linux capabilities that a user other than root keeps, such as ``net_bind_service``."""
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: float = 10.0
    """Time between SIGTERM and SIGKILL."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Parts that it runs, such as Debian packages, with the versions that are installed
    (`gatepost.run.versions`) when the plan is made."""


@dataclass(frozen=True, slots=True)
class Job:
    """A program that the supervisor runs now and then, and never twice at once."""

    name: str
    """Name in the log and in ``status``; unique among jobs and processes."""
    argv: tuple[str, ...]
    every: float = 0.0
    """Seconds from one start to the next, give or take a tenth; 0 for a job with a time of day."""
    at: str = ""
    """Time of day, ``HH:MM`` in the machine's time zone; empty for a job with an interval."""
    after_start: bool = False
    """True if it runs when the services have become ready, and when the job has changed; without
    `every` and `at`, only then."""
    limit_seconds: float = 3600.0
    """Time after which it is ended."""
    user: str = "root"
    events: str = ""
    """Pattern of lines that come with traffic, as in `Process`."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise `ValueError` for times that there are not, and for a job that would never run."""
        if self.at and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", self.at):
            raise ValueError(f'job {self.name}: "{self.at}" is no time of day such as 03:30')
        if bool(self.at) + bool(self.every > 0) + self.after_start == 0 or (self.at and self.every):
            raise ValueError(
                f"job {self.name}: give it an interval or a time of day, or have it run after_start"
            )


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that follows from a configuration: files to write and processes to start."""

    topology: Topology
    files: tuple[RenderedFile, ...]
    processes: tuple[Process, ...]
    """In an order in which every process comes after those it needs."""
    directories: tuple[Directory, ...]
    users: tuple[SystemUser, ...]
    checks: tuple[Check, ...]
    jobs: tuple[Job, ...] = ()
