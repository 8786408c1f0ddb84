"""Aliases that lead to more addresses than Postfix takes."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from gatepost.accounts.bulk import ConflictError
from gatepost.accounts.expansion import MOST_STEPS, MOST_TARGETS
from gatepost.accounts.records import Alias
from gatepost.accounts.store import Store
from gatepost.errors import AccountError


def members(number: int, name: str = "m") -> tuple[str, ...]:
    """Return addresses on another server."""
    return tuple(f"{name}{n}@outside.test" for n in range(number))


def test_a_list_of_many(home: Store) -> None:
    """A list of the size that is promised could not be made."""
    home.add_alias(Alias("list@example.org", members(MOST_TARGETS)))
    home.remove_alias("list@example.org")
    home.add_all([Alias("list@example.org", members(MOST_TARGETS))])


def test_a_list_is_followed_with_few_questions(home: Store) -> None:
    """One question for each address takes minutes on a database server."""
    asked: list[str] = []

    def ask(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        asked.append(statement)

    sa.event.listen(home._engine, "before_cursor_execute", ask)
    home.add_alias(Alias("list@example.org", members(5_000)))
    assert 10 < len(asked) < 100, len(asked)


def test_too_many_targets_are_refused(home: Store) -> None:
    """All mail for the alias, and for others in the same message, would wait for ever."""
    big = Alias("list@example.org", members(MOST_TARGETS + 1))
    with pytest.raises(AccountError, match=r'"list@example\.org".*more than 10,000'):
        home.add_alias(big)
    with pytest.raises(ConflictError, match=r'"list@example\.org".*more than 10,000'):
        home.add_all([big])
    assert home.aliases() == ()


def test_nested_lists_count_together(home: Store) -> None:
    """Two lists that are fine by themselves would be too much for a third."""
    home.add_alias(Alias("a@example.org", members(6000, "a")))
    home.add_alias(Alias("all@example.org", ("a@example.org", "b@example.org")))
    for add in (home.add_alias, lambda alias: home.add_all([alias])):
        with pytest.raises(AccountError, match="all@example"):
            add(Alias("b@example.org", members(6000, "b")))
    home.add_alias(Alias("b@example.org", members(6000, "a")))


def test_a_long_way_is_refused(home: Store) -> None:
    """Postfix follows a thousand aliases and then defers."""
    way = [Alias(f"a{n}@example.org", (f"a{n + 1}@example.org",)) for n in range(MOST_STEPS + 1)]
    with pytest.raises(ConflictError, match="one after another"):
        home.add_all(way)
    home.add_all(way[1:])
    with pytest.raises(AccountError, match="one after another"):
        home.add_alias(way[0])
