"""A cluster for tests of the checks that ask the Kubernetes API."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from verify_cluster import Small, small_cluster


@pytest.fixture
def small() -> Iterator[Small]:
    """Lend a cluster in which all is right."""
    with small_cluster() as made:
        yield made
