"""What goes wrong on the way to a cluster: the log says it in one line, and mending it is enough.

Each case has a cluster of its own, with the mail server's pods and their database.
"""

from __future__ import annotations

import contextlib
import smtplib
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from accounts import ALICE
from clients import message
from cluster_clients import door, send, speak
from mail_cluster import (
    DATABASE,
    MDA,
    MTA,
    SECRET,
    SETTINGS,
    TRAEFIK,
    empty_cluster,
    laptop,
    mail_cluster,
    manifests,
    populate,
    traefik,
)
from shipped import RenderingError, of_kind

from cluster import Cluster, Machine


@pytest.fixture
def empty(images: None) -> Iterator[Cluster]:  # noqa: ARG001
    """Lend a cluster with nothing on it."""
    with empty_cluster() as made:
        yield made


@pytest.fixture(scope="module")
def own(images: None) -> Iterator[Cluster]:  # noqa: ARG001
    """Lend a whole mail server that these tests may break."""
    with mail_cluster() as made:
        yield made


def without(values: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if name not in names}


def one_line(cluster: Cluster, pod: str, *words: str) -> None:
    """See that a pod says these words in one line, is not ready, and shows no traceback."""
    line = cluster.wait_for_log(pod, *words, seconds=30)
    assert not cluster.pods[pod].ready
    said = cluster.log(pod)
    assert "Traceback" not in said, said
    # However often it is started again: each start ends with the explanation.
    assert said.count(line) >= cluster.pods[pod].restarts
    ready = ("get", "pod", pod, "-o", "jsonpath={.status.conditions[0].status}")
    cluster.wait(lambda: cluster.kubectl(*ready) == "False", lambda: cluster.kubectl(*ready))


def works(cluster: Cluster) -> None:
    """See that everything is ready now, and that a client is served and seen."""
    cluster.wait_ready(TRAEFIK, DATABASE, MTA, MDA, seconds=60)
    populate(cluster)
    for listener in ("smtp", "imap"):
        assert speak(cluster, laptop(cluster), listener).seen(cluster)


@pytest.mark.parametrize("file", [".env", "secret.env"])
def test_a_file_that_was_not_copied_is_named(file: str) -> None:
    """Half a server would be applied."""
    settings = {} if file == ".env" else SETTINGS
    secret = {} if file == "secret.env" else SECRET
    with pytest.raises(RenderingError, match=rf"/{file.replace('.', chr(92) + '.')}: no such file"):
        manifests(settings, secret)


CASES = {
    "no-name": (without(SETTINGS, "MAILNAME"), SECRET, ("MAILNAME",)),
    "no-proxy": (without(SETTINGS, "TRUSTED_PROXIES"), SECRET, ("TRUSTED_PROXIES", "10.42.0.7/32")),
    "no-database": (without(SETTINGS, "DB_HOST"), SECRET, ("DB_HOST", "DB_HOST=db.example.net")),
    "wrong-password": (SETTINGS, {"DB_PASSWORD": "other"}, ("DB_PASSWORD: ", "does not accept it")),
    "no-password": (SETTINGS, {}, ("DB_PASSWORD", "Set DB_PASSWORD to the password of DB_USER")),
}
"""What is wrong → settings, Secret, the words of the line that says so."""


@pytest.mark.parametrize("case", CASES)
def test_both_pods_say_what_is_wrong(empty: Cluster, case: str) -> None:
    """A pod that restarts for ever and says nothing costs its user the evening."""
    settings, secret, words = CASES[case]
    right = manifests()
    empty.apply(*traefik(empty), *of_kind(right, "Secret").values())
    empty.apply(*(item for item in right if item["metadata"]["name"] == "postgresql"))
    empty.apply(*of_kind(right, "ConfigMap").values())
    empty.wait_ready(DATABASE, seconds=30)
    wrong = manifests(settings, secret or {"OTHER": "a password"})
    if not secret:
        gone = of_kind(wrong, "Secret").keys()
        wrong = [item for item in wrong if item["metadata"]["name"] not in gone]
    empty.apply(*(item for item in wrong if item["metadata"]["name"] != "postgresql"))
    for pod in (MTA, MDA):
        one_line(empty, pod, *words)
    # As `kubectl apply` does with another ConfigMap or Secret: the names change, so pods do.
    empty.apply(*right)
    for pod in (MTA, MDA):
        empty.restart(pod)
    works(empty)


def volume(cluster: Cluster, pod: str) -> Path:
    """Return the folder that stands for a pod's claim."""
    found: Path = cluster.place.folder / "volumes" / f"data-{pod}"
    return found


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Put another file system in a folder's place, as it is after some use."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", folder], check=True)
    try:
        (folder / "run").mkdir()
        subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("pod", [MTA, MDA])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("ro", "cannot be written to (Read-only file system)"),
        ("rw", "has no room left (No space left on device)"),
    ],
    ids=["read-only", "full"],
)
def test_a_volume_that_takes_nothing_is_named(
    own: Cluster, pod: str, options: str, words: str
) -> None:
    """Storage that fails is the first thing that fails."""
    own.stop(pod)
    with mounted(volume(own, pod), options):
        own.settle()
        one_line(own, pod, 'GATEPOST_HOME: "/var/lib/gatepost"', words)
        own.stop(pod)
    own.settle()
    works_again(own)


def test_a_range_that_does_not_hold_traefik_is_told(own: Cluster) -> None:
    """Every client is turned away, and the reason is in the log, with the address to add."""
    narrow = manifests({**SETTINGS, "TRUSTED_PROXIES": "10.99.0.0/24"})
    proxy = own.pods[TRAEFIK].host.ipv4
    marks = {pod: own.mark(pod) for pod in (MTA, MDA)}
    own.apply(*narrow)
    for pod in (MTA, MDA):
        own.restart(pod)
    own.wait_ready(MTA, MDA, seconds=60)
    sender = laptop(own)
    said = {listener: first_words(sender, listener) for listener in ("smtp", "imap")}
    assert said["smtp"].startswith(b"421 4.7.0"), said
    assert not said["imap"]
    own.wait_for_log(MTA, proxy, since=marks[MTA])
    own.wait_for_log(MDA, "Client not trusted", f"rip={proxy}", since=marks[MDA])
    own.apply(*manifests())
    for pod in (MTA, MDA):
        own.restart(pod)
    works_again(own)


def first_words(machine: Machine, listener: str) -> bytes:
    with machine.client() as client, client.raw(door(listener, 4)) as stream:
        stream.settimeout(5)
        try:
            return stream.recv(200)
        except (TimeoutError, ConnectionError):
            return b""


def works_again(cluster: Cluster) -> None:
    """See that a client is served and seen, where the accounts are there already."""
    cluster.wait_ready(TRAEFIK, DATABASE, MTA, MDA, seconds=60)
    for listener in ("smtp", "imap"):
        assert speak(cluster, laptop(cluster), listener).seen(cluster)


def test_no_mail_is_refused_for_good_while_the_database_is_away(own: Cluster) -> None:
    """Mail would go back to its senders: 451 makes them keep it and come again."""
    sender = laptop(own)
    own.stop(DATABASE)
    try:
        codes = [recipient(sender, address) for address in (ALICE[0], "nobody@example.org")]
        assert codes == [451, 451]
    finally:
        own.settle()
    own.wait_ready(DATABASE, seconds=30)
    own.wait(lambda: recipient(sender, ALICE[0]) == 250, lambda: own.log(MTA)[-3000:], 60)
    # The control: who is not there is refused for good once that is known.
    assert recipient(sender, "nobody@example.org") == 550
    assert send(sender)
    works_again(own)


def recipient(machine: Machine, address: str) -> int:
    """Return what port 25 answers to a recipient."""
    with machine.client() as client, client.smtp(door("smtp", 4)) as smtp:
        try:
            smtp.send_message(message(to=address))
        except smtplib.SMTPRecipientsRefused as refused:
            return int(refused.recipients[address][0])
        return 250
