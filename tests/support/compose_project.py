"""deploy/compose.yaml as it stands, run by the real podman-compose in a network of its own.

Traefik's official image cannot be pulled everywhere: its container runs the same program from our
image `all`, with the arguments, the routes and the rights that the file gives it.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import containers
from network import Host, Network, listen, network
from shipped import DEPLOY

_PROGRAM = Path(sys.executable).with_name("podman-compose")
_PROGRAMS = {
    "aardvark-dns": "/usr/lib/podman/aardvark-dns",
    "iptables": "iptables",
    "netavark": "/usr/lib/podman/netavark",
}
"""Debian package → its program; podman's networks need them."""


def requirements() -> str | None:
    """Return what this machine lacks, in a sentence; None when nothing."""
    missing = [name for name, program in _PROGRAMS.items() if not shutil.which(program)]
    if missing:
        return f"These are missing: apt-get install {' '.join(missing)}"
    return containers.requirements()


@dataclass(frozen=True)
class Project:
    """The three containers; see `project`."""

    name: str
    folder: Path
    network: Network

    def compose(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run podman-compose on the machine that the project is on."""
        store = containers.STORAGE
        podman = [
            *("--root", str(store / "images"), "--runroot", str(store / "run")),
            *("--runtime", "runc", "--network-config-dir", str(self.folder / "networks")),
        ]
        limits = "--ulimit nofile=1024:1024 --ulimit nproc=1000:1000"
        with self.network.node.inside():
            return subprocess.run(
                [
                    *(str(_PROGRAM), "--project-name", self.name),
                    *("--podman-args", " ".join(podman), "--podman-run-args", limits),
                    *("--file", str(self.folder / "compose.yaml")),
                    *("--file", str(self.folder / "stand-in.yaml"), *words),
                ],
                cwd=self.folder,
                # Its terminal colours would be in every line.
                env={**os.environ, "NO_COLOR": "1"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )

    def container(self, service: str) -> containers.Container:
        """Return the container of a service."""
        return containers.Container(f"{self.name}_{service}_1")

    def healthy(self, service: str) -> bool:
        """Ask a container for its health, by the words of the file."""
        return containers.run("healthcheck", "run", f"{self.name}_{service}_1").returncode == 0

    def machine(self, name: str, ipv4: str, ipv6: str) -> Host:
        """Connect a machine of the world."""
        return self.network.attach(f"machine {name}", ipv4, ipv6)


@contextlib.contextmanager
def files(settings: str) -> Iterator[Path]:
    """Lend a folder with what ships and a user's ``.env``."""
    with tempfile.TemporaryDirectory(prefix="gp-compose-") as place:
        folder = Path(place)
        shutil.copy(DEPLOY / "compose.yaml", folder)
        shutil.copytree(DEPLOY / "compose", folder / "compose")
        (folder / "networks").mkdir()
        (folder / ".env").write_text(settings)
        (folder / "stand-in.yaml").write_text(
            "services:\n"
            "  traefik:\n"
            f"    image: localhost/gatepost:{containers.build()['all'].rpartition(':')[2]}\n"
            "    entrypoint: [traefik]\n"
            # In the place of the volume that our image would have.
            "    tmpfs: [/var/lib/gatepost]\n"
        )
        yield folder


@contextlib.contextmanager
def _no_names(net: Network) -> Iterator[None]:
    """Answer at once, for as long as the block lasts, that a name does not exist.

    Podman's name server passes on what it does not know to this machine's own, which nobody
    reaches from here; Postfix would wait for the names of its clients.
    """
    lines = Path("/etc/resolv.conf").read_text().splitlines()
    servers = {line.split()[1] for line in lines if line.startswith("nameserver ")}
    opened = []
    for server in servers:
        words = ["ip", "-netns", net.node.namespace, "address", "add", server, "dev", "lo"]
        subprocess.run(words, check=False, capture_output=True)
        opened.append(listen(net.node, server, 53, socket.SOCK_DGRAM))

    stop = threading.Event()

    def answer() -> None:
        while not stop.is_set():
            for one in select.select(opened, [], [], 0.2)[0]:
                question, client = one.recvfrom(4096)
                # The same question, marked as an answer: no such name (RFC 1035, 4.1.1).
                one.sendto(question[:2] + b"\x81\x83" + question[4:], client)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for one in opened:
            one.close()


@contextlib.contextmanager
def project(settings: str) -> Iterator[Project]:
    """Run the project with these settings for as long as the block lasts; nothing of it is left."""
    with files(settings) as folder, network() as net, _no_names(net):
        made = Project(net.mark, folder, net)
        try:
            done = made.compose("up", "--detach")
            assert done.returncode == 0, done.stdout + done.stderr
            deadline = time.monotonic() + 60
            for service in ("mta", "mda"):
                while not made.healthy(service):
                    said = made.container(service).log()
                    assert time.monotonic() < deadline, f"{service}:\n{said[-3000:]}"
                    time.sleep(0.2)
            yield made
        finally:
            made.compose("down", "--volumes", "--timeout", "5")
