"""The supervisor as a container runs it: it logs to standard output and reports its health.

Preparing a start imports four times as much as watching daemons does, and an interpreter keeps
what it has imported: 69 MB instead of 17 for as long as the container lives. So the process that
has prepared everything becomes this one, ``python -m gatepost.run.container HOME [WORD…]``.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and "database-server" not in sys.argv:  # `_DATABASE_SERVER`
    # Nobody speaks TLS here. Libraries that would load OpenSSL do without: 2 MB, for good. Only
    # psycopg, which asks a database server for changed accounts, refuses to.
    for _name in ("ssl", "_ssl", "_hashlib"):
        sys.modules[_name] = None  # type: ignore[assignment]  # as the import system has it

from pathlib import Path
from typing import NoReturn

from gatepost.errors import GatepostError
from gatepost.model import Home
from gatepost.run import logs
from gatepost.run.health import Health, serving
from gatepost.run.logs import LogStream
from gatepost.run.supervise import supervise

_IPV6 = "ipv6"
_LOG_FILE = "log-file"
_DATABASE_SERVER = "database-server"
_LOCK = "lock="


def become(home: Home, lock: int, *, ipv6: bool, log_file: bool, database_server: bool) -> NoReturn:
    """Replace this process: nothing of it is left but its number and what it has open.

    `lock` is the supervisor's. With `log_file` the log goes to the home's file as well as to
    standard output. `database_server` is true if the accounts are on one.
    """
    words = [_IPV6] * ipv6 + [_LOG_FILE] * log_file + [_DATABASE_SERVER] * database_server
    words.append(f"{_LOCK}{lock}")
    os.set_inheritable(lock, True)  # noqa: FBT003  its signature
    sys.stdout.flush()
    sys.stderr.flush()
    # -P: whatever lies in the working folder is no module of ours.
    command = [sys.executable, "-P", "-m", __name__, str(home.root), *words]
    os.execv(command[0], command)  # noqa: S606  no shell is wanted


def main(root: str, *words: str) -> None:
    """Supervise until a signal or a request ends it; exit with the code of an error."""
    home = Home(Path(root))
    health = Health()
    file = logs.path(home) if _LOG_FILE in words else None
    (lock,) = (int(w.removeprefix(_LOCK)) for w in words if w.startswith(_LOCK))
    try:
        with serving(health, ipv6=_IPV6 in words):
            supervise(home, LogStream(file, sys.stdout.fileno()), health, lock)
    except GatepostError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
