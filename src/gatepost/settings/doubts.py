"""Allowed values that are probably mistakes, a sentence each."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from gatepost.errors import printable
from gatepost.settings.concerns import MailSettings
from gatepost.settings.sources import HIDDEN, Given, Source, misspelt

_PLACEHOLDER = re.compile(
    r"(?<![a-z0-9])(?:change|replace|fix)[-_. ]?(?:me|it|this)(?![a-z0-9])"
    r"|^(?:todo|tbd|xxx+|your[-_ ].*|<.*>|\{\{.*\}\}|\$\{.*\})$",
    re.IGNORECASE,
)
_OTHERS = re.compile(r"COMPOSE_|DOCKER_|PODMAN_|BUILDAH_|MAKE|PIP_|PYTHON|LANG$|LC_|TZ$|PATH$")
"""Variables of other programs that read a `.env` in the same folder."""


def unknown(given: Mapping[str, Given], known: Collection[str]) -> Iterator[str]:
    """Yield names that have no effect: nearly known ones, and all others of `.env`."""
    nearly = dict(misspelt(given, known))
    for name in sorted(given):
        if name in nearly:
            yield (
                f"{printable(name)} is not a setting of Gatepost's. Did you mean {nearly[name]}? "
                "It has no effect as it is."
            )
        elif name not in known and given[name].source is Source.DOTENV and not _OTHERS.match(name):
            yield (
                f"{printable(name)}, which .env sets, is not a setting of Gatepost's and has no "
                "effect. `gatepost config show` lists all settings."
            )


def placeholders(given: Mapping[str, Given], known: Collection[str]) -> Iterator[str]:
    """Yield settings whose value is still a placeholder."""
    for name in sorted(given):
        if name in known and _PLACEHOLDER.search(given[name].text):
            value = HIDDEN if _is_secret(name) else given[name].text
            yield (
                f'{name}: "{printable(value)}" is a placeholder, which everybody '
                "can guess. Set your own value."
            )


def _is_secret(name: str) -> bool:
    return "PASSWORD" in name


def relay_without_brackets(mail: MailSettings) -> Iterator[str]:
    """Yield that a relay host with a port is looked up as a domain (postconf(5), relayhost)."""
    host, colon, port = (mail.relayhost or "").rpartition(":")
    if colon and not host.startswith("["):
        yield (
            f'RELAYHOST: without brackets "{mail.relayhost}" is a domain: mail goes to port '
            f"{port} of the domain's MX hosts, which rarely accept mail there. For the host with "
            f"this name set RELAYHOST=[{host}]:{port}"
        )
