"""Domains, mailboxes and aliases: the schema, its store, and the queries that daemons run on it.

`lookups` is plain text and costs nothing to import; `store` brings SQLAlchemy with it. The daemons
read the database themselves, by their own SQL clients; nothing of this package runs per message.
"""
