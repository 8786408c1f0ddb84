"""The probe's mail, removed as a mail program does it: the mail store is another machine's."""

from __future__ import annotations

import time
from contextlib import suppress

from gatepost.model import Topology
from gatepost.verify.clients.mailbox import Login
from gatepost.verify.clients.protocols import Imap
from gatepost.verify.clients.sessions import conversation
from gatepost.verify.clients.wire import ProbeError
from gatepost.verify.targets import Approach, Target, targets

_SECONDS = 2.0


def empty(topology: Topology, login: Login) -> bool:
    """Remove the mailbox's messages by the first IMAP listener that answers; tell whether it was.

    What stays is the mail store's to keep: a message of the run, and nobody's mail.
    """
    ways = [*targets(topology, Approach.CLIENT), *targets(topology, Approach.PUBLIC)]
    for target in ways:
        if target.bound.name in {"imap", "imaps"} and _emptied(target, login):
            return True
    return False


def _emptied(target: Target, login: Login) -> bool:
    deadline = time.monotonic() + _SECONDS
    with (
        suppress(ProbeError),
        conversation(target, deadline=deadline, name="localhost") as session,
    ):
        if isinstance(session, Imap):
            session.login(login.address, login.password)
            session.empty()
            return True
    return False
