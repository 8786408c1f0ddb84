"""Files that the daemons' copies are made of, watched for new contents.

They are read by name, so a link that is turned elsewhere counts as well: certbot's ``live/``
folder and a pod's volumes of secrets are renewed in that way.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from pathlib import Path

from gatepost.model import Original

EVERY = 1.0
"""Seconds between looks. Two looks that see the same end a change: nobody is writing any more."""

_Marks = tuple[tuple[int, ...], ...]


def digest(content: Iterable[bytes]) -> str:
    """Return one digest for what stands in some files."""
    whole = hashlib.sha256()
    for text in content:
        whole.update(f"{len(text)} ".encode() + text)
    return whole.hexdigest()


async def changed(
    originals: Callable[[], Collection[Original]], again: Callable[[], bool] = lambda: False
) -> AsyncIterator[None]:
    """Yield whenever originals have contents that no copy was made of yet; this never ends.

    `originals` returns those to watch now, with the digest of what was copied. Contents that were
    yielded once and were not copied, because they do not serve, are yielded again only when they
    give way to those that were, or when `again` says so: what kept them out may have passed.
    """
    settled: dict[tuple[str, ...], _Marks] = {}
    seen: dict[tuple[str, ...], _Marks] = {}
    tried: dict[tuple[str, ...], str] = {}
    while True:
        due = False
        for original in {one.files: one for one in originals()}.values():
            files = original.files
            marks = tuple(map(_mark, files))
            still, seen[files] = seen.get(files) == marks, marks
            if not still or settled.get(files) == marks:
                continue
            found = _digest(files)
            if found:  # what cannot be read now may be readable later, unchanged
                settled[files] = marks
            if found not in {original.digest, tried.get(files)}:
                tried[files] = found
                due = True
            elif found == original.digest and tried.pop(files, found) != found:
                due = True
        if due or again():
            yield
        await asyncio.sleep(EVERY)


def _mark(file: str) -> tuple[int, ...]:
    """Return what differs when a file was written, replaced or led to by another link."""
    try:
        found = Path(file).stat()
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _digest(files: tuple[str, ...]) -> str:
    """Return the digest of what stands in files; empty when one cannot be read."""
    try:
        return digest(Path(file).read_bytes() for file in files)
    except OSError:
        return ""
