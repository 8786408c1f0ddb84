"""IMAP sessions that Dovecot puts to sleep: soon, and which do."""

from __future__ import annotations

import contextlib
import imaplib
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from breaking import changed
from clients import From
from instance import CLIENT, Instance


def sleepers(server: Instance) -> set[bytes]:
    """Return the programs that hold IMAP sessions."""
    who = subprocess.run(
        ["doveadm", "-c", str(_config(server) / "dovecot.conf"), "-f", "tab", "who", "-1"],
        capture_output=True,
        check=True,
    ).stdout
    found = set()
    for line in who.splitlines()[1:]:
        with contextlib.suppress(FileNotFoundError):
            found.add(Path(f"/proc/{int(line.split()[2])}/comm").read_bytes().strip())
    return found


def wait_until_all_sleep(server: Instance, *, seconds: float = 60) -> None:
    """Wait until no IMAP session has a process of its own any more.

    Each needs one of the inotify instances that all servers of a machine share.
    """
    deadline = time.monotonic() + seconds
    while (found := sleepers(server)) != {b"imap-hibernate"}:
        assert time.monotonic() < deadline, (found, server.log()[-2000:])
        time.sleep(0.2)


@contextlib.contextmanager
def dovecot_with(
    server: Instance, login: tuple[str, str], file: str, pattern: str, text: str
) -> Iterator[None]:
    """Run Dovecot with one of its files changed: `text` in place of what fits the pattern."""
    with changed(_config(server)) as folder:
        content = (folder / file).read_text()
        found, count = re.subn(pattern, text, content)
        assert count == 1, f"{file} has {count} places that fit {pattern}"
        (folder / file).write_text(found)
        _reload(server, login)
        yield
    _reload(server, login)


def _config(server: Instance) -> Path:
    return server.home / "config" / "current" / "dovecot"


def _reload(server: Instance, login: tuple[str, str]) -> None:
    """Have Dovecot read its files; a client that comes meanwhile may be sent away."""
    mark = server.mark()
    config = _config(server) / "dovecot.conf"
    subprocess.run(["doveadm", "-c", str(config), "reload"], check=True)
    server.wait_for_log("SIGHUP received", since=mark)
    deadline = time.monotonic() + 20
    while True:
        try:
            with From(CLIENT).imap(server.public("imaps"), login, implicit=True):
                return
        except (imaplib.IMAP4.error, OSError):
            assert time.monotonic() < deadline, server.log(mark)[-3000:]
            time.sleep(0.2)
