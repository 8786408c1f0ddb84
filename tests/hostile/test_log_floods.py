"""A flood of one kind of line, which washed away the log of all."""

from __future__ import annotations

import contextlib
import itertools
import socket
import subprocess
import time
from pathlib import Path

import psutil
from instance import CLIENT, instance


def test_traefik_without_descriptors_does_not_fill_the_log() -> None:
    """It wrote 20 MB in 4 s, and what the mail server did in a week was gone."""
    with instance() as server, contextlib.ExitStack() as stack:
        (traefik,) = (s for s in server.status()["services"] if s["name"] == "traefik")
        process = psutil.Process(traefik["pid"])
        # Without one for a connection, it fails at once, again and again; with one left, it could
        # accept, fail to reach the daemon, hang up and be content.
        used = {int(one.name) for one in Path(f"/proc/{process.pid}/fd").iterdir()}
        limit = next(number for number in itertools.count() if number not in used)
        mark = server.mark()
        # Its own user may lower its limit; this container's root may not.
        user = process.username()
        own_user = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"]
        change = ["prlimit", "--pid", str(process.pid), f"--nofile={limit}:"]
        subprocess.run([*own_user, *change], check=True)
        for _ in range(40):
            connection = stack.enter_context(socket.socket())
            connection.bind((CLIENT, 0))
            with contextlib.suppress(OSError):
                connection.settimeout(0.5)
                connection.connect(server.public("imap"))
        time.sleep(4)
        written = server.log(mark)
        assert "too many open files" in written
        assert len(written) < 300_000
        assert "more lines of this kind were left out" in server.wait_for_log(
            "traefik: ", "left out", since=mark, seconds=30
        )
