"""``gatepost domain``, ``mailbox``, ``alias``, ``import`` and ``export``."""
# ruff: noqa: PLC0415  each command imports its actions itself: --help needs no database

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.errors import UsageError

if TYPE_CHECKING:
    from gatepost.accounts.exchange import Progress
    from gatepost.actions.session import Session

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
_FORMATS = click.Choice(["csv", "jsonl"])
_PASSWORD = click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the password from standard input: one line of text.",
)
_QUOTA = click.option(
    "--quota",
    "size",
    metavar="SIZE",
    help="Most mail it may hold, such as 500M or 1G; none for no limit.",
)
_DOMAIN = click.argument("domain", required=False)
_OLD_MAIL = click.option(
    "--old-mail",
    is_flag=True,
    help="Take over the mail of the last earlier mailbox with the same address.",
)


def _session() -> Session:
    """Return a session that closes when the command ends."""
    from gatepost.actions import configuration
    from gatepost.actions.session import Session

    return click.get_current_context().with_resource(Session(configuration.current()))


# --- domains --------------------------------------------------------------------------------


@click.group()
def domain() -> None:
    """Add, list and remove mail domains."""


@domain.command("add")
@click.argument("name")
def domain_add(name: str) -> None:
    """Receive mail for the domain NAME, such as example.org or bücher.example."""
    from gatepost.actions import accounts

    kept, unread = accounts.add_domain(_session(), name)
    click.echo(f"Added the domain {_readable(kept)}.")
    for reason in unread:
        click.echo(f"Warning: {reason}", err=True)
    click.echo(f"Next: gatepost mailbox add NAME@{kept}", err=True)


@domain.command("list")
@_JSON
def domain_list(*, as_json: bool) -> None:
    """List the domains and how many accounts each has."""
    from gatepost.actions import accounts

    found = accounts.list_domains(_session())
    if as_json:
        _print_json(
            [{"name": d.name, "mailboxes": d.mailboxes, "aliases": d.aliases} for d in found]
        )
        return
    _print_table(
        ("domain", "mailboxes", "aliases"),
        [(_readable(d.name), str(d.mailboxes), str(d.aliases)) for d in found],
        empty="There is no domain yet. Add one: gatepost domain add example.org",
    )


@domain.command("remove")
@click.argument("name")
@click.option("--force", is_flag=True, help="Remove its mailboxes and aliases too.")
def domain_remove(name: str, *, force: bool) -> None:
    """Stop receiving mail for the domain NAME. Mail that is stored stays on the disk."""
    from gatepost.accounts.bulk import counted
    from gatepost.actions import accounts

    gone = accounts.remove_domain(_session(), name, force=force)
    click.echo(
        f"Removed the domain {_readable(gone.name)} with {counted(gone.mailboxes, 'mailbox')} "
        f"and {counted(gone.aliases, 'alias')}."
    )


# --- mailboxes ------------------------------------------------------------------------------


@click.group()
def mailbox() -> None:
    """Add, list, change and remove mailboxes."""


@mailbox.command("add")
@click.argument("address")
@_PASSWORD
@_QUOTA
@click.option("--send-only", is_flag=True, help="It sends mail, and neither receives nor reads.")
@click.option("--disabled", is_flag=True, help="It receives mail, and nobody can log in.")
@_OLD_MAIL
def mailbox_add(
    address: str,
    *,
    password_stdin: bool,
    size: str | None,
    send_only: bool,
    disabled: bool,
    old_mail: bool,
) -> None:
    """Add the mailbox ADDRESS; asks for its password.

    It begins empty: mail of an earlier mailbox with this address stays in a folder of its own.

    \b
    Example for a script:
      printf '%s' "$PASSWORD" | gatepost mailbox add anna@example.org --password-stdin --quota 1G
    """  # noqa: D301  click wants the character itself
    from gatepost.actions import accounts

    session = _session()
    accounts.require_free(session, address, size)
    added, left = accounts.add_mailbox(
        session,
        address,
        _password(from_stdin=password_stdin),
        size=size,
        send_only=send_only,
        enabled=not disabled,
        old_mail=old_mail,
    )
    click.echo(f"Added the mailbox {added.address}.")
    if left:
        click.echo(
            f"Earlier mailboxes of this address have left mail in {', '.join(map(str, left))}. "
            "The new one begins empty.",
            err=True,
        )


@mailbox.command("list")
@_DOMAIN
@_JSON
def mailbox_list(domain: str | None, *, as_json: bool) -> None:
    """List all mailboxes, or those of DOMAIN."""
    from gatepost.accounts import quota
    from gatepost.actions import accounts

    found = accounts.list_mailboxes(_session(), domain)
    if as_json:
        _print_json(
            [
                {
                    "address": m.address,
                    "quota_bytes": m.quota_bytes,
                    "enabled": m.enabled,
                    "send_only": m.send_only,
                }
                for m in found
            ]
        )
        return
    _print_table(
        ("mailbox", "quota", "login", "mail"),
        [
            (
                m.address,
                quota.written(m.quota_bytes),
                "yes" if m.enabled else "disabled",
                "send only" if m.send_only else "yes",
            )
            for m in found
        ],
        empty="There is no mailbox yet. Add one: gatepost mailbox add NAME@DOMAIN",
    )


@mailbox.command("set")
@click.argument("address")
@_QUOTA
@click.option(
    "--send-only/--no-send-only",
    "send_only",
    default=None,
    help="Whether it only sends, and neither receives nor reads mail.",
)
def mailbox_set(address: str, *, size: str | None, send_only: bool | None) -> None:
    """Change the quota of the mailbox ADDRESS, or whether it only sends."""
    from gatepost.actions import accounts

    if size is None and send_only is None:
        raise UsageError(
            "Nothing to set was given. Give --quota SIZE, --send-only or --no-send-only."
        )
    changed = accounts.change_mailbox(_session(), address, size=size, send_only=send_only)
    click.echo(f"Changed the mailbox {changed.address}.")


@mailbox.command("enable")
@click.argument("address")
def mailbox_enable(address: str) -> None:
    """Let the owner of the mailbox ADDRESS log in again."""
    from gatepost.actions import accounts

    changed = accounts.change_mailbox(_session(), address, enabled=True)
    click.echo(f"Enabled the mailbox {changed.address}.")


@mailbox.command("disable")
@click.argument("address")
def mailbox_disable(address: str) -> None:
    """Refuse logins to the mailbox ADDRESS and end its sessions; it still receives mail."""
    from gatepost.actions import accounts

    changed = accounts.change_mailbox(_session(), address, enabled=False)
    click.echo(f"Disabled the mailbox {changed.address}; it still receives mail.")


@mailbox.command("passwd")
@click.argument("address")
@_PASSWORD
@click.option("--keep-sessions", is_flag=True, help="Do not end open sessions.")
def mailbox_passwd(address: str, *, password_stdin: bool, keep_sessions: bool) -> None:
    """Give the mailbox ADDRESS a new password (asks for it) and end its sessions."""
    from gatepost.actions import accounts

    session = _session()
    accounts.require_mailbox(session, address)
    password = _password(from_stdin=password_stdin)
    changed = accounts.change_mailbox(
        session, address, password=password, keep_sessions=keep_sessions
    )
    click.echo(f"Changed the password of the mailbox {changed.address}.")


@mailbox.command("remove")
@click.argument("address")
def mailbox_remove(address: str) -> None:
    """Remove the mailbox ADDRESS and end its sessions.

    Its mail stays on the disk, and the command says where. The next mailbox of this address gets a
    folder of its own.
    """
    import shlex

    from gatepost.actions import accounts

    gone = accounts.remove_mailbox(_session(), address)
    click.echo(f"Removed the mailbox {gone.address}.")
    if gone.mail:
        click.echo(f"Its mail stays in {gone.mail}")
        click.echo(f"To delete that too: rm -r {shlex.quote(str(gone.mail))}", err=True)
    if gone.aliases:
        click.echo(f"Warning: these aliases still lead to it: {', '.join(gone.aliases)}", err=True)


# --- aliases --------------------------------------------------------------------------------


@click.group()
def alias() -> None:
    """Add, list and remove aliases."""


@alias.command("add")
@click.argument("address")
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
def alias_add(address: str, targets: Sequence[str]) -> None:
    """Send mail for ADDRESS on to each TARGET, here or anywhere.

    With @example.org as ADDRESS it is the catch-all of that domain: it takes what no mailbox and
    no other alias takes.
    """
    from gatepost.actions import accounts

    added, missing = accounts.add_alias(_session(), address, targets)
    click.echo(f"Added the alias {added.address} → {', '.join(added.targets)}")
    if missing:
        click.echo(
            "Warning: mail for these targets is refused, because they do not exist or only send: "
            f"{', '.join(missing)}",
            err=True,
        )


@alias.command("list")
@_DOMAIN
@_JSON
def alias_list(domain: str | None, *, as_json: bool) -> None:
    """List all aliases, or those of DOMAIN."""
    from gatepost.actions import accounts

    found = accounts.list_aliases(_session(), domain)
    if as_json:
        _print_json([{"address": a.address, "targets": list(a.targets)} for a in found])
        return
    _print_table(
        ("alias", "targets"),
        [(a.address, ", ".join(a.targets)) for a in found],
        empty="There is no alias yet. Add one: gatepost alias add NAME@DOMAIN TARGET",
    )


@alias.command("remove")
@click.argument("address")
def alias_remove(address: str) -> None:
    """Remove the alias ADDRESS."""
    from gatepost.actions import accounts

    gone = accounts.remove_alias(_session(), address)
    click.echo(f"Removed the alias {gone.address} → {', '.join(gone.targets)}")


# --- import and export ----------------------------------------------------------------------


@click.command("import")
@click.argument("file")
@click.option("--format", "form", type=_FORMATS, help="What FILE is; else its name tells.")
@_OLD_MAIL
def import_(file: str, form: str | None, *, old_mail: bool) -> None:
    """Import domains, mailboxes and aliases from FILE, or from standard input with -.

    FILE is CSV or JSON Lines, as `gatepost export` writes it. All of it is imported, or nothing.
    """
    from gatepost.accounts.bulk import counted
    from gatepost.accounts.exchange import Format
    from gatepost.actions import accounts

    chosen = Format(form) if form else None
    session = _session()
    if file == "-":
        if chosen is None:
            raise UsageError(
                "-: the format of standard input is not known. Give --format csv or --format jsonl."
            )
        done = accounts.import_file(
            session, sys.stdin.buffer, "standard input", chosen, old_mail=old_mail
        )
    else:
        path, size = accounts.open_import(file)
        with path.open("rb") as lines, _progress(size) as progress:
            done = accounts.import_file(session, lines, file, chosen, progress, old_mail=old_mail)
    click.echo(
        f"Imported {counted(done.domains, 'domain')}, {counted(done.mailboxes, 'mailbox')} "
        f"and {counted(done.aliases, 'alias')}."
    )


@click.command("export")
@click.option("--format", "form", type=_FORMATS, help="What to write; else the file's name tells.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file, which only you can read.  [default: standard output, CSV]",
)
def export_(form: str | None, output: Path | None) -> None:
    """Export all domains, mailboxes and aliases, as `gatepost import` reads them.

    Password hashes are in it: keep it secret.
    """
    from gatepost.accounts.exchange import Format
    from gatepost.actions import accounts

    session = _session()
    if output is not None:
        accounts.export_file(session, output, Format(form) if form else None)
        click.echo(f"Wrote {output}. It holds password hashes: keep it secret.", err=True)
        return
    for line in accounts.export_lines(session, Format(form or "csv")):
        click.echo(line, nl=False)
    click.echo("This holds password hashes: keep it secret.", err=True)


@contextmanager
def _progress(size: int) -> Iterator[Progress]:
    """Show a bar on a terminal for each phase of an import of `size` bytes; else nothing."""
    if not sys.stderr.isatty():
        yield lambda _phase, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True), transient=True) as bars:
        tasks = {
            "read": bars.add_task("Checking", total=size),
            "write": bars.add_task("Writing", total=None),
        }

        def show(phase: str, done: int, total: int | None) -> None:
            bars.update(tasks[phase], completed=done, total=total or size)

        yield show


# --- input and output -----------------------------------------------------------------------


def _password(*, from_stdin: bool) -> str:
    """Read a password from standard input, or ask for it twice on a terminal."""
    if from_stdin:
        try:
            text = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError:
            raise UsageError(
                "The password on standard input is not UTF-8. Give it as UTF-8 text."
            ) from None
        return text.removesuffix("\n").removesuffix("\r")
    if not sys.stdin.isatty():
        raise UsageError(
            "There is no terminal to ask for the password. "
            "Give it on standard input: printf '%s' \"$PASSWORD\" | gatepost … --password-stdin"
        )
    answer: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return answer


def _readable(name: str) -> str:
    """Write a domain as it is kept, with its own letters behind it when they differ."""
    from gatepost.accounts import addresses

    letters = addresses.readable(name)
    return name if letters == name else f"{name} ({letters})"


def _print_json(rows: list[dict[str, Any]]) -> None:
    click.echo(json.dumps(rows, indent=2, ensure_ascii=False))


def _print_table(headings: Sequence[str], rows: list[tuple[str, ...]], *, empty: str) -> None:
    if not rows:
        click.echo(empty, err=True)
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from gatepost.cli.output import console

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console().print(table)


COMMANDS = [domain, mailbox, alias, import_, export_]
