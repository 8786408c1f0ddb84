"""A node's network: a router, and pods and machines behind it, each a network namespace.

Nothing leads out of it, so its addresses may be the same in every run. A pod has a link of its own
to the node and no neighbours: all it sends passes the node, where Services are (as with Calico).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

NODE = ("10.42.0.1", "fd00:42::1")
"""The node's own addresses, in the range of pods, as a node has them."""
DOOR = ("203.0.113.1", "2001:db8:113::1")
"""The node's addresses for the world: where a LoadBalancer Service is reached."""
DNS = "10.43.0.10"
"""The cluster's name server, by its Service's address."""

_NAMESPACES = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Host:
    """Something with addresses of its own: the node, a pod, or a machine in the world."""

    namespace: str
    ipv4: str
    ipv6: str

    @property
    def path(self) -> Path:
        """The file that stands for its network."""
        return _NAMESPACES / self.namespace

    @property
    def addresses(self) -> tuple[str, str]:
        """Both addresses, IPv4 first."""
        return self.ipv4, self.ipv6

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Let this thread be there: sockets, threads and programs begun in the block are its."""
        with Path("/proc/thread-self/ns/net").open() as back, self.path.open() as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(back.fileno())


def _enter(namespace: int) -> None:
    # The library's own `os.setns` came with Python 3.12.
    if _libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns: the network namespace cannot be entered")


@dataclass
class Network:
    """The node and all that is connected to it; see `network`."""

    mark: str
    """Begins the name of everything that belongs to this network on the machine."""
    node: Host
    hosts: dict[str, Host] = field(default_factory=dict)
    _count: int = 0

    def attach(self, name: str, ipv4: str, ipv6: str) -> Host:
        """Connect a new host with these addresses."""
        self._count += 1
        link = f"v{self._count}"
        host = Host(f"{self.mark}-{self._count}", ipv4, ipv6)
        _run("ip", "netns", "add", host.namespace)
        self.hosts[name] = host
        _expect_no_twins(host)
        _ip(
            self.node.namespace,
            f"link add {link} type veth peer name eth0 netns {host.namespace}",
            f"link set {link} up",
            f"addr add fe80::1/64 dev {link} nodad",
        )
        _ip(
            host.namespace,
            "link set lo up",
            "link set eth0 up",
            f"addr add {ipv4}/32 dev eth0",
            f"addr add {ipv6}/128 dev eth0 nodad",
            f"route add default via {NODE[0]} dev eth0 onlink",
            "route add default via fe80::1 dev eth0",
        )
        _ip(
            self.node.namespace,
            f"route add {ipv4}/32 dev {link} src {NODE[0]}",
            f"route add {ipv6}/128 dev {link} src {NODE[1]}",
        )
        return host

    def detach(self, name: str) -> None:
        """Remove a host; its links and routes go with it."""
        host = self.hosts.pop(name)
        # The name alone would go, and the network stay for as long as a socket of it is open.
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip(host.namespace, "link del eth0")
        _run("ip", "netns", "delete", host.namespace)

    def filter(self, rules: str) -> None:
        """Load rules of nftables into the node."""
        words = ["ip", "netns", "exec", self.node.namespace, "nft", "-f", "-"]
        done = subprocess.run(words, input=rules, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stderr}\n{rules}"


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Make a node's network for as long as the block lasts."""
    remove_orphans(_NAMESPACES.glob, lambda path: _run("ip", "netns", "delete", path.name))
    mark = f"gp{os.getpid()}-{secrets.token_hex(2)}"
    node = Host(f"{mark}-node", *NODE)
    made = Network(mark, node)
    _run("ip", "netns", "add", node.namespace)
    try:
        _ip(
            node.namespace,
            "link set lo up",
            *(f"addr add {address} dev lo" for address in (*NODE, *DOOR, DNS)),
        )
        _expect_no_twins(node)
        with node.inside():
            for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                Path("/proc/sys/net", name).write_text("1")
        yield made
    finally:
        for name in list(made.hosts):
            made.detach(name)
        _run("ip", "netns", "delete", node.namespace)


def _expect_no_twins(host: Host) -> None:
    """Let addresses be used at once: for a second or two nobody would answer over IPv6."""
    with host.inside():
        for name in ("all", "default"):
            Path("/proc/sys/net/ipv6/conf", name, "accept_dad").write_text("0")


def listen(host: Host, address: str, port: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """Open a socket at an address of a host; whoever has it may use it from anywhere."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with host.inside():
        opened = socket.socket(family, kind)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind((address, port))
    if kind == socket.SOCK_STREAM:
        opened.listen(64)
    return opened


def remove_orphans(find: Callable[[str], Iterator[Path]], remove: Callable[[Path], None]) -> None:
    """Remove what a run that was killed has left: the name tells the process that made it."""
    for path in list(find("gp[0-9]*-*")):
        pid = path.name[2:].partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            remove(path)


def _ip(namespace: str, *lines: str) -> None:
    """Run lines of ip(8) in a namespace; it knows by the address which family is meant."""
    _run("ip", "-netns", namespace, "-batch", "-", said="\n".join(lines))


def _run(*words: str, said: str = "") -> None:
    subprocess.run(words, input=said, check=True, capture_output=True, text=True)
