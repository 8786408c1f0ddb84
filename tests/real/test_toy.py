"""A plug-in of another distribution, in a real server: `tests/toy`, found by its entry point."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from instance import CLIENT, CLIENT6, STRANGER, Instance, instance

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


# --- its website, behind Traefik ----------------------------------------------------------------

MADE_UP = "192.0.2.9"
"""An address that a client says it has."""
Headers = Mapping[str, str]
NONE: Headers = MappingProxyType({})


@pytest.fixture(scope="module")
def website() -> Iterator[Instance]:
    """Run a server with the toy's website behind Traefik."""
    settings = {"PYTHONPATH": str(TOY), "TOY_BELL": "yes"}
    with instance(settings) as made:
        yield made


def asked(connection: socket.socket, path: str, headers: Headers = NONE) -> tuple[int, str]:
    """Send a GET request on a connection; return the answer's status and text."""
    client = http.client.HTTPConnection("mail.example.org")
    client.sock = connection
    try:
        client.request("GET", path, headers=dict(headers))
        answer = client.getresponse()
        return answer.status, answer.read().decode().strip()
    finally:
        client.close()


def visit(
    server: Instance, path: str, *, family: int = 4, source: str = CLIENT, headers: Headers = NONE
) -> tuple[int, str]:
    """Ask as a visitor does, who knows the mail server's certificate."""
    trusted = ssl.create_default_context(cafile=server.home / "secrets" / "tls.crt")
    plain = socket.create_connection(
        server.public("toy-web", family=family), timeout=10, source_address=(source, 0)
    )
    with trusted.wrap_socket(plain, server_hostname="mail.example.org") as connection:
        return asked(connection, path, headers)


def ask_directly(server: Instance, source: str, headers: Headers = NONE) -> tuple[int, str]:
    """Ask at the toy's own port, past the proxy."""
    with socket.create_connection(
        server.service("toy-web"), timeout=10, source_address=(source, 0)
    ) as connection:
        return asked(connection, "/toy", headers)


def test_visitors_reach_it_through_the_proxy_with_their_own_addresses(website: Instance) -> None:
    """Every visitor would be the proxy, and whoever is to be kept out could not be told apart."""
    assert visit(website, "/toy/bell") == (200, f"{CLIENT} rings at /toy/bell")
    assert visit(website, "/toy?x=1") == (200, f"{CLIENT} rings at /toy?x=1")
    assert visit(website, "/toy", family=6, source=CLIENT6) == (200, f"{CLIENT6} rings at /toy")
    # Other paths are nobody's.
    for path in ("/", "/toys", "/TOY", "/toy/../other"):
        assert visit(website, path)[0] == 404, path
    assert visit(website, "/toy/%2F..%2Fother")[0] == 400


def test_nobody_can_make_up_an_address(website: Instance) -> None:
    """Whoever is kept out would come in under another address."""
    forged = {"X-Forwarded-For": MADE_UP}
    named = {"Forwarded": f"for={MADE_UP}"}
    for headers in (forged, named, forged | named):
        assert visit(website, "/toy", headers=headers) == (200, f"{CLIENT} rings at /toy")
    assert visit(website, "/toy", headers={"X_Forwarded_For": MADE_UP})[0] == 400
    assert ask_directly(website, STRANGER, forged) == (200, f"{STRANGER} rings at /toy")
    # The control: from where the proxy connects the same header is believed.
    for headers in (forged, named):
        assert ask_directly(website, "127.0.0.1", headers) == (200, f"{MADE_UP} rings at /toy")


def test_traefik_complains_of_nothing(website: Instance) -> None:
    """An option that Traefik does not know would be without effect."""
    visit(website, "/toy")
    lines = [line for line in website.log().splitlines() if line.startswith("traefik | ")]
    assert [line for line in lines if " WRN " in line or " ERR " in line] == []


def test_without_its_route_nothing_answers_for_the_proxy(website: Instance) -> None:
    """The control: the proxy would open a port for nobody, or lead to what is switched off."""
    public, own = website.public("toy-web"), website.service("toy-web")
    website.settings["TOY_ROUTE"] = "no"
    website.up()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(public, timeout=5)
    assert ask_directly(website, STRANGER)[0] == 200
    (row,) = (row for row in website.status()["listeners"] if row["name"] == "toy-web")
    assert row["addresses"]["public"] == []

    website.settings["TOY_BELL"] = "no"
    website.up()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(own, timeout=5)

    del website.settings["TOY_ROUTE"]
    website.settings["TOY_BELL"] = "yes"
    website.up()
    assert visit(website, "/toy")[0] == 200
