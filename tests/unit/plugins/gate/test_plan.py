"""The gate's part of the plan: its file, its process, its sockets."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from gatepost import assembly
from gatepost.model import Address, OnChange, Plan, Process, Readiness, Site, Standing
from gatepost.plugins.gate.configuration import Configuration, Limits, load
from gatepost.plugins.gate.plan import METRICS, METRICS_PORT, NAME
from gatepost.registry import load as settings


def plan(site: Site, **values: str) -> Plan:
    own = {"MAILNAME": "mail.example.org", "GATEPOST_HOME": str(site.home.root)}
    return assembly.assemble(settings({**own, **values}), site)


def process(plan: Plan) -> Process:
    (found,) = (process for process in plan.processes if process.name == NAME)
    return found


def test_the_file_says_what_the_settings_say(site: Site, tmp_path: Path) -> None:
    """`TRUSTED_PROXIES` would be written in one place and mean nothing in the other."""
    planned = plan(
        site,
        TRUSTED_PROXIES="10.42.0.0/16",
        MYNETWORKS="192.0.2.0/24",
        MTA_RELAYING_PROXIES="10.42.0.7",
        MTA_DIRECT_CLIENTS="accept",
        MTA_PROXY_HEADER_SECONDS="7",
        MTA_CLIENT_CONNECTIONS="11",
        MTA_CLIENT_CONNECTIONS_PER_MINUTE="12",
    )
    (file,) = (file for file in planned.files if file.process == NAME)
    assert str(file.path) == "gate/gate.json"
    # It becomes Postfix's user before it reads the file, and reads it anew on a signal.
    assert (file.mode & 0o004, file.on_change) == (0o004, OnChange.RELOAD)
    written = tmp_path / "gate.json"
    written.write_text(file.content)
    read_back = load(written)
    assert ipaddress.ip_network("10.42.0.0/16") in read_back.trusted
    queue = site.home.root / "queue" / "private"
    assert read_back == Configuration(
        hostname="mail.example.org",
        trusted=planned.topology.trusted_proxies,
        relaying=(ipaddress.ip_network("10.42.0.7"),),
        accept_direct=True,
        header_seconds=7.0,
        limits=Limits(11, 12),
        handoffs={
            "smtp": {
                Standing.NAMED: str(queue / "gate-smtp"),
                Standing.RELAYING: str(queue / "gate-smtp-relaying"),
            },
            "submission": {
                Standing.NAMED: str(queue / "gate-submission"),
                Standing.ENCRYPTED: str(queue / "gate-submission-encrypted"),
            },
            "submissions": {Standing.NAMED: str(queue / "gate-submissions")},
        },
        metrics=(Address("127.0.0.1", METRICS_PORT),),
    )


def test_strangers_are_refused_unless_asked_for(site: Site, tmp_path: Path) -> None:
    """A server behind a proxy would be reachable past it by default."""
    (file,) = (file for file in plan(site).files if file.process == NAME)
    written = tmp_path / "gate.json"
    written.write_text(file.content)
    assert load(written).accept_direct is False


def test_it_listens_on_every_service_address(site: Site) -> None:
    """A port or an address family would be refused, or be without a guard."""
    planned = plan(site, SERVICE_BIND_ADDRESS="127.0.0.9,::1")
    assert process(planned).sockets == tuple(
        (name, Address(host, port))
        for name, port in (("smtp", 31025), ("submission", 31587), ("submissions", 31465))
        for host in ("127.0.0.9", "::1")
    )
    assert process(planned).ready == (Readiness(planned.topology.roles[METRICS]),)


def test_it_becomes_the_user_of_the_services(site: Site) -> None:
    """It would look at the world's bytes as root."""
    assert process(plan(site)).argv == (
        "/opt/gatepost/bin/python",
        *("-I", "-m", "gatepost.plugins.gate"),
        str(site.home.config / "gate" / "gate.json"),
        "postfix",
    )


def test_it_comes_between_postfix_and_the_proxy(site: Site) -> None:
    """Mail would be refused at each start, and on the way down."""
    planned = plan(site)
    names = [process.name for process in planned.processes]
    assert names.index("postfix") < names.index(NAME) < names.index("traefik")
    after = {process.name: process.after for process in planned.processes}
    assert "postfix" in after[NAME]
    assert NAME in after["traefik"]


def test_without_a_proxy_there_is_none(site: Site) -> None:
    """Direct clients would be refused for want of a header."""
    planned = plan(site, REVERSE_PROXY="none", MTA_UPSTREAM_PROXY="no")
    assert [file for file in planned.files if file.process == NAME] == []
    assert NAME not in {process.name for process in planned.processes}
    assert all(NAME not in process.after for process in planned.processes)
    # Control: a proxy of somebody else's is one as well.
    other = plan(site, REVERSE_PROXY="none", MTA_UPSTREAM_PROXY="yes", TRUSTED_PROXIES="10.0.0.1")
    assert process(other).sockets
