"""The gate's counters, and the page on which Prometheus reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from http import HTTPStatus

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gatepost import http_port
from gatepost.http_port import Answer, Request
from gatepost.model import Address


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


def serving(counters: Counters, addresses: Iterable[Address]) -> AbstractContextManager[None]:
    """Answer Prometheus for as long as a block lasts; raise `OSError` when an address is taken."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(counters)

    def respond(request: Request) -> Answer:
        encode, content_type = choose_encoder(request.accept)
        return Answer(HTTPStatus.OK, encode(registry), content_type)

    listening = [http_port.listen(address.host, address.port) for address in addresses]
    return http_port.serving(listening, respond, name="metrics")
