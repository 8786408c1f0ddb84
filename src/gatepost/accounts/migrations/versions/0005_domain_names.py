"""The names of domains in their own letters, by which their users may log in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gatepost.accounts.addresses import spellings

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the table, and fill it for the domains that are there."""
    table = op.create_table(
        "domain_names",
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("domain_id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_domain_names"),
        sa.ForeignKeyConstraint(
            ["domain_id"], ["domains.id"], name="fk_domain_names_domain_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_domain_names_domain_id", "domain_names", ["domain_id"])
    domains = op.get_bind().execute(sa.text("SELECT id, name FROM domains"))
    rows = [
        {"name": spelling, "domain_id": key}
        for key, name in domains
        for spelling in spellings(name)
    ]
    op.bulk_insert(table, rows)
