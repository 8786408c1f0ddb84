"""A plug-in of another distribution, in a real server: `tests/toy`, found by its entry point."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from instance import Instance, instance

TOY = Path(__file__).parents[1] / "toy"


@pytest.fixture(scope="module")
def server() -> Iterator[Instance]:
    """Run a server with the toy."""
    settings = {"REVERSE_PROXY": "none", "PYTHONPATH": str(TOY), "TOY_BELL": "yes"}
    with instance(settings) as made:
        made.call("domain", "add", "example.org")
        yield made


def services(server: Instance) -> set[str]:
    return {service["name"] for service in server.status()["services"]}


def verdict(server: Instance) -> str:
    """Return what the proof says of the toy."""
    done = server.run("verify", "--only", "toy", "--json")
    (finding,) = json.loads(done.stdout)["findings"]
    return str(finding["status"])


def test_it_is_started_written_and_proven(server: Instance) -> None:
    """A plug-in would need changes in Gatepost to run."""
    assert "toy" in services(server)
    written = server.home / "config" / "current" / "toy" / "bell.conf"
    key = (server.home / "secrets" / "toy.key").read_text().strip()
    assert written.read_text() == f"key = {key}\n"
    assert written.stat().st_mode & 0o777 == 0o600
    assert verdict(server) == "pass"


def test_its_job_has_run(server: Instance) -> None:
    """Nothing could be done every hour, and nobody would see how it went."""
    server.wait_for_log("toy-tuning | in tune")
    deadline = time.monotonic() + 10
    while not (job := server.status()["jobs"][0])["last"]:
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
    assert job["name"] == "toy-tuning"
    assert not job["running"]
    assert job["last"]["problem"] == ""
    assert job["next"] > job["last"]["began"]
    assert "toy-tuning | in tune" in server.call("logs", "toy-tuning")
    shown = server.call("status")
    assert "toy-tuning" in shown
    assert "done" in shown


def test_switched_off_it_is_gone(server: Instance) -> None:
    """The control: it would run, or pass, whatever the settings say."""
    server.settings["TOY_BELL"] = "no"
    server.up()
    assert "toy" not in services(server)
    assert {"dovecot", "postfix"} <= services(server)
    assert verdict(server) == "fail"
    assert server.status()["jobs"] == []
    server.settings["TOY_BELL"] = "yes"
    server.up()
    assert verdict(server) == "pass"
