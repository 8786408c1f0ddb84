"""One way to write an address, so that nobody is two clients."""

from __future__ import annotations

import pytest

from gatepost.gate.addresses import plain


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::192.0.2.1", "::192.0.2.1"),
        ("64:ff9b::192.0.2.1", "64:ff9b::192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_plain(written: str, meant: str) -> None:
    """Block lists and limits would miss a client; Postfix would die of a scope."""
    assert plain(written) == meant
