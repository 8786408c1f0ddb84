"""One cluster for all tests that leave it as they found it; see `mail_cluster`."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import containers
import pytest
from mail_cluster import laptop, mail_cluster, phone, rest_of_the_world
from outside import Outside
from required import require

import cluster
from cluster import Cluster, Machine

_LAST_LINES = 60


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show beside a failure what the pods have said: it may never happen again."""
    report = yield
    mail = getattr(item, "funcargs", {}).get("mail")
    if report.failed and isinstance(mail, Cluster):
        for pod in mail.pods:
            lines = mail.log(pod).splitlines()[-_LAST_LINES:]
            report.sections.append((f"the last lines of {pod}", "\n".join(lines)))
    return report


@pytest.fixture(scope="session", autouse=True)
def machine_can_be_a_node() -> None:
    """Say loudly what is missing; where CI counts on these tests they fail."""
    require("The tests in a cluster", containers.requirements() or cluster.missing())


@pytest.fixture(scope="session")
def images(machine_can_be_a_node: None) -> None:  # noqa: ARG001
    """Build the images, or find that they are what the sources say."""
    containers.build()


@pytest.fixture(scope="session")
def mail(images: None) -> Iterator[Cluster]:  # noqa: ARG001
    """Run everything; a test that changes something puts it back."""
    with mail_cluster() as made:
        yield made


@pytest.fixture(scope="session")
def sender(mail: Cluster) -> Machine:
    """Return the machine that mail comes from."""
    return laptop(mail)


@pytest.fixture(scope="session")
def reader(mail: Cluster) -> Machine:
    """Return the machine that mail is read on."""
    return phone(mail)


@pytest.fixture(scope="session")
def outside(mail: Cluster) -> Iterator[Outside]:
    """Run the server that outgoing mail is given to."""
    with rest_of_the_world(mail) as world:
        yield world
