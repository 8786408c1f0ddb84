"""Where everything is, as a pod of its own finds it, and in whose words it is told what to do."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from verify_cluster import SERVICES, Small

from gatepost.actions import proof
from gatepost.errors import UsageError
from gatepost.model import Address
from gatepost.model.words import Command, Logs, Step, Text
from gatepost.plugins.kubernetes.checks.api import Api
from gatepost.plugins.kubernetes.checks.objects import typed
from gatepost.registry import load
from gatepost.settings import Settings
from gatepost.verify.clients import names as names_of_hosts
from gatepost.verify.clients.wire import ProbeError, Trouble
from gatepost.verify.vantage import cluster

PODS = "app.kubernetes.io/part-of=gatepost"
NAMES = {
    "traefik-internal": ["10.43.0.9"],
    "traefik-internal.edge": ["10.43.0.9"],
    "mda": ["fd00:43::8", "10.43.0.8"],
    "mda-internal": ["10.43.0.7"],
    "mta-internal": ["10.43.0.6"],
}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the cluster's name server, which does not know `mta`."""

    def resolved(address: Address, _deadline: float) -> list[str]:
        if address.host not in NAMES:
            raise ProbeError(Trouble.UNREACHABLE, "no such name")
        return NAMES[address.host]

    monkeypatch.setattr(cluster, "resolved", resolved)
    assert names_of_hosts.resolved is not resolved


def settings(tmp_path: Path, front: str = "traefik-internal", **more: str) -> Settings:
    return load(
        {
            "GATEPOST_PLACE": "container",
            "GATEPOST_HOME": str(tmp_path),
            "MAILNAME": "mail.example.org",
            "MDA_UPSTREAM_PROXY": "true",
            "MTA_UPSTREAM_PROXY": "true",
            "TRUSTED_PROXIES": "10.42.0.0/24",
            "MDA_IMAP_ADDRESS": f"{front}:33143",
            **more,
        }
    )


def test_clients_come_through_the_service_that_the_addresses_name(tmp_path: Path) -> None:
    """By the entry points' numbers, for listeners too that have no address of their own."""
    table = cluster.topology(settings(tmp_path))
    assert table.named("imap").public == (Address("10.43.0.9", 33143),)
    assert table.named("sieve").public == (Address("10.43.0.9", 34190),)
    # The address as it is set, and the internal Service for what is not.
    assert table.clients["imap"] == Address("traefik-internal", 33143)
    assert table.clients["smtp"] == Address("mta-internal", 25)


def test_services_are_found_by_both_families_and_a_name_that_is_unknown_stays(
    tmp_path: Path,
) -> None:
    """A Service that is not there must be a row, and not a row less."""
    table = cluster.topology(settings(tmp_path))
    assert table.named("imap").service == (Address("10.43.0.8", 143), Address("fd00:43::8", 143))
    assert table.named("smtp").service == (Address("mta", 25),)
    assert table.named("imap").internal[0] == Address("mda-internal", 143)
    assert Address("10.43.0.7", 143) in table.named("imap").internal


def test_without_a_proxy_in_the_addresses_nobody_knows_where_clients_come(tmp_path: Path) -> None:
    """The rows say that it is not known."""
    alone = settings(tmp_path, MDA_IMAP_ADDRESS="mda-internal:143")
    assert cluster.proxy_host(alone) == ""
    assert cluster.topology(alone).named("imap").public == ()


def test_traefiks_namespace_is_the_one_that_the_addresses_name(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another one its pods, Services and logs would not be found."""
    monkeypatch.setattr(Api, "of", lambda _environ: small.api)
    here = cluster.entered(settings(tmp_path), {})
    assert (here.namespace, here.proxy_namespace) == ("mail", "mail")
    edge = cluster.entered(settings(tmp_path, "traefik-internal.edge"), {})
    assert (edge.namespace, edge.proxy_namespace) == ("mail", "edge")


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Logs("postfix"), "kubectl logs mta-0"),
        (Logs("dovecot", 20), "kubectl logs mda-0"),
        (Logs(lines=1000), f"kubectl logs -l {PODS}"),
        (Logs(), f"kubectl logs -l {PODS} --tail=100"),
        (Command("up", "--detach"), "kubectl apply -k OVERLAY"),
        (Command("status"), f"kubectl get pods -l {PODS}"),
        (Command("mailbox list"), "kubectl exec mda-0 -- gatepost mailbox list"),
        (Command("verify", "--only tls"), "gatepost verify --cluster --only tls"),
        (Command("verify"), "gatepost verify --cluster"),
    ],
)
def test_what_to_do_is_told_for_a_cluster(step: Step, words: str) -> None:
    """There is no machine on which `gatepost up` could be typed."""
    told = Text("See: ", step).typed(partial(typed, services=SERVICES))
    assert str(told) == f"See: {words}"
    assert told.steps == (step,), "another face may do it another way"
    assert "kubectl" not in Text("See: ", step)


def test_where_there_is_no_cluster_nothing_is_begun(tmp_path: Path) -> None:
    """The message says where it runs."""
    with pytest.raises(UsageError, match="KUBERNETES_SERVICE_HOST is not set"):
        proof.prove_in_cluster(settings(tmp_path), {})
