"""A plug-in of another distribution appears everywhere, and Gatepost's code does not name it.

`tests/toy` is on the path and nothing else is changed. The controls run without it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
GATEPOST = Path(sys.executable).with_name("gatepost")
PATHS = (TESTS / "support", TESTS.parent / "docs")

with_and_without = pytest.mark.parametrize("toy", [True, False], ids=["with", "without"])


def run(*command: str | Path, toy: bool, **variables: str) -> str:
    """Return what a program prints."""
    paths = os.pathsep.join(map(str, (*PATHS, *([TESTS / "toy"] if toy else []))))
    done = subprocess.run(
        command,
        env={**os.environ, "MAILNAME": "mx.example.org", **variables, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout + done.stderr


def python(program: str, *, toy: bool, **variables: str) -> str:
    """Return what a Python program prints."""
    return run(sys.executable, "-c", program, toy=toy, **variables)


@with_and_without
def test_its_settings_are_shown(*, toy: bool) -> None:
    """Nobody would know what can be set."""
    shown = json.loads(run(GATEPOST, "config", "show", "--json", toy=toy, TOY_BELL="yes"))
    rows = {row["name"]: row for row in shown["settings"] if row["name"].startswith("TOY")}
    assert list(rows) == (["TOY_BELL", "TOY_ROUTE"] if toy else [])
    if toy:
        assert rows["TOY_BELL"]["value"] == "true"
        assert rows["TOY_BELL"]["meaning"] == "Ring a bell when mail comes."


@with_and_without
@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("settings.md", "### `TOY_BELL`"),
        ("ports.md", "| bell | `run/toy/bell` | root | 2099 | toy | rings |"),
        ("ports.md", "| toy-web | toy | at the proxy | 443 | 33443 | 2098 | - |"),
        ("commands.md", "## gatepost ring"),
    ],
)
def test_the_reference_pages_have_it(page: str, words: str, *, toy: bool) -> None:
    """The documentation of a plug-in would be a page that somebody must remember to write."""
    printed = python(f"import generate; print(generate.PAGES[{page!r}]())", toy=toy)
    assert (words in printed) is toy, printed[-500:]


@with_and_without
def test_its_command_is_there(*, toy: bool) -> None:
    """A plug-in would need a program of its own."""
    shown = run(GATEPOST, "--help", toy=toy)
    assert "verify " in shown
    assert ("ring      Ring the bell." in shown) is toy, shown
    assert (run(GATEPOST, "ring", toy=toy) == "ding\n") is toy


@with_and_without
def test_its_check_can_be_chosen(*, toy: bool) -> None:
    """The proof would say nothing of it."""
    shown = " ".join(run(GATEPOST, "verify", "--help", toy=toy).split())
    assert (" toy, configuration" in shown) is toy, shown
    assert " configuration" in shown


@with_and_without
def test_its_packages_are_listed(*, toy: bool) -> None:
    """`make up` would install nothing for it."""
    listed = run(GATEPOST, "packages", "--json", toy=toy, TOY_BELL="yes")
    assert ("hello" in listed) is toy, listed


PLAN = """
import os
from pathlib import Path
from gatepost import assembly, registry
from rendered import DEBIAN_12, site
settings = registry.load(os.environ)
plan = assembly.assemble(settings, site(settings, DEBIAN_12))
print([str(f.path) for f in plan.files], [p.name for p in plan.processes],
      [str(d.path) for d in plan.directories], [u.name for u in plan.users],
      [j.name for j in plan.jobs], [f.content for f in plan.files if f.process == "toy"],
      plan.topology.offers.get("bell"),
      list(assembly.layout(settings).tables),
      *(f"{b.name} {b.public[-1]} {b.service[0]}" for b in plan.topology.listeners))
"""


@with_and_without
@pytest.mark.parametrize("bell", ["yes", "no"])
def test_the_plan_has_its_parts(bell: str, *, toy: bool) -> None:
    """It would not be written, started, or given its secret."""
    planned = python(PLAN, toy=toy, TOY_BELL=bell, PUBLIC_BIND_ADDRESS="127.0.0.1")
    assert "postfix/main.cf" in planned, planned
    for part in (
        "'toy/bell.conf'",
        "'toy'",
        "/state/toy'",
        "'gatepost-toy'",
        "key = unit-test-key",
        "run/toy/bell",
        "['toy']",
        "'toy-tuning'",
        "toy-web 127.0.0.1:33443 127.0.0.1:2098",
    ):
        assert (part in planned) is (toy and bell == "yes"), (part, planned)
