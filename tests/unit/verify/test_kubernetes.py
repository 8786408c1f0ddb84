"""The Kubernetes API as a pod asks it: what it answers, and every way in which it does not."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from verify_cluster import NAMESPACE, TOKEN, Small, target

from gatepost.errors import UsageError
from gatepost.model import Event, Home, Observation, Status
from gatepost.plugins.kubernetes.checks.api import POD, Api
from gatepost.plugins.kubernetes.checks.pods import PodLogs
from gatepost.plugins.traefik.checks.objects import ROUTE
from gatepost.verify.catalogue import CHECKS, IN_CLUSTER, chosen
from gatepost.verify.check import CLUSTER
from gatepost.verify.evidence.logs import LogFile
from gatepost.verify.evidence.witnesses import LogWitness
from gatepost.verify.runner import prove
from gatepost.verify.subject import Subject
from gatepost.verify.vantage.cluster import Kind, Unreadable
from gatepost.verify.vantage.here import Here

READ_BY_THE_API = {"route", "endpoints", "traffic-policy", "proxy-log", "trust-breadth"}


def test_it_takes_a_pod() -> None:
    """Elsewhere nobody is asked, and the way to a pod is told."""
    with pytest.raises(UsageError, match=r"no pod.*deploy/kustomize/verify"):
        Api.of({})
    api = Api.of({"KUBERNETES_SERVICE_HOST": "10.43.0.1", "KUBERNETES_SERVICE_PORT": "6443"})
    assert (api.host, api.port) == ("10.43.0.1", 6443)


def test_objects_are_listed_with_the_pods_own_token(small: Small) -> None:
    """The server must know who asks, or it says no."""
    names = {item["metadata"]["name"] for item in small.api.list(POD, NAMESPACE)}
    assert names == {"traefik-0", "mta-0", "mda-0"}
    assert {request.token for request in small.server.requests} == {TOKEN}
    assert small.api.namespace == NAMESPACE


def test_a_kind_that_nobody_knows_has_no_objects(small: Small) -> None:
    """Traefik's definitions are not installed: that is a finding of the routes, and no fault."""
    assert small.api.list(Kind("Banana", "bananas", "example.org"), NAMESPACE) == ()


def test_a_right_that_is_missing_is_named(small: Small) -> None:
    """What to write into which Role."""
    small.server.accounts[TOKEN] = (NAMESPACE, "verify")
    with pytest.raises(Unreadable) as refused:
        small.api.list(ROUTE, NAMESPACE)
    assert "may not read ingressroutetcps in namespace mail" in refused.value.observed
    assert 'apiGroups: ["traefik.io"]' in refused.value.fix
    assert "deploy/kustomize/verify has it" in refused.value.fix
    with pytest.raises(Unreadable) as elsewhere:
        small.api.list(POD, "edge")
    assert "deploy/kustomize/verify-traefik-elsewhere has it" in elsewhere.value.fix


def test_an_api_that_is_away_is_named(small: Small) -> None:
    """A network policy may keep the pod from it."""
    away = replace(small.api, port=1)
    with pytest.raises(Unreadable, match="does not answer"):
        away.list(POD, NAMESPACE)


def test_a_pod_without_a_token_is_told(small: Small) -> None:
    """Somebody turned automountServiceAccountToken off."""
    (small.mounted / "token").unlink()
    with pytest.raises(Unreadable, match="no ServiceAccount token"):
        small.api.list(POD, NAMESPACE)


def test_an_impostor_is_not_believed(small: Small) -> None:
    """The token must not go to whoever answers at that address."""
    other = small.mounted / "ca.crt"
    other.write_text("")
    with pytest.raises(Unreadable):
        small.api.list(POD, NAMESPACE)
    assert not small.server.requests


# --- logs of pods ---------------------------------------------------------------------------------


class Toy:
    """Understands ``saw PORT``."""

    name = "postfix"

    def observe(self, line: str) -> Observation | None:
        """Read a line."""
        if not line.startswith("saw "):
            return None
        return Observation("postfix", Event.CONNECT, "10.42.0.30", int(line[4:]), None, line)


def heard(witness: LogWitness, port: int, seconds: float = 3) -> bool:
    return bool(witness.find(lambda o: o.port == port, deadline=time.monotonic() + seconds))


def test_pods_are_heard_from_now_on(small: Small) -> None:
    """An old line with the same port would prove a probe that was never seen."""
    small.say("mta-0", "postfix | saw 1")
    with LogWitness(PodLogs(small.cluster()), (Toy(),)) as witness:  # type: ignore[arg-type]
        small.say("mta-0", "postfix | saw 2")
        assert heard(witness, 2)
        assert not heard(witness, 1, seconds=0)
        assert witness.absence("postfix") is None
        assert witness.absence("dovecot") is None


def test_what_pods_said_before_is_read_latest_first(small: Small) -> None:
    """Whether the clients are told apart shows in what was said before."""
    for number in range(3):
        moment = f"2199-01-01T00:00:0{number}Z"
        small.say("mta-0", f"postfix | saw {number}", moment=moment)
    with LogWitness(PodLogs(small.cluster()), (Toy(),)) as witness:  # type: ignore[arg-type]
        soon = time.monotonic() + 3
        ports = [said.port for said in witness.earlier(most_bytes=10_000, deadline=soon)]
        assert ports == [2, 1, 0]
        few = list(witness.earlier(most_bytes=20, deadline=soon))
        assert [said.port for said in few] == [2]


def test_a_log_that_may_not_be_read_is_an_absence(small: Small) -> None:
    """Whoever heard nothing must not say that there was nothing to hear."""
    small.server.accounts[TOKEN] = (NAMESPACE, "verify")
    with LogWitness(PodLogs(small.cluster()), ()) as witness:
        absence = witness.absence("postfix")
    assert absence
    assert "may not read pods" in absence.observed


def test_a_daemon_without_a_pod_is_an_absence(small: Small) -> None:
    """Its StatefulSet has none, and the other's log is there."""
    small.server.delete("Pod", "mta-0", NAMESPACE)
    with LogWitness(PodLogs(small.cluster()), ()) as witness:
        absence = witness.absence("postfix")
        assert witness.absence("dovecot") is None
    assert absence
    assert "no pod with app.kubernetes.io/name=mta" in absence.observed


# --- the table ------------------------------------------------------------------------------------


def test_the_table_in_a_cluster_has_a_row_for_all_but_what_only_the_proxy_can() -> None:
    """A check that was left out by mistake would never be missed."""
    here = {check.name for check in CHECKS} - {
        *("missing-header", "header-versions"),
        *("home", "configuration"),  # look at the disk and ask the supervisor
    }
    there = [check.name for check in IN_CLUSTER]
    assert set(there) == here | {"route", "endpoints", "traffic-policy", "proxy-log"}
    assert len(there) == len(set(there))
    assert chosen(vantage=CLUSTER) == IN_CLUSTER


def test_a_check_of_the_other_table_is_refused_with_the_reason() -> None:
    """A run that quietly made nothing of what was asked would look like a pass."""
    with pytest.raises(UsageError, match="add --cluster"):
        chosen(["route"])
    with pytest.raises(UsageError, match="route and client-address stands for it"):
        chosen(["header-versions"], vantage=CLUSTER)


def subject(small: Small) -> Subject:
    def no_mailbox(_nonce: str) -> None:
        raise OSError("no accounts in this test")

    run = small.run()
    return Subject(
        topology=replace(
            run.topology,
            # Nobody listens there.
            listeners=tuple(
                replace(bound, public=(replace(bound.public[0], host="127.45.45.45"),), service=())
                for bound in run.topology.listeners
            ),
        ),
        mailname="mail.example.org",
        certificate=None,
        daemons=(),
        make_mailbox=no_mailbox,  # type: ignore[arg-type]
        vantage=run.vantage,
    )


def test_without_rights_rows_are_not_proven_and_none_is_missing(small: Small) -> None:
    """The fix is to apply the shipped Role."""
    small.server.accounts[TOKEN] = (NAMESPACE, "verify")
    found = prove(subject(small), chosen(READ_BY_THE_API, vantage=CLUSTER), seconds=3)
    assert {one.check for one in found} == READ_BY_THE_API
    assert {one.status for one in found} == {Status.NOT_PROVEN}
    assert all("deploy/kustomize/verify" in one.fix for one in found)
    assert len([one for one in found if one.check == "route"]) == 8


def test_a_cause_that_is_found_is_the_only_failure(small: Small) -> None:
    """Twenty red rows for one missing route hide which it is."""
    small.server.delete("IngressRouteTCP", "ingress-imap", NAMESPACE)
    found = prove(subject(small), chosen(["banner", "tls", "route"], vantage=CLUSTER), seconds=3)
    imap = {one.check: one for one in found if one.listener == "imap"}
    assert imap["route"].status is Status.FAIL
    assert imap["banner"].status is imap["tls"].status is Status.NOT_PROVEN
    assert "See the route row of imap" in imap["banner"].fix
    others = {one.check: one for one in found if one.listener == "imaps"}
    assert others["route"].status is Status.PASS
    assert others["banner"].status is Status.FAIL
    assert "kubectl get services" in others["banner"].fix


def test_on_one_machine_the_log_is_a_file(small: Small) -> None:
    """Nothing of the cluster concerns it."""
    assert isinstance(Here(Home(small.mounted)).log(), LogFile)
    assert isinstance(subject(small).vantage.log(), PodLogs)
    assert target("imap").address.host == "mda"
