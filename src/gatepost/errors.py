"""The exception tree. Every error names a thing, its value, what was expected and the next step.

::

    GatepostError
    ├── UsageError            the call or the configuration is wrong; nothing was changed (exit 2)
    │   ├── SettingsError     one or more variables are wrong; carries every problem found
    │   ├── AccountError      a domain, mailbox or alias cannot be what was asked for
    │   ├── ImportFileError   a line of an import file is wrong; nothing was imported
    │   └── PreflightError    this machine is not ready: packages, rights, ports, certificates
    └── OperationError        the call was right and something went wrong while doing it (exit 1)
        ├── CheckError        a daemon's own checker refused its configuration; the old one stays
        └── StartError        a process did not become ready
"""

from __future__ import annotations

from collections.abc import Iterable


class GatepostError(Exception):
    """Root of all errors a user may see; the message is complete and needs no traceback."""

    exit_code = 1


class UsageError(GatepostError):
    """The call or the configuration is wrong; nothing was changed."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        """Keep every problem, each one complete sentence or paragraph."""
        super().__init__("\n".join(problems))
        self.problems = problems

    @classmethod
    def of(cls, problems: Iterable[str]) -> UsageError:
        """Build one error from many problems, in the order given."""
        return cls(*problems)


class SettingsError(UsageError):
    """One or more settings are wrong."""


class AccountError(UsageError):
    """A domain, mailbox or alias cannot be what was asked for."""


class ImportFileError(UsageError):
    """A line of an import file is wrong; nothing was imported."""


class PreflightError(UsageError):
    """This machine is not ready to run the plan: packages, rights, ports or certificates."""


class OperationError(GatepostError):
    """The call was right and something went wrong while doing it."""


class CheckError(OperationError):
    """A daemon's own checker refused its staged configuration; the one in use stays."""


class StartError(OperationError):
    """A process did not become ready in time, or ended while starting."""
