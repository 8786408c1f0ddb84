"""What the gate costs: sessions with and without it, hand-overs, memory, and a crowd of idlers.

Run as ``python bench/gate.py [--runs N] [--json FOLDER] [--connections N]``, as root, on an
installed machine. Sessions are made by Postfix's smtp-source(1), both ways in turn.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import multiprocessing
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

from gatepost.model import Address, Standing
from gatepost.plugins.gate.configuration import Configuration, Limits
from gatepost.proxy_protocol import build_2
from table import Table, timed

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from instance import Instance, free_host, instance

SESSIONS = {1: 100, 20: 500, 100: 500, 500: 1000}
"""Sessions in parallel → sessions of one run."""
PAIRS = 3
"""Pairs of runs for each run that was asked for: what is compared differs by less than one run
does from the next."""
IDLERS = 2000


# --- whole sessions -------------------------------------------------------------------------


@contextlib.contextmanager
def two_ways() -> Iterator[tuple[Instance, dict[str, tuple[str, int]]]]:
    """Run a server in which Traefik leads to the gate, and beside it to Postfix's own listener.

    Both ways end in the same Postfix, which throws the messages away. Both count what a client
    takes: one in the gate, the other as Postfix does.
    """
    settings = {
        "MTA_CLIENT_CONNECTIONS": "10000",
        "MTA_CLIENT_CONNECTIONS_PER_MINUTE": "10000000",
    }
    with instance(settings) as server:
        config = server.home / "config" / "current"
        own = f"{server.addresses.service}:31125"

        def postconf(*arguments: str) -> None:
            command = ["postconf", "-c", str(config / "postfix"), *arguments]
            subprocess.run(command, check=True)

        # The address that a header names gives no right to relay (MYNETWORKS).
        postconf("-e", "mynetworks=127.0.0.0/8", "relay_domains=outside.test")
        postconf("-e", "relay_transport=discard:")
        # Postfix would not count clients in mynetworks.
        postconf("-e", "smtpd_client_event_limit_exceptions=")
        # It would pause for a second at a time when mail comes faster than it leaves.
        postconf("-e", "in_flow_delay=0")
        postconf("-M", "discard/unix=discard unix - - n - - discard")
        postconf("-M", f"{own}/inet={own} inet n - n - 600 smtpd")
        postconf("-P", f"{own}/inet/smtpd_upstream_proxy_protocol=haproxy")
        postconf("-P", f"{own}/inet/smtpd_tls_ask_ccert=yes")
        routes = config / "traefik" / "dynamic.yaml"
        text = routes.read_text()
        submission = f"{server.addresses.service}:31587"
        assert text.count(submission) == 1
        routes.write_text(text.replace(submission, own))
        pids = {row["name"]: row["pid"] for row in server.status()["services"]}
        subprocess.run(["kill", "-HUP", str(pids["traefik"])], check=True)
        subprocess.run(["postfix", "-c", str(config / "postfix"), "reload"], check=True)
        time.sleep(2)
        ways = {"gate": server.public("smtp"), "listener": server.public("submission")}
        yield server, ways


def sessions(address: tuple[str, int], parallel: int, count: int) -> float:
    """Return the seconds that this many sessions with a message each take."""
    command = [
        # Not Python's own limit of time, which looks at the clock every 50 ms only.
        *("timeout", "300", "smtp-source", "-s", str(parallel), "-m", str(count), "-l", "1000"),
        *("-f", "friend@outside.test", "-t", "somebody@outside.test"),
        f"{address[0]}:{address[1]}",
    ]
    return timed(lambda: subprocess.run(command, check=True))


def compare(table: Table, runs: int) -> None:
    """Measure sessions both ways, in turn, so that what else happens hits both."""
    with two_ways() as (_, ways):
        for parallel, count in SESSIONS.items():
            for address in ways.values():  # processes are started, caches are warm
                sessions(address, parallel, count)
            taken: dict[str, list[float]] = {way: [] for way in ways}
            for run in range(PAIRS * runs):
                order = list(ways) if run % 2 else list(reversed(ways))
                for way in order:
                    taken[way].append(sessions(ways[way], parallel, count))
            ratios = [g / p for g, p in zip(taken["gate"], taken["listener"], strict=True)]
            for way in ways:
                table.add(f"{count} sessions, {parallel} in parallel, {way}", taken[way], "s")
            table.add(f"ratio, {parallel} in parallel", ratios, "", at_most=1.03)


# --- the gate alone -------------------------------------------------------------------------


def receiver(path: str) -> None:
    """Take connections as a ``pass`` service does, and close them: a stub of Postfix."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(1000)
        while True:
            channel, _ = listening.accept()
            with channel:
                _, descriptors, _, _ = socket.recv_fds(channel, 4096, 1)
                for descriptor in descriptors:
                    os.close(descriptor)


def client(address: tuple[str, int], source: str, count: int) -> None:
    """Connect as a trusted proxy does, again and again, until the connection is closed."""
    header = build_2(("192.0.2.7", 54321), ("192.0.2.1", 25))
    reset = struct.pack("ii", 1, 0)
    for _ in range(count):
        with socket.create_connection(address, 30, source_address=(source, 0)) as stream:
            stream.sendall(header)
            stream.recv(1)
            # No TIME_WAIT: a million of these would use up the ports.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)


@contextlib.contextmanager
def gate_alone() -> Iterator[tuple[psutil.Process, tuple[str, int]]]:
    """Run the gate in front of the stub; yield its process and address."""
    host = free_host(25, 2006)
    with (
        tempfile.TemporaryDirectory(prefix="gp-bench-") as folder,
        socket.create_server((host, 0), backlog=4096) as listening,
    ):
        path = str(Path(folder) / "pass")
        stub = multiprocessing.Process(target=receiver, args=(path,), daemon=True)
        stub.start()
        file = Path(folder) / "gate.json"
        configuration = Configuration(
            hostname="mail.example.org",
            trusted=(ipaddress.ip_network("127.0.0.0/16"),),
            relaying=(),
            accept_direct=False,
            header_seconds=600.0,
            limits=Limits(0, 0),
            handoffs={"smtp": {Standing.NAMED: path}},
            metrics=(Address(host, 2006),),
        )
        file.write_text(configuration.dump())
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", "gatepost.plugins.gate", str(file), "nobody"],
            env={**os.environ, "GATEPOST_SOCKETS": f"smtp:{listening.fileno()}"},
            pass_fds=[listening.fileno()],
            stderr=subprocess.DEVNULL,
        )
        try:
            Path(folder).chmod(0o755)
            time.sleep(1)
            Path(path).chmod(0o666)
            yield psutil.Process(process.pid), listening.getsockname()
        finally:
            process.terminate()
            process.wait()
            stub.terminate()
            stub.join()


def hand_over(table: Table, connections: int) -> None:
    """Measure hand-overs for each second of processor time, and what is left of them in memory."""
    with gate_alone() as (process, address):
        client(address, "127.0.0.1", 100)
        rates: list[float] = []
        memory, descriptors = [rss(process)], process.num_fds()
        rounds, clients = 10, 2
        for _ in range(rounds):
            before = sum(process.cpu_times()[:2])
            share = connections // rounds // clients
            workers = [
                multiprocessing.Process(target=client, args=(address, f"127.0.0.{n}", share))
                for n in range(1, clients + 1)
            ]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
                assert worker.exitcode == 0
            rates.append(share * clients / (sum(process.cpu_times()[:2]) - before))
            memory.append(rss(process))
        table.add("hand-overs a second and core", rates, "/s", at_least=5000)
        table.add(f"resident after {connections} connections", memory[-1:], "MB", at_most=40)
        table.add("growth of memory since the first round", [memory[-1] - memory[1]], "MB")
        table.add("growth of descriptors", [float(process.num_fds() - descriptors)], "", at_most=0)


def rss(process: psutil.Process) -> float:
    """Return resident megabytes."""
    return float(process.memory_info().rss) / 1e6


def crowd(table: Table, runs: int) -> None:
    """Measure how long an honest connection waits beside peers that send nothing, or too slowly."""
    with gate_alone() as (_, address), contextlib.ExitStack() as stack:
        alone = [timed(lambda: client(address, "127.0.0.1", 1)) * 1e3 for _ in range(runs * 20)]
        idlers = [
            stack.enter_context(
                socket.create_connection(address, 30, source_address=(f"127.0.{n // 200}.9", 0))
            )
            for n in range(IDLERS)
        ]
        header = build_2(("192.0.2.7", 54321), ("192.0.2.1", 25))
        beside: list[float] = []
        for run in range(runs * 20):
            if run % 20 == 0 and run // 20 < len(header) - 1:
                for idler in idlers[: IDLERS // 2]:
                    idler.send(header[run // 20 : run // 20 + 1])
            beside.append(timed(lambda: client(address, "127.0.0.1", 1)) * 1e3)
        with urllib.request.urlopen(f"http://{address[0]}:2006/metrics", timeout=5) as answer:
            assert f"gatepost_gate_waiting {IDLERS}.0" in answer.read().decode()
        table.add("one connection, alone", alone, "ms")
        table.add(f"one connection beside {IDLERS} idlers", beside, "ms")
        slower = [statistics.median(beside) - statistics.median(alone)]
        table.add("delay by them, median", slower, "ms", at_most=50)
        table.add("delay by them, at most", [max(beside) - statistics.median(alone)], "ms")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="how often each thing is measured")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="keep the figures here as well")
    parser.add_argument("--connections", type=int, default=1_000_000, help="to hand over")
    chosen = parser.parse_args()
    table = Table("gate")
    crowd(table, chosen.runs)
    compare(table, chosen.runs)
    hand_over(table, chosen.connections)
    table.keep(chosen.json)


if __name__ == "__main__":
    main()
