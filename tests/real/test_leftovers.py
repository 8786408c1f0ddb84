"""What a dead server, a restored backup or another machine's numbers leave behind."""

from __future__ import annotations

import json
import os
import pwd
import smtplib
import subprocess
import time
from pathlib import Path

from accounts import ALICE
from clients import From, message, wait_for_mail
from instance import CLIENT, Instance, free_host, instance
from outside import outside_world

FOREIGN = 61234
"""A number that no user of this machine has."""


def comes_through(server: Instance, subject: str) -> None:
    """Send a message and read it."""
    with From(CLIENT).smtp(server.public("smtp")) as smtp:
        smtp.send_message(message(to=ALICE[0], subject=subject))
    assert wait_for_mail(server.public("imap"), ALICE, subject, seconds=40)


def give_away(folder: Path) -> None:
    """Give everything in a folder to a user who does not exist, as a restored backup may be."""
    subprocess.run(["chown", "-hR", f"{FOREIGN}:{FOREIGN}", str(folder)], check=True)


def foreign(folder: Path) -> list[Path]:
    """Return what belongs to that user."""
    return [p for p in (folder, *folder.rglob("*")) if p.lstat().st_uid == FOREIGN]


def home_row(server: Instance) -> dict[str, str]:
    """Return the row of the check that looks at owners."""
    rows = json.loads(server.run("verify", "--json", "--only", "home").stdout)["findings"]
    (row,) = rows
    return dict(row)


def test_a_stale_pid_of_a_living_process_keeps_nobody_down(running: Instance) -> None:
    """After a crash another program has the number, and Dovecot would never start again."""
    running.down()
    pid = f"{os.getpid()}\n"
    (running.home / "run" / "dovecot" / "master.pid").write_text(pid)
    (running.home / "queue" / "pid" / "master.pid").write_text(pid)
    mark = running.mark()
    running.up()
    assert "already running" not in running.log(mark)
    comes_through(running, "stale-pid")


def test_what_a_power_cut_leaves_keeps_nobody_down(running: Instance) -> None:
    """Nothing that stood in `run/` means anything after a reboot."""
    copy = running.home.parent / f"{running.home.name}-run"
    subprocess.run(["cp", "-a", str(running.home / "run"), str(copy)], check=True)
    try:
        running.down()
        subprocess.run(["cp", "-a", f"{copy}/.", str(running.home / "run")], check=True)
    finally:
        subprocess.run(["rm", "-r", str(copy)], check=True)
    running.up()
    comes_through(running, "power-cut")


def test_foreign_mail_is_mended(running: Instance) -> None:
    """Each message was answered 451, and each login "Internal error", while all said "ready"."""
    comes_through(running, "before-backup")
    running.down()
    give_away(running.home / "mail")
    done = running.run("up", "--detach", timeout=90)
    assert done.returncode == 0, done
    assert f"belongs to {FOREIGN}:{FOREIGN}" in done.stderr
    assert "have their owner again" in done.stderr
    assert foreign(running.home / "mail") == []
    comes_through(running, "after-backup")
    assert wait_for_mail(running.public("imap"), ALICE, "before-backup")
    # Control: with right owners nothing is said.
    assert "owner" not in running.run("up", "--detach", timeout=90).stderr


def test_a_foreign_queue_is_mended() -> None:
    """Messages that were on their way waited for ever."""
    with (
        outside_world(free_host(2525)) as world,
        instance({"RELAYHOST": "[127.0.0.1]:2", "MYNETWORKS": f"{CLIENT}/32"}) as server,
    ):
        with smtplib.SMTP(*server.internal("smtp"), source_address=(CLIENT, 0)) as smtp:
            smtp.send_message(message(to="friend@outside.test", subject="queued"))
        deferred = server.home / "queue" / "deferred"
        deadline = time.monotonic() + 30
        while not [p for p in deferred.rglob("*") if p.is_file()]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        server.down()
        for name in ("active", "deferred", "defer", "incoming"):
            give_away(server.home / "queue" / name)
        give_away(server.home / "state" / "postfix")
        server.settings["RELAYHOST"] = f"[{world.host}]:{world.port}"
        done = server.run("up", "--detach", timeout=90)
        assert done.returncode == 0, done
        assert foreign(server.home) == []
        assert world.wait_for(to="friend@outside.test", subject="queued", seconds=40)


def test_verify_sees_foreign_owners(running: Instance) -> None:
    """A mailbox that was restored beside the running server refused mail, and all rows passed."""
    comes_through(running, "to-be-given-away")
    assert home_row(running)["status"] == "pass"
    box = running.home / "mail" / "example.org" / ALICE[0].partition("@")[0]
    give_away(box)
    row = home_row(running)
    assert row["status"] == "fail"
    assert str(box) in row["observed"]
    assert "gatepost up" in row["fix"]
    running.up()
    assert home_row(running)["status"] == "pass"
    comes_through(running, "mended")


def test_a_single_foreign_file_is_found_at_leisure(running: Instance) -> None:
    """One file that root has copied cannot be read, and no quick look finds it."""
    cur = running.home / "mail" / "example.org" / "someone" / "cur"
    cur.mkdir(parents=True)
    for number in range(200):
        (cur / f"{number}").touch()
    user = pwd.getpwnam("gatepost-mail")
    subprocess.run(["chown", "-R", "gatepost-mail:", str(cur.parent)], check=True)
    last = list(os.scandir(cur))[-1].path
    os.chown(last, FOREIGN, user.pw_gid)
    running.down()
    running.up()
    running.wait_for_log(last, "belongs to another user")
    status = running.run("status")
    assert status.returncode == 1, status
    assert last in status.stdout
    running.up()
    assert Path(last).stat().st_uid == user.pw_uid
    assert running.run("status").returncode == 0


def test_a_home_that_others_may_write_fails_the_row(running: Instance) -> None:
    """Somebody has typed chmod since the server started."""
    running.home.chmod(0o777)
    try:
        row = home_row(running)
    finally:
        running.home.chmod(0o755)
    assert row["status"] == "fail"
    assert row["fix"] == f"Type: chmod go-w {running.home}"
