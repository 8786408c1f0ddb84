"""The gate's process: ``python -m gatepost.plugins.gate CONFIGURATION USER``.

Listening sockets come from whoever starts it, as ``GATEPOST_SOCKETS=smtp:3,smtp:4,submission:5``
(listener and file descriptor). Started as root, it becomes USER for good. SIGHUP reads the
configuration anew; SIGTERM and SIGINT end it when the connections it has accepted are with Postfix.
"""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

from gatepost.journal import Journal
from gatepost.plugins.gate.configuration import load
from gatepost.plugins.gate.counters import Counters, serving
from gatepost.plugins.gate.server import Gate
from gatepost.startup import become, inherited, take_all_descriptors


def main(file: Path, user: str) -> None:
    """Run the gate until a signal ends it."""
    # Every waiting connection is a descriptor or two.
    take_all_descriptors()
    become(user)
    journal = Journal()
    counters = Counters()
    configuration = load(file)
    listeners = inherited("the gate")
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
