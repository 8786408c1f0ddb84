"""Several plug-ins offer one role: two mail stores and three resolvers in one topology."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from other_packages import found_anew, install

from gatepost import assembly, discovery, registry
from gatepost import plugins as folder
from gatepost.contracts import Context, Plugin
from gatepost.errors import SettingsError, UsageError
from gatepost.model import DELIVERY, Address, Offer, Process, Role, Site, SocketPath, Topology
from gatepost.settings.concerns import Boolean, Concern

RESOLVER, JUDGE = Role("resolver"), Role("judge")
RUN = Path("/srv/gatepost/run")
BASE = {
    "MAILNAME": "mx.example.org",
    "GATEPOST_HOME": "/srv/gatepost",
    "REVERSE_PROXY": "none",
    "MTA_STORE": "store-a",
    "FILTER_STORE": "store-b",
}


class MtaSettings(Concern):
    """An MTA."""

    mta_store: str = ""
    """The mail store that it delivers to."""
    second_store: Boolean = True
    """Have the second mail store."""


class FilterSettings(Concern):
    """A filter."""

    filter_resolver: str = "near"
    """The resolver that the filter asks."""
    filter_store: str = ""
    """The mail store that the filter delivers to."""


def _process(context: Context, name: str, *roles: Role) -> tuple[Process, ...]:
    found = (str(context.topology.role(name, role)) for role in roles)
    return (Process(name=name, argv=("true", *found)),)


MTA = Plugin(
    name="mta",
    unit="mta",
    settings=(MtaSettings,),
    needs={DELIVERY: "mta-user"},
    chooses={DELIVERY: "MTA_STORE"},
    processes=lambda context: _process(context, "mta", DELIVERY),
)
STORE_A, STORE_B = (
    Plugin(
        name=name,
        unit=name,
        used=lambda settings, _listeners, name=name: (  # type: ignore[misc]
            name != "store-b" or settings.of(MtaSettings).second_store
        ),
        offers={DELIVERY: Offer(2003, "takes a message for a mailbox", "lmtp")},
        processes=lambda context, name=name: _process(context, name),  # type: ignore[misc]
    )
    for name in ("store-a", "store-b")
)
RESOLVERS = tuple(
    Plugin(
        name=name,
        unit="dns",
        offers={RESOLVER: Offer(port, "answers questions")},
        processes=lambda context, name=name: _process(context, name),  # type: ignore[misc]
    )
    for port, name in enumerate(("near", "far", "spare"), start=5301)
)
FILTER = Plugin(
    name="filter",
    unit="filter",
    settings=(FilterSettings,),
    needs={RESOLVER: "filter-user", DELIVERY: "filter-user"},
    chooses={RESOLVER: "FILTER_RESOLVER", DELIVERY: "FILTER_STORE"},
    offers={JUDGE: Offer(11332, "judges messages", "milter")},
    opens=lambda _settings: {JUDGE: "root"},
    processes=lambda context: _process(context, "filter", RESOLVER, DELIVERY),
)


@pytest.fixture(autouse=True)
def _packages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install these plug-ins by their entry points, instead of those that come with Gatepost."""
    monkeypatch.setattr(folder, "__path__", [])
    with found_anew():
        install(
            monkeypatch,
            an_mta={"PLUGIN": MTA},
            stores={"PLUGINS": (STORE_A, STORE_B)},
            resolvers={"PLUGINS": RESOLVERS},
            judge={"PLUGIN": FILTER},
        )
        yield


def topology(unit: str | None = None, **variables: str) -> Topology:
    return assembly.topology(registry.load({**BASE, **variables}), unit=unit)


def test_each_client_has_the_instance_that_its_setting_names() -> None:
    """Mail for one store would be delivered to the other."""
    found = topology()
    sockets = {name: RUN / name / "lmtp" for name in ("store-a", "store-b")}
    assert found.role("mta", DELIVERY) == SocketPath(sockets["store-a"], "mta-user")
    assert found.role("filter", DELIVERY) == SocketPath(sockets["store-b"], "filter-user")
    other = topology(MTA_STORE="store-b", FILTER_STORE="store-a")
    assert other.role("mta", DELIVERY) == SocketPath(sockets["store-b"], "mta-user")


def test_a_setting_may_have_a_default() -> None:
    """Whoever installs a second resolver would have to configure the filter first."""
    assert topology().role("filter", RESOLVER) == Address("127.0.0.1", 5301)
    far = topology(FILTER_RESOLVER="far")
    assert far.role("filter", RESOLVER) == Address("127.0.0.1", 5302)


def test_an_instance_that_nobody_asks_is_not_offered() -> None:
    """A port that no program asks at would be one more way in."""
    found = topology(FILTER_RESOLVER="far")
    assert set(found.instances[RESOLVER]) == {"far"}
    assert found.offers_of("near") == {}
    assert found.offers[RESOLVER] == (Address("127.0.0.1", 5302),)


def test_the_only_instance_needs_no_setting() -> None:
    """Every server with one mail store would have to name it."""
    found = topology("mta", SECOND_STORE="no", MTA_STORE="", FILTER_STORE="")
    assert found.chosen["mta"] == {DELIVERY: "store-a"}


def test_without_a_choice_among_several_the_settings_are_named() -> None:
    """The control: mail would go to whichever is first in the alphabet."""
    with pytest.raises(SettingsError) as refused:
        topology(MTA_STORE="", FILTER_STORE="")
    message = str(refused.value)
    assert "MTA_STORE: several plug-ins offer" in message
    assert "Set FILTER_STORE to one of: store-a, store-b" in message


def test_an_unknown_instance_is_refused() -> None:
    """A typing mistake would end in a traceback."""
    with pytest.raises(SettingsError, match='MTA_STORE: "store-c" is no plug-in in use'):
        topology(MTA_STORE="store-c")
    with pytest.raises(SettingsError, match=r"Set MTA_STORE to one of: store-a$"):
        topology(SECOND_STORE="no", MTA_STORE="store-b", FILTER_STORE="store-a")


def test_without_a_setting_the_clash_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever installs a second store beside an MTA that knows one only would not learn why."""
    simple = replace(MTA, chooses={})
    install(monkeypatch, an_mta={"PLUGIN": simple}, stores={"PLUGINS": (STORE_A, STORE_B)})
    with pytest.raises(SettingsError, match=r"store-a, store-b.*No setting says .* mta uses"):
        topology()


def test_a_need_that_nothing_meets_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server would start, and mail wait for ever."""
    install(monkeypatch, an_mta={"PLUGIN": MTA})
    with pytest.raises(UsageError, match='mta needs a service of role "delivery" and no plug-in'):
        topology()
    registry.plugins.cache_clear()
    discovery.packages.cache_clear()
    install(monkeypatch, an_mta={"PLUGIN": MTA}, stores={"PLUGIN": STORE_B})
    with pytest.raises(UsageError, match="that offer it are switched off: store-b"):
        topology(SECOND_STORE="no", MTA_STORE="")


def test_a_socket_for_two_users_is_refused() -> None:
    """One of the two would be refused by the kernel, with a line in a log that says no more."""
    with pytest.raises(UsageError, match="several users ask there: filter-user, mta-user"):
        topology(FILTER_STORE="store-a")
    # The control: over TCP, in a container of its own, any number may ask.
    assert topology("store-a", FILTER_STORE="store-a").offers_of("store-a")


def test_in_containers_each_instance_is_found_at_its_unit() -> None:
    """The filter would ask for the other store, or at its own loopback."""
    place = {"GATEPOST_PLACE": "container"}
    found = topology("filter", **place)
    assert found.role("filter", DELIVERY) == Address("store-b-internal", 2003)
    assert found.role("filter", RESOLVER) == Address("dns-internal", 5301)
    assert set(found.offers) == {JUDGE}
    assert "filter" in assembly.units()
    # What a unit elsewhere has chosen may not be known here: each instance is open to it.
    unknown = topology("store-b", **place, MTA_STORE="", FILTER_STORE="")
    assert unknown.offers_of("store-b")[DELIVERY][0] == Address("0.0.0.0", 2003)


def test_who_asks_starts_after_the_instance_it_asks(site: Site) -> None:
    """The filter would fail its first questions; or wait for a resolver that it never asks."""
    plan = assembly.assemble(registry.load({**BASE, "FILTER_RESOLVER": "spare"}), site)
    after = {process.name: set(process.after) for process in plan.processes}
    assert after["filter"] == {"spare", "store-b"}
    assert after["mta"] == {"store-a"}
    filtering = next(process for process in plan.processes if process.name == "filter")
    assert filtering.argv == ("true", "127.0.0.1:5303", str(RUN / "store-b" / "lmtp"))


def test_the_core_does_not_know_the_filter() -> None:
    """The control of the promise: without its package nothing of it is left."""
    assert "filter" in {plugin.name for plugin in registry.plugins()}
    with pytest.MonkeyPatch.context() as without:
        install(without, an_mta={"PLUGIN": MTA}, stores={"PLUGINS": (STORE_A, STORE_B)})
        registry.plugins.cache_clear()
        discovery.packages.cache_clear()
        assert "filter" not in topology().chosen
        assert JUDGE not in topology().offers
