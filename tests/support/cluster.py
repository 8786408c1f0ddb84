"""A cluster without a cluster: one node, its pods, and machines in the world outside.

What is real: the manifests, the images with their pods' own security context, kubectl, Traefik with
its CRD provider, Postfix, Dovecot, PostgreSQL, the kernel's network. What stands in for the rest:
`kubernetes_api` for the API server, `Cluster` for controllers, scheduler and kubelet,
`cluster_services` for kube-proxy and the name server, and programs of this machine for the images
of Traefik and PostgreSQL, which cannot be pulled everywhere (`cluster_programs`).
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cluster_policies
import cluster_services as services
import kubernetes_api
from clients import From
from cluster_programs import program_for
from kubernetes_api import KubernetesApi
from kubernetes_logs import plain
from kubernetes_objects import Object, named, now
from network import DNS, DOOR, NODE, Host, Network, listen, network, remove_orphans
from pod_running import Running, start_container, start_program
from pods import Place, forget
from shipped import KUBECTL

NAMESPACE = "default"
_PERIOD = 0.25
"""How often readiness is asked, in seconds: more often than any manifest says."""
_API_PORT = 6443


@dataclass
class Machine:
    """A machine in the world, with addresses of its own."""

    host: Host

    @contextlib.contextmanager
    def client(self, family: int = 4) -> Iterator[From]:
        """Lend a mail client that connects from here, by an IP version."""
        with self.host.inside():
            yield From(self.host.ipv4 if family == 4 else self.host.ipv6)


@dataclass
class Pod:
    """A pod that runs on the node."""

    item: Object
    host: Host
    main: Running
    restarts: int = 0
    ready: bool = False
    obstacle: str = "not asked yet"
    """What its readiness probe said when it was not ready."""

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.item["metadata"]["name"])

    @property
    def container(self) -> Object:
        """The container that matters: the first."""
        found: Object = self.item["spec"]["containers"][0]
        return found


@dataclass
class Cluster:
    """The running cluster; see `cluster`."""

    api: KubernetesApi
    network: Network
    place: Place
    pods: dict[str, Pod] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    """Pod → why its container could not be made, such as a Secret that is not there."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(10))
    _lock: threading.RLock = field(default_factory=threading.RLock)
    policies: bool = True
    """Whether the node enforces NetworkPolicies, as most networks of clusters do."""
    _rules: str = ""

    # --- what a user does -------------------------------------------------------------------

    def apply(self, *items: Object) -> None:
        """Give objects to the API server, and let everything follow from them."""
        self.api.put(*items, namespace=NAMESPACE)
        self.settle()

    def remove(self, kind: str, name: str) -> None:
        """Remove an object, and let everything follow from that."""
        self.api.delete(kind, name, NAMESPACE)
        self.settle()

    def kubectl(self, *words: str, said: str = "", code: int = 0) -> str:
        """Run the real kubectl against the API server; return what it printed, errors included."""
        with self.network.node.inside():
            done = subprocess.run(
                [
                    *(str(KUBECTL), "--kubeconfig", str(self.place.folder / "kubeconfig")),
                    *("--cache-dir", str(self.place.folder / "kubectl"), *words),
                ],
                input=said,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def restart(self, name: str) -> None:
        """Delete a pod as ``kubectl delete pod`` does; its StatefulSet starts another."""
        self.stop(name)
        self.settle()

    def machine(self, name: str, ipv4: str, ipv6: str) -> Machine:
        """Connect a machine to the world, or return the one that has this name."""
        if name not in self.machines:
            self.machines[name] = Machine(self.network.attach(f"machine {name}", ipv4, ipv6))
        return self.machines[name]

    # --- looking ----------------------------------------------------------------------------

    def log(self, pod: str) -> str:
        """Return what a pod of this name has said, all its predecessors included."""
        files = self.place.api.logs.glob(f"{NAMESPACE}_{pod}_*.log") if self.place.api.logs else ()
        return "".join(plain(file) for file in files)

    def mark(self, pod: str) -> int:
        """Return the present length of a pod's log, to look from there."""
        return len(self.log(pod))

    def wait_for_log(self, pod: str, *words: str, since: int = 0, seconds: float = 15) -> str:
        """Wait for a line with all the words in a pod's log, and return it."""

        def find() -> str | None:
            lines = self.log(pod)[since:].splitlines()
            return next((line for line in lines if all(word in line for word in words)), None)

        line: str = self.wait(
            find, lambda: f"no line with {words} in:\n{self.log(pod)[since:][-5000:]}", seconds
        )
        return line

    def wait_ready(self, *names: str, seconds: float = 30) -> None:
        """Wait until pods are ready by their own probes."""

        def all_ready() -> bool:
            # With the lock held its connections are made, too.
            with self._lock:
                return all(name in self.pods and self.pods[name].ready for name in names)

        def why() -> str:
            told = []
            for name in names:
                pod = self.pods.get(name)
                if pod is None:
                    told.append(f"{name} was not started: {self.waiting.get(name, 'nobody asked')}")
                elif not pod.ready:
                    told.append(f"{name} is not ready: {pod.obstacle}\n{self.log(name)[-3000:]}")
            return "\n".join(told)

        self.wait(all_ready, why, seconds)

    @staticmethod
    def wait(found: Callable[[], Any], why: Callable[[], str], seconds: float = 15) -> Any:
        """Wait until something is found and return it."""
        deadline = time.monotonic() + seconds
        while not (result := found()):
            assert time.monotonic() < deadline, why()
            time.sleep(0.05)
        return result

    # --- controllers ------------------------------------------------------------------------

    def settle(self) -> None:
        """Do what controllers would: addresses of Services, pods of StatefulSets and the like."""
        with self._lock:
            services.allocate(self.api, NAMESPACE)
            wanted = dict(self._wanted())
            for name in list(self.pods):
                if (
                    name not in wanted
                    and self.api.objects.get(named("Pod"), name, NAMESPACE) is None
                ):
                    self.stop(name)
            for name, item in wanted.items():
                if name not in self.pods:
                    self._start(item)
            self._connect(anew=True)

    def _wanted(self) -> Iterator[tuple[str, Object]]:
        """Yield the pods that there should be."""
        for kind in ("StatefulSet", "Deployment", "Job"):
            for owner in self.api.list(kind, NAMESPACE):
                for number in range(owner["spec"].get("replicas", 1)):
                    pod = _pod_of(owner, number)
                    yield pod["metadata"]["name"], pod
        for pod in self.api.list("Pod", NAMESPACE):
            if not pod["metadata"].get("ownerReferences"):
                yield pod["metadata"]["name"], pod

    def _start(self, item: Object) -> None:
        name = item["metadata"]["name"]
        number = next(self._numbers)
        host = self.network.attach(f"pod {name}", f"10.42.0.{number}", f"fd00:42::{number}")
        item["status"] = {
            "phase": "Pending",
            "podIP": host.ipv4,
            "podIPs": [{"ip": ip} for ip in host.addresses],
            "hostIP": NODE[0],
        }
        item["spec"]["nodeName"] = "node"
        item = self.api.objects.put(item, NAMESPACE)
        try:
            for container in item["spec"].get("initContainers", []):
                self._prepare(item, container, host)
            main = self._run(item, host)
        except KeyError as missing:
            # As CreateContainerConfigError: the node tries again.
            self.waiting[name] = str(missing)
            self.network.detach(f"pod {name}")
            return
        self.waiting.pop(name, None)
        self.pods[name] = Pod(item, host, main)

    def _prepare(self, item: Object, container: Object, host: Host) -> None:
        first = start_container(self.place, item, container, host)
        self.wait(lambda: not first.alive(), lambda: self.log(item["metadata"]["name"]), 60)
        first.stop(1)

    def _run(self, item: Object, host: Host) -> Running:
        container = item["spec"]["containers"][0]
        command = program_for(self.place, item, container)
        if command:
            return start_program(self.place, item, container, host, command)
        return start_container(self.place, item, container, host)

    def stop(self, name: str) -> None:
        """End a pod with SIGTERM, and remove all that was its own."""
        with self._lock:
            pod = self.pods[name]
            pod.ready = False
            # It gets no new connections from the moment it is told to end.
            pod.item["metadata"]["deletionTimestamp"] = now()
            self._report(pod)
            self._connect()
        pod.main.stop(pod.item["spec"].get("terminationGracePeriodSeconds", 30))
        with self._lock:
            del self.pods[name]
            self.network.detach(f"pod {name}")
            self.api.objects.delete(named("Pod"), name, NAMESPACE)
            forget(self.place, pod.item)
            self._connect()

    def _connect(self, *, anew: bool = False) -> None:
        """Write endpoints, and the kernel's rules where they have changed."""
        services.publish(self.api, NAMESPACE)
        rules = services.rules(self.api) + (
            cluster_policies.rules(self.api) if self.policies else cluster_policies.NONE
        )
        if anew or rules != self._rules:
            self.network.filter(rules)
            self._rules = rules

    # --- kubelet ----------------------------------------------------------------------------

    def watch(self, stop: threading.Event) -> None:
        """Ask every pod for its readiness, and tell; start a container again that ended."""
        while not stop.wait(_PERIOD):
            for pod in list(self.pods.values()):
                if "deletionTimestamp" not in pod.item["metadata"]:
                    self._look_after(pod)

    def _look_after(self, pod: Pod) -> None:
        obstacle = self._probe(pod)
        with self._lock:
            if self.pods.get(pod.name) is not pod or "deletionTimestamp" in pod.item["metadata"]:
                return
            if obstacle and not pod.main.alive():
                obstacle = "its container has ended"
                if pod.item["spec"].get("restartPolicy", "Always") == "Always":
                    obstacle += self._start_again(pod)
            told = "conditions" in pod.item["status"]
            changed = pod.ready != (not obstacle) or not told
            pod.ready, pod.obstacle = not obstacle, obstacle
            if changed:
                self._report(pod)
                self._connect()

    def _start_again(self, pod: Pod) -> str:
        """Start a container anew; return why it could not be: the next round tries again."""
        try:
            pod.main.stop(0)
            pod.main = self._run(pod.item, pod.host)
        except (AssertionError, subprocess.SubprocessError) as error:
            return f", and cannot be started again yet: {error}"
        pod.restarts += 1
        return ""

    def _report(self, pod: Pod) -> None:
        """Tell the API server how a pod is."""
        word = "True" if pod.ready else "False"
        pod.item["status"] |= {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": word}],
            "containerStatuses": [
                {"name": pod.container["name"], "ready": pod.ready, "restartCount": pod.restarts}
            ],
        }
        self.api.put(pod.item)

    def _probe(self, pod: Pod) -> str:
        """Ask a pod's readiness probe, from the node; return what is wrong or nothing."""
        probe = pod.container.get("readinessProbe")
        if probe is None:
            return "" if pod.main.alive() else "it does not run"
        try:
            with self.network.node.inside():
                if asked := probe.get("httpGet"):
                    return _http(pod.host.ipv4, self._port(pod, asked["port"]), asked["path"])
                if asked := probe.get("tcpSocket"):
                    port = self._port(pod, asked["port"])
                    socket.create_connection((pod.host.ipv4, port), 1).close()
                    return ""
            pod.main.run(*probe["exec"]["command"])
        except (
            *(AssertionError, OSError, subprocess.SubprocessError),
            # Who is killed may be killed in the middle of its answer.
            http.client.HTTPException,
        ) as error:
            return str(error) or type(error).__name__
        return ""

    @staticmethod
    def _port(pod: Pod, port: int | str) -> int:
        if isinstance(port, int):
            return port
        rows = pod.container.get("ports", [])
        return next(int(row["containerPort"]) for row in rows if row.get("name") == port)


def _pod_of(owner: Object, number: int) -> Object:
    """Return the pod that a controller makes."""
    template = owner["spec"]["template"]
    name = f"{owner['metadata']['name']}-{number}"
    spec = {**template["spec"]}
    claims = owner["spec"].get("volumeClaimTemplates", [])
    spec["volumes"] = [
        *spec.get("volumes", []),
        *(
            {
                "name": claim["metadata"]["name"],
                "persistentVolumeClaim": {"claimName": f"{claim['metadata']['name']}-{name}"},
            }
            for claim in claims
        ),
    ]
    if owner["kind"] == "Job":
        spec.setdefault("restartPolicy", "Never")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **template.get("metadata", {}),
            "name": name,
            "namespace": owner["metadata"]["namespace"],
            "uid": secrets.token_hex(8),
            "ownerReferences": [{"kind": owner["kind"], "name": owner["metadata"]["name"]}],
        },
        "spec": spec,
    }


def _http(host: str, port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=1) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        return str(error.read().decode().strip())
    return ""


@contextlib.contextmanager
def cluster(podman: Sequence[str]) -> Iterator[Cluster]:
    """Run a node and an API server for as long as the block lasts; nothing of either is left.

    `podman` are the words that begin a call of it, with the store that has the images.
    """

    def remove_container(path: Path) -> None:
        subprocess.run([*podman, "rm", "--force", path.name], check=False, capture_output=True)

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gp-cluster-")))
        folder.chmod(0o755)
        (folder / "logs").mkdir()
        names = subprocess.run(
            [*podman, "ps", "--all", "--format", "{{.Names}}"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        remove_orphans(lambda _: iter(map(Path, names)), remove_container)
        net = stack.enter_context(network())
        api = stack.enter_context(
            kubernetes_api.serve([listen(net.node, NODE[0], _API_PORT)], logs=folder / "logs")
        )
        api.kubeconfig(folder)
        made = Cluster(api, net, Place(api, folder, tuple(podman), net.mark))
        stack.enter_context(
            services.name_server(services.Names(api), listen(net.node, DNS, 53, socket.SOCK_DGRAM))
        )
        stop = threading.Event()
        kubelet = threading.Thread(target=made.watch, args=(stop,), daemon=True)
        kubelet.start()
        try:
            yield made
        finally:
            stop.set()
            kubelet.join()
            for name in list(made.pods):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    made.pods[name].main.stop(2)


def missing() -> str:
    """Return what this machine lacks to be a node, and what to do about it; empty when nothing."""
    programs = {"ip": "iproute2", "nft": "nftables", "podman": "podman", "runc": "runc"}
    packages = [package for name, package in programs.items() if not shutil.which(name)]
    if packages:
        return f"these are missing: apt-get install {' '.join(packages)}"
    done = subprocess.run(
        ["unshare", "--net", "nft", "add table inet x"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return f"network namespaces with nftables do not work here: {done.stderr.strip()}"
    return ""


__all__ = ["DOOR", "NODE", "Cluster", "Machine", "Pod", "cluster", "missing"]
