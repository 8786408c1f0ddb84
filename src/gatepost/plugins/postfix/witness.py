"""Reads Postfix's log: who ``smtpd`` says its clients are."""

from __future__ import annotations

import re

from gatepost.ip_addresses import plain
from gatepost.model import Event, Observation
from gatepost.plugins.postfix.listeners import INTERNAL

# postfix/submission/smtpd[123]: …, and with client port logging unknown[127.0.0.77]:54321. What
# smtpd writes about a client begins with its event; the client's own words come later, if at all.
_LINE = re.compile(
    r"^(?:\S+ \| )?"  # the supervisor's prefix
    r"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ )"
    r"postfix/(?P<service>[a-z0-9-]+)/smtpd\[\d+\]: (?P<said>.*)$"
)
_CLIENT = r"[^\s\[\]]+\[(?P<address>[0-9A-Fa-f.:]+)\](?::(?P<port>[0-9]{1,5}))?"
_EVENTS = (
    (Event.CONNECT, re.compile(rf"^connect from {_CLIENT}$")),
    (Event.DISCONNECT, re.compile(rf"^disconnect from {_CLIENT}(?: .*)?$")),
    (
        Event.LOGIN,
        re.compile(
            # What follows may be the client's own words: MAIL FROM's AUTH as sasl_sender.
            rf"^[0-9A-Za-z]+: client={_CLIENT}, (?:sasl_method=[^\s,]+, )?"
            r"sasl_username=(?P<user>[^\s,]+)(?:,.*)?$"
        ),
    ),
    (
        Event.LOGIN_FAILED,
        re.compile(
            rf"^warning: {_CLIENT}: SASL \S+ authentication (?:failed|aborted)"
            r"(?:.*, sasl_username=(?P<user>[^\s,]+))?.*$"
        ),
    ),
)

_NO_USER = "(unavailable)"
"""The command in smtpd's line when the client gave up before it named one."""


def observe(line: str) -> Observation | None:
    """Read one log line, with or without the supervisor's prefix.

    Return None for a line of another daemon, and for one that says nothing about who a client is.
    A login is known when a message is begun in it: Postfix logs no line for the login alone.
    """
    found = _LINE.match(line.rstrip("\n"))
    if not found:
        return None
    for event, pattern in _EVENTS:
        if match := pattern.match(found["said"]):
            fields = match.groupdict()
            port, user = fields["port"], fields.get("user")
            return Observation(
                daemon="postfix",
                event=event,
                client=plain(fields["address"]),
                port=int(port) if port else None,
                user=None if user == _NO_USER else user,
                line=line.rstrip("\n"),
                internal=found["service"].startswith(INTERNAL),
            )
    return None
