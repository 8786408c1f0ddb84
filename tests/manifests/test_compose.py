"""deploy/compose.yaml is the same server as the manifests: ports, names, rights, settings."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose
from dotenv import dotenv_values
from shipped import DEPLOY, KUSTOMIZE, container

from gatepost import assembly, registry
from gatepost.model import Address, Listener
from gatepost.registry import load
from gatepost.settings.concerns import DatabaseDriver

Compose = dict[str, Any]
SERVICES = pytest.mark.parametrize("service", ["mta", "mda"])
ROWS = [(daemon.unit, row) for daemon in registry.plugins() for row in daemon.listeners]


def read(name: str = "compose.yaml") -> Compose:
    """Return a file as Compose sees it, its merge keys resolved."""
    found: Compose = yaml.safe_load((DEPLOY / name).read_text())
    return found


def compose() -> Compose:
    """Return all services of the file that is enough by itself."""
    found: Compose = read()["services"]
    return found


def settings(service: str, *more: str) -> dict[str, str]:
    """Return the variables that a container has, those of more files put over the first's."""
    told: dict[str, str] = {"GATEPOST_PLACE": "container"}
    for name in ("compose.yaml", *more):
        told |= read(name)["services"][service]["environment"]
    given = {"MAILNAME": "mail.example.org"}
    return {name: given.get(name, value) for name, value in told.items()}


# --- as Compose reads it --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["compose.yaml", "compose.postgresql.yaml"])
def test_it_fits_the_compose_specification(name: str) -> None:
    """`docker compose up` would refuse the file."""
    PyCompose.from_yaml(yaml.safe_dump(read(name)))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("read_only:", "readonly:"),
        ("stop_grace_period: 60s", "stop_grace_period: soon"),
        ('"25:3325"', '"25:smtp"'),
        ("ipv4_address:", "ip_address:"),
    ],
)
def test_control_what_does_not_fit_is_found(right: str, wrong: str) -> None:
    """The specification would be asked about nothing."""
    text = (DEPLOY / "compose.yaml").read_text()
    assert right in text
    broken = yaml.safe_load(text.replace(right, wrong))
    with pytest.raises(ValueError, match=r"line \d+"):
        PyCompose.from_yaml(yaml.safe_dump(broken))


def test_names_that_are_used_are_made() -> None:
    """Compose would stop at the first volume or network that nobody makes."""
    made = read()
    for name, service in made["services"].items():
        networks = service["networks"]
        assert set(networks) <= set(made["networks"]), name
        named = {volume.partition(":")[0] for volume in service["volumes"]}
        folders = {place for place in named if place.startswith(".")}
        assert named - folders <= set(made["volumes"]), name
        assert all((DEPLOY / place).exists() for place in folders), name


# --- the way of a connection ----------------------------------------------------------------------


def test_traefik_publishes_the_worlds_ports() -> None:
    """A mail program would find nobody."""
    traefik = compose()["traefik"]
    listens = dict(
        word.removeprefix("--entryPoints.").split(".address=:")
        for word in traefik["command"]
        if ".address=:" in word
    )
    assert listens == {row.name: str(row.entry_point_port) for _, row in ROWS}
    published = {tuple(map(int, port.split(":"))) for port in traefik["ports"]}
    assert published == {(row.public_port, row.entry_point_port) for _, row in ROWS}


def test_every_listener_has_its_route() -> None:
    """One of the mail ports would be dead, or have no PROXY header."""
    routes = yaml.safe_load((DEPLOY / "compose" / "routes.yaml").read_text())["tcp"]
    assert routes["routers"] == {
        row.name: {"entryPoints": [row.name], "rule": "HostSNI(`*`)", "service": row.name}
        for _, row in ROWS
    }
    assert routes["services"] == {
        row.name: {
            "loadBalancer": {
                "serversTransport": "proxy-v2",
                "servers": [{"address": f"{service}:{row.service_port}"}],
            }
        }
        for service, row in ROWS
    }
    assert routes["serversTransports"] == {"proxy-v2": {"proxyProtocol": {"version": 2}}}


def test_traefik_reads_the_routes_that_are_mounted() -> None:
    """It would start, and know no route."""
    traefik = compose()["traefik"]
    (mounted,) = (volume.split(":")[1] for volume in traefik["volumes"])
    assert f"--providers.file.filename={mounted}" in traefik["command"]


def test_only_traefik_is_trusted() -> None:
    """Any container could claim to be any client, or Traefik would be refused."""
    own = compose()["traefik"]["networks"]["mail"]
    trusted = load(settings("mta")).proxy.trusted_proxies
    assert [str(network) for network in trusted] == [
        f"{own['ipv4_address']}/32",
        f"{own['ipv6_address']}/128",
    ]


@SERVICES
def test_names_are_those_that_the_other_container_asks_for(service: str) -> None:
    """The MTA would not find the mail store."""
    services = compose()
    known = {alias for one in services.values() for alias in one["networks"]["mail"]["aliases"]}
    topology = assembly.topology(load(settings(service)), unit=service)
    ends = [*topology.clients.values(), *topology.roles.values()]
    assert {end.host for end in ends if isinstance(end, Address)} - {"127.0.0.1"} <= known
    assert services[service]["hostname"] == service


# --- settings and rights --------------------------------------------------------------------------


@SERVICES
def test_it_has_the_references_environment(service: str) -> None:
    """It would be another server than the one in the document."""
    reference = dotenv_values(KUSTOMIZE / "common" / "defaults.env")
    reference.pop("DB_DRIVER")
    told = settings(service)
    assert {name: told.get(name) for name in reference} == reference
    topology = assembly.topology(load(told), unit=service)
    expected: set[Listener] = {row for owner, row in ROWS if owner == service}
    assert {bound.listener for bound in topology.listeners} == expected
    assert all(bound.proxied for bound in topology.listeners)


@SERVICES
def test_accounts_are_shared(service: str) -> None:
    """The MTA would not know the mailboxes that the MDA has."""
    home = load(settings(service)).storage.gatepost_home
    assert load(settings(service)).database.db_driver is DatabaseDriver.SQLITE
    assert f"accounts:{home}/accounts" in compose()[service]["volumes"]
    # Everything else is a container's own: two masters would write each other's files.
    assert f"{service}:{home}" in compose()[service]["volumes"]


@SERVICES
def test_postgresql_is_the_one_that_is_asked_for(service: str) -> None:
    """Both would wait for a database that is there."""
    more = "compose.postgresql.yaml"
    told = settings(service, more) | {"DB_PASSWORD": "a password"}
    database = load(told).database
    assert database.db_driver is DatabaseDriver.PGSQL
    server = read(more)["services"][str(database.db_host)]
    assert server["environment"]["POSTGRES_DB"] == database.db_name
    assert server["environment"]["POSTGRES_USER"] == database.db_user
    assert server["environment"]["POSTGRES_PASSWORD"].startswith("${DB_PASSWORD:?")


@SERVICES
def test_rights_are_those_of_the_pods(service: str) -> None:
    """One of two copies would grow old."""
    pod = container(yaml.safe_load((KUSTOMIZE / service / "statefulset.yaml").read_text()))
    ours = compose()[service]
    rights = pod["securityContext"]
    assert ours["cap_drop"] == rights["capabilities"]["drop"]
    assert ours["cap_add"] == rights["capabilities"]["add"]
    assert ours["read_only"] is rights["readOnlyRootFilesystem"]
    assert ours["security_opt"] == ["no-new-privileges:true"]
    assert ours["image"] == pod["image"] == f"gatepost-{service}:{version('gatepost')}"
    assert ours["stop_grace_period"] == "60s"
    written = {place.partition(":")[0] for place in ours["tmpfs"]}
    written |= {volume.split(":")[1] for volume in ours["volumes"]}
    mounted = {mount["mountPath"] for mount in pod["volumeMounts"]}
    assert written == mounted | {"/var/lib/gatepost/accounts"}


def test_the_database_is_the_pods() -> None:
    """One of two copies would grow old."""
    file = KUSTOMIZE / "database" / "postgresql" / "statefulset.yaml"
    pod = container(yaml.safe_load(file.read_text()))
    ours = read("compose.postgresql.yaml")["services"]["postgresql"]
    assert ours["image"] == pod["image"]
    (words,) = (v["value"] for v in pod["env"] if v["name"] == "POSTGRES_INITDB_ARGS")
    assert ours["environment"]["POSTGRES_INITDB_ARGS"] == words
    assert ours["read_only"] is True
    assert ours["cap_drop"] == ["ALL"]
    assert ours["user"] == "999:999"
