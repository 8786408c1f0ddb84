"""Reads Dovecot's log: who its login processes say their clients are."""

from __future__ import annotations

import re

from gatepost.ip_addresses import plain
from gatepost.model import Event, Observation
from gatepost.plugins.dovecot.listeners import LISTENERS

# What a login process writes about a client (login_log_format_elements in dovecot.conf): what
# happened, then the name it gave, then its addresses. The name is the client's own words and may
# look like an address; so it reaches up to the last addresses of the line, which are Dovecot's.
_LINE = re.compile(
    r"^(?:\S+ \| )?"  # the supervisor's prefix
    r"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d )"
    r"(?:imap|pop3|managesieve)-login: (?:Info|Warning|Error): "
    r"(?P<said>[^<>]*?): user=<(?P<user>.*)>, (?:method=[\w-]+, )?"
    r"rip=(?P<address>[0-9A-Fa-f.:]+), rport=(?P<port>[0-9]{1,5}), "
    r"lip=[^,]+, lport=(?P<own_port>[0-9]{1,5}),(?: .*)?$"
)

# Written before there is a session: the peer is named, its port is not.
_REFUSED = re.compile(
    r"^(?:\S+ \| )?"
    r"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d )"
    r"(?:imap|pop3|managesieve)-login: (?:Info|Warning|Error): "
    r"haproxy(?:\([^()]*\))?: Client [^()]*\(rip=(?P<address>[0-9A-Fa-f.:]+)\)$"
)

_LOGIN = frozenset({"Login", "Logged in"})
"""Name of a login in the log: 2.3, 2.4."""
_FAILED = "auth failed"

_INTERNAL_PORTS = frozenset(listener.internal_port for listener in LISTENERS)


def observe(line: str) -> Observation | None:
    """Read one log line, with or without the supervisor's prefix.

    Return None for a line of another daemon, and for one that says nothing about who a client is.
    Dovecot writes nothing when a client connects: its first line is of the login or of the end.
    """
    line = line.rstrip("\n")
    if refused := _REFUSED.match(line):
        return Observation("dovecot", Event.REFUSED, plain(refused["address"]), None, None, line)
    found = _LINE.match(line)
    if not found:
        return None
    return Observation(
        daemon="dovecot",
        event=_event(found["said"]),
        client=plain(found["address"]),
        port=int(found["port"]),
        user=found["user"] or None,
        line=line,
        internal=int(found["own_port"]) in _INTERNAL_PORTS,
    )


def _event(said: str) -> Event:
    if said in _LOGIN:
        return Event.LOGIN
    return Event.LOGIN_FAILED if _FAILED in said else Event.DISCONNECT
