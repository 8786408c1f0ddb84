"""Renews the daemons' copies of files that have changed: ``python -m gatepost.run.renewal HOME``.

The supervisor starts it when it sees other contents, and it needs no settings: the record of the
configuration in use says which file is a copy of which. So a renewed certificate is shown without
anybody's help, as in a container, where nobody types `gatepost up`. It is a program of its own
because judging a certificate takes libraries that the supervisor does without.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from gatepost.errors import CheckError, PreflightError
from gatepost.model import Home, RenderedFile
from gatepost.run import apply, copies, locks, record
from gatepost.run.record import Record


@dataclass(frozen=True, slots=True)
class Renewal:
    """The outcome of a renewal."""

    renewed: tuple[str, ...] = ()
    """Files that the configuration in use now has new copies of."""
    problems: tuple[str, ...] = ()
    """Why the copies in use stay."""
    again: bool = False
    """True if a later try may succeed, though the files stay as they are."""

    def dump(self) -> str:
        """Return it as a line of JSON."""
        return json.dumps(asdict(self))


def renew(home: Home) -> Renewal:
    """Bring the copies of the configuration in use up to date; one that would not serve stays.

    Raises `PreflightError` when a `gatepost up` is at work, which does the same.
    """
    with locks.writing(home, locks.RENEWAL):
        old = record.current(home)
        if old is None:
            return Renewal()
        unread: dict[str, None] = {}
        bad: dict[str, None] = {}
        changed = tuple(_changed(old, unread, bad))
        try:
            if changed:
                apply.renew(home, old, changed)
        # A checker may have asked a server that was away, and a disk may have been full.
        except (CheckError, OSError) as error:
            return Renewal(problems=(*unread, *bad, str(error)), again=True)
    names = (name for file in changed if file.original for name in file.original.files)
    return Renewal(tuple(dict.fromkeys(names)), (*unread, *bad), again=bool(unread))


def _changed(old: Record, unread: dict[str, None], bad: dict[str, None]) -> Iterator[RenderedFile]:
    """Yield the copies whose originals have other contents now.

    Add what could not be read to `unread`, and what was judged and does not serve to `bad`.
    """
    contents: dict[tuple[str, ...], tuple[bytes, ...]] = {}
    for file in old.files:
        if file.original is None:
            continue
        part, files = file.original.part, tuple(map(Path, file.original.files))
        try:
            # Read once: all copies of a pair are of the same one.
            if file.original.files not in contents:
                contents[file.original.files] = copies.read(part, files)
        except PreflightError as error:
            unread |= dict.fromkeys(error.problems)
            continue
        try:
            now = copies.made(part, files, contents[file.original.files])
        except PreflightError as error:
            bad |= dict.fromkeys(error.problems)
            continue
        if now.original != file.original:
            yield RenderedFile(
                PurePosixPath(file.path),
                now.content,
                file.process,
                file.on_change,
                file.mode,
                file.group,
                now.original,
            )


if __name__ == "__main__":
    try:
        sys.stdout.write(renew(Home(Path(sys.argv[1]))).dump() + "\n")
    except PreflightError:  # somebody else is at it; the supervisor asks again
        sys.stdout.write("\n")
