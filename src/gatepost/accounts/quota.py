"""Sizes of mailboxes as people write them: ``500M``, ``1G``, ``none``."""

from __future__ import annotations

import re

from gatepost.errors import AccountError

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_SIZE = re.compile(r"([0-9]{1,19})\s*([KMGT]?)(?:I?B)?", re.IGNORECASE)
_MOST = 2**62
"""More than any disk; a signed 64-bit number of bytes in SQL and in Dovecot holds it."""


def parse(text: str) -> int | None:
    """Read a quota: bytes, or a number with K, M, G or T (1K is 1024 bytes); ``none``: no limit.

    Raises `AccountError` when it is none of these.
    """
    if text.strip().lower() == "none":
        return None
    match = _SIZE.fullmatch(text.strip())
    size = int(match[1]) * _UNITS[match[2].upper()] if match else 0
    if not 0 < size <= _MOST:
        raise AccountError(
            f'quota: "{text}" is not a size. '
            "Write a number with K, M, G or T, for example 500M or 1G; or none for no limit."
        )
    return size


def written(quota_bytes: int | None) -> str:
    """Write a quota in the largest unit that keeps it exact; `parse` reads it back."""
    if quota_bytes is None:
        return "none"
    unit = max((u for u, size in _UNITS.items() if quota_bytes % size == 0), key=_UNITS.__getitem__)
    return f"{quota_bytes // _UNITS[unit]}{unit}"
