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

    layout: assembly.Layout
    site: Site
    plan: Plan

    @property
    def settings(self) -> Settings:
        """The settings of the place."""
        return self.layout.settings

    @property
    def unit(self) -> str | None:
        """The unit that runs in a container of its own; None where all units run together."""
        return self.layout.unit

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """The plug-ins that are used here."""
        return self.layout.plugins

    def completed(self) -> Plan:
        """Return the plan with keys and copied files, which are there by now, and with versions.

        Raises `PreflightError` when a file that is copied is not what it must be.
        """
        plan = self.layout.plan(site.filled(self.site, self.settings, self.plugins))
        return site.with_versions(plan, self.plugins, self.settings)


def draft(settings: Settings, unit: str | None = None, *, require_packages: bool = True) -> Draft:
    """Survey a place with all units, or with one, and plan it; nothing is written.

    Raises `PreflightError` when a package or a program is missing, and `SettingsError` when the
    settings do not fit together.
    """
    layout = assembly.layout(settings, ipv6=site.has_ipv6(), unit=unit)
    if require_packages:
        packages.require(layout.plugins, settings)
    found = site.survey(settings, layout.plugins)
    return Draft(layout, found, layout.plan(found))
