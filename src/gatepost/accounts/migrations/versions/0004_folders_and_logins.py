"""A folder and a login for each mailbox, and a record of changed accounts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add two columns to the mailboxes, which keep the folders they have, and make two tables."""
    with op.batch_alter_table("mailboxes") as batch:
        batch.add_column(sa.Column("folder", sa.String(384)))
        batch.add_column(sa.Column("login", sa.String(384)))
    op.execute(
        "UPDATE mailboxes SET login = address, folder = "
        "(SELECT name FROM domains WHERE domains.id = domain_id) || '/' || local_part"
    )
    with op.batch_alter_table("mailboxes") as batch:
        batch.alter_column("folder", existing_type=sa.String(384), nullable=False)
        batch.alter_column("login", existing_type=sa.String(384), nullable=False)
        batch.create_unique_constraint("uq_mailboxes_folder", ["folder"])
        batch.create_unique_constraint("uq_mailboxes_login", ["login"])
    op.create_table(
        "former_mailboxes",
        sa.Column("folder", sa.String(384), nullable=False),
        sa.Column("address", sa.String(320), nullable=False),
        sa.PrimaryKeyConstraint("folder", name="pk_former_mailboxes"),
    )
    op.create_index("ix_former_mailboxes_address", "former_mailboxes", ["address"])
    op.create_table(
        "account_changes",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("made", sa.BigInteger, nullable=False),
        sa.Column("address", sa.String(320)),
        sa.Column("folder", sa.String(384)),
        sa.PrimaryKeyConstraint("id", name="pk_account_changes"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_account_changes_made", "account_changes", ["made"])
