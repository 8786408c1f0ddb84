"""Every object of Traefik's that ships fits Traefik's types, and uses nothing it gives up."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml
from shipped import KUSTOMIZE, Manifest, overlay, render
from traefik_schema import Finding, findings

OVERLAYS = sorted(folder.name for folder in (KUSTOMIZE / "overlays").iterdir())

GIVEN_UP = "spec.routes[0].services[0].proxyProtocol"
"""The one deprecated field that ships: the reference document has it, word for word."""


def of_traefik(objects: list[Manifest]) -> list[Manifest]:
    return [found for found in objects if found["apiVersion"].startswith("traefik.io/")]


@pytest.mark.parametrize("name", OVERLAYS)
def test_overlays_use_nothing_that_traefik_gives_up(tmp_path: Path, name: str) -> None:
    """The next Traefik would ignore a field, and every client would have Traefik's address."""
    objects = of_traefik(render(overlay(tmp_path, name)))
    assert len(objects) >= 9
    assert [found for item in objects for found in findings(item)] == []


def test_the_references_routes_use_one_deprecated_field_and_no_other() -> None:
    """A second one would have come in unseen."""
    objects = of_traefik(render(KUSTOMIZE / "ingress" / "traefik"))
    assert len(objects) >= 8
    for item in objects:
        (found,) = findings(item)
        assert found.path == GIVEN_UP
        assert found.trouble.startswith("deprecated: ")
        assert "ServersTransport" in found.trouble


def route() -> Manifest:
    """Return a route that is in order."""
    file = KUSTOMIZE / "ingress" / "traefik" / "ingress-imap.yaml"
    found: Manifest = yaml.safe_load(file.read_text())
    del found["spec"]["routes"][0]["services"][0]["proxyProtocol"]
    assert findings(found) == []
    return found


def test_control_deprecated_fields_are_found() -> None:
    """The tests above would pass whatever ships."""
    item = route()
    item["spec"]["routes"][0]["services"][0]["terminationDelay"] = 100
    item["spec"]["routes"][0]["syntax"] = "v3"
    found = {finding.path: finding.trouble for finding in findings(item)}
    assert found.keys() == {"spec.routes[0].services[0].terminationDelay", "spec.routes[0].syntax"}
    assert all(trouble.startswith("deprecated: ") for trouble in found.values())


def test_control_what_does_not_fit_is_found() -> None:
    """A misspelt field is dropped by the API server without a word."""
    item = route()
    service = item["spec"]["routes"][0]["services"][0]
    service["nativeLb"] = service.pop("nativeLB")
    service["port"] = ["imap"]
    service["tls"] = "yes"
    del item["spec"]["routes"][0]["match"]
    item["spec"]["entryPoints"] = "imap"
    assert set(findings(item)) == {
        Finding("spec.routes[0].services[0].nativeLb", "unknown"),
        Finding(
            "spec.routes[0].services[0].port", "not a IIoK8sApimachineryPkgUtilIntstrIntOrString"
        ),
        Finding("spec.routes[0].services[0].tls", "not a boolean"),
        Finding("spec.routes[0].match", "missing"),
        Finding("spec.entryPoints", "not a list"),
    }


@pytest.mark.parametrize(("name", "value"), [("kind", "IngressRouteTPC"), ("apiVersion", "v1")])
def test_control_a_kind_that_traefik_does_not_have_is_found(name: str, value: str) -> None:
    """The route would be refused, or be nobody's."""
    item = copy.deepcopy(route()) | {name: value}
    (found,) = findings(item)
    assert found.path == "kind"


def test_control_the_middle_of_a_transport_is_looked_at() -> None:
    """Only the first level would be checked."""
    item = {
        "apiVersion": "traefik.io/v1alpha1",
        "kind": "ServersTransportTCP",
        "metadata": {"name": "proxy-v2"},
        "spec": {"proxyProtocol": {"version": "two"}, "tls": {"serverNames": "mda"}},
    }
    assert set(findings(item)) == {
        Finding("spec.proxyProtocol.version", "not a number"),
        Finding("spec.tls.serverNames", "unknown"),
    }
