"""Tables that a plug-in has in the database of accounts. No I/O, and no decisions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tables:
    """A chain of Alembic's migrations, beside the one of the accounts.

    Each plug-in has a chain of its own, so the tables of one change without a new version of the
    others. Its tables refer to no table of the accounts, which change by their own chain.
    """

    migrations: Path
    """Folder of the migrations, a Python file each."""
    version: str
    """Revision of the newest one."""
