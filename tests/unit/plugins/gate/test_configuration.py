"""The gate's file: what is written is what is read."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from gatepost.model import Address, Standing
from gatepost.plugins.gate.configuration import Configuration, Limits, load

CONFIGURATION = Configuration(
    hostname="mail.example.org",
    trusted=(ipaddress.ip_network("10.42.0.0/16"), ipaddress.ip_network("fd00::/64")),
    relaying=(ipaddress.ip_network("10.42.7.0/24"),),
    accept_direct=False,
    header_seconds=3.0,
    limits=Limits(50, 600),
    handoffs={
        "smtp": {
            Standing.NAMED: "/srv/gatepost/queue/private/gate-smtp",
            Standing.RELAYING: "/srv/gatepost/queue/private/gate-smtp-relaying",
        }
    },
    metrics=(Address("127.0.0.1", 2006),),
)


def test_round_trip(tmp_path: Path) -> None:
    """A setting would be lost on its way to the gate."""
    file = tmp_path / "gate.json"
    file.write_text(CONFIGURATION.dump())
    assert load(file) == CONFIGURATION


WHOLE = CONFIGURATION.dump()


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[]", '{"hostname": "a"}'),
        WHOLE.replace("3.0", '"soon"'),
        WHOLE.replace("600", '"many"'),
        WHOLE.replace("10.42.0.0/16", "10.42.0.0/33"),
        WHOLE.replace("2006", '"x"'),
        WHOLE.replace('"relaying":', '"trusting":'),
    ],
)
def test_half_a_file_is_not_taken(tmp_path: Path, text: str) -> None:
    """The gate would run with half its settings."""
    file = tmp_path / "gate.json"
    file.write_text(text)
    with pytest.raises((ValueError, KeyError, TypeError)):
        load(file)
