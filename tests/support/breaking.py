"""Real servers that are broken behind Gatepost's back, and mended."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
from instance import Instance
from proving import Report


def ask_no_name_server(server: Instance) -> None:
    """Have Postfix look up no client's name: one lost answer costs five seconds."""
    folder = server.home / "config" / "current" / "postfix"
    subprocess.run(["postconf", "-c", str(folder), "-e", "smtpd_peername_lookup=no"], check=True)
    reload_postfix(server, folder)


@contextlib.contextmanager
def changed(folder: Path) -> Iterator[Path]:
    """Put every file of a folder back as it was, whatever a block does to them."""
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    try:
        yield folder
    finally:
        for file, content in before.items():
            if file.read_bytes() != content:
                file.write_bytes(content)


def read_routes(server: Instance) -> None:
    """Have Traefik read its routes; it says nothing when it has."""
    pids = {row["name"]: row["pid"] for row in server.status()["services"]}
    subprocess.run(["kill", "-HUP", str(pids["traefik"])], check=True)
    time.sleep(2)


@contextlib.contextmanager
def postfix_with(
    server: Instance, main: Mapping[str, str], services: Mapping[str, str]
) -> Iterator[None]:
    """Run Postfix with other settings, and with other settings of single services."""
    with changed(server.home / "config" / "current" / "postfix") as folder:
        for option, settings in (("-e", main), ("-P", services)):
            if settings:
                words = [f"{name}={value}" for name, value in settings.items()]
                subprocess.run(["postconf", "-c", str(folder), option, *words], check=True)
        reload_postfix(server, folder)
        yield
    reload_postfix(server, folder)


def reload_postfix(server: Instance, folder: Path) -> None:
    """Have Postfix read its settings, and wait until none of its processes has the old ones."""
    (queue,) = re.findall(r"(?m)^queue_directory = (.*)$", (folder / "main.cf").read_text())
    master = psutil.Process(int((Path(queue) / "pid" / "master.pid").read_text()))
    old = []
    for child in master.children():
        with contextlib.suppress(psutil.NoSuchProcess):  # ended meanwhile
            old += [child] * (child.name() == "smtpd")
    since = server.mark()
    master.send_signal(signal.SIGHUP)
    server.wait_for_log("reload -- version", since=since)
    assert not psutil.wait_procs(old, timeout=10)[1]
    for port in (32025, 32587):
        with socket.create_connection((server.addresses.service, port), 10) as client:
            assert client.recv(4096).startswith(b"220 ")


def failing(report: Report, check: str) -> set[tuple[str, str]]:
    """Return listener and family of the rows of a check that failed, which alone may fail."""
    assert report.failed == {check}, [row for row in report.findings if row["status"] == "fail"]
    assert report.exit_code == 1
    rows = report.of(check, status="fail")
    assert all(row["fix"] for row in rows)
    return {(row["listener"], row["family"]) for row in rows}


def both(*listeners: str) -> set[tuple[str, str]]:
    return {(listener, family) for listener in listeners for family in ("IPv4", "IPv6")}
