"""The disk is full while mail comes in: under the queue, the mailboxes, or all the rest."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from instance import Instance, instance

from faults import AT_ONCE, UNLIMITED, Ordeal, add_mailboxes, kill_one, processes

DISKS = {".": "96M", "mail": "48M", "queue": "24M"}
"""Folder below the server's home → size of the disk that it has for itself."""
INODES = 3000
FEW_BLOCKS = FEW_FILES = 32
"""What mail on its way may free again while a disk is full."""
_BLOCKS = (1 << 20, 4096, 1)


@pytest.fixture
def server() -> Iterator[Instance]:
    """Run a server with three small disks, which the mail of many seeds would fill.

    Postfix wants room for one and a half messages.
    """
    settings = {**UNLIMITED, "MESSAGE_SIZE_LIMIT": "1M"}
    with instance(settings, start=False) as made, contextlib.ExitStack() as stack:
        for name, size in DISKS.items():
            stack.enter_context(disk(made.home / name, size))
        # Before its disks go.
        stack.callback(made.run, "down")
        add_mailboxes(made)
        made.up()
        yield made


@contextlib.contextmanager
def disk(folder: Path, size: str) -> Iterator[None]:
    """Put a disk of its own under a folder."""
    folder.mkdir(exist_ok=True)
    options = f"size={size},nr_inodes={INODES},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def no_room(folder: Path) -> Iterator[None]:
    """Leave not a byte of a folder's disk free for as long as the block lasts."""
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as stream:
            for size in _BLOCKS:
                with contextlib.suppress(OSError):
                    while True:
                        stream.write(b"\0" * size)
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def no_file(folder: Path) -> Iterator[None]:
    """Let no file be made on a folder's disk for as long as the block lasts.

    Several file systems have room for a number of files only, and some refuse a new file at the
    moment at which they are full.
    """
    filler = folder / "filler"
    filler.mkdir()
    try:
        with contextlib.suppress(OSError):
            for number in range(INODES):
                (filler / str(number)).touch()
        yield
    finally:
        shutil.rmtree(filler)


FAULTS = [(name, way) for name in DISKS for way in (no_room, no_file)]


def test_nothing_is_lost_when_a_disk_is_full(
    server: Instance, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """A full disk would turn accepted mail into bounces, or into nothing.

    Where the supervisor writes, the gate is killed as well: it must come back, and once only.
    """
    ordeal = Ordeal.of(server, seed)
    with ordeal.load.running():
        for name, way in ordeal.chance.sample(FAULTS, len(FAULTS)):
            with way(server.home / name):
                disk_left = os.statvfs(server.home / name)
                assert disk_left.f_bavail < FEW_BLOCKS or disk_left.f_favail < FEW_FILES
                ordeal.wait(1, 2)
                if name == ".":
                    kill_one(server, "gate", ordeal.chance)
                    ordeal.wait(1, 1.5)
            place = "the rest" if name == "." else name
            ordeal.recover(f"disk under {place}: {way.__name__.replace('_', ' ')}")
            assert len(processes(server)["gate"]) == 1
    ordeal.settle_and_tell(record_property, duplicates=len(FAULTS) * AT_ONCE)
