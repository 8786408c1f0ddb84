"""Errors reach a terminal and a log: they stay short, and keep both ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import AccountError, ImportFileError, UsageError


@pytest.mark.parametrize("kind", [UsageError, AccountError, ImportFileError])
def test_a_long_value_leaves_room_for_what_is_wrong_with_it(kind: type[UsageError]) -> None:
    """A megabyte of a value would push its name and the next step off the screen."""
    (problem,) = kind(f'MAILNAME: "{"x" * 1_000_000}" is no name.\nSet another').problems
    assert len(problem) < 2500
    assert problem.startswith('MAILNAME: "xxx')
    assert problem.endswith("Set another")


@given(st.text())
def test_an_account_s_error_is_one_line(typed: str) -> None:
    """A name with a line break in it would feign messages of ours."""
    for kind in (AccountError, ImportFileError):
        error = kind(f'"{typed}" is no address.', "Nothing was imported.")
        assert all(problem.isprintable() for problem in error.problems)
        assert str(error).count("\n") == 1
