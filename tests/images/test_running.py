"""The MTA and the MDA as containers that may do no more than they need are a mail server."""

from __future__ import annotations

import re

import pytest
from container_pair import DOMAIN, VISITOR, Pair, until
from containers import CAPABILITIES, HOME, Container

SERVICES = pytest.mark.parametrize("service", ["mta", "mda"])
GRACE = 30


def container(mail: Pair, service: str) -> Container:
    return mail.mta if service == "mta" else mail.mda


@SERVICES
def test_it_may_do_no_more_than_it_needs(mail: Pair, service: str) -> None:
    """The tests below would prove nothing about a pod that is locked up."""
    status = container(mail, service).call("cat", "/proc/1/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(facts["CapEff"], 16).bit_count() == len(CAPABILITIES[service])
    assert facts["CapBnd"] == facts["CapPrm"] == facts["CapEff"]
    assert facts["NoNewPrivs"] == "1"
    assert facts["Seccomp"] == "2"


@SERVICES
def test_nothing_can_be_written_outside_volumes(mail: Pair, service: str) -> None:
    """Whoever breaks in would leave something that stays, or change the program."""
    one = container(mail, service)
    for folder in ("/", "/etc", "/usr/bin", "/opt/gatepost/bin", "/var/log", "/var/spool", "/root"):
        done = one.run("touch", f"{folder}/trial")
        assert "Read-only file system" in done.stderr, folder
    for folder in (HOME, f"{HOME}/run", "/tmp"):  # noqa: S108  inside the container
        one.call("touch", f"{folder}/trial")
        one.call("rm", f"{folder}/trial")
    mounts = [line.split() for line in one.call("cat", "/proc/mounts").splitlines()]
    kinds = {row[1]: row[2] for row in mounts}
    assert kinds[f"{HOME}/run"] == kinds["/tmp"] == "tmpfs"  # noqa: S108


def test_mail_arrives_and_is_read(mail: Pair) -> None:
    """The images would start, and be no mail server."""
    mail.send("from elsewhere")
    mail.submit("from Anna herself")
    mail.wait_for("from elsewhere")
    mail.wait_for("from Anna herself")
    for one in mail.both:
        one.wait_for_log(VISITOR)


@SERVICES
def test_no_zombie_stays(mail: Pair, service: str) -> None:
    """Processes that nobody reaps would fill the node's table in weeks."""
    mail.send("for zombies")
    mail.wait_for("for zombies")
    one = container(mail, service)
    orphan = "import os\nif not os.fork():\n  if os.fork(): os._exit(0)\n"
    one.call("/opt/gatepost/bin/python", "-c", orphan)

    def none() -> bool:
        states = [state for _, state in one.processes()]
        assert len(states) > 5
        return "Z" not in states

    until(none, "every child is reaped", 5)


@SERVICES
def test_probes_leave_no_line_in_the_log(mail: Pair, service: str) -> None:
    """The mail log would be buried: a kubelet asks some ten thousand times a day."""
    one = container(mail, service)
    assert one.health("/live") == (200, "alive")
    before = one.log()
    assert "ready: " in before, "the control: the log comes out"
    for _ in range(20):
        assert one.health("/ready") == (200, "ready")
        assert one.health("/live") == (200, "alive")
    new = one.log().removeprefix(before)
    assert not re.search(r"2007|/ready|/live|GET", new)


@SERVICES
def test_no_log_is_written_to_a_volume(mail: Pair, service: str) -> None:
    """A volume would fill up with what the cluster keeps already."""
    one = container(mail, service)
    # What Dovecot calls a log there is its index of a mailbox.
    no_mail = ("-not", "-path", f"{HOME}/mail/*")
    found = one.call("find", HOME, "-type", "f", "-name", "*.log", *no_mail)
    assert found == ""


def test_image_asks_for_its_own_health(mail: Pair) -> None:
    """Docker would show a container as unhealthy that works, or the other way round."""
    command = (
        "exec 3<>/dev/tcp/127.0.0.1/2007 && printf 'GET /ready HTTP/1.0\\r\\n\\r\\n' >&3"
        " && grep -q ' 200 ' <&3"
    )
    mail.mta.call("bash", "-c", command)


def test_what_is_queued_outlives_both_containers(mail: Pair) -> None:
    """An update of the two would lose the mail that waits, or end in a kill."""
    try:
        took = mail.mda.stop(GRACE)
        assert took < GRACE
        assert mail.mda.state()["ExitCode"] == 0
        assert mail.mda.health()[0] == 0
        mail.send("waiting")
        mail.mta.wait_for_log("status=deferred")
        assert mail.mta.health() == (200, "ready")
        took = mail.mta.stop(GRACE)
        assert took < GRACE
        assert mail.mta.state()["ExitCode"] == 0
    finally:
        for one in (mail.mda, mail.mta):
            one.start()
    for one in mail.both:
        own = [line for line in one.log().splitlines() if line.startswith("gatepost | ")]
        assert [line.split()[-1] for line in own if "stopped" in line] == ["stopped"]
        one.wait_ready()
    queue = f"{HOME}/config/current/postfix"
    mail.mta.call("postqueue", "-c", queue, "-f")
    mail.wait_for("waiting")
    assert mail.subjects().count("waiting") == 1


def test_accounts_are_managed_inside(mail: Pair) -> None:
    """Whoever runs it in a cluster has no other place to do so."""
    assert DOMAIN in mail.mta.call("gatepost", "domain", "list"), "both have the same accounts"
    for one in mail.both:
        assert "Ready." in one.call("gatepost", "status")
