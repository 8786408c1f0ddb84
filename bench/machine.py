"""Start to ready, the quick commands, rendering, and the memory of an idle server.

Debian's stock Postfix and Dovecot, started one after the other, stand beside it: without a proxy,
a gate and a supervisor.

Run as ``python bench/machine.py [--runs N] [--json FOLDER]`` on an installed machine, as root.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from in_front import wait_for
from stock_server import stock_server
from table import Table, options, timed

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from instance import PROGRAM, Instance, instance


def resident(processes: Iterable[psutil.Process]) -> float:
    """Return the megabytes that they hold: shared pages counted once (PSS, proc(5))."""
    return _megabytes(processes, lambda process: process.memory_full_info().pss)


def summed(processes: Iterable[psutil.Process]) -> float:
    """Return the megabytes resident of all processes added up, shared pages counted each time."""
    return _megabytes(processes, lambda process: process.memory_info().rss)


def _megabytes(processes: Iterable[psutil.Process], of: Callable[[psutil.Process], int]) -> float:
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # one that ends meanwhile holds nothing
            total += of(process)
    return total / 1e6


def stock(table: Table, runs: int) -> None:
    """Measure how long the stock daemons take to greet, and what they hold."""
    account = {"user@example.org": "{SSHA}c2FsdGVkIGFuZCBoYXNoZWQ="}
    seconds, held = [], []
    for _ in range(runs):
        with (
            tempfile.TemporaryDirectory(prefix="gp-bench-", dir="/tmp") as name,
            contextlib.ExitStack() as stack,
        ):
            folder = Path(name)
            folder.chmod(0o755)
            start = time.perf_counter()
            server = stack.enter_context(stock_server(folder, account, "example.org"))
            wait_for(server.postfix.door)
            seconds.append(time.perf_counter() - start)
            held.append(resident(server.processes()))
    table.add("stock daemons: started to all listeners ready", seconds, "s")
    table.add("stock daemons: idle memory, shared pages once", held, "MB")


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__, runs=5)
    table = Table("machine")
    with instance() as server:
        # Before anybody comes: a client leaves processes behind that wait for the next.
        idle = server.processes()
        table.add("idle memory, shared pages once", [resident(idle)], "MB", at_most=350)
        table.add("idle memory, resident added up", [summed(idle)], "MB", at_most=350)
        runs = range(chosen.runs)
        table.add(
            "gatepost --help",
            [timed(lambda: server.call("--help")) for _ in runs],
            "s",
            at_most=0.10,
        )
        table.add(
            "gatepost status",
            [timed(lambda: server.call("status")) for _ in runs],
            "s",
            at_most=0.30,
        )
        table.add(
            "gatepost verify, every check on every listener",
            [timed(lambda: server.run("verify", "--json")) for _ in runs],
            "s",
            at_most=10,
        )
        table.add("up on a running server", [timed(server.up) for _ in runs], "s", at_most=0.6)
        starts = []
        for _ in runs:
            server.down()
            starts.append(timed(server.up))
        table.add("up to all listeners ready", starts, "s", at_most=5)
        table.add("rendering all configuration", rendering(server, chosen.runs), "s", at_most=0.05)
    stock(table, chosen.runs)
    table.keep(chosen.json)


def rendering(server: Instance, runs: int) -> list[float]:
    """Return the seconds that settings to rendered files take, imports not counted."""
    code = (
        "import os, time; from gatepost import assembly, registry;"
        "from gatepost.registry import load;"
        "from gatepost.run.site import survey; s = load(os.environ);"
        "site = survey(s, assembly.used(s));"
        "registry.plugins(); t = time.perf_counter();"
        "assembly.assemble(load(os.environ), site); print(time.perf_counter() - t)"
    )
    python = PROGRAM.parent / "python"
    return [
        float(
            subprocess.run(
                [python, "-c", code],
                env=server.environment,
                cwd=server.home,
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for _ in range(runs)
    ]


if __name__ == "__main__":
    main()
