"""The table of checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatepost.errors import UsageError
from gatepost.verify.catalogue import CHECKS, IN_CLUSTER, chosen, table
from gatepost.verify.check import HERE, OUTSIDE
from gatepost.verify.checks.forged_direct import forged_direct


def names(only: list[str] = [], skip: list[str] = []) -> list[str]:  # noqa: B006  never changed
    return [check.name for check in chosen(only, skip)]


def test_only_and_skip_choose_in_table_order() -> None:
    """Whatever order they are typed in, the report has one order."""
    assert names(only=["round-trip", "banner"]) == ["banner", "round-trip"]
    everything = [check.name for check in CHECKS]
    assert names(skip=["tls"]) == [name for name in everything if name != "tls"]


def test_the_tables_have_their_order_whoever_brings_the_rows() -> None:
    """Causes stand above what they explain, and people find a row where it was yesterday."""
    here = [check.name for check in CHECKS]
    assert here[:2] == ["banner", "tls"]
    assert here[-2:] == ["home", "configuration"]
    there = [check.name for check in IN_CLUSTER]
    assert there[:4] == ["endpoints", "route", "traffic-policy", "proxy-log"]
    assert there[4:] == [name for name in here if name in there]
    assert {"forged-direct", "trust-breadth"} <= set(there)


def test_plug_ins_say_themselves_where_their_checks_are_made() -> None:
    """A proof on one machine would ask an API that is not there."""
    for vantage in (HERE, OUTSIDE):
        made = {check.name: check for check in table(vantage)}
        assert not {"endpoints", "route", "traffic-policy", "proxy-log"} & made.keys()
        assert made["forged-direct"].probe is forged_direct
        with pytest.raises(UsageError, match=r"--only route: .*; add --cluster, in a pod"):
            chosen(["route"], vantage=vantage)
    assert {check.name: check for check in IN_CLUSTER}["forged-direct"].probe is not forged_direct


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
