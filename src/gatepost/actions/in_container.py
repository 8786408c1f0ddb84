"""A server, or one unit of it, as a container runs it: prepared patiently, in the foreground."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from gatepost.actions import session as sessions
from gatepost.actions.session import Session
from gatepost.actions.starting import Tell
from gatepost.errors import GatepostError, PreflightError
from gatepost.model import Home
from gatepost.run import container, control, locks, preflight, rights, site
from gatepost.run.health import Health, serving
from gatepost.settings import Settings
from gatepost.settings.concerns import DatabaseDriver

if TYPE_CHECKING:
    from gatepost.accounts.store import Store

_DATABASE_SECONDS = 2.0
"""Seconds until a database that is away is tried again."""
_TOLD_AGAIN_SECONDS = 60.0
"""Seconds until the same reason is printed again."""


def run(settings: Settings, home: Home, tell: Tell, unit: str | None = None) -> None:
    """Prepare and run, and answer a container's probes all the while.

    Raises as `gatepost.actions.server.up` does.
    """
    from gatepost.actions import preparing  # noqa: PLC0415
    from gatepost.verify.clients.mailbox import remove_mail  # noqa: PLC0415

    health = Health()
    ipv6 = site.has_ipv6()

    def opens(settings: Settings) -> Store:
        return open_patiently(settings, tell, health)

    _require_none_running(home)
    preflight.require_room(home)
    rights.require(home, in_container=True)
    with serving(health, ipv6=ipv6), Session(settings, opens) as session:
        draft = preparing.look(session, tell, unit)
        with locks.writing(home):
            lock = locks.one_supervisor(home)
            preparing.write(session, draft, tell)
    # Nothing runs yet, no proof either.
    remove_mail(home)
    settings.withhold_secrets(os.environ)
    # A server with all units proves itself from its log file; a unit alone has its pod's log.
    container.become(
        home,
        lock,
        ipv6=ipv6,
        log_file=unit is None,
        database_server=settings.database.db_driver is not DatabaseDriver.SQLITE,
    )


def _require_none_running(home: Home) -> None:
    """Refuse to run beside a supervisor that answers; one that does not holds its lock."""
    if control.request(home, control.STATUS) is not None:
        raise PreflightError(
            f"A mail server runs in {home.root} already. Nothing was changed. See it with "
            "`gatepost status`, stop it with `gatepost down`, or give this one a home of its own "
            "with GATEPOST_HOME."
        ).about("already-running", object="server", value=str(home.root))


def open_patiently(settings: Settings, tell: Tell, health: Health) -> Store:
    """Open the accounts; wait for a server that is away or refuses us, and say what it takes.

    In a cluster everything starts at once, and what is wrong may be mended at the server.
    """
    told, again = "", 0.0
    while True:
        try:
            return sessions.open_accounts(settings)
        except GatepostError as error:
            reason = " ".join(str(error).split())
            if reason != told or time.monotonic() > again:
                tell(f"Waiting for the database of accounts. {reason}")
                told, again = reason, time.monotonic() + _TOLD_AGAIN_SECONDS
            health.wait_for(reason)
            time.sleep(_DATABASE_SECONDS)
