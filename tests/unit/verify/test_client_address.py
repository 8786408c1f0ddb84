"""What is said of clients that a daemon did not see as they are."""

from __future__ import annotations

import pytest

from gatepost.model import Address, Event, Observation
from gatepost.verify.checks.client_address import missed

ONE, OTHER = Address("127.0.0.77", 40001), Address("127.0.0.78", 40002)


def saw(host: str, port: int) -> Observation:
    return Observation("dovecot", Event.LOGIN, host, port, None, "a line")


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        # The one that was seen is no fault: it is not named.
        ([saw("127.0.0.77", 40001), None], "no line about 127.0.0.78:40002"),
        ([None, None], "no line about 127.0.0.77:40001 or 127.0.0.78:40002"),
        (
            [saw("127.0.0.1", 40001), saw("127.0.0.78", 40002)],
            "dovecot saw 127.0.0.1 port 40001 instead of 127.0.0.77:40001",
        ),
        (
            [saw("127.0.0.1", 40001), None],
            "dovecot saw 127.0.0.1 port 40001 instead of 127.0.0.77:40001",
        ),
    ],
)
def test_only_what_is_wrong_is_named(seen: list[Observation | None], told: str) -> None:
    """A row named the client that was seen as itself; nobody could mend that."""
    assert str(missed("dovecot", [ONE, OTHER], seen)) == told
