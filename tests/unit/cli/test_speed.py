"""What a command imports: the libraries that it does not need are most of its time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from gatepost.cli import group
sys.argv[1:1] = []
try:
    group(sys.argv[1:])
except SystemExit:
    pass
print(*sorted(name for name in sys.modules if "." not in name), file=sys.stderr)
"""


def imported(home: Path, *words: str) -> set[str]:
    """Return the packages that a command has imported at its end."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        env={**os.environ, "GATEPOST_HOME": str(home), "MAILNAME": "mx.example.org"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("words", "slow"),
    [
        (("--help",), {"pydantic", "sqlalchemy", "jinja2", "cryptography", "rich"}),
        (("status", "--json"), {"sqlalchemy", "cryptography", "alembic", "jinja2"}),
        (("config", "show", "--json"), {"sqlalchemy", "cryptography", "alembic"}),
        (("logs",), {"sqlalchemy", "cryptography", "alembic"}),
    ],
)
def test_nothing_slow_is_imported_in_vain(
    tmp_path: Path, words: tuple[str, ...], slow: set[str]
) -> None:
    """Each command would take twice as long, and nobody would know why."""
    found = imported(tmp_path, *words)
    assert "click" in found
    assert not found & slow


def test_what_is_needed_is_imported(tmp_path: Path) -> None:
    """The control: a command of accounts has SQLAlchemy."""
    assert "sqlalchemy" in imported(tmp_path, "domain", "list")
