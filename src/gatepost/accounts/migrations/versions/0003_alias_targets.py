"""Targets of aliases in the order of their key, with address and domain; unique certificates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_BATCH = 2_000


def upgrade() -> None:
    """Make the table anew and copy its rows; SQLite cannot change a primary key."""
    connection = op.get_bind()
    rows = connection.execute(
        sa.text("SELECT alias_id, position, target, destination FROM alias_targets")
    ).all()
    op.drop_table("alias_targets")
    made = op.create_table(
        "alias_targets",
        sa.Column("alias_id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("position", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("target", sa.String(320), nullable=False),
        sa.Column("address", sa.String(320), nullable=False),
        sa.Column("destination", sa.String(320), nullable=False),
        sa.Column("domain", sa.String(255), nullable=False),
        sa.ForeignKeyConstraint(
            ["alias_id"], ["aliases.id"], name="fk_alias_targets_alias_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("alias_id", "position", name="pk_alias_targets"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_alias_targets_address", "alias_targets", ["address"])
    op.create_index("ix_alias_targets_destination", "alias_targets", ["destination"])
    for start in range(0, len(rows), _BATCH):
        connection.execute(
            sa.insert(made),
            [
                {
                    "alias_id": row.alias_id,
                    "position": row.position,
                    "target": row.target,
                    "address": row.target.lower(),
                    "destination": row.destination,
                    "domain": row.target.lower().rpartition("@")[2],
                }
                for row in rows[start : start + _BATCH]
            ],
        )
    connection.execute(
        sa.text(
            "DELETE FROM relay_clients WHERE name NOT IN "
            "(SELECT MIN(name) FROM relay_clients GROUP BY fingerprint)"
        )
    )
    op.drop_index("ix_relay_clients_fingerprint", "relay_clients")
    op.create_index("ix_relay_clients_fingerprint", "relay_clients", ["fingerprint"], unique=True)
    op.create_table(
        "settings_in_use",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_settings_in_use"),
    )
