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


def printable(text: str, *, keep: str = "") -> str:
    r"""Write what is no printable character as ``\x1b`` and the like, but for those to `keep`.

    A terminal obeys control characters, and a line break forges a line.
    """
    return "".join(c if c in keep or c.isprintable() else ascii(c).strip("'") for c in text)


_LONGEST = 2000
"""Characters of one problem: a value of a megabyte must not push everything else off a screen."""


class GatepostError(Exception):
    """Root of all errors a user may see; the message is complete and needs no traceback."""

    exit_code = 1


class UsageError(GatepostError):
    """The call or the configuration is wrong; nothing was changed."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        """Keep every problem, each one complete sentence or paragraph."""
        self.problems = tuple(map(_shortened, problems))
        super().__init__("\n".join(self.problems))

    @classmethod
    def of(cls, problems: Iterable[str]) -> UsageError:
        """Build one error from many problems, in the order given."""
        return cls(*problems)


class SettingsError(UsageError):
    """One or more settings are wrong."""


class AccountError(UsageError):
    """A domain, mailbox or alias cannot be what was asked for."""

    def __init__(self, *problems: str) -> None:
        """Keep every problem as one line: it repeats what a stranger may have asked for."""
        super().__init__(*(printable(_shortened(problem)) for problem in problems))


class ImportFileError(UsageError):
    """A line of an import file is wrong; nothing was imported."""

    def __init__(self, *problems: str) -> None:
        """Keep every problem as one line: it repeats words of a file that others wrote."""
        super().__init__(*(printable(_shortened(problem)) for problem in problems))


class PreflightError(UsageError):
    """This machine is not ready to run the plan: packages, rights, ports or certificates."""


class OperationError(GatepostError):
    """The call was right and something went wrong while doing it."""


class CheckError(OperationError):
    """A daemon's own checker refused its staged configuration; the one in use stays."""


class StartError(OperationError):
    """A process did not become ready in time, or ended while starting."""


def _shortened(problem: str) -> str:
    """Leave out the middle of what is too long; the next step stands at the end."""
    if len(problem) <= _LONGEST:
        return problem
    return f"{problem[: _LONGEST // 2]} … {problem[-_LONGEST // 2 :]}"
