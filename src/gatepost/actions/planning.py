"""The one look at a place, and the plan that follows from it."""

from __future__ import annotations

from dataclasses import dataclass

from gatepost import assembly
from gatepost.contracts import Plugin
from gatepost.model import Plan, Site
from gatepost.run import packages, site
from gatepost.settings import Settings


@dataclass(frozen=True, slots=True)
class Draft:
    """The facts about a place, found once, and its plan as far as it is known before the start.

    In place of keys that are made at the first start, and of the administrator's files that are
    copied, the plan has placeholders.
    """

    settings: Settings
    unit: str | None
    """The unit that runs in a container of its own; None where all units run together."""
    plugins: tuple[Plugin, ...]
    """The plug-ins that are used here."""
    site: Site
    plan: Plan

    def completed(self) -> Plan:
        """Return the plan with keys and copied files, which are there by now, and with versions.

        Raises `PreflightError` when a file that is copied is not what it must be.
        """
        found = site.filled(self.site, self.settings, self.plugins)
        plan = assembly.assemble(self.settings, found, self.unit)
        return site.with_versions(plan, self.plugins, self.settings)


def draft(settings: Settings, unit: str | None = None, *, require_packages: bool = True) -> Draft:
    """Survey a place with all units, or with one, and plan it; nothing is written.

    Raises `PreflightError` when a package or a program is missing, and `SettingsError` when the
    settings do not fit together.
    """
    plugins = assembly.used(settings, unit)
    if require_packages:
        packages.require(plugins, settings)
    found = site.survey(settings, plugins)
    return Draft(settings, unit, plugins, found, assembly.assemble(settings, found, unit))
