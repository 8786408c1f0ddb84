"""Aliases that end in themselves."""

from __future__ import annotations

import pytest

from gatepost.accounts.loops import find_loop

MAILBOXES = {"anna@d.example"}


def loop(aliases: dict[str, list[str]], start: str) -> tuple[str, ...] | None:
    """Look for a loop that begins at one alias."""
    return find_loop([start], lambda a: aliases.get(a, ()), MAILBOXES.__contains__, "+")


@pytest.mark.parametrize(
    ("aliases", "start", "found"),
    [
        ({"a@d.example": ["a@d.example"]}, "a@d.example", ("a@d.example", "a@d.example")),
        (
            {"a@d.example": ["anna@d.example", "b@d.example"], "b@d.example": ["A@d.example"]},
            "a@d.example",
            ("a@d.example", "b@d.example", "a@d.example"),
        ),
        (
            {"a@d.example": ["a+x@d.example"]},
            "a@d.example",
            ("a@d.example", "a@d.example"),
        ),
        (
            {"@d.example": ["nobody@d.example"]},
            "@d.example",
            ("@d.example", "@d.example"),
        ),
        (
            {"a@d.example": ["nobody@d.example"], "@d.example": ["a@d.example"]},
            "a@d.example",
            ("a@d.example", "@d.example", "a@d.example"),
        ),
    ],
)
def test_a_loop_is_found(aliases: dict[str, list[str]], start: str, found: tuple[str, ...]) -> None:
    """Postfix would defer the mail for days before it comes back."""
    assert loop(aliases, start) == found


@pytest.mark.parametrize(
    ("aliases", "start"),
    [
        ({"a@d.example": ["anna@d.example"], "@d.example": ["a@d.example"]}, "a@d.example"),
        ({"@d.example": ["anna+all@d.example"]}, "@d.example"),
        ({"a@d.example": ["friend@outside.test", "b@d.example"]}, "a@d.example"),
        (
            {
                "a@d.example": ["b@d.example", "c@d.example"],
                "b@d.example": ["c@d.example"],
                "c@d.example": ["anna@d.example"],
            },
            "a@d.example",
        ),
    ],
)
def test_what_only_looks_like_a_loop_is_fine(aliases: dict[str, list[str]], start: str) -> None:
    """The control: an alias by two ways, or a catch-all into a mailbox, would be refused."""
    assert loop(aliases, start) is None


def test_the_longest_name_before_an_extension_is_followed() -> None:
    """An alias that leads to an extension of itself would be made, and its mail circle."""
    aliases = {"a-b@d.example": ["a-b+x@d.example"], "a@d.example": ["a-b-c@d.example"]}
    way = ("a-b@d.example", "a-b@d.example")
    for start in aliases:
        found = find_loop([start], lambda a: aliases.get(a, ()), MAILBOXES.__contains__, "+-")
        assert found == way


def test_a_long_chain_does_not_end_the_program() -> None:
    """An import with a chain of aliases would end in a traceback."""
    chain = {f"{n}@d.example": [f"{n + 1}@d.example"] for n in range(5000)}
    assert loop(chain, "0@d.example") is None
    chain["5000@d.example"] = ["0@d.example"]
    found = loop(chain, "0@d.example")
    assert found
    assert len(found) == 5002
