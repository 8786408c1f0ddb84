"""What ``gatepost verify`` says of a whole server."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from instance import Instance


@dataclass(frozen=True)
class Report:
    """The findings of one run."""

    exit_code: int
    findings: list[dict[str, Any]]

    def of(self, check: str, *, status: str | None = None) -> list[dict[str, Any]]:
        """Return the rows of a check, or those of a status only."""
        return [
            row
            for row in self.findings
            if row["check"] == check and status in {None, row["status"]}
        ]

    @property
    def failed(self) -> set[str]:
        """Names of the checks with a row that failed."""
        return {row["check"] for row in self.findings if row["status"] == "fail"}

    def __str__(self) -> str:
        """Show what did not pass, for an assertion's message."""
        return json.dumps([row for row in self.findings if row["status"] != "pass"], indent=1)


def verify(server: Instance, *arguments: str) -> Report:
    """Run ``gatepost verify --json ARGUMENTS`` on a server."""
    done = server.run("verify", "--json", *arguments, timeout=30)
    assert "Traceback" not in done.stderr, done.stderr
    return Report(done.returncode, json.loads(done.stdout)["findings"])
