"""Parser and writer of mailbox sizes such as ``500M``, ``1G``, ``none``."""

from __future__ import annotations

from gatepost import literals
from gatepost.errors import AccountError

_MOST = 2**62
"""Largest quota: more than any disk, and still a signed 64-bit number in SQL and Dovecot."""


def parse(text: str) -> int | None:
    """Read a quota: bytes, or a number with K, M, G or T (1K is 1024 bytes); ``none``: no limit.

    Raises `AccountError` when it is none of these.
    """
    if text.strip().lower() == "none":
        return None
    size = literals.size(text)
    if size is None or not 0 < size <= _MOST:
        raise AccountError(
            f'quota: "{text}" is not a size. '
            "Write a number with K, M, G or T, for example 500M or 1G; or none for no limit."
        )
    return size


def written(quota_bytes: int | None) -> str:
    """Write a quota in the largest unit that keeps it exact; `parse` reads it back."""
    if quota_bytes is None:
        return "none"
    unit = max(
        (u for u, size in literals.UNITS.items() if quota_bytes % size == 0),
        key=literals.UNITS.__getitem__,
    )
    return f"{quota_bytes // literals.UNITS[unit]}{unit}"
