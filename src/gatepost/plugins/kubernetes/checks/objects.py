"""The cluster around the server, as this pod may see it: each list is read once in a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping

from gatepost.model.words import Command, Logs, Step, Text
from gatepost.plugins.kubernetes.checks.api import ENDPOINT_SLICE, POD, SERVICE, Api
from gatepost.plugins.kubernetes.checks.pods import PodLogs
from gatepost.plugins.kubernetes.checks.troubles import remedy
from gatepost.verify.clients.wire import ProbeError
from gatepost.verify.targets import Target
from gatepost.verify.vantage.cluster import (
    Cluster,
    Kind,
    Object,
    Surroundings,
    Unreadable,
    addresses,
    labels,
)

NAME_LABEL = "app.kubernetes.io/name"
_ALL = "-l app.kubernetes.io/part-of=gatepost"
_SERVICE_LABEL = "kubernetes.io/service-name"


class KubernetesCluster(Cluster):
    """A pod of its own in a Kubernetes cluster."""

    def __init__(
        self, api: Api, namespace: str, proxy_namespace: str, services: Mapping[str, str]
    ) -> None:
        """Ask this API; nothing is read yet. The others are those of `Cluster`."""
        self.api = api
        self.namespace = namespace
        self.proxy_namespace = proxy_namespace
        self.services = services
        self._lists: dict[tuple[Kind, str], tuple[Object, ...] | Unreadable] = {}
        self._reading = threading.Lock()

    def log(self) -> PodLogs:
        """Return the logs of the daemons' pods."""
        return PodLogs(self)

    def remedy(self, error: ProbeError, target: Target) -> Text:
        """Return what to do when a probe could not go on."""
        return remedy(error, target)

    def typed(self, step: Step) -> str:
        """Return the command that does a step in the cluster."""
        return typed(step, self.services)

    def list(self, kind: Kind, namespace: str = "") -> tuple[Object, ...]:
        """Return all objects of a kind in a namespace; ours when none is named."""
        place = (kind, namespace or self.namespace)
        with self._reading:
            if place not in self._lists:
                try:
                    self._lists[place] = self.api.list(*place)
                except Unreadable as error:
                    self._lists[place] = error
        found = self._lists[place]
        if isinstance(found, Unreadable):
            raise Unreadable(found.observed, found.fix)
        return found

    def pods(self, name: str, namespace: str = "") -> tuple[Object, ...]:
        """Return the pods of a service that have an address and are not ending."""
        return tuple(
            pod
            for pod in self.list(POD, namespace)
            if labels(pod).get(NAME_LABEL) == name
            and addresses(pod)
            and not pod["metadata"].get("deletionTimestamp")
        )

    def published(self, namespace: str = "") -> tuple[Object, ...]:
        """Return all Services of a namespace; ours when none is named."""
        return self.list(SERVICE, namespace)

    def endpoint_slices(self) -> tuple[Object, ...]:
        """Return the EndpointSlices of our namespace."""
        return self.list(ENDPOINT_SLICE)

    def endpoints(self, name: str) -> tuple[int, int]:
        """Return the numbers of endpoints of a Service that are ready, and that are not."""
        ready: set[str] = set()
        others: set[str] = set()
        for piece in self.endpoint_slices():
            if labels(piece).get(_SERVICE_LABEL) != name:
                continue
            for endpoint in piece.get("endpoints") or ():
                target = endpoint.get("targetRef", {}).get("name") or endpoint["addresses"][0]
                # A condition that is missing is true (its documentation says so).
                is_ready = endpoint.get("conditions", {}).get("ready", True) is not False
                (ready if is_ready else others).add(str(target))
        return len(ready), len(others - ready)

    def tail(
        self, pod: Object, container: str, *, lines: int, deadline: float
    ) -> Iterator[tuple[str, str]]:
        """Yield time (RFC 3339) and text of the last lines of a container's log.

        Raises `Unreadable`, also when the log was not read to its end before the deadline.
        """
        query = {"tailLines": str(lines), "timestamps": "true"}
        namespace = str(pod["metadata"]["namespace"])
        with self.api.log(pod, container, **query) as stream:
            left = max(0.1, deadline - time.monotonic())
            for line in stream.lines(self.api, namespace, patience=left):
                moment, _, words = line.partition(" ")
                yield moment, words
                if time.monotonic() > deadline:
                    break
            if time.monotonic() >= deadline:  # a silent node ends the lines, too
                raise Unreadable(
                    f"the log of {pod['metadata']['name']} was not read to its end in time",
                    "See whether its node answers: kubectl get nodes; then run verify again.",
                )


def entrance(environ: Mapping[str, str], around: Surroundings) -> KubernetesCluster:
    """Return the cluster of a pod with this environment; `UsageError` when this is no pod."""
    api = Api.of(environ)
    namespace = api.namespace
    return KubernetesCluster(api, namespace, around.proxy_namespace or namespace, around.services)


def typed(step: Step, services: Mapping[str, str]) -> str:  # noqa: PLR0911  a table
    """Return the command that does in a cluster what ``gatepost`` does on one machine.

    `services` maps each daemon to the name of its Service.
    """
    match step:
        case Logs(service, _) if service in services:
            return f"kubectl logs {services[service]}-0"
        case Logs(_, 0):
            return f"kubectl logs {_ALL} --tail=100"
        case Logs():
            return f"kubectl logs {_ALL}"
        case Command("up"):
            return "kubectl apply -k OVERLAY"
        case Command("status"):
            return f"kubectl get pods {_ALL}"
        case Command("verify", arguments):
            return f"gatepost verify --cluster {arguments}".rstrip()
        case Command():
            return f"kubectl exec mda-0 -- {step}"
