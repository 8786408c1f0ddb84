"""A security update under the running server."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from accounts import ALICE, PASSWORD
from clients import From, message, wait_for_mail
from instance import CLIENT, PROGRAM, Instance, instance

import gatepost

SOURCE = Path(gatepost.__file__).parent
_FOLDERS = ("/usr/lib/dovecot", "/usr/lib/postfix")


@pytest.fixture(scope="module")
def updatable() -> Iterator[tuple[Instance, int]]:
    """Run a server that sees programs of its own; return it with a process in its place."""
    with (
        tempfile.TemporaryDirectory(prefix="gp-layers-") as layers,
        instance(start=False) as server,
    ):
        script = [f"mount -t tmpfs -o mode=0755 tmpfs {layers}"]
        for number, folder in enumerate(_FOLDERS):
            # Copies: where layers lie on layers, the kernel does not tell that a file is gone.
            script.append(f"cp -a {folder} {layers}/{number}")
            script.append(f"mount --bind {layers}/{number} {folder}")
        script.append(f"exec {PROGRAM} up")
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-ec", "\n".join(script)],
            env=server.environment,
            cwd=server.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 60
            while server.run("status").returncode:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
            server.call("domain", "add", "example.org")
            server.call("mailbox", "add", ALICE[0], "--password-stdin", stdin=PASSWORD)
            yield server, process.pid
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.run("down")
            process.kill()
            process.wait()


def update(place: int, *files: str) -> None:
    """Replace files as dpkg(1) does: a new one takes the name of the old one."""
    for file in files:
        script = f"cp -p {file} {file}.dpkg-new && mv {file}.dpkg-new {file}"
        subprocess.run(
            ["nsenter", "--mount", "--root", "--target", str(place), "sh", "-ec", script],
            check=True,
        )


def library(place: int, pattern: str) -> str:
    """Return the file of a library, not its link."""
    found = subprocess.run(
        [
            "nsenter",
            "--mount",
            "--root",
            "--target",
            str(place),
            "sh",
            "-c",
            f"readlink -f {pattern}",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return found.stdout.split()[0]


@pytest.mark.parametrize(
    ("service", "file"),
    [
        ("dovecot", "/usr/lib/dovecot/libdovecot.so.0"),
        ("postfix", "/usr/lib/postfix/libpostfix-util.so"),
    ],
)
def test_a_replaced_daemon_is_restarted_within_a_minute(
    updatable: tuple[Instance, int], service: str, file: str
) -> None:
    """Each new session ended with "undefined symbol" until somebody restarted the daemon."""
    server, place = updatable
    before = {s["name"]: s["pid"] for s in server.status()["services"]}
    mark = server.mark()
    path = library(place, file)
    update(place, path)
    line = server.wait_for_log(f"{service} restarted", since=mark, seconds=60)
    assert line.endswith(f"an update has replaced {path}")
    after = {s["name"]: s["pid"] for s in server.status()["services"]}
    assert {name for name in after if after[name] != before[name]} == {service}
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.send_message(message(to=ALICE[0], subject=f"after-{service}"))
    assert wait_for_mail(server.public("imap"), ALICE, f"after-{service}", seconds=40)
    assert server.log(mark).count("an update has replaced") == 1


def inside(place: int, script: str) -> None:
    """Run a script where the server sees programs of its own."""
    words = ["nsenter", "--mount", "--root", "--target", str(place), "sh", "-ec", script]
    subprocess.run(words, check=True)


def pids(server: Instance) -> dict[str, int]:
    return {service["name"]: service["pid"] for service in server.status()["services"]}


def test_up_restarts_what_a_package_has_replaced(updatable: tuple[Instance, int]) -> None:
    """The old program would go on until somebody thinks of restarting it.

    What dpkg knows of one package is changed: it says that another version is installed.
    """
    server, place = updatable
    server = replace(server, within=("nsenter", "--mount", "--root", "--target", str(place)))
    before = pids(server)
    server.up()
    assert pids(server) == before, "the control: nothing was updated"
    assert server.status()["older"] == []
    inside(
        place,
        "folder=$(mktemp -d); mount -t tmpfs -o mode=0755 tmpfs $folder;"
        "cp -a /var/lib/dpkg $folder; mount --bind $folder/dpkg /var/lib/dpkg;"
        "sed -i '/^Package: dovecot-core$/,/^$/ s/^Version: .*/&+update/' /var/lib/dpkg/status",
    )
    (older,) = server.status()["older"]
    assert (older["name"], older["part"]) == ("dovecot", "dovecot-core")
    assert older["installed"] == older["running"] + "+update"
    shown = server.call("status")
    assert older["running"] in shown
    assert older["installed"] in shown
    server.up()
    after = pids(server)
    assert {name for name in after if after[name] != before[name]} == {"dovecot"}
    assert server.status()["older"] == []
    server.up()
    assert pids(server) == after, "it is restarted once"


def test_up_replaces_an_older_supervisor() -> None:
    """It would go on as it was, with every fault that the update has mended."""
    with (
        tempfile.TemporaryDirectory(prefix="gp-source-") as source,
        instance({"REVERSE_PROXY": "none"}, start=False) as server,
    ):
        shutil.copytree(SOURCE, source, dirs_exist_ok=True)
        with (Path(source) / "run" / "supervise.py").open("a") as stream:
            stream.write("# older\n")
        before = f"mount --bind {source} {SOURCE}; exec {PROGRAM} up --detach"
        old = replace(server, within=("unshare", "--mount", "sh", "-ec", f"{before} #"))
        old.up()
        (older,) = [row for row in server.status()["older"] if row["name"] == "gatepost"]
        assert older["part"] == "gatepost"
        first = pids(server)
        done = server.run("up", "--detach", timeout=90)
        assert done.returncode == 0, done.stderr
        assert "all services are restarted" in done.stderr
        second = pids(server)
        assert not set(first.values()) & set(second.values())
        assert server.status()["older"] == []
        server.up()
        assert pids(server) == second, "the control: it is replaced once"


def test_nothing_is_restarted_without_an_update(updatable: tuple[Instance, int]) -> None:
    """Control: files that are read and written again are no update."""
    server, place = updatable
    mark = server.mark()
    update(place, "/usr/lib/postfix/sbin/showq")
    time.sleep(35)
    assert "restarted" not in server.log(mark)
