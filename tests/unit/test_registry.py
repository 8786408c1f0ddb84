"""Plug-ins are found in their folder and in other packages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from other_packages import found_anew, install

from gatepost import discovery, registry
from gatepost.contracts import Plugin
from gatepost.errors import UsageError
from gatepost.model import Tables
from gatepost.settings.concerns import StorageSettings


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    """Look for plug-ins before and after each test."""
    with found_anew():
        yield


def another_package(monkeypatch: pytest.MonkeyPatch, plugin: object) -> None:
    """Install a package whose entry point leads to a module with this PLUGIN."""
    install(monkeypatch, other={"PLUGIN": plugin})


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


def test_a_module_may_make_several_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three resolvers would be three packages."""
    several = tuple(Plugin(name=name, settings=(StorageSettings,)) for name in ("one", "two"))
    install(monkeypatch, other={"PLUGINS": several})
    assert all(one in registry.plugins() for one in several)
    assert registry.concerns().count(StorageSettings) == 1, "they share their settings"


def test_listeners_of_the_same_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients of one listener would be sent to the other."""
    (row, *_) = (row for plugin in registry.plugins() for row in plugin.listeners)
    registry.plugins.cache_clear()
    discovery.packages.cache_clear()
    another_package(monkeypatch, Plugin(name="toy", unit="toy", listeners=(row,)))
    with pytest.raises(UsageError, match=rf'both have a listener "{row.name}"'):
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


def test_tables_of_the_same_name_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One plug-in would believe that its tables are those of the other."""
    one = Plugin(name="one", tables=Tables("rings", tmp_path, "0001"))
    install(monkeypatch, other={"PLUGINS": (one, replace(one, name="two"))})
    assert registry.plugins(), "instances share them"
    registry.plugins.cache_clear()
    discovery.packages.cache_clear()
    strange = replace(one, name="two", tables=Tables("rings", tmp_path, "0002"))
    install(monkeypatch, other={"PLUGINS": (one, strange)})
    with pytest.raises(UsageError, match='The tables "rings" of the plug-in "two"'):
        registry.plugins()
