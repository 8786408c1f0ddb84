"""Domains, mailboxes and aliases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the four tables and their indexes."""
    op.create_table(
        "domains",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("hidden", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("id", name="pk_domains"),
        sa.UniqueConstraint("name", name="uq_domains_name"),
    )
    op.create_table(
        "mailboxes",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("domain_id", sa.Integer, nullable=False),
        sa.Column("local_part", sa.String(64), nullable=False),
        sa.Column("address", sa.String(320), nullable=False),
        sa.Column("password_hash", sa.String(1024), nullable=False),
        sa.Column("quota_bytes", sa.BigInteger),
        sa.Column("enabled", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("send_only", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("hidden", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("id", name="pk_mailboxes"),
        sa.UniqueConstraint("address", name="uq_mailboxes_address"),
        sa.ForeignKeyConstraint(
            ["domain_id"], ["domains.id"], name="fk_mailboxes_domain_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_mailboxes_domain_id", "mailboxes", ["domain_id"])
    op.create_table(
        "aliases",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("domain_id", sa.Integer, nullable=False),
        sa.Column("address", sa.String(320), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_aliases"),
        sa.UniqueConstraint("address", name="uq_aliases_address"),
        sa.ForeignKeyConstraint(
            ["domain_id"], ["domains.id"], name="fk_aliases_domain_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_aliases_domain_id", "aliases", ["domain_id"])
    op.create_table(
        "alias_targets",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("alias_id", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("target", sa.String(320), nullable=False),
        sa.Column("destination", sa.String(320), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alias_targets"),
        sa.UniqueConstraint("alias_id", "position", name="uq_alias_targets_alias_id_position"),
        sa.ForeignKeyConstraint(
            ["alias_id"], ["aliases.id"], name="fk_alias_targets_alias_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_alias_targets_destination", "alias_targets", ["destination"])
