"""Two commands at once: each pair has one outcome, and what is refused has changed nothing."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from accounts import ALICE, PASSWORD
from clients import From, message, wait_for_mail
from instance import CLIENT, PROGRAM, Instance, instance

SERVICES = {"dovecot", "gate", "postfix", "sasl", "traefik"}


@contextlib.contextmanager
def held(process: subprocess.Popen[str]) -> Iterator[None]:
    """Stop a command in the middle of its work, so that it is at work for as long as the block."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def begun(server: Instance, *arguments: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """Begin a command; end it when the block is over."""
    process = subprocess.Popen(
        [str(PROGRAM), *arguments],
        env=server.environment | settings,
        cwd=server.home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def end_of(process: subprocess.Popen[str], seconds: float = 90) -> tuple[int, str]:
    """Wait for the end of a command; return its exit code and words."""
    said, _ = process.communicate(timeout=seconds)
    return process.returncode, said


def wait_for(path: Path, seconds: float = 20) -> None:
    """Wait until a file is there."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.01)


def wait_until_at_work(server: Instance, seconds: float = 20) -> None:
    """Wait until a command holds the home."""
    lock = server.home / "run" / "up.lock"
    wait_for(lock)
    inode = f":{lock.stat().st_ino} "
    deadline = time.monotonic() + seconds
    while not any(
        inode in line and " FLOCK " in line for line in Path("/proc/locks").read_text().splitlines()
    ):
        assert time.monotonic() < deadline, "nobody holds the home"
        time.sleep(0.01)


def written(server: Instance) -> dict[str, Any]:
    """Return what a refused command must not have changed."""
    current = server.home / "config" / "current"
    return {
        "current": str(current.readlink()),
        "generations": sorted(p.name for p in current.parent.joinpath("generations").iterdir()),
        "accounts": (server.home / "accounts" / "accounts.sqlite3").read_bytes(),
        "secrets": {p.name: p.read_bytes() for p in (server.home / "secrets").iterdir()},
        "users": Path("/etc/passwd").read_bytes(),
        "pids": {s["name"]: s["pid"] for s in server.status()["services"]},
    }


def comes_through(server: Instance, subject: str) -> None:
    """Send a message and read it."""
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.send_message(message(to=ALICE[0], subject=subject))
    assert wait_for_mail(server.public("imap"), ALICE, subject)


@pytest.mark.parametrize("service", ["mta", "mda"])
def test_run_beside_a_running_server_changes_nothing(running: Instance, service: str) -> None:
    """Every message bounced, IMAP hung, and `status` said that all was well."""
    before = written(running)
    with begun(running, "run", service) as process:
        code, said = end_of(process)
    assert code == 2, said
    assert "runs in" in said
    assert "Nothing was changed" in said
    assert "gatepost down" in said
    assert written(running) == before
    assert running.run("status").returncode == 0
    comes_through(running, f"beside-{service}")


def test_run_beside_run_is_refused() -> None:
    """Two services on one home would write over each other's configuration."""
    with instance({"SERVICE_BIND_ADDRESS": ""}, start=False) as server:
        server.settings = {"GATEPOST_PLACE": "container"}
        with begun(server, "run", "mda") as first:
            while server.run("status").returncode:
                assert first.poll() is None, end_of(first)
                time.sleep(0.2)
            before = written(server)
            with begun(server, "run", "mta") as second:
                code, said = end_of(second)
            assert code == 2, said
            assert "runs in" in said
            assert written(server) == before
            # A whole server is not made of it either.
            refused = server.run("up", "--detach")
            assert refused.returncode == 2, refused
            assert "only dovecot runs" in refused.stderr
            assert written(server) == before
            server.call("down")
            assert end_of(first)[0] == 0


def test_run_while_up_works_is_refused(running: Instance) -> None:
    """The one would start what the other has written."""
    running.down()
    with begun(running, "up", "--detach") as up:
        wait_until_at_work(running)
        with held(up):
            refused = running.run("run", "mda")
        assert refused.returncode == 2, refused
        assert "Nothing was changed" in refused.stderr
        assert end_of(up)[0] == 0
    assert {s["name"] for s in running.status()["services"]} == SERVICES


@pytest.mark.parametrize("delay", [0.0, 0.5, 1.0, 1.7, 2.5])
def test_down_while_up_works_stops_the_server(running: Instance, delay: float) -> None:
    """`down` said that nothing runs, and the server came up a moment later."""
    running.down()
    with begun(running, "up", "--detach") as up:
        wait_until_at_work(running)
        time.sleep(delay)
        stopped = running.run("down", timeout=90)
        assert stopped.returncode == 0, stopped
        assert "Stopped." in stopped.stderr
        code, said = end_of(up)
    # It was ready before it was stopped, or it says what has stopped it.
    assert code == 0 or (code == 1 and "gatepost down" in said), (code, said)
    assert not running.processes()
    assert running.run("status").returncode == 1


def test_down_beside_nobody_says_so(running: Instance) -> None:
    """Control: `down` does not wait when there is nothing to wait for."""
    running.down()
    began = time.monotonic()
    said = running.run("down")
    assert said.returncode == 0
    assert "not running" in said.stderr
    assert time.monotonic() - began < 5


def test_up_while_down_works_starts_it_again(running: Instance) -> None:
    """`up` said "Nothing has changed", and a moment later nothing ran."""
    # A client with an open session, so that stopping takes a moment.
    with begun(running, "down") as down:
        while not running.status().get("problems") and running.status()["ready"]:
            time.sleep(0.01)
        running.up()
        assert end_of(down)[0] == 0
    assert running.status()["ready"]
    comes_through(running, "after-down")


def test_up_while_up_works_is_refused(running: Instance) -> None:
    """Two would write over each other's configuration."""
    running.down()
    with begun(running, "up", "--detach") as first:
        wait_until_at_work(running)
        with held(first):
            second = running.run("up", "--detach", timeout=90)
        assert second.returncode == 2, second
        assert "is at work" in second.stderr
        assert end_of(first)[0] == 0
    assert running.status()["ready"]


def test_foreground_up_beside_a_running_server_applies(running: Instance) -> None:
    """A second supervisor would start everything twice."""
    before = written(running)["pids"]
    done = running.run("up", timeout=90)
    assert done.returncode == 0, done
    assert "Nothing has changed" in done.stderr
    assert written(running)["pids"] == before


def test_down_twice_at_once(running: Instance) -> None:
    """Both scripts that stop it must be able to go on."""
    with begun(running, "down") as one, begun(running, "down") as other:
        assert end_of(one)[0] == 0
        assert end_of(other)[0] == 0
    assert not running.processes()


def test_accounts_change_while_up_works() -> None:
    """A mailbox of a first start's provisioning script would be lost, or the start fail."""
    with instance(start=False) as server, begun(server, "up", "--detach") as up:
        wait_until_at_work(server)
        server.call("domain", "add", "example.org")
        server.call("mailbox", "add", ALICE[0], "--password-stdin", stdin=PASSWORD)
        code, said = end_of(up)
        assert code == 0, said
        comes_through(server, "provisioned")


def test_accounts_change_while_down_works(running: Instance) -> None:
    """The mailbox would exist or not, and nobody could say which."""
    with begun(running, "down") as down:
        for number in range(5):
            running.call(
                "mailbox", "add", f"d{number}@example.org", "--password-stdin", stdin="x" * 12
            )
        assert end_of(down)[0] == 0
    assert "d4@example.org" in running.call("mailbox", "list")


def test_two_first_commands_at_once() -> None:
    """Both make the database; one would find half of it."""
    with instance(start=False) as server:
        with (
            begun(server, "domain", "add", "a.example") as one,
            begun(server, "domain", "add", "b.example") as other,
        ):
            assert end_of(one)[0] == 0
            assert end_of(other)[0] == 0
        assert {"a.example", "b.example"} <= set(server.call("domain", "list").split())


def test_verify_waits_for_up(running: Instance) -> None:
    """A proof of a server that is just starting would call it broken."""
    running.down()
    with begun(running, "up", "--detach") as up:
        wait_until_at_work(running)
        with begun(running, "verify", "--json") as verify:
            code, said = end_of(verify)
        assert end_of(up)[0] == 0
    assert code in {0, 3}, said
    assert json.loads(said)["summary"]["fail"] == 0


def test_verify_says_that_the_server_was_stopped_meanwhile(running: Instance) -> None:
    """Rows that failed because somebody typed `down` would send people hunting."""
    with begun(running, "verify", "--json") as verify:
        deadline = time.monotonic() + 20
        while not any("probe-" in p.name for p in (running.home / "mail").glob("*/*")):
            assert time.monotonic() < deadline, end_of(verify)
            time.sleep(0.02)
        with held(verify):
            running.call("down")
        code, said = end_of(verify)
    assert code == 1, said
    (row,) = (r for r in json.loads(said)["findings"] if r["check"] == "configuration")
    assert row["status"] == "fail"
    assert "while the proof was made" in row["observed"]


def test_verify_twice_at_once(running: Instance) -> None:
    """Two admins, or a timer and an admin, would remove each other's mailbox."""
    with begun(running, "verify", "--json") as one, begun(running, "verify", "--json") as other:
        for process in (one, other):
            code, said = end_of(process)
            assert code in {0, 3}, said


def test_verify_beside_accounts(running: Instance) -> None:
    """A mailbox that is added meanwhile is nobody's business."""
    with begun(running, "verify", "--json") as verify:
        running.call("mailbox", "add", "meanwhile@example.org", "--password-stdin", stdin="x" * 12)
        code, said = end_of(verify)
    assert code in {0, 3}, said


def test_another_generation_than_current_is_noticed(running: Instance) -> None:
    """Daemons read a configuration that nobody has applied; `status` and `up` saw nothing."""
    assert running.run("status").returncode == 0
    current = running.home / "config" / "current"
    mine = current.readlink()
    other = mine.with_name("000999")
    subprocess.run(
        ["cp", "-a", str(current.parent / mine), str(current.parent / other)], check=True
    )
    current.unlink()
    current.symlink_to(other)
    status = running.run("status")
    assert status.returncode == 1, status
    assert f"run configuration {mine.name}" in status.stdout
    assert "gatepost up" in status.stdout
    assert running.status()["ready"] is False
    verify = running.run("verify", "--json", "--only", "configuration")
    assert verify.returncode == 1, verify
    assert "000999" in verify.stdout
    done = running.run("up", "--detach")
    assert done.returncode == 0, done
    assert "postfix reloaded" in done.stderr
    assert "dovecot reloaded" in done.stderr
    assert running.run("status").returncode == 0
    assert running.run("verify", "--json", "--only", "configuration").returncode == 0


def test_locks_are_free_of_killed_holders(running: Instance) -> None:
    """After a crash nothing would start any more."""
    running.down()
    with begun(running, "up", "--detach") as up:
        wait_until_at_work(running)
        up.kill()
        up.wait()
    running.up()
    (supervisor,) = (
        p for p in running.processes() if "gatepost.run.supervise" in " ".join(p.cmdline())
    )
    supervisor.kill()
    psutil.wait_procs([supervisor], timeout=10)
    running.up()
    comes_through(running, "after-crashes")
