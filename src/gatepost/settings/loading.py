"""Variables → `Settings`: every one checked, all of them checked together."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr, ValidationError

from gatepost.errors import SettingsError
from gatepost.model import IPAddress, IPNetwork
from gatepost.settings import database, doubts
from gatepost.settings.concerns import (
    CONCERNS,
    Concern,
    DatabaseSettings,
    ListenSettings,
    MailSettings,
    Place,
    ProxySettings,
    StorageSettings,
    TlsSettings,
)
from gatepost.settings.parsing import ANY_ADDRESS, host_name
from gatepost.settings.sources import HIDDEN, Given, Source, gather

NO_PLUGIN = "none"
"""Value of a setting that chooses among plug-ins, such as ``REVERSE_PROXY``, for none of them."""
Chosen = TypeVar("Chosen", bound=Concern)

_WIDEST = {4: 16, 6: 48}
_LABELS_OF_A_DOMAIN = 2


@dataclass(frozen=True, slots=True)
class Value:
    """One variable as ``gatepost config show`` prints it."""

    name: str
    text: str
    """Empty when unset; a secret is hidden."""
    source: Source
    meaning: str


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, valid together."""

    proxy: ProxySettings
    listen: ListenSettings
    mail: MailSettings
    storage: StorageSettings
    database: DatabaseSettings
    tls: TlsSettings
    warnings: tuple[str, ...] = ()
    """Allowed values that may be mistakes, a sentence each."""
    sources: Mapping[str, Source] = field(default_factory=dict)
    """Variable → who set it; a variable that is not there has its default."""
    plugins: tuple[Concern, ...] = ()
    """The groups of plug-ins, checked with the others."""
    given: Mapping[str, Given] = field(default_factory=dict, repr=False)
    """Variable → the text that was set, secrets included."""

    @property
    def place(self) -> Place:
        """The place in which the program runs."""
        return self.storage.gatepost_place

    def of(self, concern: type[Chosen]) -> Chosen:
        """Return the settings of a plug-in; raise `SettingsError` with what is wrong with them."""
        for group in self.plugins:
            if isinstance(group, concern):
                return group
        built: Chosen = _group(concern, self.given, concern.derived(self))
        return built

    @property
    def groups(self) -> tuple[Concern, ...]:
        """All settings, a group for each concern: ours, then the plug-ins'."""
        return (*(getattr(self, attribute) for attribute in CONCERNS), *self.plugins)

    def value(self, variable: str) -> Any:
        """Return the value of one variable; raise `KeyError` when there is none of that name."""
        name = variable.lower()
        for group in self.groups:
            if name in type(group).model_fields:
                return getattr(group, name)
        raise KeyError(variable)

    def values(self) -> Iterator[Value]:
        """Yield every variable with its value, source and meaning; secrets are hidden."""
        for group in self.groups:
            for name, info in type(group).model_fields.items():
                variable = name.upper()
                yield Value(
                    variable,
                    show(getattr(group, name)),
                    self.sources.get(variable, Source.DEFAULT),
                    (info.description or "").split("\n\n")[0].replace("\n", " "),
                )

    def withhold_secrets(self, environ: MutableMapping[str, str]) -> None:
        """Take secrets out of an environment that programs of other users will inherit."""
        for group in self.groups:
            for name in type(group).model_fields:
                if isinstance(getattr(group, name), SecretStr):
                    environ.pop(name.upper(), None)


def load(
    environ: Mapping[str, str],
    *,
    dotenv: Path | None = None,
    hostname: Callable[[], str] = socket.getfqdn,
    plugins: Iterable[type[Concern]] = (),
    proxy: str = NO_PLUGIN,
) -> Settings:
    """Read and check every variable.

    `dotenv` is a file to read beside the environment; `hostname` returns the machine's name when
    ``MAILNAME`` is not set. `plugins` are the concerns of plug-ins, and `proxy` is the one that
    stands in front of a machine unless ``REVERSE_PROXY`` says otherwise. Raises `SettingsError`
    with every problem found.
    """
    plugins = tuple(plugins)
    problems: list[str] = []
    warnings: list[str] = []
    given = gather(environ, dotenv, problems, warnings)
    defaults = _Defaults(given, hostname, proxy, warnings)
    groups: dict[str, Any] = {}
    # In this order because later defaults are derived from earlier values.
    first = ("storage", "mail", "listen", "proxy")
    for attribute in (*first, *(name for name in CONCERNS if name not in first)):
        try:
            groups[attribute] = _group(CONCERNS[attribute], given, defaults.of(attribute, groups))
        except SettingsError as error:
            problems.extend(error.problems)
    ours = Settings(given=given, **groups) if not problems else None
    theirs: list[Concern] = []
    for concern in plugins:
        try:
            theirs.append(_group(concern, given, concern.derived(ours) if ours else {}))
        except SettingsError as error:
            problems.extend(error.problems)
    problems.extend(database.incomplete(given))
    if ours and not problems:
        problems.extend(_contradictions(groups))
        problems.extend(database.contradictions(ours.database))
        problems.extend(problem for one in theirs for problem in one.contradictions(ours))
    if problems or not ours:
        raise SettingsError(*problems)
    known = {
        name.upper() for concern in (*CONCERNS.values(), *plugins) for name in concern.model_fields
    }
    warnings.extend(_width(groups["proxy"]))
    warnings.extend(_own_proxy_untrusted(groups["proxy"], groups["listen"]))
    warnings.extend(doubts.relay_without_brackets(groups["mail"]))
    warnings.extend(doubts.placeholders(given, known))
    warnings.extend(doubts.unknown(given, known))
    warnings.extend(doubt for one in theirs for doubt in one.doubts(ours))
    return replace(
        ours,
        warnings=tuple(warnings),
        sources={name: value.source for name, value in given.items() if name in known},
        plugins=tuple(theirs),
    )


def _group(
    concern: type[Concern], given: Mapping[str, Given], defaults: Mapping[str, object]
) -> Any:
    """Build one concern; raise `SettingsError` with the problems of its variables."""
    values: dict[str, object] = dict(defaults)
    for name in concern.model_fields:
        if name.upper() in given:
            values[name] = given[name.upper()].text
    try:
        return concern.model_validate(values)
    except ValidationError as error:
        raise SettingsError(
            *(_sentence(str(problem["loc"][0]).upper(), problem) for problem in error.errors())
        ) from None


def _sentence(variable: str, problem: Any) -> str:
    """Return our own words for a problem: the variable first, its value, what was expected."""
    original = problem.get("ctx", {}).get("error")
    if isinstance(original, ValueError):
        return f"{variable}: {str(original).replace('{name}', variable)}"
    return f'{variable}: "{problem["input"]}" is not allowed: {problem["msg"]}.'


@dataclass(slots=True)
class _Defaults:
    """Defaults that depend on the place and on other variables."""

    given: Mapping[str, Given]
    hostname: Callable[[], str]
    front: str
    warnings: list[str]

    def of(self, attribute: str, groups: Mapping[str, Any]) -> dict[str, object]:
        """Return the derived defaults of one concern."""
        if attribute == "mail":
            return self._mail()
        storage: StorageSettings | None = groups.get("storage")
        in_container = storage is not None and storage.gatepost_place is Place.CONTAINER
        if attribute == "listen":
            loopback: tuple[IPAddress, ...] = (ipaddress.ip_address("127.0.0.1"),)
            return {"service_bind_address": ANY_ADDRESS if in_container else loopback}
        if attribute == "proxy":
            return self._proxy(groups.get("listen"), NO_PLUGIN if in_container else self.front)
        if attribute == "database":
            return {"db_tls_mode": database.tls_mode(self.given)}
        return {}

    def _mail(self) -> dict[str, object]:
        mailname = self.given["MAILNAME"].text if "MAILNAME" in self.given else self._own_name()
        try:
            domain = host_name(mailname)
        except ValueError:
            # Reported once, for MAILNAME; what is derived from it is never used.
            domain = "example.org"
        if domain.count(".") >= _LABELS_OF_A_DOMAIN:
            domain = domain.partition(".")[2]
        return {"mailname": mailname, "postmaster": f"postmaster@{domain}"}

    def _own_name(self) -> str:
        """Return the machine's name, made a full one when it is not."""
        name = re.sub(r"[^a-z0-9.-]", "-", self.hostname().lower()).strip("-.")
        first = name.partition(".")[0]
        if "." in name and first != "localhost" and not name.replace(".", "").isdigit():
            return name
        name = f"{first if first not in {'', 'localhost'} else 'mail'}.internal"
        self.warnings.append(
            "MAILNAME is not set and this machine has no full host name: using "
            f"{name}, which other mail servers will not accept. Set it: MAILNAME=mail.example.org"
        )
        return name

    def _proxy(self, listen: ListenSettings | None, fallback: str) -> dict[str, object]:
        chosen = self.given["REVERSE_PROXY"].text if "REVERSE_PROXY" in self.given else fallback
        ours = chosen.lower() != NO_PLUGIN
        return {
            "reverse_proxy": fallback,
            "trusted_proxies": _own_proxy(listen) if ours and listen else (),
        }


def _own_proxy(listen: ListenSettings) -> tuple[IPNetwork, ...]:
    """Return the addresses from which a proxy on this machine connects to the daemons."""
    sources: dict[IPNetwork, None] = {}
    for address in listen.service_bind_address:
        loopback = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")  # noqa: PLR2004
        # The kernel answers connections to 127.0.0.0/8 from 127.0.0.1, to others from themselves.
        near = address.is_unspecified or (address.is_loopback and address.version == 4)  # noqa: PLR2004
        sources[ipaddress.ip_network(loopback if near else address)] = None
    return tuple(sources)


def _contradictions(groups: Mapping[str, Any]) -> Iterator[str]:
    """Yield values that contradict each other."""
    proxy: ProxySettings = groups["proxy"]
    mail: MailSettings = groups["mail"]
    tls: TlsSettings = groups["tls"]
    for trusted in proxy.trusted_proxies:
        for relaying in mail.mynetworks:
            if trusted.version == relaying.version and trusted.overlaps(relaying):
                yield (
                    f'TRUSTED_PROXIES: "{trusted}" overlaps MYNETWORKS "{relaying}": every client '
                    "behind the proxy might relay.\nTake the proxy out of MYNETWORKS; programs "
                    "that send mail log in on submission"
                )
    pairs = (
        ("TLS_CERT_FILE", tls.tls_cert_file, "TLS_KEY_FILE", tls.tls_key_file),
        ("TLS_KEY_FILE", tls.tls_key_file, "TLS_CERT_FILE", tls.tls_cert_file),
        ("RELAY_PASSWD_FILE", mail.relay_passwd_file, "RELAYHOST", mail.relayhost),
    )
    for variable, value, other, needed in pairs:
        yield from of_no_use(variable, value, other, needed)


def of_no_use(variable: str, value: object, other: str, needed: object) -> Iterator[str]:
    """Yield that a value has no effect without another variable, if that one is unset."""
    if value and not needed:
        yield f'{variable}: "{show(value)}" is of no use without {other}.\nSet {other}, or unset it'


def demands_headers(variable: str, *, on: bool, settings: Settings) -> Iterator[str]:
    """Yield that a variable demands PROXY headers which no peer may send."""
    if on and not settings.proxy.trusted_proxies:
        yield (
            f'{variable}: "true" demands PROXY headers, and TRUSTED_PROXIES is empty, so '
            "nobody could send one.\nName the proxy's address: TRUSTED_PROXIES=10.42.0.7/32, "
            f"or set {variable}=false"
        )


def _width(proxy: ProxySettings) -> Iterator[str]:
    for network in proxy.trusted_proxies:
        widest = _WIDEST[network.version]
        if network.prefixlen < widest:
            yield (
                f'TRUSTED_PROXIES: "{network}" is wider than /{widest}: each of its addresses may '
                "claim to be any client. Name only the addresses of your proxies."
            )


def _own_proxy_untrusted(proxy: ProxySettings, listen: ListenSettings) -> Iterator[str]:
    if proxy.reverse_proxy == NO_PLUGIN or not proxy.trusted_proxies:
        return
    for own in _own_proxy(listen):
        if not any(
            own.version == trusted.version and own.network_address in trusted
            for trusted in proxy.trusted_proxies
        ):
            yield (
                f'TRUSTED_PROXIES: "{show(proxy.trusted_proxies)}" does not hold '
                f"{own.network_address}, from which {proxy.reverse_proxy} on this machine "
                "connects: all clients behind it are refused. Add the address, or set "
                "REVERSE_PROXY=none."
            )


def show(value: object) -> str:
    """Write a value as it would be set."""
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "all" if value == ANY_ADDRESS else ",".join(map(str, value))
    return "" if value is None else str(value)
