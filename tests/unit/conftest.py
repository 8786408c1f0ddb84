"""Values that unit tests share: a place to plan for that needs no machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings
from rendered import announced_secrets

from gatepost.model import Certificate, Home, Installed, Site
from gatepost.run import copies

# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def site() -> Site:
    """Debian 12, everything installed, nothing real."""
    home = Home(Path("/srv/gatepost"))
    return Site(
        home=home,
        installed={
            "postfix": Installed("3.7.11"),
            "dovecot": Installed("2.3.19.1"),
            "traefik": Installed("3.7.15"),
        },
        certificate=copies.announced_pair(
            Certificate(home.secrets / "tls.crt", home.secrets / "tls.key")
        ),
        secrets=announced_secrets(home),
        program=Path("/opt/gatepost/bin/gatepost"),
    )
