"""Sizes of mailboxes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.accounts import quota
from gatepost.errors import AccountError


@pytest.mark.parametrize(
    ("typed", "size"),
    [
        ("1G", 1024**3),
        ("500M", 500 * 1024**2),
        ("100k", 100 * 1024),
        ("2 TB", 2 * 1024**4),
        ("10MiB", 10 * 1024**2),
        ("12345", 12345),
        ("none", None),
        ("None", None),
    ],
)
def test_sizes_are_read(typed: str, size: int | None) -> None:
    """The owner would have another limit than the one that was typed."""
    assert quota.parse(typed) == size


@pytest.mark.parametrize("typed", ["lots", "", "0", "-1G", "1.5G", "1P", "9999999999999999999T"])
def test_what_is_no_size_is_refused(typed: str) -> None:
    """A typing mistake would become a mailbox without a limit, or with no room at all."""
    with pytest.raises(AccountError, match="500M") as error:
        quota.parse(typed)
    assert f'"{typed}"' in str(error.value)


@given(st.none() | st.integers(1, 2**62))
def test_written_sizes_are_read_back_exactly(size: int | None) -> None:
    """An export and import would change every limit a little."""
    assert quota.parse(quota.written(size)) == size


def test_sizes_are_written_short() -> None:
    """A list would show bytes that nobody can read."""
    assert [quota.written(s) for s in (1024**3, 1536 * 1024**2, 1000, None)] == [
        "1G",
        "1536M",
        "1000",
        "none",
    ]
