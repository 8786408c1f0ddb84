"""Comparison of two configurations: the effects of the change on a process. Pure."""

from __future__ import annotations

from gatepost.model import OnChange, Process
from gatepost.run.record import Record


def effects(name: str, old: Record, new: Record) -> set[OnChange]:
    """Return what the changed files of a process ask for."""
    before = {file.path: file for file in old.files if file.process == name}
    after = {file.path: file for file in new.files if file.process == name}
    changed = [
        (after.get(path) or before[path])
        for path in before.keys() | after.keys()
        if before.get(path) != after.get(path)
    ]
    return {file.on_change for file in changed}


def as_started(process: Process) -> tuple[object, ...]:
    """Return what cannot change while a process runs."""
    return (
        process.argv,
        process.user,
        process.capabilities,
        dict(process.environment),
        process.sockets,
    )
