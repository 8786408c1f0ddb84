"""The beginning of a program of ours that the supervisor starts: its sockets, and no root."""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
import signal
import socket
import sys

SOCKETS = "GATEPOST_SOCKETS"
"""Listening sockets, as ``NAME:DESCRIPTOR,…``."""
_PR_SET_PDEATHSIG = 1


def inherited(program: str) -> dict[str, list[socket.socket]]:
    """Return the listening sockets that were passed on, by name; end when there are none."""
    listeners: dict[str, list[socket.socket]] = {}
    for entry in filter(None, os.environ.get(SOCKETS, "").split(",")):
        name, _, descriptor = entry.partition(":")
        listeners.setdefault(name, []).append(socket.socket(fileno=int(descriptor)))
    if not listeners:
        sys.exit(
            f"{SOCKETS} is empty: {program} is started by `gatepost up`, which opens its ports."
        )
    return listeners


def take_all_descriptors() -> None:
    """Allow as many open files as the machine does: the usual soft limit of 1024 is one flood."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def become(user: str) -> None:
    """Give up root and the way back to it; nothing is done when this is no root process."""
    if os.geteuid() != 0:
        return
    account = pwd.getpwnam(user)
    os.initgroups(user, account.pw_gid)
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    # The kernel forgets with the user that we were to end with the supervisor (prctl(2)), and an
    # orphan keeps the ports from the next one.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
