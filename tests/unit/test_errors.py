"""Errors reach a terminal and a log: they stay short, and keep both ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import (
    AccountError,
    CheckError,
    GatepostError,
    ImportFileError,
    OperationError,
    PreflightError,
    SettingsError,
    StartError,
    UsageError,
)


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


def test_each_error_has_a_kind_of_its_own() -> None:
    """A web page would have to read sentences to tell one error from another."""
    classes = (
        *(GatepostError, UsageError, SettingsError, AccountError, ImportFileError),
        *(PreflightError, OperationError, CheckError, StartError),
    )
    assert len({one.kind for one in classes}) == len(classes)


def test_kind_and_parameters_leave_the_words_alone() -> None:
    """A command would print something else than before."""
    plain = UsageError("a", "b")
    error = UsageError("a", "b").about("unknown-unit", object="unit", value="x")
    assert (str(error), error.problems, error.exit_code) == (str(plain), plain.problems, 2)
    assert (error.kind, error.parameters) == ("unknown-unit", {"object": "unit", "value": "x"})
    assert (plain.kind, plain.parameters) == ("usage", {}), "the control: each has its own"


def test_what_is_known_first_stays() -> None:
    """An action that only knows its own name would hide what was found out below it."""
    error = UsageError("a").about("unreadable", object="file")
    error.about("other", object="mailbox", value="anna@example.org")
    assert error.kind == "unreadable"
    assert error.parameters == {"object": "file", "value": "anna@example.org"}
