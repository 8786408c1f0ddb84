"""What is remembered of a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from gatepost import assembly
from gatepost.model import Home, Plan, RenderedFile, Site
from gatepost.registry import load
from gatepost.run import record
from gatepost.run.record import Record


def write(home: Home, text: str) -> None:
    folder = home.generations / "000001"
    folder.mkdir(parents=True)
    home.config.symlink_to(folder)
    (folder / record.NAME).write_text(text)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"PUBLIC_PORTS": "standard"},
        {"REVERSE_PROXY": "none"},
        {"PUBLIC_BIND_ADDRESS": "127.0.0.11,fd00::11", "TRUSTED_PROXIES": "10.1.2.0/24,fd01::/64"},
    ],
)
def test_a_plan_is_read_back_as_it_was_written(
    site: Site, home: Home, variables: dict[str, str]
) -> None:
    """Every `gatepost up` would find a change and restart the daemons."""
    wanted = Record.of(assembly.assemble(load({"MAILNAME": "mx.example.org", **variables}), site))
    assert wanted.processes
    assert wanted.files
    write(home, wanted.dump())
    assert record.current(home) == wanted


def test_other_settings_are_another_record(site: Site) -> None:
    """The test above would pass if a record held nothing; a change would not be applied."""
    one, other = (
        Record.of(assembly.assemble(load({"MAILNAME": "mx.example.org", **more}), site))
        for more in ({}, {"PUBLIC_PORTS": "standard"})
    )
    assert one != other


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"content": "b\n"}, False),
        ({"mode": 0o600}, False),
        ({"group": "postfix"}, False),
        ({"path": PurePosixPath("b")}, False),
    ],
)
def test_a_changed_file_changes_the_record(
    plan: Callable[..., Plan], change: dict[str, str], *, same: bool
) -> None:
    """A change would be written and no daemon told, or an unchanged one told each time."""
    file = RenderedFile(PurePosixPath("a"), "a\n", "postfix")
    before, after = Record.of(plan(file)), Record.of(plan(replace(file, **change)))  # type: ignore[arg-type]
    assert (before == after) is same


def test_no_secret_goes_into_the_record(plan: Callable[..., Plan]) -> None:
    """The record is open to every user of the machine; what it tells of files is a digest."""
    file = RenderedFile(PurePosixPath("key"), "correct horse", "dovecot", mode=0o600)
    text = Record.of(plan(file)).dump()
    assert '"key"' in text
    assert "correct horse" not in text


def test_before_the_first_start_there_is_none(home: Home) -> None:
    """`gatepost status` on a new machine would end in a traceback."""
    assert record.current(home) is None
    assert record.generation(home) is None


@pytest.mark.parametrize("text", ["", "{}", '{"topology": 1}', '{"files": ['])
def test_another_versions_record_counts_as_none(home: Home, text: str) -> None:
    """After an upgrade, `gatepost up` would end in a traceback until somebody removes a file."""
    write(home, text)
    assert record.current(home) is None


def test_the_generation_in_use_is_found(home: Home) -> None:
    """Nobody could tell which of the kept configurations runs."""
    write(home, "{}")
    assert record.generation(home) == (home.generations / "000001").resolve()
