"""Access to a PostgreSQL server: connection, order of writers, and the meaning of its errors.

Postfix and Dovecot query the server themselves, each with its own client on top of libpq, as the
same user: `Connection` has all that they need. SQLAlchemy is imported only when it is used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from gatepost.errors import GatepostError, OperationError, PreflightError
from gatepost.model import Address
from gatepost.settings.concerns import DatabaseDriver, DatabaseSettings

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.exc import DatabaseError

CONNECT_SECONDS = 5
"""Longest time to establish a connection; a client of the mail server waits meanwhile."""
UNACKNOWLEDGED_SECONDS = 10
"""Longest wait for an acknowledgement of sent data, in a network that drops everything."""
SILENT_SECONDS = 60
"""Longest silence of a connection before the kernel checks whether the peer still answers."""
BUSY_SECONDS = 30
"""Longest wait of a writer for another one."""

_WRITERS = 0x6761_7465_706F_7374
"""Key of the advisory lock that each writer holds: "gatepost"."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Parameters of a connection, for every client of libpq, the daemons included."""

    host: str
    port: int
    name: str
    user: str
    password: str
    options: tuple[tuple[str, str], ...]
    """TLS and time limits, as libpq calls them; no value needs quotes."""

    @classmethod
    def of(
        cls, settings: DatabaseSettings, program: str, authority: Path | None = None
    ) -> Connection:
        """Return the parameters for a program; the server shows its name for each session.

        `authority` is the program's own copy of ``DB_TLS_CA_FILE``.
        """
        options = {
            "sslmode": str(settings.db_tls_mode),
            "connect_timeout": str(CONNECT_SECONDS),
            "tcp_user_timeout": str(UNACKNOWLEDGED_SECONDS * 1000),
            # A firewall or a load balancer forgets a silent connection without a notice. Symptom
            # without it: the next query waits for an answer until the login fails temporarily.
            "keepalives_idle": str(SILENT_SECONDS),
            "application_name": program,
        }
        if settings.db_tls_ca_file:
            options["sslrootcert"] = str(authority or settings.db_tls_ca_file)
        password = settings.db_password.get_secret_value() if settings.db_password else ""
        return cls(
            settings.db_host or "",
            settings.db_port,
            settings.db_name or "",
            settings.db_user or "",
            password,
            tuple(options.items()),
        )

    @property
    def address(self) -> Address:
        """The address on which the server listens."""
        return Address(self.host, self.port)

    @property
    def uri(self) -> str:
        """All parameters as libpq's URI, with the password; without quotes and spaces."""
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        options = "&".join(f"{name}={quote(value, safe='/')}" for name, value in self.options)
        return f"postgresql://{login}@{self.address}/{quote(self.name, safe='')}?{options}"


def servers_of(settings: DatabaseSettings) -> tuple[Address, ...]:
    """Return the server that the daemons query; none if the database is a file."""
    if settings.db_driver is DatabaseDriver.SQLITE:
        return ()
    return (Connection.of(settings, "").address,)


@dataclass(frozen=True, slots=True)
class PgsqlDatabase:
    """The accounts on a PostgreSQL server; see `gatepost.accounts.database.Database`."""

    settings: DatabaseSettings

    @property
    def connection(self) -> Connection:
        """The connection of Gatepost's own commands."""
        return Connection.of(self.settings, "gatepost")

    @property
    def name(self) -> str:
        """Name and server of the database."""
        return f'database "{self.settings.db_name}" at {self.connection.address}'

    def exists(self) -> bool:
        """Return true: only a connection to the server can show whether it exists."""
        return True

    def prepare(self) -> None:
        """Raise `PreflightError` when the authority's certificates are missing.

        Gatepost does not create the database: its owner and its server are the administrator's
        choice.
        """
        ca_file = self.settings.db_tls_ca_file
        if ca_file and not ca_file.is_file():
            raise PreflightError(
                f'DB_TLS_CA_FILE: "{ca_file}" is not a file. '
                "Name the PEM file with the certificate of the server's authority."
            )

    def engine(self) -> sa.Engine:
        """Return an engine that allows one writer at a time, across all machines."""
        import sqlalchemy as sa  # noqa: PLC0415  slow to import

        to = self.connection
        engine = sa.create_engine(
            sa.URL.create(
                "postgresql+psycopg", to.user, to.password, to.host, to.port, to.name
            ).update_query_pairs(to.options),
            # Replaces a session that ended while it was idle.
            pool_pre_ping=True,
            # A pooler such as PgBouncer may use another session for the next transaction.
            connect_args={"prepare_threshold": None},
        )

        @sa.event.listens_for(engine, "begin")
        def begun(connection: sa.Connection) -> None:
            if connection.get_execution_options().get("reading"):
                connection.exec_driver_sql("SET TRANSACTION READ ONLY")
                return
            # What a change has read must still be true when it ends, and a migration must run
            # only once. Readers do not wait.
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{BUSY_SECONDS * 1000:g}ms'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")

        return engine

    def release(self) -> None:
        """Do nothing: a server needs no files to be kept."""

    def explain(self, error: DatabaseError) -> GatepostError:
        """Return an error that names the wrong variable, or the unavailable server."""
        told = str(error.orig)
        state = getattr(error.orig, "sqlstate", None)
        to = self.connection
        words = _own_words(told)
        for cause in _CAUSES:
            if cause.means(state, told):
                sentence = cause.sentence.format(
                    host=to.host,
                    port=to.port,
                    name=to.name,
                    user=to.user,
                    mode=self.settings.db_tls_mode,
                    ca_file=self.settings.db_tls_ca_file,
                )
                kind = PreflightError if cause.ours else OperationError
                return kind(f"{sentence} It says: {words}")
        return OperationError(
            f"The {self.name} could not be used. Nothing was changed. "
            "See that the server runs and that DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD and "
            f"DB_TLS_MODE are right. It says: {words}"
        )


@dataclass(frozen=True, slots=True)
class _Cause:
    """A kind of fault, recognised by SQLSTATE or by the text of the server or libpq."""

    sentence: str
    words: str = ""
    state: str = ""
    ours: bool = True
    """True if a setting is wrong; false for a fault of the server, which may be temporary."""

    def means(self, state: str | None, told: str) -> bool:
        """Return whether an error is of this kind."""
        return state == self.state if state else bool(self.words and re.search(self.words, told))


# libpq reports a failed connection without a SQLSTATE, only with a text.
_CAUSES = (
    _Cause(
        'DB_NAME: "{name}" is not a database of the server at {host}:{port}. Make it there, '
        "owned by DB_USER: createdb --owner={user} {name}",
        words=r'database ".*" does not exist',
    ),
    _Cause(
        'DB_PASSWORD: the database server at {host}:{port} does not accept it for DB_USER "{user}".'
        " Set DB_USER and DB_PASSWORD to a login of that server.",
        words=r"password authentication failed|authentication failed for user|role .* not exist",
    ),
    _Cause(
        'DB_USER: the database server at {host}:{port} does not let "{user}" into "{name}" from '
        "this machine with DB_TLS_MODE={mode}. Add a line for them to its pg_hba.conf, or mend "
        "these settings.",
        words=r"no pg_hba\.conf entry|pg_hba\.conf rejects|permission denied for database",
    ),
    _Cause(
        'DB_TLS_MODE: "{mode}" demands TLS, which the database server at {host}:{port} does not '
        "offer. Set ssl = on there; or set DB_TLS_MODE=disable, only where nobody listens in.",
        words=r"does not support SSL",
    ),
    _Cause(
        'DB_HOST: "{host}" is not a name in the certificate of the database server at port {port}. '
        "Set DB_HOST to a name that is, or set DB_TLS_MODE=verify-ca.",
        words=r"does not match host name",
    ),
    _Cause(
        "DB_TLS_CA_FILE: the certificate of the database server at {host}:{port} is not signed by "
        'one in "{ca_file}", or has expired. Name the file of the authority that signed it.',
        words=r"certificate verify failed|root certificate file",
    ),
    _Cause(
        'DB_HOST: "{host}" is not a name that leads to an address. Set DB_HOST to the name or '
        "address of the database server.",
        words=r"could not translate host name|failed to resolve host|\[Errno -\d\]",
    ),
    _Cause(
        "DB_HOST: nobody answers at {host}:{port}. Start the database server, or set DB_HOST and "
        "DB_PORT to where it listens.",
        words=r"Connection refused|timeout|timed out|No route to host|is unreachable",
        ours=False,
    ),
    _Cause(
        'DB_USER: "{user}" may not make or change tables in "{name}". Let it own the database: '
        'ALTER DATABASE "{name}" OWNER TO "{user}"',
        state="42501",
    ),
    _Cause(
        'DB_NAME: "{name}" has tables of another program. Give Gatepost a database of its own.',
        state="42P07",
    ),
    _Cause(
        "DB_HOST: the database server at {host}:{port} is a copy that can only be read. Set "
        "DB_HOST to the server that it follows.",
        state="25006",
    ),
    _Cause(
        'Another command is writing to the database "{name}". Nothing was changed. Try again.',
        state="55P03",
        ours=False,
    ),
)


def _own_words(told: str) -> str:
    """Return the first line of the text of the server or libpq, without the address."""
    return told.partition("\n")[0].rpartition("failed: ")[2].strip()
