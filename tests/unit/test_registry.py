"""Plug-ins are found in their folder and in other packages."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from gatepost import registry
from gatepost.contracts import Plugin
from gatepost.errors import UsageError

TOY = Plugin(name="toy")
TWIN = Plugin(name="postfix")
NOTHING = "no plug-in"


@pytest.fixture(autouse=True)
def found_anew() -> Iterator[None]:
    """Look for plug-ins before and after each test."""
    registry.plugins.cache_clear()
    yield
    registry.plugins.cache_clear()


def packages(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    """Install packages whose entry points lead to values of this module."""
    entries = EntryPoints(EntryPoint("mine", value, registry.GROUP) for value in values)
    monkeypatch.setattr(registry, "entry_points", entries.select)
    monkeypatch.setattr(EntryPoint, "load", lambda entry: globals()[entry.value.rpartition(":")[2]])


def test_every_folder_is_a_plugin_of_the_same_name() -> None:
    """A folder whose plug-in has another name would be looked for in vain."""
    found = {plugin.name: plugin for plugin in registry.plugins()}
    assert {"dovecot", "gate", "postfix", "traefik"} <= set(found)
    assert list(found) == sorted(found)


def test_another_package_adds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a fork of Gatepost could have a plug-in of its own."""
    packages(monkeypatch, "other.package:TOY")
    assert TOY in registry.plugins()


def test_without_such_a_package_it_is_not_there() -> None:
    """The control."""
    assert TOY not in registry.plugins()


def test_two_of_the_same_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the two would be missing, without a word."""
    packages(monkeypatch, "other.package:TWIN")
    with pytest.raises(UsageError, match=r'"postfix"; one of them is other\.package:TWIN'):
        registry.plugins()


def test_an_entry_point_that_is_no_plugin_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command would end in a traceback."""
    packages(monkeypatch, "other.package:NOTHING")
    with pytest.raises(UsageError, match=r"other\.package:NOTHING, which is no Plugin"):
        registry.plugins()
