"""Differences between two texts, without line numbers: a change elsewhere leaves them as they are.

A difference is a unified diff whose hunks begin with a bare ``@@``. A hunk belongs to the first
place behind the hunk before it where its old lines stand.
"""

from __future__ import annotations

import difflib

_HUNK = "@@\n"
_MOST_CONTEXT = 5
"""Lines around a change, before a text is better stored complete."""


def difference(base: str, text: str) -> str | None:
    """Return what turns `base` into `text`; None when no few lines say where a change belongs."""
    for context in range(1, _MOST_CONTEXT + 1):
        lines = difflib.unified_diff(
            base.splitlines(keepends=True), text.splitlines(keepends=True), n=context
        )
        found = "".join(
            _HUNK if line.startswith("@@ ") else line
            for number, line in enumerate(lines)
            if number > 1
        )
        if _fits(base, found, text):
            return found
    return None


def patched(base: str, changes: str) -> str:
    """Return `base` with a difference applied; raise `ValueError` when it does not fit."""
    old = base.splitlines(keepends=True)
    new: list[str] = []
    done = 0
    for hunk in _hunks(changes):
        removed = [line[1:] for line in hunk if line[0] in " -"]
        place = next(
            (n for n in range(done, len(old) + 1) if old[n : n + len(removed)] == removed), None
        )
        if place is None:
            raise ValueError(f"no such lines:\n{''.join(removed)}")
        new += old[done:place]
        new += [line[1:] for line in hunk if line[0] in " +"]
        done = place + len(removed)
    return "".join(new + old[done:])


def _hunks(changes: str) -> list[list[str]]:
    hunks: list[list[str]] = []
    for line in changes.splitlines(keepends=True):
        if line == _HUNK:
            hunks.append([])
        elif not hunks or line[0] not in " +-":
            raise ValueError(f"not a line of a difference: {line}")
        else:
            hunks[-1].append(line)
    return hunks


def _fits(base: str, changes: str, text: str) -> bool:
    try:
        return patched(base, changes) == text
    except ValueError:
        return False
