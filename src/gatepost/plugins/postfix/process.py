"""Starting, stopping and reloading Postfix, and the check of its configuration."""

from __future__ import annotations

from pathlib import Path

from gatepost.accounts.pgsql import servers_of
from gatepost.contracts import Context
from gatepost.model import Check, Directory, Handoff, Home, Process, Readiness
from gatepost.plugins.postfix.files import FOLDER, USER, queue
from gatepost.plugins.postfix.listeners import pass_service, standings
from gatepost.sasl import plan as sasl

NAME = "postfix"

_EVENTS = (
    r"[A-Z][a-z]{2} [ \d]\d [\d:]{8} \S+ (postfix/[\w/-]+)\[\d+\]: "
    # Who guesses passwords is wanted to be known, though Postfix calls it a warning.
    r"(?:(?!warning:|error:|fatal:|panic:)|(?=warning: \S+ SASL ))"
)
"""Beginning of a line about a client or a message."""

_MESSAGES = (
    *("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming"),
    *("saved", "trace"),
)
"""Folders of the queue whose files are all Postfix's own (postfix-files(5))."""


def processes(context: Context) -> tuple[Process, ...]:
    """Return Postfix, and the relay that it asks about logins.

    Postfix's ``master`` leads a process group of its own, and on SIGTERM ends all of it. After a
    SIGKILL the rest of the group must be killed too: an ``smtpd`` with a client keeps the
    listening sockets, and the next ``master`` cannot bind them.
    """
    config = str(context.site.home.config / FOLDER)
    logins = sasl.process(context, NAME, USER)
    return (
        logins,
        Process(
            name=NAME,
            argv=("/bin/sh", f"{config}/start"),
            after=(logins.name,),
            ready=_ready(context),
            events=_EVENTS,
            servers=servers_of(context.settings.database),
            reload=("postfix", "-c", config, "reload"),
        ),
    )


def _ready(context: Context) -> tuple[Readiness, ...]:
    """Ask the internal listeners: on a proxied service port the gate answers."""
    return tuple(
        Readiness(bound.internal[0].reachable, bound.listener.greeting)
        for bound in context.topology.of(NAME)
    )


def handoffs(context: Context) -> tuple[Handoff, ...]:
    """Return the ``pass`` services; their folder is open to Postfix's own user only."""
    return tuple(
        Handoff(
            bound.name,
            queue(context.site.home) / "private" / pass_service(bound, standing),
            NAME,
            standing,
        )
        for bound in context.topology.of(NAME)
        if bound.proxied
        for standing in standings(bound)
    )


def sockets(home: Home) -> tuple[Path, ...]:
    """Return the socket of Postfix's log. Without it Postfix would end without a word."""
    return (queue(home) / "public" / "postlog",)


def directories(context: Context) -> tuple[Directory, ...]:
    """Return the folders that Postfix does not make itself, and those that hold its messages.

    What else is inside the queue, with owners and rights of its own, Postfix makes when it starts.
    It renames no message of somebody else's: such a one would wait for ever.
    """
    home = context.site.home
    return (
        Directory(queue(home)),
        Directory(home.state / NAME, mode=0o700, owner=NAME, contents=NAME),
        *(
            Directory(queue(home) / name, mode=0o700, owner=NAME, contents=NAME)
            for name in _MESSAGES
        ),
    )


def checks(context: Context) -> tuple[Check, ...]:  # noqa: ARG001
    """Return the check of a staged configuration."""
    return (Check(NAME, ("/bin/sh", "{config}/" + f"{FOLDER}/check")),)
