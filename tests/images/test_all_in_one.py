"""The image that has everything: the whole server in one container."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

import pytest
from containers import Container, Setup, container
from network import Host


def services(one: Container) -> set[str]:
    found = json.loads(one.call("gatepost", "status", "--json"))["services"]
    return {row["name"] for row in found if row["state"] == "ready"}


@pytest.mark.parametrize("proxy", ["traefik", "none"])
def test_whole_server_starts_and_ends(
    images: Mapping[str, str], places: Mapping[str, Host], proxy: str
) -> None:
    """Whoever tries Gatepost with one command would get no server, or no end of it."""
    settings = {"MAILNAME": "mail.example.org", "REVERSE_PROXY": proxy}
    with container(Setup("all", settings), images, places["client"]) as one:
        one.wait_ready(30)
        assert {"dovecot", "postfix"} <= services(one)
        assert ("traefik" in services(one)) == (proxy == "traefik")
        assert "ready: " in one.log(), "its log is the container's"
        one.stop()
        assert one.state()["ExitCode"] == 0


@pytest.mark.parametrize("proxy", ["traefik", "none"])
def test_whole_server_proves_itself(
    images: Mapping[str, str], places: Mapping[str, Host], proxy: str
) -> None:
    """Whoever tries Gatepost with one command would see it fail.

    So would the first dozen people who log in at once after a start: Dovecot 2.4 lets logins hang
    when it may have fewer workers than there are logins (`process_limit` in processes.conf).
    """
    settings = {"MAILNAME": "mail.example.org", "REVERSE_PROXY": proxy}
    with container(Setup("all", settings), images, places["client"]) as one:
        one.wait_ready(30)
        findings = json.loads(one.run("gatepost", "verify", "--json").stdout)["findings"]
    failed = [row for row in findings if row["status"] == "fail"]
    assert failed == []
    assert Counter(row["status"] for row in findings)["pass"] > 50
