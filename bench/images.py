"""Size of the images beyond their base, start to ready, and the memory of idle containers.

Run as ``python bench/images.py [--runs N] [--json FOLDER]``, as root. The images are built first,
unless they are what the sources say.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from table import Table, options, timed

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from container_pair import hosts, setup
from containers import Container, build, container, podman, requirements
from network import Host, network

SIZES = {"mta": 180, "mda": 200}
MEMORY = {"mta": 80, "mda": 60}
READY_SECONDS = 3
SETTLE_SECONDS = 5
"""Until what a start needs has ended: Postfix's first questions, Dovecot's first processes."""


def beyond_base(image: str) -> float:
    """Return the megabytes that an image adds to the one it stands on."""
    found = json.loads(podman("image", "inspect", image))[0]
    base = found["Labels"]["org.opencontainers.image.base.name"]
    return float(found["Size"] - json.loads(podman("image", "inspect", base))[0]["Size"]) / 1e6


def held(one: Container) -> float:
    """Return the megabytes that all processes inside hold, shared pages counted once (PSS)."""
    total = 0
    for pid, _ in one.processes():
        with contextlib.suppress(psutil.NoSuchProcess):  # one that ends meanwhile holds nothing
            total += psutil.Process(pid).memory_full_info().pss
    return total / 1e6


def start(one: Container) -> None:
    """Start a container and wait until it says that it is ready."""
    one.start()
    one.wait_ready()


def measure(table: Table, images: Mapping[str, str], places: Mapping[str, Host], runs: int) -> None:
    """Start both, the MDA first; then each again, since a pod is replaced far more often."""
    with (
        tempfile.TemporaryDirectory(prefix="gatepost-bench-", dir="/var/tmp") as folder,
        container(setup("mda", Path(folder)), images, places["mda"]) as mda,
        container(setup("mta", Path(folder)), images, places["mta"]) as mta,
    ):
        both = {"mta": mta, "mda": mda}
        for one in both.values():
            one.wait_ready()
        for name, one in both.items():
            starts = []
            for _ in range(runs):
                one.stop()
                starts.append(timed(functools.partial(start, one)))
            table.add(f"{name}: start to ready", starts, "s", at_most=READY_SECONDS)
        time.sleep(SETTLE_SECONDS)
        for name, one in both.items():
            figures = [held(one) for _ in range(runs)]
            table.add(f"{name}: idle memory", figures, "MB", at_most=MEMORY[name])


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__, runs=5)
    if lacks := requirements():
        sys.exit(lacks)
    images = build()
    table = Table("images")
    for name, most in SIZES.items():
        size = beyond_base(images[name])
        table.add(f"{name}: size beyond the base", [size], "MB", at_most=most)
    table.add("all: size beyond the base", [beyond_base(images["all"])], "MB")
    with network() as net:
        measure(table, images, hosts(net), chosen.runs)
    table.keep(chosen.json)


if __name__ == "__main__":
    main()
