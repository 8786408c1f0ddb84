"""Plug-ins that give each other something, without naming each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

import pytest

from gatepost import assembly, registry
from gatepost.contracts import Context, Plugin
from gatepost.model import Plan, Process, RenderedFile, Site
from gatepost.registry import load


@dataclass(frozen=True)
class Word:
    """What the givers give."""

    text: str


def process(name: str) -> Process:
    return Process(name=name, argv=("true",))


def giver(name: str) -> Plugin:
    return Plugin(
        name=name,
        contributes=lambda _context: (Word(name),),
        processes=lambda _context: (process(name),),
    )


def _written(context: Context) -> tuple[RenderedFile, ...]:
    text = " ".join(word.text for word in context.given(Word))
    return (RenderedFile(PurePosixPath("words"), text, "reader"),)


READER = Plugin(
    name="a-reader",
    consumes=(Word,),
    files=_written,
    processes=lambda _context: (process("reader"),),
)
FRONT = Plugin(
    name="a-front",
    chosen_by="REVERSE_PROXY",
    fronts=True,
    processes=lambda _context: (process("front"),),
)


def planned(
    monkeypatch: pytest.MonkeyPatch,
    site: Site,
    *plugins: Plugin,
    unit: str | None = None,
    **more: str,
) -> Plan:
    """Make a plan with these plug-ins and no others."""
    monkeypatch.setattr(registry, "plugins", lambda: plugins)
    variables = {"MAILNAME": "mx.example.org", "REVERSE_PROXY": "none", **more}
    return assembly.assemble(load(variables), site, unit)


def test_what_some_give_another_uses(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    """A filter could be added only by editing Postfix's folder."""
    plan = planned(monkeypatch, site, READER, giver("one"), giver("two"))
    assert [file.content for file in plan.files] == ["one two"]


def test_who_uses_it_starts_after_those_who_give_it(
    monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    """A daemon would refuse mail until its filter is there."""
    plan = planned(monkeypatch, site, READER, giver("one"), giver("two"))
    assert {p.name: p.after for p in plan.processes} == {
        "reader": ("one", "two"),
        "one": (),
        "two": (),
    }
    assert [p.name for p in plan.processes][-1] == "reader"


def test_without_contributions_there_is_no_order(
    monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    """The control."""
    silent = Plugin(name="one", processes=lambda _context: (process("one"),))
    plan = planned(monkeypatch, site, READER, silent)
    assert all(p.after == () for p in plan.processes)


def test_a_front_starts_last_and_only_where_all_units_are(
    monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    """Clients would be refused at each start, or a container would open the public ports."""
    chosen = {"REVERSE_PROXY": FRONT.name}
    plugins = (FRONT, READER, giver("one"))
    plan = planned(monkeypatch, site, *plugins, **chosen)
    assert [p.name for p in plan.processes][-1] == "front"
    assert {p.name: set(p.after) for p in plan.processes}["front"] == {"reader", "one"}
    assert "front" not in {p.name for p in planned(monkeypatch, site, *plugins).processes}
    inside = planned(monkeypatch, site, *plugins, unit="mta", **chosen)
    assert "front" not in {p.name for p in inside.processes}


def test_a_unit_has_its_own_and_what_goes_with_any(
    monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    """A container would run the daemons of another, too."""
    filtering = Plugin(
        name="a-filter", unit="filter", processes=lambda _context: (process("filter"),)
    )
    plan = planned(monkeypatch, site, filtering, giver("one"), unit="filter")
    assert {p.name for p in plan.processes} == {"filter", "one"}
    plan = planned(monkeypatch, site, filtering, giver("one"), unit="mta")
    assert {p.name for p in plan.processes} == {"one"}
    assert assembly.units() == ("filter",)
