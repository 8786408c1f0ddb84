"""The gate as a plug-in: everything that the other rooms know of it."""

from __future__ import annotations

from gatepost.contracts import Plugin
from gatepost.model import Handoff, Offer, Role
from gatepost.plugins.gate.plan import METRICS_PORT, files, processes, used

PLUGIN = Plugin(
    name="gate",
    used=used,
    consumes=(Handoff,),
    offers={Role.METRICS: Offer(METRICS_PORT, "the gate's counters, for Prometheus")},
    opens=lambda _settings: {Role.METRICS: "root"},
    files=files,
    processes=processes,
)
