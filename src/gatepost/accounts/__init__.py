"""Domains, mailboxes and aliases: the schema, its store, and the queries that daemons run on it.

`lookups` is plain text and costs nothing to import; `store` imports SQLAlchemy. The daemons read
the database themselves, with their own SQL clients: no code of this package runs per message.
"""
