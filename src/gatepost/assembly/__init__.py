"""Plug-ins and settings → `Layout` → `Plan`. Pure: nothing is read, written or started here.

A place has all units, as one machine does, or a single one, as a container does. A new plug-in
needs no line here.
"""

from gatepost.assembly.elsewhere import seen_from_outside, seen_in_cluster
from gatepost.assembly.layout import Layout, assemble, layout, tables, topology
from gatepost.assembly.units import (
    client_settings,
    internal_service,
    of_unit,
    units,
    units_of,
    used,
)

__all__ = [
    "Layout",
    "assemble",
    "client_settings",
    "internal_service",
    "layout",
    "of_unit",
    "seen_from_outside",
    "seen_in_cluster",
    "tables",
    "topology",
    "units",
    "units_of",
    "used",
]
