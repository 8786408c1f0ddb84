"""The images, and one pair of containers for all tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import containers
import pytest
from container_pair import Pair, hosts, pair
from network import Host, network
from required import require


@pytest.fixture(scope="session", autouse=True)
def machine_can_run_containers() -> None:
    """Say loudly what is missing; where CI counts on these tests they fail."""
    require("The tests of the container images", containers.requirements())


@pytest.fixture(scope="session")
def images(machine_can_run_containers: None) -> Mapping[str, str]:  # noqa: ARG001
    """Build the images, or find that they are what the sources say."""
    return containers.build()


@pytest.fixture(scope="session")
def places(images: Mapping[str, str]) -> Iterator[Mapping[str, Host]]:  # noqa: ARG001
    """Make a network with a host for each container and one for who writes to them."""
    with network() as net:
        yield hosts(net)


@pytest.fixture(scope="module")
def mail(
    images: Mapping[str, str],
    places: Mapping[str, Host],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    """Run both containers; a test that changes something puts it back."""
    folder = tmp_path_factory.mktemp("mail")
    with pair(images, places, folder) as made:
        yield made
