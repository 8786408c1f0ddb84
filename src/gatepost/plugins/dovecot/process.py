"""Starting, stopping and reloading Dovecot, and the check of its configuration."""

from __future__ import annotations

from pathlib import Path

from gatepost.accounts.pgsql import servers_of
from gatepost.contracts import Context
from gatepost.model import (
    DELIVERY,
    Check,
    Directory,
    Home,
    Process,
    Readiness,
    SystemUser,
)
from gatepost.plugins.dovecot.files import ACCOUNTS, FOLDER, MAIL_USER, NAME, sieve_state

USER = SystemUser(MAIL_USER, "Owner of all mail that Gatepost keeps")

_EVENTS = r"[A-Z][a-z]{2} [ \d]\d [\d:]{8} (?!master)([\w-]+)(?:\([^:]*|<[^:]*)?: Info: "
"""Beginning of a line about a client or a message."""


def processes(context: Context) -> tuple[Process, ...]:
    """Return the one process that the supervisor starts."""
    folder = context.site.home.config / FOLDER
    config = str(folder / "dovecot.conf")
    return (
        Process(
            name=NAME,
            argv=("dovecot", "-F", "-c", config),
            ready=_ready(context),
            servers=servers_of(context.settings.database),
            reload=("doveadm", "-c", config, "reload"),
            # Dovecot takes any living process with that number for another Dovecot, and ends.
            leftovers=(context.site.home.run / NAME / "master.pid",),
            events=_EVENTS,
            forget=("doveadm", "-c", config, "auth", "cache", "flush"),
            end_sessions=("/bin/sh", str(folder / "end-sessions")),
            accounts=str(folder / ACCOUNTS),
        ),
    )


def _ready(context: Context) -> tuple[Readiness, ...]:
    """Ask the internal listeners: a service port may want a PROXY header before it greets."""
    return (
        *(
            Readiness(bound.internal[0].reachable, bound.listener.greeting)
            for bound in context.topology.of(NAME)
        ),
        Readiness(context.topology.offers_of(NAME)[DELIVERY][0].reachable, b"220 "),
    )


def sockets(home: Home) -> tuple[Path, ...]:
    """Return the longest name that Dovecot makes below base_dir; the number is a process id."""
    return (home.run / NAME / "srv.managesieve-login" / "4194304",)


def directories(context: Context) -> tuple[Directory, ...]:
    """Return the folders for mail, sockets and state; mail is nobody else's business."""
    home = context.site.home
    return (
        Directory(home.run / NAME),
        Directory(home.state / NAME),
        Directory(sieve_state(home), mode=0o700, owner=MAIL_USER, group=MAIL_USER),
        Directory(
            home.mail,
            mode=0o700,
            owner=MAIL_USER,
            group=MAIL_USER,
            contents=f"{MAIL_USER}:{MAIL_USER}",
        ),
    )


def checks(context: Context) -> tuple[Check, ...]:
    """Return Dovecot's own check: an unknown setting or a wrong value fails it."""
    # It prints this machine's name, and would ask name servers for it, which may be silent.
    named = ("env", f"DOVECOT_HOSTDOMAIN={context.settings.mail.mailname}")
    check = ("doveconf", "-n", "-c", "{config}/" + f"{FOLDER}/dovecot.conf")
    return (Check(NAME, named + check),)
