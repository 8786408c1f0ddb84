"""The command line: parse, call an action, print; nothing else.

Commands are loaded when they are called, so that ``gatepost --help`` stays quick.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module

import click

from gatepost import discovery
from gatepost.errors import GatepostError, printable

_MODULES = {
    "up": "server",
    "down": "server",
    "status": "server",
    "logs": "server",
    "run": "server",
    "packages": "server",
    "config": "configuration",
    "domain": "accounts",
    "mailbox": "accounts",
    "alias": "accounts",
    "import": "accounts",
    "export": "accounts",
    "verify": "proof",
}
_SUMMARIES = {
    "up": "Start the mail server, or apply what changed to a running one.",
    "down": "Stop the mail server.",
    "status": "Show whether it is ready, its services and its listeners.",
    "logs": "Show the log of all services, or of one.",
    "run": "Run one service in the foreground, as a container does.",
    "packages": "List or install the system packages it needs.",
    "config": "Show, check or render the configuration.",
    "domain": "Add, list and remove mail domains.",
    "mailbox": "Add, list, change and remove mailboxes.",
    "alias": "Add, list and remove aliases.",
    "import": "Import domains, mailboxes and aliases from a file.",
    "export": "Export domains, mailboxes and aliases.",
    "verify": "Prove that the mail path works and keeps the client's address.",
}


class _LazyGroup(click.Group):
    """A group that imports a command's module only when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return [*_MODULES, *_of_plugins()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _MODULES:
            return _of_plugins().get(cmd_name)
        module = import_module(f"gatepost.cli.{_MODULES[cmd_name]}")
        commands: list[click.Command] = module.COMMANDS
        return next(command for command in commands if command.name == cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        others = {name: one.get_short_help_str(80) for name, one in _of_plugins().items()}
        with formatter.section("Commands"):
            formatter.write_dl([*_SUMMARIES.items(), *others.items()])


@cache
def _of_plugins() -> dict[str, click.Command]:
    """Return the commands that plug-ins bring, by name; one of ours is never replaced."""
    return {
        command.name: command
        for module in discovery.modules("cli")
        for command in module.COMMANDS
        if command.name and command.name not in _MODULES
    }


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gatepost")
def group() -> None:
    """Run a complete mail server behind a reverse proxy, and prove that it works.

    \b
    First steps:
      gatepost up --detach
      gatepost domain add example.org
      gatepost mailbox add you@example.org
      gatepost verify

    Settings come from the environment and from .env in the working folder;
    `gatepost config show` lists them all.
    """  # noqa: D301  click reads the backspace as "keep these lines as they are"


def main() -> None:
    """Run the command line; print an error without a traceback and exit with its code."""
    try:
        group()
    except GatepostError as error:
        click.echo(printable(str(error), keep="\n"), err=True)
        sys.exit(error.exit_code)
