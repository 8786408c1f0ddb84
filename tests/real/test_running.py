"""Running: starting, applying changes, dying and coming back, stopping without a trace."""

from __future__ import annotations

import contextlib
import fcntl
import json
import random
import signal
import smtplib
import subprocess
import time
import uuid

import psutil
import pytest
from accounts import ALICE
from clients import From, message, wait_for_mail
from instance import CLIENT, PROGRAM, Instance, instance


def send(server: Instance, *, attempts: int = 50) -> str:
    """Send a message as a server on the internet would: again until it is accepted."""
    subject = uuid.uuid4().hex
    for _ in range(attempts):
        try:
            with From(CLIENT).smtp(server.public("smtp")) as smtp:
                smtp.send_message(message(to=ALICE[0], subject=subject))
        except (OSError, smtplib.SMTPException):
            time.sleep(0.2)
        else:
            return subject
    raise AssertionError(f"not accepted in {attempts} attempts:\n{server.log()[-3000:]}")


def wait_until_ready(server: Instance, seconds: float = 30) -> None:
    """Wait until ``status`` says so."""
    deadline = time.monotonic() + seconds
    while not server.status()["ready"]:
        assert time.monotonic() < deadline, server.status()
        time.sleep(0.2)


def test_status_tells_the_contracts_facts(own: Instance) -> None:
    """Scripts and monitoring read exactly these names."""
    status = own.status()
    assert status["ready"] is True
    services = {service["name"]: service for service in status["services"]}
    assert {"postfix", "dovecot", "gate", "sasl", "traefik"} <= set(services)
    for service in services.values():
        assert {"name", "state", "pid", "restarts", "since"} <= set(service)
        assert psutil.pid_exists(service["pid"])
    listeners = {listener["name"]: listener for listener in status["listeners"]}
    assert set(listeners) == {
        *("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "sieve")
    }
    assert listeners["imap"]["public"] == f"{own.addresses.public}:33143"
    assert listeners["imap"]["service"] == f"{own.addresses.service}:31143"
    assert listeners["imap"]["internal"] == f"{own.addresses.service}:32143"
    assert own.run("status").returncode == 0
    assert max(map(len, own.call("status").splitlines())) <= 100


def test_up_again_changes_nothing(own: Instance) -> None:
    """A second `make up` would interrupt every user."""
    before = {s["name"]: s["pid"] for s in own.status()["services"]}
    own.up()
    assert {s["name"]: s["pid"] for s in own.status()["services"]} == before


def test_a_change_is_applied_without_dropping_anyone(own: Instance) -> None:
    """Changing a limit at noon would throw every user out."""
    before = {s["name"]: s["pid"] for s in own.status()["services"]}
    with (
        From(CLIENT).imap(own.public("imap"), ALICE) as imap,
        From(CLIENT).smtp(own.public("smtp")) as smtp,
    ):
        smtp.mail("friend@outside.test")
        own.settings["MESSAGE_SIZE_LIMIT"] = "3M"
        try:
            own.up()
            assert {s["name"]: s["pid"] for s in own.status()["services"]} == before
            assert imap.noop()[0] == "OK"
            assert smtp.rcpt(ALICE[0])[0] == 250
            with From(CLIENT).smtp(own.public("smtp")) as second:
                assert second.esmtp_features["size"] == str(3 * 1024 * 1024)
        finally:
            del own.settings["MESSAGE_SIZE_LIMIT"]
            own.up()
        assert imap.noop()[0] == "OK"


def test_a_changed_entry_point_keeps_open_sessions(own: Instance) -> None:
    """Another public address would cut every connection through the old one."""
    old = own.settings.get("PUBLIC_BIND_ADDRESS")
    with From(CLIENT).imap(own.public("imap"), ALICE) as imap:
        own.settings["PUBLIC_BIND_ADDRESS"] = own.addresses.public
        try:
            own.up()
            assert imap.noop()[0] == "OK"
            send(own)
        finally:
            del own.settings["PUBLIC_BIND_ADDRESS"]
            if old:
                own.settings["PUBLIC_BIND_ADDRESS"] = old
            own.up()
        assert imap.noop()[0] == "OK"


def test_a_broken_configuration_replaces_nothing(own: Instance) -> None:
    """A typing mistake would take the mail server down."""
    before = {s["name"]: s["pid"] for s in own.status()["services"]}
    own.settings["TRUSTED_PROXIES"] = "10.0.0.0/33"
    try:
        refused = own.run("up", "--detach")
    finally:
        del own.settings["TRUSTED_PROXIES"]
    assert refused.returncode == 2
    assert "TRUSTED_PROXIES" in refused.stderr
    assert "10.0.0.0/33" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert {s["name"]: s["pid"] for s in own.status()["services"]} == before
    send(own)


def test_what_the_daemons_checker_refuses_replaces_nothing(own: Instance) -> None:
    """A file that Postfix cannot read would stop Postfix at the next reload."""
    before = {s["name"]: s["pid"] for s in own.status()["services"]}
    password_file = own.home / "relay-password"
    password_file.mkdir()
    own.settings |= {"RELAYHOST": "[127.0.0.1]:2525", "RELAY_PASSWD_FILE": str(password_file)}
    try:
        refused = own.run("up", "--detach")
    finally:
        del own.settings["RELAYHOST"], own.settings["RELAY_PASSWD_FILE"]
        password_file.rmdir()
    assert refused.returncode in {1, 2}
    assert "relay-password" in refused.stderr
    assert {s["name"]: s["pid"] for s in own.status()["services"]} == before
    send(own)


def test_a_database_that_is_locked_for_a_moment_refuses_nothing(own: Instance) -> None:
    """Of two containers that start together, one would end: the other is making the database.

    The control: locked for longer, the check says so.
    """
    check = own.home / "config" / "current" / "postfix" / "check"

    def locked_for(seconds: float) -> str:
        with (own.home / "accounts" / "accounts.sqlite3").open("r+b") as database:
            # SQLite's lock against new readers (PENDING_BYTE in its source).
            fcntl.lockf(database, fcntl.LOCK_EX, 1, 0x40000000)
            with subprocess.Popen(["sh", check], stderr=subprocess.PIPE, text=True) as asked:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    asked.wait(seconds)
                fcntl.lockf(database, fcntl.LOCK_UN, 1, 0x40000000)
                return asked.communicate(timeout=20)[1]

    assert locked_for(2) == ""
    assert "locked" in locked_for(12)


@pytest.mark.parametrize("service", ["postfix", "dovecot", "gate", "sasl", "traefik"])
def test_a_killed_service_comes_back(own: Instance, service: str) -> None:
    """One crash at night would stop the mail until morning."""
    wait_until_ready(own)
    (before,) = (s for s in own.status()["services"] if s["name"] == service)
    subjects = [send(own)]
    mark = own.mark()
    psutil.Process(before["pid"]).kill()
    subjects.append(send(own))
    own.wait_for_log(service, "restart", since=mark)
    wait_until_ready(own)
    (after,) = (s for s in own.status()["services"] if s["name"] == service)
    assert after["pid"] != before["pid"]
    assert after["restarts"] == before["restarts"] + 1
    subjects.append(send(own))
    for subject in subjects:
        assert wait_for_mail(own.public("imap"), ALICE, subject, seconds=40), subject


def test_every_process_may_die(own: Instance) -> None:
    """Any of thirty processes may be killed for want of memory; no accepted message is lost."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    wait_until_ready(own)
    names = sorted(own.named_processes().keys() - {"python", "python3", "gatepost"})
    subjects = []
    for name in names:
        victims = own.named_processes().get(name)
        if not victims:
            continue
        subjects.append(send(own))
        try:
            chance.choice(victims).kill()
        except psutil.NoSuchProcess:
            continue
        subjects.append(send(own))
    wait_until_ready(own)
    for subject in subjects:
        assert wait_for_mail(own.public("imap"), ALICE, subject, seconds=60), subject


def test_after_the_supervisor_was_killed_up_works(own: Instance) -> None:
    """After a crash of the machine's memory the admin types `make up`, and it must do."""
    supervisor = next(
        p for p in own.processes() if not any(p.ppid() == q.pid for q in own.processes())
    )
    subject = send(own)
    supervisor.kill()
    own.up()
    assert wait_for_mail(own.public("imap"), ALICE, subject, seconds=40)
    send(own)


def test_a_second_instance_lives_beside(own: Instance) -> None:
    """A trial beside the real server would disturb it."""
    with instance() as second:
        assert second.status()["ready"]
        assert own.status()["ready"]
    assert own.status()["ready"]
    send(own)


def test_a_taken_port_is_named_with_its_owner(own: Instance) -> None:
    """The admin would search for what holds port 3325."""
    with instance(start=False) as second:
        second.settings = {
            "PUBLIC_BIND_ADDRESS": own.addresses.public,
            "SERVICE_BIND_ADDRESS": second.addresses.service,
        }
        refused = second.run("up", "--detach")
        assert refused.returncode == 2, refused
        assert f"{own.addresses.public}:3325" in refused.stderr
        assert "traefik" in refused.stderr
        (traefik,) = (s for s in own.status()["services"] if s["name"] == "traefik")
        assert str(traefik["pid"]) in refused.stderr
        assert not (second.home / "config").exists()


def test_foreground_stops_on_a_signal() -> None:
    """Under systemd or in a container, stopping would leave processes behind."""
    with instance(start=False) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            process = subprocess.Popen(
                [str(PROGRAM), "up"],
                env=server.environment,
                cwd=server.home,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            deadline = time.monotonic() + 40
            while server.run("status").returncode != 0:
                assert process.poll() is None, process.stdout and process.stdout.read()
                assert time.monotonic() < deadline
                time.sleep(0.2)
            process.send_signal(number)
            said, _ = process.communicate(timeout=30)
            assert process.returncode == 0, said
            assert "postfix | " in said
            assert "dovecot | " in said
            assert "\x1b[" not in said, "colour without a terminal"
            assert not server.processes()


@pytest.mark.parametrize("delay", [0.1, 0.4, 0.8, 1.2, 1.6, 2.2, 3.0])
def test_up_may_be_interrupted_at_any_moment(own: Instance, delay: float) -> None:
    """Ctrl-C, or a lost connection, would leave a server that cannot be started."""
    own.down()
    process = subprocess.Popen(
        [str(PROGRAM), "up", "--detach"],
        env=own.environment,
        cwd=own.home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(delay)
    process.send_signal(random.choice([signal.SIGINT, signal.SIGKILL]))
    process.wait(timeout=30)
    own.up()
    send(own)


def test_down_twice_is_fine(own: Instance) -> None:
    """A script that stops a stopped server would fail."""
    own.down()
    own.down()
    assert own.run("status").returncode == 1
    assert json.loads(own.run("status", "--json").stdout)["ready"] is False
    own.up()


def test_logs_carry_the_services_name(own: Instance) -> None:
    """Nobody could tell which daemon complains."""
    send(own)
    lines = own.call("logs", "-n", "200").splitlines()
    assert any(line.startswith("postfix | ") for line in lines), lines[-5:]
    only = own.call("logs", "-n", "50", "dovecot").splitlines()
    assert only
    assert all(line.startswith("dovecot | ") for line in only)
    unknown = own.run("logs", "nothing")
    assert unknown.returncode == 2
    assert "postfix" in unknown.stderr


def test_the_certificate_is_kept(own: Instance) -> None:
    """Every mail program would ask its user about a new certificate at each start."""
    import ssl  # noqa: PLC0415

    address = own.public("imaps")
    before = ssl.get_server_certificate(address)
    own.down()
    own.up()
    assert ssl.get_server_certificate(address) == before
