"""Topology → the relay's process. Pure, as plug-ins are."""

from __future__ import annotations

from gatepost.contracts import Context
from gatepost.model import Process, Role, SocketPath

NAME = "sasl"


def listens(context: Context, user: str) -> SocketPath:
    """Return where the relay answers; `user` is whose processes ask."""
    return SocketPath(context.site.home.run / NAME, user)


def process(context: Context, user: str) -> Process:
    """Return the relay's process.

    It begins as root, since the program may lie where nobody else can read it, and becomes the
    user before it looks at a connection.
    """
    return Process(
        name=NAME,
        argv=(
            str(context.site.program.with_name("python")),
            *("-I", "-m", "gatepost.sasl"),
            str(context.topology.roles[Role.SASL]),
            user,
        ),
        sockets=((NAME, listens(context, user)),),
    )
