"""A small Kubernetes API server: enough for Traefik's CRD provider, for kubectl and for clients.

It keeps what it is given (`KubernetesApi.put`, or ``kubectl apply --server-side``), answers lists,
single objects and watches, tells what it knows (discovery), prints tables, and hands out the logs
of pods. Nothing acts on the objects here: see `kubernetes_controllers`.

Everybody may read and write, unless a bearer token belongs to a service account: then the Roles
and ClusterRoles that are bound to that account decide, as in a real cluster.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from kubernetes_access import allowed
from kubernetes_answers import bookmark, discovery, table
from kubernetes_logs import read_log
from kubernetes_objects import (
    KINDS,
    Kind,
    Object,
    Objects,
    kind_of,
    matches,
    matches_fields,
    named,
)

_TABLE = re.compile(r"as=Table\b")


@dataclass(frozen=True)
class Request:
    """A request that somebody made."""

    verb: str
    """As RBAC spells it: ``get``, ``list``, ``watch``, ``create``, …"""
    path: str
    token: str | None
    """The bearer token that came with it."""
    status: int


@dataclass
class KubernetesApi:
    """The API server; `serve` runs it."""

    objects: Objects = field(default_factory=Objects)
    requests: list[Request] = field(default_factory=list)
    accounts: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Bearer token → namespace and name of the service account it belongs to."""
    logs: Path | None = None
    """Folder with the logs of pods, each ``NAMESPACE_POD_CONTAINER.log`` in the CRI format."""
    address: tuple[str, int] = ("", 0)
    secure: bool = False
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Where it answers."""
        host, port = self.address
        name = f"[{host}]" if ":" in host else host
        return f"{'https' if self.secure else 'http'}://{name}:{port}"

    def put(self, *items: Object, namespace: str = "default") -> None:
        """Create or replace objects; those without a namespace go into `namespace`."""
        for item in items:
            self.objects.put(item, namespace)

    def get(self, kind: str, name: str, namespace: str = "default") -> Object:
        """Return an object that must be there."""
        found = self.objects.get(named(kind), name, namespace)
        assert found is not None, f"no {kind} {name} in {namespace}"
        return found

    def list(self, kind: str, namespace: str | None = None) -> list[Object]:
        """Return the objects of a kind."""
        return self.objects.list(named(kind), namespace)[0]

    def delete(self, kind: str, name: str, namespace: str = "default") -> None:
        """Remove an object that must be there."""
        assert self.objects.delete(named(kind), name, namespace), f"no {kind} {name}"

    def log_file(self, pod: str, container: str, namespace: str = "default") -> Path:
        """Return the file that a container's log belongs into."""
        assert self.logs is not None, "this API server was given no folder of logs"
        return self.logs / f"{namespace}_{pod}_{container}.log"

    def kubeconfig(self, folder: Path) -> Path:
        """Write a configuration for kubectl that leads here, and return its path."""
        cluster = {
            "server": self.url,
            **({"insecure-skip-tls-verify": True} if self.secure else {}),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": "tests", "user": {}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
        }
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path


@contextlib.contextmanager
def serve(
    sockets: Sequence[socket.socket] = (),
    *,
    logs: Path | None = None,
    certificate: tuple[Path, Path] | None = None,
) -> Iterator[KubernetesApi]:
    """Run an API server on listening sockets, or on a free port of 127.0.0.1.

    A socket may have been opened in another network namespace. With a `certificate` and its key it
    speaks HTTPS.
    """
    opened = sockets or [socket.create_server(("127.0.0.1", 0))]
    host, port = opened[0].getsockname()[:2]
    api = KubernetesApi(logs=logs, address=(host, port), secure=certificate is not None)
    servers = [_Server(api, listening, certificate) for listening in opened]
    threads = [
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        for server in servers
    ]
    for thread in threads:
        thread.start()
    try:
        yield api
    finally:
        api.stopping.set()
        for server in servers:
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()


class _Server(ThreadingHTTPServer):
    """One listening socket of the API server."""

    daemon_threads = True

    def __init__(
        self, api: KubernetesApi, listening: socket.socket, certificate: tuple[Path, Path] | None
    ) -> None:
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.api = api
        self._tls: ssl.SSLContext | None = None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*certificate)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept; the TLS handshake is left to the connection's own thread."""
        stream, peer = super().get_request()
        if self._tls:
            stream = self._tls.wrap_socket(stream, server_side=True, do_handshake_on_connect=False)
        return stream, peer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet: a client that goes away in the middle of a watch is no error."""


@dataclass(frozen=True)
class _Target:
    """What a path leads to."""

    kind: Kind
    namespace: str | None
    name: str | None
    part: str
    """A subresource such as ``log``; mostly empty."""


def _target(path: str) -> _Target | None:
    """Read ``/api/v1/…`` and ``/apis/GROUP/VERSION/…``."""
    begin = re.match(r"/(?:api/(v1)|apis/([^/]+/[^/]+))/(.+)", path)
    if not begin:
        return None
    version = begin[1] or begin[2]
    parts = begin[3].strip("/").split("/")
    namespace = None
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    for kind in KINDS:
        if (kind.api, kind.path) == (version, parts[0]):
            name, part = [*parts[1:3], "", ""][:2]
            return _Target(kind, namespace, name or None, part)
    return None


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Write nothing: `KubernetesApi.requests` has it."""

    def do_GET(self) -> None:
        """Answer a list, an object, a watch, a log or what there is to know."""
        path, query = self._asked()
        if (known := discovery(path)) is not None:
            self._answer(200, known)
        elif (target := _target(path)) is None:
            self._refuse(404, "NotFound", f"there is no {path} here")
        elif target.part == "log":
            if self._may("get", target):
                self._log(target, query)
        elif target.name is not None:
            if self._may("get", target):
                self._one(target)
        elif query.get("watch") in {"true", "1"}:
            if self._may("watch", target):
                self._watch(target, query)
        elif self._may("list", target):
            self._list(target, query)

    def do_POST(self) -> None:
        """Create an object."""
        self._write("create")

    def do_PUT(self) -> None:
        """Replace an object."""
        self._write("update")

    def do_PATCH(self) -> None:
        """Create or replace an object as ``kubectl apply --server-side`` asks."""
        self._write("patch")

    def do_DELETE(self) -> None:
        """Remove an object."""
        target = _target(self._asked()[0])
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if target is None or target.name is None:
            self._refuse(404, "NotFound", f"there is no {self.path} here")
        elif self._may("delete", target):
            objects = self.server.api.objects
            gone = objects.delete(target.kind, target.name, target.namespace or "")
            self._answer(200, gone) if gone else self._missing(target)

    # --- reading ----------------------------------------------------------------------------

    def _one(self, target: _Target) -> None:
        found = self.server.api.objects.get(target.kind, target.name or "", target.namespace or "")
        if found is None:
            self._missing(target)
        elif _TABLE.search(self.headers.get("Accept", "")):
            self._answer(200, table([found], found["metadata"]["resourceVersion"]))
        else:
            self._answer(200, found)

    def _list(self, target: _Target, query: Mapping[str, str]) -> None:
        items, version = self.server.api.objects.list(target.kind, target.namespace)
        items = [item for item in items if _selected(item, query)]
        if _TABLE.search(self.headers.get("Accept", "")):
            self._answer(200, table(items, str(version)))
            return
        self._answer(
            200,
            {
                "apiVersion": target.kind.api,
                "kind": f"{target.kind.kind}List",
                "metadata": {"resourceVersion": str(version)},
                "items": items,
            },
        )

    def _watch(self, target: _Target, query: Mapping[str, str]) -> None:
        api = self.server.api
        after = int(query.get("resourceVersion") or 0)
        until = time.monotonic() + float(query.get("timeoutSeconds") or 1800)
        self._begin_stream("application/json")
        initial = query.get("sendInitialEvents") == "true" or not after
        if initial:
            items, after = api.objects.list(target.kind, target.namespace)
            for item in items:
                if _selected(item, query):
                    self._event("ADDED", item)
        if query.get("sendInitialEvents") == "true":
            self._event("BOOKMARK", bookmark(target.kind, after))

        def going() -> bool:
            return not api.stopping.is_set() and time.monotonic() < until

        for change in api.objects.changes(target.kind, after, going):
            if change is None:
                continue
            inside = target.namespace in {None, change.item["metadata"].get("namespace")}
            if inside and _selected(change.item, query):
                self._event(change.verb, change.item)
        self._chunk(b"")

    def _log(self, target: _Target, query: Mapping[str, str]) -> None:
        api = self.server.api
        namespace, name = target.namespace or "", target.name or ""
        pod = api.objects.get(target.kind, name, namespace)
        if pod is None:
            self._missing(target)
            return
        names = [container["name"] for container in pod["spec"]["containers"]]
        container = query.get("container") or names[0]
        if container not in names:
            self._refuse(400, "BadRequest", f"container {container} is not valid for pod {name}")
            return
        self._begin_stream("text/plain")
        file = api.log_file(name, container, namespace)
        for line in read_log(file, query, api.stopping.is_set):
            self._chunk(line.encode())
        self._chunk(b"")

    # --- writing ----------------------------------------------------------------------------

    def _write(self, verb: str) -> None:
        target = _target(self._asked()[0])
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if target is None or target.part:
            self._refuse(404, "NotFound", f"there is no {self.path} here")
            return
        kind = self.headers.get("Content-Type", "").partition(";")[0]
        if verb == "patch" and kind != "application/apply-patch+yaml":
            self._refuse(415, "UnsupportedMediaType", "use kubectl apply --server-side")
            return
        if not self._may(verb, target):
            return
        item = yaml.safe_load(body)
        if kind_of(item) != target.kind:
            self._refuse(400, "BadRequest", f"{item['kind']} does not belong here")
            return
        there = self.server.api.objects.get(
            target.kind, item["metadata"]["name"], target.namespace or ""
        )
        if there and verb == "create":
            self._refuse(409, "AlreadyExists", f"{item['metadata']['name']} already exists")
            return
        item.pop("managedFields", None)
        made = self.server.api.objects.put(item, target.namespace or "default")
        self._answer(200 if there else 201, made)

    # --- answering --------------------------------------------------------------------------

    def _asked(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        return parts.path, {name: values[-1] for name, values in query.items()}

    def _may(self, verb: str, target: _Target) -> bool:
        """Ask the roles of the account that the token belongs to; without one, all is allowed."""
        api = self.server.api
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        given = token if scheme == "Bearer" else None
        account = api.accounts.get(given or "")
        resource = "/".join(filter(None, (target.kind.path, target.part)))
        may = account is None or allowed(
            api.objects,
            account,
            verb=verb,
            group=target.kind.group,
            resource=resource,
            namespace=target.namespace,
            name=target.name,
        )
        api.requests.append(Request(verb, self.path, given, 200 if may else 403))
        if account and not may:
            who = f"system:serviceaccount:{account[0]}:{account[1]}"
            where = f'in the namespace "{target.namespace}"' if target.namespace else "here"
            self._refuse(
                403, "Forbidden", f'User "{who}" cannot {verb} resource "{resource}" {where}'
            )
        return may

    def _missing(self, target: _Target) -> None:
        self._refuse(404, "NotFound", f'{target.kind.path} "{target.name}" not found')

    def _refuse(self, code: int, reason: str, message: str) -> None:
        status = {"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code}
        self._answer(code, {**status, "reason": reason, "message": message})

    def _answer(self, code: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _begin_stream(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _event(self, verb: str, item: Object) -> None:
        self._chunk(json.dumps({"type": verb, "object": item}).encode() + b"\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()


def _selected(item: Object, query: Mapping[str, str]) -> bool:
    labels = item["metadata"].get("labels", {})
    return matches(labels, query.get("labelSelector", "")) and matches_fields(
        item, query.get("fieldSelector", "")
    )
