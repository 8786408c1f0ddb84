"""Topology → the relay's process. Pure, as plug-ins are."""

from __future__ import annotations

from gatepost.contracts import Context
from gatepost.model import QUOTA_STATUS, SASL, Process, SocketPath
from gatepost.sasl import NAME, TAKERS


def listens(context: Context, user: str, name: str = NAME) -> SocketPath:
    """Return where the relay answers, about logins or `TAKERS`; `user` is whose processes ask."""
    return SocketPath(context.site.home.run / name, user)


def process(context: Context, client: str, user: str) -> Process:
    """Return the process of the relay for a plug-in, which asks at the plug-in's mail store.

    It begins as root, since the program may lie where nobody else can read it, and becomes the
    user before it looks at a connection.
    """
    return Process(
        name=NAME,
        argv=(
            str(context.site.program.with_name("python")),
            *("-I", "-m", "gatepost.sasl"),
            str(context.topology.role(client, SASL)),
            str(context.topology.role(client, QUOTA_STATUS)),
            user,
        ),
        sockets=tuple((name, listens(context, user, name)) for name in (NAME, TAKERS)),
    )
