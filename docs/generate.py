"""Write the reference pages that follow from code: settings, ports, commands, manifests.

`make docs-pages` runs it; tests/unit/test_docs.py fails when a page is stale.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

import manifests
from gatepost.cli import group
from gatepost.model import Listener, Offer, Role, Tls
from gatepost.registry import concerns, plugins, preferred_proxy
from gatepost.settings import documentation

REFERENCE = Path(__file__).parent / "reference"

_NOTICE = "<!-- Written by `make docs-pages` from {source}; edit that, not this page. -->\n"
_TLS = {
    Tls.STARTTLS: "STARTTLS",
    Tls.IMPLICIT: "from the first byte",
    Tls.PROXY: "at the proxy",
}


# --- ports ----------------------------------------------------------------------------------

_PORTS = """\
{notice}
# Ports

One table holds every listener. The daemons, the reverse proxy, `gatepost verify` and this page
read it.

| listener | daemon | TLS | standard port | entry point | service port | internal port |
|---|---|---|---:|---:|---:|---:|
{listeners}

Entry point and standard port
: Where the reverse proxy listens, on `PUBLIC_BIND_ADDRESS`: the entry point with
  `PUBLIC_PORTS=entrypoints` (the default), the standard port with `PUBLIC_PORTS=standard`.

Service port
: Where the daemon listens for the reverse proxy, on `SERVICE_BIND_ADDRESS`. It demands a PROXY
  protocol header when `MTA_UPSTREAM_PROXY` or `MDA_UPSTREAM_PROXY` is on; otherwise clients
  connect to it themselves.

Internal port
: Where the daemon listens for programs of the same site, on `SERVICE_BIND_ADDRESS`. It never
  takes a PROXY header.
{http}
## TLS that ends at a proxy

By itself every listener demands TLS. For a trusted proxy that ends TLS and says so in its header
(version 2, the `PP2_TYPE_SSL` extension, HAProxy's `send-proxy-v2-ssl`) there is one rule:

- On a port with STARTTLS the proxy's word takes the place of STARTTLS: the client may log in at
  once. This holds for submission, imap, pop3 and sieve.
- A port with TLS from the first byte speaks TLS itself, whatever a header says. A proxy that ends
  TLS for clients of submissions, imaps or pop3s therefore connects to the service port of
  submission, imap or pop3.
- Without the extension, or if it says that the client came without TLS, a login without STARTTLS is
  refused. From a peer outside `TRUSTED_PROXIES` the extension counts for nothing.

Between such a proxy and the mail server, passwords and mail are not encrypted.

## Between the daemons

Daemons on one machine reach each other by UNIX sockets below `GATEPOST_HOME`. Only root and the one
user who asks there may open such a socket. In separate containers they listen on TCP, on
`SERVICE_BIND_ADDRESS`; the NetworkPolicy `mda` admits the `mta` pod only.

| role | UNIX socket | opened by | port in a container | offered by | what for |
|---|---|---|---:|---|---|
{roles}

The API is open only with `MDA_HTTP_API=true`. The gate's counters are always on TCP: on one machine
on the first `SERVICE_BIND_ADDRESS`, or on 127.0.0.1 when that is a wildcard.
"""


_HTTP = """
HTTP
: All HTTP listeners share the reverse proxy's one port, where it speaks TLS with the certificate of
  the mail server. It passes requests on by their path and host.
"""


def ports() -> str:
    """Return the page of ports, from the daemons' rows of the listener table."""
    rows = [(listener, daemon.name) for daemon in plugins() for listener in daemon.listeners]
    users = {role: user for daemon in plugins() for role, user in daemon.needs.items()}
    roles = [
        (role, offer, plugin.name, users.get(role, "root"))
        for plugin in plugins()
        for role, offer in plugin.offers.items()
    ]
    return _PORTS.format(
        notice=_NOTICE.format(source="the listener table"),
        listeners="\n".join(_port_row(listener, daemon) for listener, daemon in rows),
        roles="\n".join(_role_row(*row) for row in roles),
        http="" if all(row.protocol.carries_mail for row, _ in rows) else _HTTP,
    )


def _role_row(role: Role, offer: Offer, plugin: str, user: str) -> str:
    socket, user = (f"`run/{plugin}/{offer.socket}`", user) if offer.socket else ("-", "-")
    return f"| {role} | {socket} | {user} | {offer.port} | {plugin} | {offer.purpose} |"


def _port_row(listener: Listener, daemon: str) -> str:
    return (
        f"| {listener.name} | {daemon} | {_TLS[listener.tls]} | {listener.public_port} "
        f"| {listener.entry_point_port} | {listener.service_port} "
        f"| {listener.internal_port or '-'} |"
    )


# --- commands -------------------------------------------------------------------------------


def commands() -> str:
    """Return the page of commands, from the command line itself."""
    root = click.Context(group, info_name="gatepost")
    return "\n".join(
        (
            _NOTICE.format(source="the command line"),
            "# Commands",
            "",
            "`.venv/bin/gatepost`, with `--help` at every level.",
            "",
            "| exit code | |",
            "|---:|---|",
            "| 0 | done |",
            "| 1 | done, and something is wrong |",
            "| 2 | the call or the configuration is wrong; nothing was changed |",
            "| 3 | `verify` only: nothing failed, but something is a risk or could not be proven |",
            "",
            *(line for context in _walk(root) for line in _section(context)),
        )
    )


def _walk(context: click.Context) -> Iterator[click.Context]:
    """Yield every command that does something, groups opened."""
    command = context.command
    if not isinstance(command, click.Group):
        yield context
        return
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        if below is not None and not below.hidden:
            yield from _walk(click.Context(below, info_name=name, parent=context))


def _section(context: click.Context) -> Iterator[str]:
    command = context.command
    yield f"## {context.command_path}"
    yield ""
    yield "```text"
    yield from " ".join([context.command_path, *command.collect_usage_pieces(context)]).splitlines()
    yield "```"
    yield ""
    yield from _prose(command.help or command.short_help or "")
    records = [
        record
        for parameter in command.get_params(context)
        # The usage line shows the arguments, and the text speaks of them by their names.
        if isinstance(parameter, click.Option)
        and "--help" not in parameter.opts
        and (record := parameter.get_help_record(context))
    ]
    if records:
        yield "| option | |"
        yield "|---|---|"
        yield from (f"| `{name}` | {_cell(text)} |" for name, text in records)
        yield ""


def _prose(text: str) -> Iterator[str]:
    r"""Yield a help text's paragraphs; those after ``\b`` keep their lines."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b"):
            yield from ("```text", paragraph.removeprefix("\b").strip("\n"), "```", "")
        else:
            yield from (paragraph, "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def kubernetes() -> str:
    """Return the page of Kubernetes objects, from the manifests."""
    return manifests.page(_NOTICE.format(source="the manifests below `deploy/`"))


PAGES = {
    "settings.md": lambda: documentation.page(concerns(), preferred_proxy()),
    "ports.md": ports,
    "commands.md": commands,
    "kubernetes.md": kubernetes,
}
"""Page of docs/reference → what makes it."""


def main() -> None:
    """Write every page."""
    REFERENCE.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page())
        sys.stdout.write(f"docs/reference/{name}\n")


if __name__ == "__main__":
    main()
