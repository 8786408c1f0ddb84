"""How ``gatepost`` talks to a running supervisor: one JSON object a line over a UNIX socket."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from gatepost.errors import OperationError
from gatepost.model import Home

_LONGEST_WAIT = 120.0


def path(home: Home) -> Path:
    """Return where the supervisor listens."""
    return home.run / "control.sock"


def ask(home: Home, request: str, *, seconds: float = _LONGEST_WAIT) -> Any:
    """Send a request, a key of the supervisor's ``_serve``, and return the answer.

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
            ) from None
        try:
            connection.sendall(json.dumps({"do": request}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
        except TimeoutError:
            raise OperationError(
                f'The supervisor does not answer "{request}" within {seconds:g} s. '
                "Look at its log: gatepost logs gatepost"
            ) from None
        except ConnectionError:
            line = b""
    if not line:
        return None
    return json.loads(line)
