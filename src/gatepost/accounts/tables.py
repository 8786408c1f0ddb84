"""The schema, in types that SQLite, PostgreSQL and MySQL share.

A change here needs a migration in ``migrations/versions`` and its name in `SCHEMA_VERSION`; a test
compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    false,
    true,
)

SCHEMA_VERSION = "0006"
"""The newest migration; a database of this version opens without Alembic."""

ADDRESS_LENGTH = 320
"""64 octets of local part, "@", 255 of domain (RFC 5321, 4.5.3.1)."""

FOLDER_LENGTH = 384
"""An address and a number."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

domains = Table(
    "domains",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("hidden", Boolean, nullable=False, server_default=false()),
)

domain_names = Table(
    "domain_names",
    metadata,
    # A domain in its own letters, as users may type it; see `addresses.spellings`.
    Column("name", String(255), primary_key=True),
    Column("domain_id", ForeignKey("domains.id", ondelete="CASCADE"), nullable=False),
    Index(None, "domain_id"),
)

mailboxes = Table(
    "mailboxes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("domain_id", ForeignKey("domains.id", ondelete="CASCADE"), nullable=False),
    Column("local_part", String(64), nullable=False),
    Column("address", String(ADDRESS_LENGTH), nullable=False, unique=True),
    Column("password_hash", String(1024), nullable=False),
    # Hash of the password in decomposed form; NULL when the form is the same, or unknown.
    Column("decomposed_hash", String(1024)),
    Column("quota_bytes", BigInteger),
    Column("enabled", Boolean, nullable=False, server_default=true()),
    Column("send_only", Boolean, nullable=False, server_default=false()),
    Column("hidden", Boolean, nullable=False, server_default=false()),
    # Its folder, below the folder of all mail: DOMAIN/NAME, or DOMAIN/NAME@NUMBER if earlier
    # mailboxes of the address have left folders.
    Column("folder", String(FOLDER_LENGTH), nullable=False, unique=True),
    # The user name of its submission sessions: the address, or NAME/NUMBER@DOMAIN. After a new
    # number, sessions that began before it belong to no account.
    Column("login", String(FOLDER_LENGTH), nullable=False, unique=True),
    Index(None, "domain_id"),
)

former_mailboxes = Table(
    "former_mailboxes",
    metadata,
    # The folder of a removed mailbox, which may still contain its mail.
    Column("folder", String(FOLDER_LENGTH), primary_key=True),
    Column("address", String(ADDRESS_LENGTH), nullable=False),
    Index(None, "address"),
)

account_changes = Table(
    "account_changes",
    metadata,
    Column("id", Integer, primary_key=True),
    # Seconds since the epoch.
    Column("made", BigInteger, nullable=False),
    # The account whose sessions end; NULL when no session ends.
    Column("address", String(ADDRESS_LENGTH)),
    Column("folder", String(FOLDER_LENGTH)),
    Index(None, "made"),
    # Numbers are never used again, because user names of sessions contain them.
    sqlite_autoincrement=True,
)

aliases = Table(
    "aliases",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("domain_id", ForeignKey("domains.id", ondelete="CASCADE"), nullable=False),
    Column("address", String(ADDRESS_LENGTH), nullable=False, unique=True),
    Index(None, "domain_id"),
)

alias_targets = Table(
    "alias_targets",
    metadata,
    Column("alias_id", ForeignKey("aliases.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("target", String(ADDRESS_LENGTH), nullable=False),
    # The target in lower case, as `mailboxes` and `aliases` write addresses.
    Column("address", String(ADDRESS_LENGTH), nullable=False),
    # The same up to the first character of RECIPIENT_DELIMITER: the beginning that the target and
    # all accounts of which it may be an extension have in common.
    Column("destination", String(ADDRESS_LENGTH), nullable=False),
    # The domain of the target; its catch-all is tried last.
    Column("domain", String(255), nullable=False),
    Index(None, "address"),
    Index(None, "destination"),
    # SQLite then keeps the rows in the order of the key. It may scan any other table, without its
    # indexes, after ANALYZE has found it empty or with a single row.
    sqlite_with_rowid=False,
)

relay_clients = Table(
    "relay_clients",
    metadata,
    # Host name of the mail store: one name for each key, and one key for each name.
    Column("name", String(255), primary_key=True),
    # SHA-256 of its client certificate (DER): lower-case hex pairs joined by colons.
    Column("fingerprint", String(95), nullable=False),
    Index(None, "fingerprint", unique=True),
)

settings_in_use = Table(
    "settings_in_use",
    metadata,
    # Settings that stored values depend on, as they were when the values were stored.
    Column("name", String(64), primary_key=True),
    Column("value", String(255), nullable=False),
)
