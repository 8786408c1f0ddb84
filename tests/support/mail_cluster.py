"""A whole mail server in a cluster: shipped manifests and values, filled in as users do."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import containers
import traefik_chart
import yaml
from accounts import ALICE, PASSWORD
from kubernetes_objects import Object
from outside import Outside, outside_world
from shipped import DEPLOY, Manifest, overlay, render

from cluster import Cluster, Machine, cluster

TRAEFIK, MTA, MDA, DATABASE = "traefik-0", "mta-0", "mda-0", "postgresql-0"

SETTINGS = {
    "MAILNAME": "mail.example.org",
    "POSTMASTER": ALICE[0],
    "TRUSTED_PROXIES": "10.42.0.0/24,fd00:42::/64",
    "RELAYHOST": "[203.0.113.25]:2525",
    "DB_HOST": "postgresql",
    "DB_NAME": "gatepost",
    "DB_USER": "gatepost",
    "DB_TLS_MODE": "disable",
}
"""What a user writes into ``.env``; the network of pods is the cluster's own."""
OVERLAY = "complete"
SECRET = {"DB_PASSWORD": "a secret for tests"}

_PODMAN = (
    *("podman", "--root", str(containers.STORAGE / "images")),
    *("--runroot", str(containers.STORAGE / "run")),
)


def manifests(
    settings: Mapping[str, str] = SETTINGS,
    secret: Mapping[str, str] = SECRET,
    *,
    components: Sequence[str] | None = None,
) -> list[Manifest]:
    """Render the overlay that brings its own database, with these values.

    `components` stand in for those of the overlay.
    """
    files = {
        ".env": "".join(f"{name}={value}\n" for name, value in settings.items()),
        "secret.env": "".join(f"{name}={value}\n" for name, value in secret.items()),
    }
    with tempfile.TemporaryDirectory(prefix="gp-overlay-") as place:
        folder = overlay(Path(place), OVERLAY, files)
        if components is not None:
            file = folder / "kustomization.yaml"
            content = yaml.safe_load(file.read_text())
            content["components"] = list(components)
            file.write_text(yaml.safe_dump(content))
        return render(folder)


def traefik(made: Cluster) -> list[Object]:
    """Return what Traefik's chart makes of the shipped values."""
    values = yaml.safe_load((DEPLOY / "traefik" / "values.yaml").read_text())
    return traefik_chart.objects(values, made.api.url)


@contextlib.contextmanager
def empty_cluster() -> Iterator[Cluster]:
    """Run a node that has the project's images and nothing on it."""
    with cluster(_PODMAN) as made:
        yield made


@contextlib.contextmanager
def mail_cluster(objects: Sequence[Object] | None = None) -> Iterator[Cluster]:
    """Run everything: Traefik, the mail server, its database, accounts alice and bob."""
    with empty_cluster() as made:
        made.apply(*traefik(made), *(manifests() if objects is None else objects))
        made.wait_ready(TRAEFIK, DATABASE, MTA, MDA, seconds=60)
        populate(made)
        yield made


def populate(made: Cluster) -> None:
    """Add the accounts that tests speak of, as an administrator does."""
    gatepost(made, "domain", "add", "example.org")
    for name in ("alice", "bob"):
        address = f"{name}@example.org"
        gatepost(made, "mailbox", "add", address, "--password-stdin", said=PASSWORD)


def gatepost(made: Cluster, *words: str, pod: str = MDA, said: str = "") -> str:
    """Run ``gatepost`` in a pod, as ``kubectl exec`` does."""
    return made.pods[pod].main.run("gatepost", *words, said=said)


def laptop(made: Cluster) -> Machine:
    """Return a machine that sends mail."""
    return made.machine("laptop", "203.0.113.77", "2001:db8:113::77")


def phone(made: Cluster) -> Machine:
    """Return a machine that reads mail."""
    return made.machine("phone", "198.51.100.8", "2001:db8:51::8")


@contextlib.contextmanager
def rest_of_the_world(made: Cluster) -> Iterator[Outside]:
    """Run the server that outgoing mail is given to, on a machine of its own."""
    machine = made.machine("outside", "203.0.113.25", "2001:db8:113::25")
    # Its threads are where the thread was that began them.
    with machine.host.inside(), outside_world(machine.host.ipv4) as world:
        yield world
