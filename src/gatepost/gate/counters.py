"""What the gate counts, and how Prometheus reads it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gatepost.model import Address

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer


class Counters(Collector):
    """Plain numbers for the one thread that counts; turned into metrics when somebody asks."""

    def __init__(self) -> None:
        """Start at zero."""
        self.handed_over: Counter[str] = Counter()
        """By listener."""
        self.refused: Counter[tuple[str, str]] = Counter()
        """By listener and reason."""
        self.forged: Counter[str] = Counter()
        """By listener: PROXY headers from peers that are not trusted."""
        self.waiting = 0
        """Connections whose header is awaited, or that Postfix has not taken yet."""

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        handed = CounterMetricFamily(
            "gatepost_gate_handed_over", "Connections handed to Postfix", labels=["listener"]
        )
        for listener, count in list(self.handed_over.items()):
            handed.add_metric([listener], count)
        yield handed
        refused = CounterMetricFamily(
            "gatepost_gate_refused", "Connections refused", labels=["listener", "reason"]
        )
        for (listener, reason), count in list(self.refused.items()):
            refused.add_metric([listener, reason], count)
        yield refused
        forged = CounterMetricFamily(
            "gatepost_gate_forged",
            "PROXY headers from peers outside TRUSTED_PROXIES",
            labels=["listener"],
        )
        for listener, count in list(self.forged.items()):
            forged.add_metric([listener], count)
        yield forged
        yield GaugeMetricFamily(
            "gatepost_gate_waiting", "Connections not yet handed over", value=self.waiting
        )


def serve(counters: Counters, address: Address) -> tuple[WSGIServer, threading.Thread]:
    """Answer Prometheus on an address, in a thread of its own; raise `OSError` when it is taken."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(counters)
    return start_http_server(address.port, addr=address.host, registry=registry)
