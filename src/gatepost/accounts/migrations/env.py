"""What Alembic runs for each command: the caller brings the connection and its transaction."""

from __future__ import annotations

from alembic import context

from gatepost.accounts.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=context.config.attributes["version_table"],
    # The store opens one transaction around all of it, so a failed migration leaves nothing.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
