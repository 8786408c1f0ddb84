"""What ``gatepost verify`` writes and shows of a real server, and what it sees from outside."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import sqlite3
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from instance import PROGRAM, Instance, free_host
from junitparser import JUnitXml
from prometheus_client.parser import text_string_to_metric_families

from gatepost.accounts.records import PROBE_DOMAIN
from gatepost.model import Home

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


# --- files ----------------------------------------------------------------------------------------


def test_one_run_fills_every_form(behind_traefik: Instance, tmp_path: Path) -> None:
    """Monitoring, CI and people must be told the same."""
    xml, metrics = tmp_path / "gatepost.xml", tmp_path / "gatepost.prom"
    done = behind_traefik.run(
        *("verify", "--json", "--only", "banner", "--only", "tls"),
        *("--junit", str(xml), "--prometheus", str(metrics)),
    )
    assert done.returncode == 3, done.stderr
    assert done.stderr == ""
    said = json.loads(done.stdout)
    (suite,) = JUnitXml.fromstring(xml.read_bytes())
    assert suite.hostname == "mail.example.org"
    assert suite.tests == len(said["findings"]) == sum(said["summary"].values())
    assert suite.skipped == said["summary"]["risk"] == 16
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.read_text())
        for sample in family.samples
    }
    for status, count in said["summary"].items():
        assert told["gatepost_verify_findings", "mail.example.org", status] == count
    assert metrics.stat().st_mode & 0o777 == 0o644
    ended = told["gatepost_verify_last_run_timestamp_seconds", "mail.example.org"]
    assert abs(ended - time.time()) < 60


# --- from outside ---------------------------------------------------------------------------------


def probe(target: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Probe a machine as a user without rights, settings or a home."""
    seen = subprocess.run([*NOBODY, "test", "-x", PROGRAM], check=False).returncode == 0
    done = subprocess.run(
        [
            # A checkout below /root is closed to others: the empty environment is tested at least.
            *(NOBODY if seen else ()),
            *(str(PROGRAM), "verify", "--target", target, "--ports", "entrypoints", *arguments),
        ],
        env={"PATH": os.environ["PATH"]},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def findings(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return found


@pytest.mark.parametrize("family", [4, 6])
def test_a_healthy_machine_from_outside(behind_traefik: Instance, family: int) -> None:
    """With nothing but its address; what cannot be seen is not passed, and nothing fails."""
    host, _ = behind_traefik.public("smtp", family=family)
    mark = behind_traefik.mark()
    done = probe(host, "--json")
    assert done.returncode == 3, done.stderr
    found = findings(done)
    status = {(row["check"], row["listener"]): row["status"] for row in found}
    assert "fail" not in status.values(), found
    names = [row["name"] for row in behind_traefik.status()["listeners"]]
    assert {status["banner", name] for name in names} == {"pass"}
    assert {status["tls", name] for name in names} == {"risk"}
    assert {row["family"] for row in found if row["check"] == "tls"} == {f"IPv{family}"}
    assert status["round-trip", "server"] == "not_proven"
    for row in (row for row in found if row["check"] == "client-address"):
        assert row["status"] == "not_proven"
        # What the row tells to look for is what the daemon's log has.
        address = re.search(r"came from \[?([0-9a-f.:]+?)\]?:(\d+) at", row["observed"])
        assert address, row
        behind_traefik.wait_for_log(address[1], address[2], since=mark)
        assert f"On {host}" in row["fix"]


def test_the_table_from_outside_fits_and_says_where_it_stands(behind_traefik: Instance) -> None:
    """People must not take a look from outside for the whole proof."""
    host, _ = behind_traefik.public("smtp")
    done = probe(host, "--only", "banner", "--only", "round-trip")
    assert done.returncode == 3
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert f"Seen from outside: {host}." in done.stdout
    assert f"On {host}: gatepost verify --only round-trip" in done.stdout


def test_a_dead_machine_fails_with_what_to_do_there() -> None:
    """The remedy is over there, and not `gatepost up` on this machine."""
    host = free_host(3325, 33587, 33465, 33143, 33993, 33110, 33995, 34190)
    done = probe(host, "--json")
    assert done.returncode == 1
    failed = [row for row in findings(done) if row["status"] == "fail"]
    assert {row["check"] for row in failed} == {"banner"}
    assert len(failed) == 8
    assert all("connection refused" in row["observed"] for row in failed)
    assert all("gatepost up" not in row["fix"] for row in failed)


@pytest.mark.parametrize("target", ["127.0.0.1:25", "nobody here", ""])
def test_a_wrong_target_is_one_sentence(target: str) -> None:
    """Exit code 2: nothing was done."""
    done = probe(target)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("verify --target: ")
    assert len(done.stderr.splitlines()) == 1


# --- watching -------------------------------------------------------------------------------------


class Terminal:
    """A program on a terminal of 100 columns and 50 lines."""

    def __init__(self, server: Instance, *arguments: str) -> None:
        """Start ``gatepost ARGUMENTS`` for a server."""
        self.pid, self._master = pty.fork()
        if self.pid == 0:  # the child
            os.chdir(server.home)
            environment = {**server.environment, "TERM": "xterm-256color"}
            os.execve(PROGRAM, [str(PROGRAM), *arguments], environment)  # noqa: S606
        size = struct.pack("HHHH", 50, 100, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)
        self.seen = ""

    def wait_for(self, pattern: str, seconds: float = 30) -> None:
        """Read until a pattern was shown."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.seen):
            left = deadline - time.monotonic()
            assert left > 0, f"no {pattern!r} in:\n{self.seen[-3000:]}"
            if select.select([self._master], [], [], left)[0]:
                self._read()

    def press_ctrl_c(self) -> int:
        """Press it, and return the exit code."""
        os.write(self._master, b"\x03")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if select.select([self._master], [], [], 0.1)[0]:
                self._read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(f"still there after Ctrl-C:\n{self.seen[-3000:]}")

    def close(self) -> None:
        """End the program if it is still there."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._master)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other side is closed
            self.seen += os.read(self._master, 65536).decode(errors="replace")


@contextlib.contextmanager
def terminal(server: Instance, *arguments: str) -> Iterator[Terminal]:
    made = Terminal(server, *arguments)
    try:
        yield made
    finally:
        made.close()


def hidden_domains(server: Instance) -> list[str]:
    with contextlib.closing(sqlite3.connect(Home(server.home).database)) as database:
        names = [str(name) for (name,) in database.execute("SELECT name FROM domains")]
    return [name for name in names if name == PROBE_DOMAIN]


def mail_left(server: Instance) -> list[str]:
    return [path.name for path in (Home(server.home).mail / PROBE_DOMAIN).glob("probe-*")]


def test_watching_shows_runs_until_ctrl_c(behind_traefik: Instance, tmp_path: Path) -> None:
    """The exit code is that of the last run, the terminal is as it was, nothing is left."""
    file = tmp_path / "gatepost.prom"
    arguments = ("--only", "banner", "--only", "client-address", "--prometheus", str(file))
    with terminal(behind_traefik, "verify", "--watch", "20", *arguments) as screen:
        screen.wait_for(r"next run in \d+ s")
        written = file.stat().st_mtime_ns
        screen.wait_for("Nothing has changed in 2 runs")
        assert file.stat().st_mtime_ns > written, "the file is written after each run"
        assert screen.press_ctrl_c() == 0
        assert "\x1b[?1049h" in screen.seen
        assert screen.seen.rindex("\x1b[?1049l") > screen.seen.rindex("\x1b[?1049h")
        assert "All is proven." in screen.seen.rpartition("\x1b[?1049l")[2]
        assert "Traceback" not in screen.seen
    assert hidden_domains(behind_traefik) == []
    assert mail_left(behind_traefik) == []


def test_ctrl_c_during_the_first_run_cleans_up(behind_traefik: Instance) -> None:
    """A mailbox with a login that stays behind would be a way in."""
    with terminal(behind_traefik, "verify", "--watch", "--only", "round-trip") as screen:
        # The listeners have greeted, and the mailbox is there or being made.
        screen.wait_for(r"probing \d\d of")
        assert screen.press_ctrl_c() != 0
        assert "Traceback" not in screen.seen
    assert hidden_domains(behind_traefik) == []
    # A message that was on its way may have made a folder anew, which no login leads to.
    behind_traefik.call("verify", "--only", "client-address")
    assert mail_left(behind_traefik) == []


def test_progress_is_shown_on_a_terminal_and_gone_afterwards(behind_traefik: Instance) -> None:
    """Ten seconds of silence look like a hang."""
    with terminal(behind_traefik, "verify", "--only", "banner") as screen:
        screen.wait_for("All is proven")
        assert "Probing" in screen.seen
    done = behind_traefik.run("verify", "--only", "banner")
    assert done.stderr == ""
