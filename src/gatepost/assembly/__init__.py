"""Plug-ins and settings → `Topology` → `Plan`. Pure: nothing is read, written or started here.

A place has all units, as one machine does, or a single one, as a container does. A new plug-in
needs no line here.
"""

from gatepost.assembly.planning import assemble
from gatepost.assembly.topology import topology
from gatepost.assembly.units import (
    client_settings,
    internal_service,
    of_unit,
    units,
    units_of,
    used,
)

__all__ = [
    "assemble",
    "client_settings",
    "internal_service",
    "of_unit",
    "topology",
    "units",
    "units_of",
    "used",
]
