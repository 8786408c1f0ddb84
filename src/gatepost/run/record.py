"""The part of a plan that the supervisor and ``status`` read: ``plan.json`` of a generation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.errors import OperationError
from gatepost.model import (
    Check,
    Directory,
    Home,
    Job,
    OnChange,
    Original,
    Plan,
    Process,
    RenderedFile,
    Topology,
)

if TYPE_CHECKING:
    from pydantic import TypeAdapter

NAME = "plan.json"


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file of the configuration by its digest."""

    path: str
    digest: str
    process: str
    on_change: OnChange
    mode: int = 0o644
    group: str = "root"
    original: Original | None = None

    @classmethod
    def of(cls, file: RenderedFile) -> FileRecord:
        """Return the record of a file."""
        return cls(
            str(file.path),
            hashlib.sha256(f"{file.mode:o} {file.group}\n{file.content}".encode()).hexdigest(),
            file.process,
            file.on_change,
            file.mode,
            file.group,
            file.original,
        )


@dataclass(frozen=True, slots=True)
class Record:
    """The part of a plan that lives on: who runs, on what files, listening where."""

    topology: Topology
    processes: tuple[Process, ...]
    files: tuple[FileRecord, ...]
    checks: tuple[Check, ...] = ()
    directories: tuple[Directory, ...] = ()
    jobs: tuple[Job, ...] = ()

    @classmethod
    def of(cls, plan: Plan) -> Record:
        """Return the record of a plan."""
        files = tuple(FileRecord.of(file) for file in plan.files)
        return cls(plan.topology, plan.processes, files, plan.checks, plan.directories, plan.jobs)

    def dump(self) -> str:
        """Return it as JSON."""
        return _adapter().dump_json(self, indent=1).decode()


def current(home: Home) -> Record | None:
    """Return the record of the configuration in use; None before the first one.

    One that another version of Gatepost wrote, in words of its own, counts as none.
    """
    return read(home.config)


def read(folder: Path) -> Record | None:
    """Return the record of the configuration in a folder, as `current`."""
    try:
        return _adapter().validate_json((folder / NAME).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    except PermissionError:
        raise OperationError(
            f'What runs in "{folder}" is shown to root only. '
            "Run the same command with sudo, or as root."
        ) from None


@cache
def _adapter() -> TypeAdapter[Record]:
    from pydantic import TypeAdapter  # noqa: PLC0415

    return TypeAdapter(Record)


def generation(home: Home) -> Path | None:
    """Return the folder that `Home.config` points at."""
    return home.config.resolve() if home.config.is_symlink() else None
