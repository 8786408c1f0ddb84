"""A Secret that is replaced reaches the daemons of a container that runs."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from container_pair import setup, until
from containers import Container, container
from cryptography import x509
from issuing import Secret
from network import Host

MOUNTED = "/etc/gatepost/tls"
INTERNAL = {"mta": 32465, "mda": 32993}


@pytest.fixture
def secret(tmp_path: Path) -> Secret:
    """Return a volume as the kubelet fills it."""
    return Secret(tmp_path / "secret")


@pytest.fixture(params=["mda", "mta"])
def alone(
    request: pytest.FixtureRequest,
    images: Mapping[str, str],
    places: Mapping[str, Host],
    secret: Secret,
    tmp_path: Path,
) -> Iterator[tuple[Container, int]]:
    """Run one of the two with the Secret mounted; return it and a port with TLS from the start."""
    service = request.param
    files = {"TLS_CERT_FILE": f"{MOUNTED}/tls.crt", "TLS_KEY_FILE": f"{MOUNTED}/tls.key"}
    made = setup(service, tmp_path, None, **files)
    made = replace(made, volumes={**made.volumes, MOUNTED: secret.folder})
    with container(made, images, places[service]) as one:
        one.wait_ready(60)
        yield one, INTERNAL[service]


def shown(one: Container, port: int) -> int:
    with one.inside():
        pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=20)
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def test_a_secret_that_is_replaced_is_shown(alone: tuple[Container, int], secret: Secret) -> None:
    """Nobody types `up` in a container: the old certificate would be shown until it expires."""
    one, port = alone
    before = secret.issued.serial
    assert shown(one, port) == before, "the control"
    secret.renew()
    until(lambda: shown(one, port) == secret.issued.serial, "the renewed one is shown")
    assert secret.issued.serial != before
    one.wait_for_log("read anew", MOUNTED)
    one.wait_ready()
