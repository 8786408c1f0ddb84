"""Addresses at which Gatepost's own clients connect."""

from __future__ import annotations

from collections.abc import Collection

from gatepost import registry
from gatepost.assembly.units import internal_service, units_of
from gatepost.errors import SettingsError
from gatepost.model import Address, BoundListener
from gatepost.settings import Settings


def clients(
    settings: Settings, listeners: tuple[BoundListener, ...], here: Collection[str]
) -> dict[str, Address]:
    """Decide where Gatepost's own clients connect; refuse a port they would hang on.

    `here` are the plug-ins that run in the same place.
    """
    found: dict[str, Address] = {}
    problems: list[str] = []
    for bound in listeners:
        if not bound.listener.protocol.carries_mail:
            continue
        elsewhere = internal_service(units_of()[bound.daemon])
        default = (
            bound.internal[0].reachable
            if bound.daemon in here
            else Address(elsewhere, bound.listener.public_port)
        )
        variable = bound.listener.client_setting
        chosen: Address | None = settings.value(variable) if variable else None
        found[bound.name] = chosen or default
        if chosen and _demands_header(chosen, listeners):
            problems.append(
                f'{variable}: "{chosen}" is a port that demands a PROXY header, which '
                "Gatepost's own clients do not send: they would hang.\n"
                f"Point it at the internal listener, {variable}={default}, or at the "
                f"proxy, for example {variable}={_a_proxy()}:"
                f"{bound.listener.entry_point_port}; or unset it."
            )
    if problems:
        raise SettingsError(*problems)
    return found


def _demands_header(address: Address, listeners: tuple[BoundListener, ...]) -> bool:
    """Tell whether an address is a PROXY-only port, here or in another unit."""
    units = units_of()
    return any(
        bound.proxied
        and (
            address.port == bound.listener.service_port
            or (
                address.host.partition(".")[0] == units[bound.daemon]
                and address.port == bound.listener.public_port
            )
        )
        for bound in listeners
    )


def _a_proxy() -> str:
    """Return the name under which a proxy's internal ports are usually found."""
    names = [plugin.name for plugin in registry.plugins() if plugin.fronts]
    return internal_service(names[0] if names else "proxy")
