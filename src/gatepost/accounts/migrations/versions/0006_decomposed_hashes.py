"""A second hash for passwords whose letters can be composed in two ways."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column, empty: the existing passwords are not known."""
    op.add_column("mailboxes", sa.Column("decomposed_hash", sa.String(1024)))
