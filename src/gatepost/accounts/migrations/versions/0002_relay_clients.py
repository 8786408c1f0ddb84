"""Client certificates of mail stores, which allow them to relay the mail of Sieve."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table and its index."""
    op.create_table(
        "relay_clients",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(95), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_relay_clients"),
    )
    op.create_index("ix_relay_clients_fingerprint", "relay_clients", ["fingerprint"])
