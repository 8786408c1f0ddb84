"""Objects of a cluster as its API server keeps them: by kind, versioned, every change told."""

from __future__ import annotations

import base64
import copy
import datetime as dt
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of object, and how the API spells it."""

    api: str
    """Group and version, as an object's ``apiVersion``."""
    kind: str
    plural: str = ""
    short: tuple[str, ...] = ()
    namespaced: bool = True

    @property
    def path(self) -> str:
        """The last part of its collection's path."""
        return self.plural or f"{self.kind.lower()}s"

    @property
    def group(self) -> str:
        """Its API group; empty for the core."""
        return self.api.rpartition("/")[0]


_TRAEFIK = (
    *("IngressRoute", "IngressRouteTCP", "IngressRouteUDP", "Middleware", "MiddlewareTCP"),
    *("ServersTransport", "ServersTransportTCP", "TraefikService", "TLSOption", "TLSStore"),
)
_RBAC = "rbac.authorization.k8s.io/v1"

KINDS: tuple[Kind, ...] = (
    Kind("v1", "ConfigMap", short=("cm",)),
    Kind("v1", "Event", short=("ev",)),
    Kind("v1", "Namespace", short=("ns",), namespaced=False),
    Kind("v1", "Node", short=("no",), namespaced=False),
    Kind("v1", "PersistentVolumeClaim", short=("pvc",)),
    Kind("v1", "Pod", short=("po",)),
    Kind("v1", "Secret"),
    Kind("v1", "Service", short=("svc",)),
    Kind("v1", "ServiceAccount", short=("sa",)),
    Kind("apps/v1", "DaemonSet", short=("ds",)),
    Kind("apps/v1", "Deployment", short=("deploy",)),
    Kind("apps/v1", "StatefulSet", short=("sts",)),
    Kind("batch/v1", "CronJob", short=("cj",)),
    Kind("batch/v1", "Job"),
    Kind("discovery.k8s.io/v1", "EndpointSlice"),
    Kind("helm.cattle.io/v1", "HelmChartConfig"),
    Kind("networking.k8s.io/v1", "Ingress", "ingresses", ("ing",)),
    Kind("networking.k8s.io/v1", "IngressClass", "ingressclasses", namespaced=False),
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", ("netpol",)),
    Kind("policy/v1", "PodDisruptionBudget", short=("pdb",)),
    Kind(_RBAC, "ClusterRole", namespaced=False),
    Kind(_RBAC, "ClusterRoleBinding", namespaced=False),
    Kind(_RBAC, "Role"),
    Kind(_RBAC, "RoleBinding"),
    *(Kind("traefik.io/v1alpha1", kind) for kind in _TRAEFIK),
)

_BY_KIND = {(kind.api, kind.kind): kind for kind in KINDS}


def kind_of(wanted: Object) -> Kind:
    """Return the kind that an object says it is of; raise `KeyError` when nobody knows it."""
    return _BY_KIND[wanted["apiVersion"], wanted["kind"]]


def named(name: str) -> Kind:
    """Return a kind by its name alone."""
    (found,) = (kind for kind in KINDS if kind.kind == name)
    return found


@dataclass(frozen=True)
class Change:
    """One event of a watch; `version` counts all changes of the cluster."""

    version: int
    verb: str
    """``ADDED``, ``MODIFIED`` or ``DELETED``."""
    kind: Kind
    item: Object


class Objects:
    """All objects, and every change there was, for those who watch."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._items: dict[tuple[Kind, str, str], Object] = {}
        self._changes: list[Change] = []
        self._changed = threading.Condition()
        self._version = 1

    # --- changing -------------------------------------------------------------------------

    def put(self, item: Object, namespace: str = "default") -> Object:
        """Create an object or replace it, and return it as it is kept."""
        kind = kind_of(item)
        made = copy.deepcopy(item)
        meta = made.setdefault("metadata", {})
        if kind.namespaced:
            meta.setdefault("namespace", namespace)
        if kind.kind == "Secret":
            _encode(made)
        with self._changed:
            key = (kind, meta.get("namespace", ""), meta["name"])
            before = self._items.get(key)
            old = before["metadata"] if before else {}
            meta["uid"] = old.get("uid") or str(uuid.uuid4())
            meta["creationTimestamp"] = old.get("creationTimestamp") or now()
            if before and "status" in before:
                made.setdefault("status", before["status"])
            self._tell("MODIFIED" if before else "ADDED", kind, made)
            self._items[key] = made
        return copy.deepcopy(made)

    def delete(self, kind: Kind, name: str, namespace: str = "default") -> Object | None:
        """Remove an object and return it; None when there is none of that name."""
        with self._changed:
            gone = self._items.pop((kind, namespace if kind.namespaced else "", name), None)
            if gone is None:
                return None
            gone = copy.deepcopy(gone)
            self._tell("DELETED", kind, gone)
        return gone

    def _tell(self, verb: str, kind: Kind, item: Object) -> None:
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        self._changes.append(Change(self._version, verb, kind, copy.deepcopy(item)))
        self._changed.notify_all()

    # --- looking --------------------------------------------------------------------------

    def get(self, kind: Kind, name: str, namespace: str = "default") -> Object | None:
        """Return an object, or None."""
        with self._changed:
            found = self._items.get((kind, namespace if kind.namespaced else "", name))
            return copy.deepcopy(found)

    def list(self, kind: Kind, namespace: str | None = None) -> tuple[list[Object], int]:
        """Return the objects of a kind, in one namespace or all, and the version of the list."""
        with self._changed:
            found = [
                copy.deepcopy(item)
                for (of, place, _), item in sorted(self._items.items(), key=lambda i: i[0][1:])
                if of == kind and namespace in {None, place}
            ]
            return found, self._version

    def changes(self, kind: Kind, after: int, going: Callable[[], bool]) -> Iterator[Change | None]:
        """Yield changes of a kind after a version, as they happen; None now and then."""
        seen = 0
        while going():
            with self._changed:
                if len(self._changes) == seen:
                    self._changed.wait(0.5)
                fresh, seen = self._changes[seen:], len(self._changes)
            for change in fresh:
                if change.kind == kind and change.version > after:
                    yield change
            yield None


def now() -> str:
    """Return the time as objects carry it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _encode(secret: Object) -> None:
    """Move a Secret's ``stringData`` to its ``data``, as the API server does."""
    for name, value in secret.pop("stringData", {}).items():
        secret.setdefault("data", {})[name] = base64.b64encode(value.encode()).decode()


# --- selectors ----------------------------------------------------------------------------


def matches(labels: Mapping[str, str], selector: str) -> bool:
    """Tell whether labels fit a selector as it is written in a query."""
    for word in re.findall(r"(?:[^,(]|\([^)]*\))+", selector):
        term = word.strip()
        if among := re.fullmatch(r"(\S+) (in|notin) \((.*)\)", term):
            name, verb, values = among.groups()
            inside = labels.get(name) in {value.strip() for value in values.split(",")}
            fits = inside == (verb == "in")
        elif "!=" in term:
            name, _, value = term.partition("!=")
            fits = labels.get(name) != value
        elif "=" in term:
            name, _, value = term.partition("=")
            fits = labels.get(name) == value.removeprefix("=")
        else:
            fits = (term.removeprefix("!") in labels) != term.startswith("!")
        if not fits:
            return False
    return True


def matches_fields(item: Object, selector: str) -> bool:
    """Tell whether an object has the values that a field selector asks for."""
    for term in filter(None, selector.split(",")):
        path, sign, value = re.split(r"(!=|==?)", term, maxsplit=1)
        found: Any = item
        for part in path.split("."):
            found = found.get(part, {}) if isinstance(found, dict) else {}
        if (str(found or "") == value) == (sign == "!="):
            return False
    return True
