"""What a killed supervisor has left is known to the next one."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from gatepost.model import Home
from gatepost.run import memory
from gatepost.run.memory import Started


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home with its run folder."""
    home = Home(tmp_path)
    home.run.mkdir()
    return home


def test_what_was_started_is_recalled_until_it_is_forgotten(home: Home) -> None:
    """`up` after a crash would call our own daemons strangers that hold the ports."""
    me = Started(os.getpid(), psutil.Process().create_time())
    memory.remember(home, [me])
    assert memory.recall(home) == (me,)
    memory.forget(home)
    memory.forget(home)
    assert memory.recall(home) == ()


def test_another_program_with_the_number_is_not_ours(home: Home) -> None:
    """A stranger's process would be ended."""
    memory.remember(home, [Started(os.getpid(), psutil.Process().create_time() - 1000)])
    assert memory.recall(home) == ()


@pytest.mark.parametrize("text", ["", "[", '{"pid": 1}', '[{"pid": 1}]', "[7]"])
def test_a_torn_memory_is_none(home: Home, text: str) -> None:
    """The server could not be started after a full disk."""
    (home.run / "processes.json").write_text(text)
    assert memory.recall(home) == ()
