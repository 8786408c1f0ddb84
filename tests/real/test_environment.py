"""What the caller decides and what not: variables, files of others, a closed program."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from instance import Instance, instance

from gatepost.errors import StartError
from gatepost.model import Address as At
from gatepost.model import Home, Plan, Process, Readiness, Topology
from gatepost.run import apply
from gatepost.run.logs import LogStream
from gatepost.run.supervise import Supervisor

NOBODY = pwd.getpwnam("nobody").pw_uid
CALLERS = {
    # Each leads a tool or a library of the daemons elsewhere.
    "MAIL_CONFIG": "/nonexistent",
    "CONFIG_FILE": "/nonexistent",
    "OPENSSL_CONF": "/nonexistent",
    "PGHOST": "192.0.2.1",
    "HTTPS_PROXY": "http://192.0.2.1",
    "PYTHONSTARTUP": "/nonexistent",
    "LANG": "tr_TR.UTF-8",
    "A_SECRET_OF_THE_CALLER": "secret-93c1",
}


@pytest.fixture(scope="module")
def called() -> Iterator[Instance]:
    """Run a server that was started by somebody with many variables."""
    with instance({**CALLERS, "TZ": "Asia/Tokyo"}) as server:
        yield server


def test_the_callers_variables_reach_no_process(called: Instance) -> None:
    """One shell's variable changed what the daemons do, until somebody else restarted them."""
    found = called.processes()
    assert len(found) > 8
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            environ = process.environ()
            assert not {n for n, v in CALLERS.items() if environ.get(n) == v}, process
    assert called.status()["ready"]


def test_the_time_zone_is_kept(called: Instance) -> None:
    """Control: a container's log and headers would be in another time than it was told."""
    (postfix,) = (s for s in called.status()["services"] if s["name"] == "postfix")
    assert psutil.Process(postfix["pid"]).environ()["TZ"] == "Asia/Tokyo"


def world_writable(file: Path) -> None:
    """Let everybody write a file."""
    file.chmod(0o666)


def group_writable(file: Path) -> None:
    """Let a group write a file."""
    os.chown(file, 0, NOBODY)
    file.chmod(0o664)


def theirs(file: Path) -> None:
    """Give a file to somebody else."""
    os.chown(file, NOBODY, NOBODY)


@pytest.mark.parametrize("spoil", [world_writable, group_writable, theirs])
@pytest.mark.parametrize("command", [("config", "check"), ("up", "--detach"), ("domain", "list")])
def test_settings_that_others_may_write_are_refused(
    spoil: object, command: tuple[str, ...]
) -> None:
    """Any user of the machine could have root trust them, or relay for them."""
    with instance(start=False) as server:
        file = server.home / ".env"
        file.write_text("MTA_CLIENT_CONNECTIONS=12\n")
        file.chmod(0o644)
        assert server.run("config", "check").returncode == 0
        assert callable(spoil)
        spoil(file)
        refused = server.run(*command)
        assert refused.returncode == 2, refused
        assert ".env" in refused.stderr
        assert not (server.home / "config").exists()
        advice = refused.stderr.strip().rpartition(": ")[2]
        subprocess.run(shlex.split(advice), check=True)
        assert server.run("config", "check").returncode == 0


def test_settings_of_whoever_called_sudo_are_taken() -> None:
    """Control: the checkout belongs to an administrator who types sudo before each command."""
    with instance({"SUDO_UID": str(NOBODY)}, start=False) as server:
        file = server.home / ".env"
        file.write_text("MTA_CLIENT_CONNECTIONS=12\n")
        os.chown(file, NOBODY, NOBODY)
        assert server.run("config", "check").returncode == 0


def test_a_closed_program_is_named_as_the_reason() -> None:
    """A checkout in somebody's home, and the log says nothing but "exit code 1"."""
    with tempfile.TemporaryDirectory(prefix="gp-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        closed = Path(folder) / "closed"
        closed.mkdir(mode=0o700)
        program = closed / "program"
        shutil.copy("/usr/bin/false", program)
        home = Home(Path(folder) / "home")
        home.run.mkdir(parents=True)
        process = Process(
            "gate", (str(program),), ready=(Readiness(At("127.0.0.1", 1)),), user="nobody"
        )
        apply.apply(Plan(Topology((), {}, {}, ()), (), (process,), (), (), ()), home)
        with pytest.raises(StartError) as told:
            asyncio.run(Supervisor(home, LogStream(None)).run())
        assert f'its user "nobody" cannot read its program, "{program}"' in str(told.value)
        assert f"chmod o+rx {closed}" in str(told.value)
