"""The Kubernetes API as a pod reads it: lists of objects, and logs of pods. Nothing is written.

The standard library is enough for that; docs/decisions/0011-verify-in-a-cluster.md says why there
is no client library.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

from gatepost.errors import UsageError
from gatepost.verify.vantage.cluster import Kind, Object, Unreadable

MOUNTED = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""The folder in which a pod finds its token, the API's certificate and its namespace."""
_PATIENCE_SECONDS = 2.0
_MOST_BYTES = 50_000_000

POD = Kind("Pod", "pods")
SERVICE = Kind("Service", "services")
ENDPOINT_SLICE = Kind("EndpointSlice", "endpointslices", "discovery.k8s.io")


@dataclass(frozen=True, slots=True)
class Api:
    """The API server, asked as the pod's ServiceAccount."""

    host: str
    port: int
    mounted: Path = MOUNTED

    @classmethod
    def of(cls, environ: Mapping[str, str], mounted: Path = MOUNTED) -> Api:
        """Return the API of the cluster that this pod runs in; `UsageError` when it is no pod."""
        host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
        if not host:
            raise UsageError(
                "verify --cluster: KUBERNETES_SERVICE_HOST is not set, so this is no pod. It runs "
                "in the cluster, as the Job of deploy/kustomize/verify: name that folder among the "
                "resources of your overlay. From elsewhere: gatepost verify --target HOST"
            )
        return cls(host, int(port) if port and port.isdigit() else 443, mounted)

    @property
    def namespace(self) -> str:
        """The pod's own namespace, as far as it is known."""
        with contextlib.suppress(OSError):
            return (self.mounted / "namespace").read_text().strip() or "default"
        return "default"

    def list(self, kind: Kind, namespace: str) -> tuple[Object, ...]:
        """Return all objects of a kind in a namespace; none where nobody knows the kind.

        Raises `Unreadable`.
        """
        path = f"{kind.path}/namespaces/{namespace}/{kind.resource}"
        with self._answer(path, kind.resource, kind.group, namespace) as answer:
            if answer.status == http.HTTPStatus.NOT_FOUND:
                return ()
            try:
                items = json.loads(answer.read(_MOST_BYTES))["items"] or ()
            except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
                raise self._away(error) from None
        return tuple(item for item in items if isinstance(item, dict))

    def log(self, pod: Object, container: str, **query: str) -> Stream:
        """Open a container's log; the query is that of ``pods/log``. Raises `Unreadable`."""
        meta = pod["metadata"]
        namespace, name = str(meta["namespace"]), str(meta["name"])
        words = urlencode({"container": container, **query})
        stream = Stream(self._connected())
        try:
            stream.begin(
                f"{POD.path}/namespaces/{namespace}/pods/{name}/log?{words}", self._token()
            )
        except (OSError, http.client.HTTPException) as error:
            stream.close()
            raise self._away(error) from None
        except BaseException:
            stream.close()
            raise
        return stream

    def refusal(self, status: int, resource: str, group: str, namespace: str) -> Unreadable:
        """Say what an answer other than the wanted one means."""
        if status in {http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN}:
            verbs = '["get"]' if "/" in resource else '["get", "list"]'
            folder = "verify" if namespace == self.namespace else "verify-traefik-elsewhere"
            return Unreadable(
                f"this pod may not read {resource} in namespace {namespace}",
                f"Add to the Role of its ServiceAccount in namespace {namespace}: "
                f'apiGroups: ["{group}"], resources: ["{resource}"], verbs: {verbs}; '
                f"deploy/kustomize/{folder} has it",
            )
        return Unreadable(
            f"the Kubernetes API answered {status} for {resource} in namespace {namespace}",
            "See what is wrong there: kubectl get --raw /readyz?verbose",
        )

    # --- connections ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _answer(
        self, path: str, resource: str, group: str, namespace: str
    ) -> Iterator[http.client.HTTPResponse]:
        connection = self._connected()
        try:
            try:
                connection.request("GET", path, headers=_headers(self._token()))
                answer = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise self._away(error) from None
            if answer.status not in {http.HTTPStatus.OK, http.HTTPStatus.NOT_FOUND}:
                raise self.refusal(answer.status, resource, group, namespace)
            yield answer
        finally:
            connection.close()

    def _connected(self) -> http.client.HTTPSConnection:
        try:
            context = ssl.create_default_context(cafile=self.mounted / "ca.crt")
        except (OSError, ssl.SSLError):
            raise _no_account(self.mounted) from None
        connection = http.client.HTTPSConnection(
            self.host, self.port, timeout=_PATIENCE_SECONDS, context=context
        )
        try:
            connection.connect()
        except OSError as error:
            raise self._away(error) from None
        return connection

    def _token(self) -> str:
        """Read the token anew each time: it is replaced every hour."""
        try:
            return (self.mounted / "token").read_text().strip()
        except OSError:
            raise _no_account(self.mounted) from None

    def _away(self, error: Exception) -> Unreadable:
        where = f"[{self.host}]" if ":" in self.host else self.host
        return Unreadable(
            f"the Kubernetes API at {where}:{self.port} does not answer: {error or 'in time'}",
            "See that no NetworkPolicy keeps this pod from it.",
        )


def _no_account(mounted: Path) -> Unreadable:
    return Unreadable(
        f"no ServiceAccount token and certificate to read in {mounted}",
        "Run it as the Job of deploy/kustomize/verify, whose ServiceAccount may read what it "
        "takes, and leave automountServiceAccountToken on.",
    )


def _headers(token: str) -> Mapping[str, str]:
    return {
        "Authorization": f"Bearer {token}",
        "Accept": "application/json",
        "User-Agent": "gatepost",
    }


class Stream:
    """One log that is being read; another thread may close it."""

    def __init__(self, connection: http.client.HTTPSConnection) -> None:
        """Take an open connection."""
        self._connection = connection
        self._socket: socket.socket = connection.sock

    def begin(self, path: str, token: str) -> None:
        """Ask for the log."""
        # Nothing is answered before there is a line, however long that takes.
        self._socket.settimeout(None)
        self._connection.request("GET", path, headers=_headers(token))

    def lines(self, api: Api, namespace: str, *, patience: float | None = None) -> Iterator[str]:
        """Yield lines as they come, until the log ends or the stream is closed.

        `patience` is how many seconds any of them may take. Raises `Unreadable`.
        """
        self._socket.settimeout(patience)
        try:
            answer = self._connection.getresponse()
            if answer.status != http.HTTPStatus.OK:
                raise api.refusal(answer.status, "pods/log", "", namespace)
            while line := answer.readline(_MOST_BYTES):
                yield line.decode(errors="replace").rstrip("\n")
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            return  # closed meanwhile, or the node went away: there is no more

    def close(self) -> None:
        """Hang up, also on a thread that waits for a line."""
        with contextlib.suppress(OSError):
            # By the socket's own method: that of TLS would take away what the other thread reads.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        """Return the stream, which is closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it for good."""
        self.close()
        self._connection.close()
