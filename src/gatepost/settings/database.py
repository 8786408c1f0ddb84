"""Rules for the settings of the database, together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gatepost.settings.concerns import DatabaseDriver, DatabaseSettings, DatabaseTls
from gatepost.settings.sources import Given

_NEEDED = {
    "DB_HOST": "Set DB_HOST=db.example.net",
    "DB_NAME": "Set DB_NAME=gatepost",
    "DB_USER": "Set DB_USER=gatepost",
    "DB_PASSWORD": "Set DB_PASSWORD to the password of DB_USER",
}
"""Variables that a database server needs, with the next step for each."""
_MORE = ("DB_PORT", "DB_TLS_MODE", "DB_TLS_CA_FILE")


def tls_mode(given: Mapping[str, Given]) -> DatabaseTls:
    """Return the default protection of a connection: the best that the other settings allow."""
    return DatabaseTls.VERIFY_FULL if "DB_TLS_CA_FILE" in given else DatabaseTls.REQUIRE


def incomplete(given: Mapping[str, Given]) -> Iterator[str]:
    """Yield variables that a driver needs and lacks, and variables that it does not use."""
    driver = given["DB_DRIVER"].text.lower() if "DB_DRIVER" in given else DatabaseDriver.SQLITE
    if driver == DatabaseDriver.PGSQL:
        for variable, next_step in _NEEDED.items():
            if variable not in given:
                yield (
                    f"{variable}: it is not set, and DB_DRIVER={driver} needs it.\n"
                    f"{next_step}, or keep the accounts on this machine: DB_DRIVER=sqlite"
                )
    unused = [variable for variable in (*_NEEDED, *_MORE) if variable in given]
    if driver == DatabaseDriver.SQLITE and unused:
        yield (
            f"{', '.join(unused)}: of no use with DB_DRIVER=sqlite, which keeps the accounts in "
            "GATEPOST_HOME.\nSet DB_DRIVER=pgsql to keep them on that server, or unset "
            f"{'them' if unused[1:] else 'it'}"
        )


def contradictions(database: DatabaseSettings) -> Iterator[str]:
    """Yield values that contradict each other."""
    if database.db_driver is DatabaseDriver.SQLITE:
        return
    mode, ca_file = database.db_tls_mode, database.db_tls_ca_file
    if mode.verifies and not ca_file:
        yield (
            f'DB_TLS_MODE: "{mode}" verifies the server\'s certificate, and DB_TLS_CA_FILE, '
            "which holds its authority, is unset.\nSet DB_TLS_CA_FILE to the PEM file of the "
            "server's certificate authority, or set DB_TLS_MODE=require"
        )
    if ca_file and not mode.verifies:
        yield (
            f'DB_TLS_CA_FILE: "{ca_file}" is of no use with DB_TLS_MODE={mode}, which believes any '
            "certificate.\nSet DB_TLS_MODE=verify-full, or unset DB_TLS_CA_FILE"
        )
