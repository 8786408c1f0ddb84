"""Who has rung the bell."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table."""
    op.create_table("toy_rings", sa.Column("visitor", sa.String(45), primary_key=True))
