"""The seeds of the faults, and what they showed.

``FAULT_SEED`` is the first seed and ``FAULT_SEEDS`` how many there are; each test runs once for
each. `make faults SEEDS=20` is the long run.
"""

from __future__ import annotations

import os
import statistics
from collections import defaultdict

import pytest

FIRST = int(os.environ.get("FAULT_SEED", "1"))
COUNT = int(os.environ.get("FAULT_SEEDS", "1"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that has a seed with every seed."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(FIRST, FIRST + COUNT))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the account of all letters, and the medians of the recovery times."""
    totals: dict[str, int] = defaultdict(int)
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name == "figures":
                for key, number in value.items():
                    totals[key] += number
            elif name == "recovery":
                fault, mail, login = value
                times[fault].append((mail, login))
    if not totals:
        return
    terminalreporter.section("faults")
    terminalreporter.write_line(", ".join(f"{name} {n}" for name, n in totals.items()))
    for fault in sorted(times):
        mails, logins = zip(*times[fault], strict=True)
        terminalreporter.write_line(
            f"{fault:<24} {len(mails):>3} times, median (longest) seconds until "
            f"mail {statistics.median(mails):.1f} ({max(mails):.1f}), "
            f"login {statistics.median(logins):.1f} ({max(logins):.1f})"
        )
