"""Environment in, configuration out: whole trees, as daemons read them.

What a change of a template, a port or a default does to all daemons shows here as a diff.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from rendered import CASES, ENVIRONMENT, RENDERED, changes, render, strays, write

REMEDY = "Is this what you meant? Run `make rendered`, look at the diff, commit it."


@pytest.mark.parametrize("name", CASES)
def test_a_tree_is_rendered_as_committed(name: str) -> None:
    """A daemon would be told something that nobody decided and nobody has read."""
    found = "\n".join(changes(RENDERED / name))
    if found:
        pytest.fail(f"{found}\n{REMEDY}", pytrace=False)


@pytest.mark.parametrize("name", CASES)
def test_a_tree_has_what_is_rendered_and_nothing_else(name: str) -> None:
    """A file that is no longer written would be read, reviewed and believed in."""
    found = strays(RENDERED / name)
    if found:
        pytest.fail(f"not in both: {', '.join(sorted(found))}\n{REMEDY}", pytrace=False)


def test_every_folder_is_a_case() -> None:
    """A folder that no case names would never be compared with anything."""
    assert {path.name for path in RENDERED.iterdir()} == set(CASES)


def test_both_dialects_get_the_same_environment() -> None:
    """A difference between their trees could come from a setting instead of the dialect."""
    older, newer = (
        (RENDERED / name / ENVIRONMENT).read_text().splitlines()[1:]
        for name in ("reference", "reference-2.4")
    )
    assert older == newer


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_rendered_by_accident(name: str) -> None:
    """A value that was never there would be written as its Python name, and a daemon take it."""
    for file in render(RENDERED / name):
        assert "{{" not in file.content
        assert "{%" not in file.content
        assert re.search(r"[=\s]None$", file.content, re.MULTILINE) is None
        assert file.content.endswith("\n")


@pytest.mark.parametrize("name", CASES)
def test_daemons_read_copies_of_what_somebody_else_writes(name: str) -> None:
    """What a daemon reads by its own path is not compared: a renewed certificate is never shown."""
    files = render(RENDERED / name)
    copied = {file for copy in files if copy.original for file in copy.original.files}
    assert copied, "at least the pair that clients see"
    for file in files:
        if file.original is None:
            assert [one for one in copied if one in file.content] == []


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """Return a fresh copy of a case, free to be damaged."""
    copy = Path(shutil.copytree(RENDERED / "direct", tmp_path / "direct"))
    write(copy)
    return copy


def test_control_a_changed_line_is_seen(case: Path) -> None:
    """The comparison looks at nothing, and passes whatever is rendered."""
    file = case / "postfix" / "main.cf"
    file.write_text(
        file.read_text().replace("smtpd_tls_auth_only = yes", "smtpd_tls_auth_only = no")
    )
    (found,) = changes(case)
    assert "-smtpd_tls_auth_only = no\n+smtpd_tls_auth_only = yes\n" in found


def test_control_a_lost_mode_is_seen(case: Path) -> None:
    """Dovecot could not run the program that warns of a full mailbox."""
    (case / "dovecot" / "quota-warning").chmod(0o644)
    (found,) = changes(case)
    assert "quota-warning: rendered with mode 755" in found


def test_control_files_too_many_and_too_few_are_seen(case: Path) -> None:
    """A file could come or go without a word, until `make rendered` puts both right."""
    (case / "postfix" / "old.cf").write_text("")
    (case / "dovecot" / "tls.conf").unlink()
    assert strays(case) == {"postfix/old.cf", "dovecot/tls.conf"}
    write(case)
    assert strays(case) == set()
    assert list(changes(case)) == []
