"""Sizes, and yes or no, as people write them: in a setting, an option or a file of accounts."""

from __future__ import annotations

import re

UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
"""Letter behind a size → bytes."""

_SIZE = re.compile(r"([0-9]{1,19})\s*([KMGT]?)(?:I?B)?")
_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def boolean(text: str) -> bool | None:
    """Read ``true/false/yes/no/on/off/1/0`` in any case; None when it is none of these."""
    return _BOOLEANS.get(text.strip().lower())


def size(text: str) -> int | None:
    """Read bytes: a number, or one with K, M, G or T for powers of 1024; None for other text."""
    match = _SIZE.fullmatch(text.strip().upper())
    return int(match[1]) * UNITS[match[2]] if match else None
