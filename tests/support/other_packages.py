"""Packages of somebody else's with plug-ins that tests make as values."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType

import pytest

from gatepost import discovery, registry


@contextlib.contextmanager
def found_anew() -> Iterator[None]:
    """Look for plug-ins when the block begins, and again after it."""
    forget()
    try:
        yield
    finally:
        forget()


def forget() -> None:
    """Forget which plug-ins there are."""
    discovery.packages.cache_clear()
    registry.plugins.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, **packages: Mapping[str, object]) -> None:
    """Install packages, each with these names in its module ``plugin``, by their entry points."""
    entries = []
    for name, names in packages.items():
        package, module = ModuleType(name), ModuleType(f"{name}.plugin")
        package.__path__ = []
        package.__spec__ = ModuleSpec(name, None)
        module.__spec__ = ModuleSpec(f"{name}.plugin", None)
        vars(module).update(names)
        monkeypatch.setitem(sys.modules, name, package)
        monkeypatch.setitem(sys.modules, f"{name}.plugin", module)
        entries.append(EntryPoint(f"for-tests-{name}", f"{name}.plugin", discovery.GROUP))
    monkeypatch.setattr(discovery, "entry_points", EntryPoints(entries).select)
