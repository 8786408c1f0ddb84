"""The control protocol: what commands ask a running supervisor, and what it answers.

One JSON object a line over a UNIX socket: ``{"do": "status"}``, then an answer. The two sides may
be of different versions: an upgrade replaces the commands at once and the supervisor later. So a
field never changes its name or meaning, new fields have defaults, and unknown fields are skipped.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from gatepost.errors import OperationError
from gatepost.model import Home

if TYPE_CHECKING:
    from pydantic import TypeAdapter

PROTOCOL = 2
"""Version of the protocol. Version 1, the first, did not name itself."""
_LONGEST_WAIT = 120.0


# --- answers --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProcessState:
    """A process of the plan, as ``gatepost status`` shows it."""

    name: str
    state: str
    """A value of `gatepost.run.supervised.State`."""
    pid: int | None
    restarts: int
    since: str | None
    """When it began to be in this state: ISO 8601, UTC."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """The result of a job's last run."""

    began: str
    """ISO 8601, UTC."""
    seconds: float
    problem: str = ""
    """Why it failed; empty when it succeeded."""


@dataclass(frozen=True, slots=True)
class JobState:
    """A job, as ``gatepost status`` shows it."""

    name: str
    running: bool
    next: str | None
    """When it is due: ISO 8601."""
    last: JobResult | None


@dataclass(frozen=True, slots=True)
class Running:
    """The answer to `STATUS`."""

    ready: bool
    stopping: bool = False
    problems: tuple[str, ...] = ()
    """Differences between the processes and what `gatepost up` has written, a sentence each."""
    foreign: str = ""
    """A file that belongs to another user than the daemon that needs it; empty for none."""
    services: tuple[ProcessState, ...] = ()
    """The processes of the plan; the name is older than the distinction."""
    jobs: tuple[JobState, ...] = ()
    processes: tuple[int, ...] = ()
    """Process ids of everything that may hold a port: the supervisor's own is the first."""
    protocol: int = 1
    versions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Process → part → the version with which it was started (`gatepost.run.versions`). The
    supervisor's own are under `gatepost.run.logs.OWN_NAME`."""


@dataclass(frozen=True, slots=True)
class Started:
    """The answer to `WAIT`, given when the start is over."""

    problem: str | None = None
    """Why the server does not run; None when it does."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The answer to `APPLY`."""

    changed: tuple[str, ...] = ()
    """The changes that were made, a phrase each, such as ``mta reloaded``."""
    problem: str | None = None
    """The reason why it did not succeed; None when it did."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The answer to `FORGET`."""

    problems: tuple[str, ...] = ()
    """The reasons why changed accounts have no effect yet, a sentence each."""


@dataclass(frozen=True, slots=True)
class Searching:
    """The answer to `OWNERS`: the search has begun again."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The answer to `STOP`."""

    pid: int
    """The supervisor's process, which lives until everything has ended."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer to a request that the supervisor does not know."""

    error: str


Answer = TypeVar("Answer")


# --- requests -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request(Generic[Answer]):
    """Something that a command asks for."""

    name: str
    """The word on the wire."""
    answer: type[Answer]


STATUS = Request("status", Running)
"""Report the state of everything that runs."""
WAIT = Request("wait", Started)
"""Wait until the start is over."""
APPLY = Request("apply", Applied)
"""Go over to the configuration that is in use now."""
FORGET = Request("forget", Forgotten)
"""Act on changed accounts at once."""
OWNERS = Request("owners", Searching)
"""Look at the owners of files again, which have been mended."""
STOP = Request("stop", Ending)
"""Stop everything."""


def path(home: Home) -> Path:
    """Return where the supervisor listens."""
    return home.run / "control.sock"


def request(home: Home, wanted: Request[Answer], *, seconds: float | None = None) -> Answer | None:
    """Send a request to the supervisor of a home; return None when none runs.

    Raises `OperationError` as `ask` does, and when the answer is not understood.
    """
    limit = {} if seconds is None else {"seconds": seconds}
    found = ask(home, wanted.name, **limit)
    return None if found is None else read(wanted, found)


def read(wanted: Request[Answer], found: Any) -> Answer:
    """Return an answer from the wire; raise `OperationError` when it is not understood.

    Unknown fields are skipped: a newer supervisor may say more.
    """
    said = found.get("error") if isinstance(found, dict) else None
    try:
        # Most answers have defaults for all of their fields, so a refusal would fit them as well.
        answer: Answer = _adapter(wanted).validate_python(None if said is not None else found)
    except ValueError:
        raise OperationError(
            f'The supervisor\'s answer to "{wanted.name}" is not understood: '
            f"{said or 'it is of another version of Gatepost'}. "
            "Start it anew: gatepost down, then gatepost up"
        ).about("not-understood", object="supervisor", value=wanted.name) from None
    return answer


def written(answer: Any) -> dict[str, Any]:
    """Return an answer as it goes over the wire."""
    if answer == Applied():
        return {"changed": []}  # as the first version said it
    return {one.name: _plain(getattr(answer, one.name)) for one in fields(answer)}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


@cache
def _adapter(wanted: Request[Any]) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # noqa: PLC0415

    return TypeAdapter(wanted.answer)


def ask(home: Home, word: str, *, seconds: float = _LONGEST_WAIT) -> Any:
    """Send the word of a request and return the answer as it came; `request` is its typed form.

    Return None when no supervisor runs. Raises `OperationError` when it runs and does not answer,
    or does not answer this user.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect(str(path(home)))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except PermissionError:
            raise OperationError(
                f'The supervisor of "{home.root}" answers nobody but root. '
                "Run the same command with sudo, or as root."
            ).about("root-needed", object="supervisor", value=str(home.root)) from None
        try:
            connection.sendall(json.dumps({"do": word}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
        except TimeoutError:
            raise OperationError(
                f'The supervisor does not answer "{word}" within {seconds:g} s. '
                "Look at its log: gatepost logs gatepost"
            ).about("supervisor-silent", object="supervisor", value=word) from None
        except ConnectionError:
            line = b""
    if not line:
        return None
    return json.loads(line)
