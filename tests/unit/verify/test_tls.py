"""Names in certificates."""

from __future__ import annotations

import pytest

from gatepost.verify.checks.tls import fits


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        ("mail.example.org", "mail.example.org", True),
        ("MAIL.example.org", "mail.Example.org.", True),
        ("*.example.org", "mail.example.org", True),
        ("*.example.org", "a.mail.example.org", False),
        ("*.example.org", "example.org", False),
        ("*", "localhost", False),
        ("example.org", "mail.example.org", False),
        ("*.org", "mail.example.org", False),
    ],
)
def test_a_name_is_covered_as_mail_programs_see_it(pattern: str, name: str, covered: bool) -> None:  # noqa: FBT001
    """A pass here and a warning in the mail program would be the worst of both."""
    assert fits(pattern, name) is covered
