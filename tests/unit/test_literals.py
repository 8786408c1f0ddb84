"""Sizes and booleans as people write them."""

from __future__ import annotations

import pytest

from gatepost import literals


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("50M", 50 * 1024**2),
        ("50 mb", 50 * 1024**2),
        (" 1GiB ", 1024**3),
        ("2t", 2 * 1024**4),
        ("", None),
        ("M", None),
        ("1.5G", None),
        ("-1", None),
        ("1P", None),
        ("٣", None),  # a digit, but not one that a daemon reads
        ("1" * 20, None),
    ],
)
def test_sizes(text: str, size: int | None) -> None:
    """A mailbox of 1G would hold one byte, or a size that nobody meant would be taken."""
    assert literals.size(text) == size


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("YES", True),
        (" on ", True),
        ("1", True),
        ("False", False),
        ("no", False),
        ("off", False),
        ("0", False),
        ("", None),
        ("2", None),
        ("ture", None),
    ],
)
def test_booleans(text: str, *, value: bool | None) -> None:
    """A misspelt "true" would mean no."""
    assert literals.boolean(text) is value
