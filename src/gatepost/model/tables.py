"""Tables that a plug-in has in the database of accounts. No I/O, and no decisions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tables:
    """A chain of Alembic's migrations, beside the one of the accounts.

    Each plug-in has a chain of its own, which its instances share, so the tables of one change
    without a new version of the others. Its tables refer to no table of the accounts, which change
    by their own chain.
    """

    name: str
    """Name of the chain, which no other one in the database has."""
    migrations: Path
    """Folder of the migrations, a Python file each."""
    version: str
    """Revision of the newest one."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for a name that is none."""
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", self.name):
            raise ValueError(f'"{self.name}" is no name of tables, such as toy_rings')
