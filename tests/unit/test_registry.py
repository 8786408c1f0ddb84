"""Plug-ins are found in their folder and in other packages."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType

import pytest

from gatepost import discovery, registry
from gatepost.contracts import Plugin
from gatepost.errors import UsageError


@pytest.fixture(autouse=True)
def found_anew() -> Iterator[None]:
    """Look for plug-ins before and after each test."""
    for cached in (discovery.packages, registry.plugins):
        cached.cache_clear()
    yield
    for cached in (discovery.packages, registry.plugins):
        cached.cache_clear()


def another_package(monkeypatch: pytest.MonkeyPatch, plugin: object) -> None:
    """Install a package whose entry point leads to a module with this PLUGIN."""
    package, module = ModuleType("other"), ModuleType("other.plugin")
    package.__path__ = []
    vars(module)["PLUGIN"] = plugin
    module.__spec__ = package.__spec__ = type(sys.__spec__)("other.plugin", None)
    monkeypatch.setitem(sys.modules, "other", package)
    monkeypatch.setitem(sys.modules, "other.plugin", module)
    entries = EntryPoints([EntryPoint("mine", "other.plugin", discovery.GROUP)])
    monkeypatch.setattr(discovery, "entry_points", entries.select)


def test_every_folder_is_a_plugin_of_the_same_name() -> None:
    """A folder whose plug-in has another name would be looked for in vain."""
    found = {plugin.name: plugin for plugin in registry.plugins()}
    assert {"dovecot", "gate", "postfix", "traefik"} <= set(found)
    assert list(found) == sorted(found)


def test_another_package_adds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a fork of Gatepost could have a plug-in of its own."""
    toy = Plugin(name="toy")
    assert toy not in registry.plugins()
    registry.plugins.cache_clear()
    discovery.packages.cache_clear()
    another_package(monkeypatch, toy)
    assert toy in registry.plugins()


def test_two_of_the_same_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the two would be missing, without a word."""
    another_package(monkeypatch, Plugin(name="postfix"))
    with pytest.raises(UsageError, match=r'"postfix"; one of them is other\.plugin'):
        registry.plugins()


def test_a_module_without_plugin_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command would end in a traceback."""
    another_package(monkeypatch, None)
    with pytest.raises(UsageError, match=r'"other\.plugin" has no plug-in'):
        registry.plugins()


def test_listeners_without_a_unit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command would end in a traceback: nobody knows where its clients connect."""
    row = registry.plugins()[0].listeners[0]
    registry.plugins.cache_clear()
    discovery.packages.cache_clear()
    another_package(monkeypatch, Plugin(name="toy", listeners=(row,)))
    with pytest.raises(UsageError, match='"toy" has listeners and no unit'):
        registry.plugins()


@pytest.mark.parametrize("value", ["toy", "toy.settings", "toy.plugin.more"])
def test_an_entry_point_to_another_module_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """The plug-in would be missing without a word, or every command end in a traceback."""
    entries = EntryPoints([EntryPoint("mine", value, discovery.GROUP)])
    monkeypatch.setattr(discovery, "entry_points", entries.select)
    with pytest.raises(UsageError, match=rf'"mine" of the group .* leads to "{value}"'):
        discovery.packages()


def test_a_package_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The administrator would read a traceback and not know what to remove."""
    entries = EntryPoints([EntryPoint("mine", "no_such_package.plugin", discovery.GROUP)])
    monkeypatch.setattr(discovery, "entry_points", entries.select)
    with pytest.raises(UsageError, match='"no_such_package" cannot be used'):
        registry.plugins()


def of_the_core() -> list[Path]:
    """Return the modules that every plug-in relies on."""
    package = Path(registry.__file__).parent
    alone = [package / f"{name}.py" for name in ("contracts", "registry", "discovery")]
    folders = [package / name for name in ("assembly", "model")]
    return [*alone, *(module for folder in folders for module in sorted(folder.rglob("*.py")))]


def named_in(text: str) -> set[str]:
    """Return the plug-ins, and places to run in, that a text names."""
    names = "|".join([*(plugin.name for plugin in registry.plugins()), "kubernetes"])
    return {name.lower() for name in re.findall(rf"(?i)\b(?:{names})\b", text)}


@pytest.mark.parametrize("module", of_the_core(), ids=lambda module: module.name)
def test_the_core_names_no_plugin(module: Path) -> None:
    """The next mail store or proxy would have to edit the core."""
    assert named_in(module.read_text()) == set()


def test_a_name_would_be_seen() -> None:
    """The control."""
    assert named_in("what Dovecot does, and the gate; Gatepost navigates") == {"dovecot", "gate"}
