"""Program that Alembic runs for each command; the caller gives the connection and transaction."""

from __future__ import annotations

from alembic import context

from gatepost.accounts.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=context.config.attributes["version_table"],
    # The store opens one transaction around everything, so a failed migration changes nothing.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
