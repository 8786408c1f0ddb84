"""The relay host and the login there: what could not work, found before a message waits for it."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from gatepost.errors import PreflightError
from gatepost.model import Part
from gatepost.run import copies
from gatepost.settings import Settings

_LOOK_UP_SECONDS = 5.0
_EXAMPLE = "user:password"
"""The example of the documentation, which is no login."""


def problems(settings: Settings) -> list[str]:
    """Return why the relay host or the login there could not work, a sentence each."""
    path, relay = settings.mail.relay_passwd_file, settings.mail.relayhost
    if relay is None:
        return []
    name = re.search(r":([a-z]+)$", relay)
    if name and not _is_service(name[1]):
        found = (
            f'RELAYHOST: the port of "{relay}" is no service that this machine knows '
            f"(/etc/services). Write it as a number: RELAYHOST={relay.removesuffix(name[1])}587"
        )
        return [found]
    if path is None:
        return []
    try:
        (content,) = copies.read(Part.PASSWORDS, (path,))
        text = copies.made(Part.PASSWORDS, (path,), (content,)).content
    except PreflightError as error:
        return list(error.problems)
    return list(_login(path, relay, text))


def _is_service(name: str) -> bool:
    try:
        socket.getservbyname(name, "tcp")
    except OSError:
        return False
    return True


def _login(path: Path, relay: str, text: str) -> Iterator[str]:
    """Yield what is wrong with the lines of a file, none of which is ever repeated."""
    expected = f"Write one line: {relay} user:password"
    logins: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, login = [*line.split(None, 1), ""][:2]
        user, colon, password = login.strip().partition(":")
        if not (user and colon and password):
            yield (
                f'RELAY_PASSWD_FILE: line {number} of "{path}" is not a host, a space, and '
                f"user:password. {expected}"
            )
            return
        logins[name.lower()] = login.strip()
    host = _host(relay)
    # Without brackets the relay host's MX hosts are asked too, and only DNS knows their names.
    certain = relay.startswith("[")
    found = next((logins[name] for name in (relay.lower(), host) if name in logins), None)
    if found is None and (certain or not logins):
        yield (
            f'RELAY_PASSWD_FILE: "{path}" has no login for RELAYHOST, which is "{relay}". '
            f"{expected}"
        )
    elif found == _EXAMPLE:
        yield (
            f'RELAY_PASSWD_FILE: "{path}" still has the login of the documentation. Write the one '
            f"that you have at {host}."
        )


def unfound(settings: Settings) -> list[str]:
    """Return that the relay host's name cannot be found now; asks the resolver, for seconds."""
    relay = settings.mail.relayhost
    if relay is None or not relay.startswith("["):
        return []
    host = _host(relay).removeprefix("ipv6:")
    reason: list[str] = ["no answer"]

    def ask() -> None:
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            reason[0] = error.strerror or str(error)
        else:
            reason.clear()

    # A look-up cannot be interrupted: it is left behind when it takes too long.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_LOOK_UP_SECONDS)
    if not reason:
        return []
    told = (
        f'RELAYHOST: the host of "{relay}" cannot be found from here ({reason[0]}): mail would '
        f"wait. See whether its name is right: getent hosts {host}"
    )
    return [told]


def _host(relay: str) -> str:
    match = re.fullmatch(r"\[([^\]]*)\](?::.*)?|([^:]*)(?::.*)?", relay)
    return ((match and (match[1] or match[2])) or relay).lower()
