"""What strangers' words look like in a report."""

from __future__ import annotations

import pytest

from gatepost.verify.clients.wire import shown


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (b"220 mail ESMTP\r\n", "220 mail ESMTP"),
        (b"\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        (b"gr\xfc\xdfe", "gr\\xfc\\xdfe"),
        (b"x" * 200, "x" * 120 + "…"),
    ],
)
def test_nothing_a_server_says_steers_the_terminal(words: bytes, text: str) -> None:
    """Escape sequences in a banner could rewrite the report on the screen."""
    assert shown(words) == text
