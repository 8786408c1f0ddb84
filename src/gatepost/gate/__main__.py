"""The gate's process: ``python -m gatepost.gate CONFIGURATION USER``.

Listening sockets come from whoever starts it, as ``GATEPOST_SOCKETS=smtp:3,smtp:4,submission:5``
(listener and file descriptor). Started as root, it becomes USER for good. SIGHUP reads the
configuration anew; SIGTERM and SIGINT end it when the connections it has accepted are with Postfix.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
import signal
import socket
import sys
from pathlib import Path

from gatepost.gate.configuration import load
from gatepost.gate.counters import Counters, serving
from gatepost.gate.journal import Journal
from gatepost.gate.server import Gate

SOCKETS = "GATEPOST_SOCKETS"
_PR_SET_PDEATHSIG = 1


def inherited(value: str) -> dict[str, list[socket.socket]]:
    """Return the listening sockets that were passed on, by listener."""
    listeners: dict[str, list[socket.socket]] = {}
    for entry in filter(None, value.split(",")):
        name, _, descriptor = entry.partition(":")
        listeners.setdefault(name, []).append(socket.socket(fileno=int(descriptor)))
    return listeners


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


def main(file: Path, user: str) -> None:
    """Run the gate until a signal ends it."""
    # Every waiting connection is a descriptor or two; the usual soft limit of 1024 is one flood.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    become(user)
    journal = Journal()
    counters = Counters()
    configuration = load(file)
    listeners = inherited(os.environ.get(SOCKETS, ""))
    if not listeners:
        sys.exit(
            f"{SOCKETS} is empty: the gate is started by `gatepost up`, which opens its ports."
        )
    gate = Gate(configuration, listeners, journal, counters)

    awake, wake = socket.socketpair()
    awake.settimeout(0)
    wake.settimeout(0)
    signal.set_wakeup_fd(wake.fileno())
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def on_signal() -> None:
        for number in awake.recv(64):
            if number == signal.SIGHUP:
                _reload(gate, file, journal)
            else:
                journal.always("stopping: no new connections")
                gate.stop()

    gate.watch(awake.fileno(), on_signal)
    # Who answers here counts as ready, and may be sent a signal.
    with serving(counters, configuration.metrics):
        names = ", ".join(f"{name} ({len(group)})" for name, group in listeners.items())
        journal.always(f"ready: {names}; {len(configuration.trusted)} trusted networks")
        gate.run()


def _reload(gate: Gate, file: Path, journal: Journal) -> None:
    try:
        gate.configure(load(file))
    except (OSError, ValueError, KeyError, TypeError) as error:
        journal.always(f"{file}: not taken, the settings before it stay: {error!r}")
    else:
        journal.always("configuration read anew")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
