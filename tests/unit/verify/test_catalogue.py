"""The table of checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatepost.errors import UsageError
from gatepost.verify.catalogue import CHECKS, IN_CLUSTER, chosen


def names(only: list[str] = [], skip: list[str] = []) -> list[str]:  # noqa: B006  never changed
    return [check.name for check in chosen(only, skip)]


def test_only_and_skip_choose_in_table_order() -> None:
    """Whatever order they are typed in, the report has one order."""
    assert names(only=["round-trip", "banner"]) == ["banner", "round-trip"]
    everything = [check.name for check in CHECKS]
    assert names(skip=["tls"]) == [name for name in everything if name != "tls"]


@pytest.mark.parametrize(
    "options", [{"only": ["banana"]}, {"skip": ["banana"]}, {"only": ["tls"], "skip": ["tls"]}]
)
def test_a_wrong_choice_names_the_right_ones(options: dict[str, list[str]]) -> None:
    """A misspelt --only that checked nothing would look like a pass."""
    with pytest.raises(UsageError, match=", ".join(check.name for check in CHECKS)):
        names(**options)


def test_the_how_to_tells_of_every_check() -> None:
    """A row whose meaning is nowhere told helps nobody."""
    page = Path(__file__).parents[3] / "docs" / "how-to" / "verify.md"
    text = page.read_text()
    missing = [check.name for check in CHECKS if f"| `{check.name}` |" not in text]
    assert not missing


def test_the_how_to_for_kubernetes_tells_of_every_check_that_is_made_there_alone() -> None:
    """The same for a cluster."""
    page = Path(__file__).parents[3] / "docs" / "how-to" / "verify-in-kubernetes.md"
    own = [check for check in IN_CLUSTER if check not in CHECKS]
    assert len(own) > 4
    assert not [check.name for check in own if f"| `{check.name}` |" not in page.read_text()]
