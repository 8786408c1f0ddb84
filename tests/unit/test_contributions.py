"""Plug-ins that give each other something, without naming each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import pytest

from gatepost import assembly, registry
from gatepost.contracts import Context, Plugin
from gatepost.errors import UsageError
from gatepost.model import HttpRoute, Listener, Plan, Process, Protocol, RenderedFile, Site
from gatepost.registry import load
from gatepost.settings.concerns import PublicPorts


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


# --- HTTP routes --------------------------------------------------------------------------------


def website(*routes: HttpRoute) -> Plugin:
    return Plugin(
        name="website",
        unit="website",
        listeners=(Listener.http("website", 2098),),
        contributes=lambda _context: routes,
    )


def test_a_route_to_nowhere_is_refused(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    """Visitors would read that the gateway is bad, and nobody why."""
    with pytest.raises(UsageError, match=r'leads to "web", which is no HTTP .* are: website\.'):
        planned(monkeypatch, site, website(HttpRoute("web", "/toy")))


def test_a_port_of_somebody_else_is_refused(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    """The running server would be stopped first, and not come up again."""
    both = (Listener.http("website", 31080), Listener.http("other", 31080))
    with pytest.raises(UsageError, match=r'"website" and "other" both have the port .*:31080'):
        planned(monkeypatch, site, replace(website(), listeners=both))
    assert planned(monkeypatch, site, website()), "the control"


def test_two_routes_for_the_same_requests_are_refused(
    monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    """Which of the two programs answers would be a matter of luck."""
    twice = website(HttpRoute("website", "/toy"), HttpRoute("website", "/toy"))
    with pytest.raises(UsageError, match=r'Several routes are for "/toy"'):
        planned(monkeypatch, site, twice)
    apart = website(HttpRoute("website", "/toy"), HttpRoute("website", "/toy", "www.example.org"))
    assert planned(monkeypatch, site, apart)


@pytest.mark.parametrize(
    "path", ["", "toy", "/toy/", "/a//b", "/`)", "/a b", "/ä", "/..", "/a/./b"]
)
def test_a_path_that_no_request_has_is_refused(path: str) -> None:
    """It would break out of the proxy's rule, or fit no request."""
    with pytest.raises(ValueError, match="is no path such as /toy"):
        HttpRoute("website", path)
    assert HttpRoute("website", "/toy/bell-2.html")
    assert HttpRoute("website", "/.well-known/..toy")


@pytest.mark.parametrize("host", ["a`b", "www..org", "Www.example.org", "a b"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    """It would break out of the proxy's rule, or fit no request."""
    with pytest.raises(ValueError, match="is no host name"):
        HttpRoute("website", "/", host)


def test_http_is_no_mail(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    """Mail clients would be sent to a website, and the proof would wait for its greeting."""
    plugin = replace(website(HttpRoute("website")), proxied=lambda _settings: True)
    topology = planned(monkeypatch, site, plugin).topology
    assert [bound.name for bound in topology.listeners] == ["website"]
    assert topology.mail == ()
    assert topology.clients == {}
    assert topology.named("website").internal == ()
    assert not topology.named("website").proxied, "HTTP tells the client's address by itself"
    assert {protocol for protocol in Protocol if not protocol.carries_mail} == {Protocol.HTTP}


def test_elsewhere_only_mail_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which routes there are is known to the server alone."""
    monkeypatch.setattr(registry, "plugins", lambda: (website(HttpRoute("website")),))
    outside = assembly.seen_from_outside(registry.plugins(), ["192.0.2.1"], PublicPorts.STANDARD)
    assert outside.listeners == ()
    settings = load({"MAILNAME": "mx.example.org", "GATEPOST_PLACE": "container"})
    assert assembly.seen_in_cluster(settings, "", lambda name: [name]).listeners == ()
    own = assembly.layout(settings, unit="website").topology.named("website")
    assert [str(address) for address in own.service] == ["0.0.0.0:2098", "[::]:2098"]
