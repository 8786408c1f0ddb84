"""The gate as a plug-in: everything that the other rooms know of it."""

from __future__ import annotations

from gatepost.contracts import Plugin
from gatepost.model import Handoff, Offer
from gatepost.plugins.gate.plan import METRICS, METRICS_PORT, files, processes, used
from gatepost.plugins.gate.settings import GateSettings

PLUGIN = Plugin(
    name="gate",
    settings=(GateSettings,),
    used=used,
    consumes=(Handoff,),
    offers={METRICS: Offer(METRICS_PORT, "the gate's counters, for Prometheus")},
    opens=lambda _settings: {METRICS: "root"},
    files=files,
    processes=processes,
)
