"""The exception tree. Every error names a thing, its value, what was expected and the next step.

The text is complete, for a terminal. A face that writes its own advice, such as a web page, reads
`GatepostError.kind` and `GatepostError.parameters` instead.

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

from collections.abc import Iterable, Mapping
from typing import Self


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
    kind = "error"
    """The kind of error, a word that programs compare; each subclass has its own."""

    parameters: Mapping[str, str] = {}
    """The facts of it, as far as they are known: ``object`` is the thing, such as a variable or
    ``mailbox``; ``value`` is the value that it has or would get; ``expected`` is what would be
    right."""

    def about(self, kind: str = "", **parameters: str) -> Self:
        """Add a kind and parameters; those that are known already stay. Return the error."""
        if kind and self.kind == type(self).kind:
            self.kind = kind
        self.parameters = {**parameters, **self.parameters}
        return self


class UsageError(GatepostError):
    """The call or the configuration is wrong; nothing was changed."""

    exit_code = 2
    kind = "usage"

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

    kind = "settings"


class AccountError(UsageError):
    """A domain, mailbox or alias cannot be what was asked for."""

    kind = "account"

    def __init__(self, *problems: str) -> None:
        """Keep every problem as one line: it repeats what a stranger may have asked for."""
        super().__init__(*(printable(_shortened(problem)) for problem in problems))


class ImportFileError(UsageError):
    """A line of an import file is wrong; nothing was imported."""

    kind = "import-file"

    def __init__(self, *problems: str) -> None:
        """Keep every problem as one line: it repeats words of a file that others wrote."""
        super().__init__(*(printable(_shortened(problem)) for problem in problems))


class PreflightError(UsageError):
    """This machine is not ready to run the plan: packages, rights, ports or certificates."""

    kind = "preflight"


class OperationError(GatepostError):
    """The call was right and something went wrong while doing it."""

    kind = "operation"


class CheckError(OperationError):
    """A daemon's own checker refused its staged configuration; the one in use stays."""

    kind = "check"


class StartError(OperationError):
    """A process did not become ready in time, or ended while starting."""

    kind = "start"


def _shortened(problem: str) -> str:
    """Leave out the middle of what is too long; the next step stands at the end."""
    if len(problem) <= _LONGEST:
        return problem
    return f"{problem[: _LONGEST // 2]} … {problem[-_LONGEST // 2 :]}"
