"""Rooms that serve every plug-in name none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gatepost
from gatepost import registry

SOURCE = Path(gatepost.__file__).parent
OTHERS = {"kubernetes"}
"""Systems that only a plug-in of theirs should know."""
OWN = {"gate"}
"""Also a word of ours."""


def named(folder: Path) -> list[str]:
    """Return the lines below a folder that name a plug-in."""
    names = {plugin.name for plugin in registry.plugins()} - OWN | OTHERS
    pattern = re.compile("|".join(names), re.IGNORECASE)
    return [
        f"{file.relative_to(SOURCE)}:{number}: {line.strip()}"
        for file in sorted(folder.rglob("*.py"))
        for number, line in enumerate(file.read_text().splitlines(), start=1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize("room", ["run", "actions", "verify", "settings", "model", "assembly"])
def test_a_room_names_no_plugin(room: str) -> None:
    """The next plug-in would need a line there, and the room would know its habits."""
    assert named(SOURCE / room) == []


def test_names_are_found() -> None:
    """The control."""
    assert named(SOURCE / "plugins" / "dovecot")
