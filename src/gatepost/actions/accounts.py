"""Domains, mailboxes and aliases: what can be done with them, one function per verb.

Everything is given as a user writes it and comes back as it is kept. Wrong input raises
`AccountError` and changes nothing.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from gatepost.accounts import addresses, exchange, passwords, quota
from gatepost.accounts.exchange import Format, Imported, Progress
from gatepost.accounts.lifetimes import first_folder
from gatepost.accounts.records import PROBE_DOMAIN, Alias, Domain, Mailbox
from gatepost.accounts.store import MailboxChange, Store
from gatepost.accounts.tables import ADDRESS_LENGTH
from gatepost.actions.session import Session
from gatepost.errors import GatepostError, ImportFileError, OperationError, printable
from gatepost.model import Home
from gatepost.run import control
from gatepost.settings import Settings

Given = ParamSpec("Given")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Removed:
    """The remains of a removed mailbox."""

    address: str
    mail: Path | None
    """The folder where its mail stays; None when there is none in this place."""
    aliases: tuple[str, ...]
    """Aliases that still lead to it."""


@contextmanager
def accounts(settings: Settings) -> Iterator[Store]:
    """Open the store that the settings name, for the length of a ``with`` block."""
    with Session(settings) as session:
        yield session.store


@contextmanager
def _changing(session: Session) -> Iterator[Store]:
    """Change the accounts; a running server is then asked to look again.

    Raises `OperationError` when the change is made and the server could not act on it.
    """
    yield session.store
    answer = session.ask(control.FORGET)
    if answer and (problems := answer.problems):
        raise OperationError(
            f"The accounts are changed, but {'; '.join(problems)}; the server tries again by "
            "itself, so look with `gatepost status` whether it has worked, and with `gatepost "
            "logs` why not."
        ).about("sessions-not-ended", object="server", value=str(session.home.root))


def _names(
    thing: str,
) -> Callable[
    [Callable[Concatenate[Session, str, Given], Result]],
    Callable[Concatenate[Session, str, Given], Result],
]:
    """Have the errors of an action say that they are about a thing, and about which."""

    def naming(
        action: Callable[Concatenate[Session, str, Given], Result],
    ) -> Callable[Concatenate[Session, str, Given], Result]:
        @wraps(action)
        def named(
            session: Session, value: str, /, *args: Given.args, **kwargs: Given.kwargs
        ) -> Result:
            try:
                return action(session, value, *args, **kwargs)
            except GatepostError as error:
                error.about(object=thing, value=printable(value))
                raise

        return named

    return naming


# --- domains --------------------------------------------------------------------------------


@_names("domain")
def add_domain(session: Session, name: str) -> tuple[str, tuple[str, ...]]:
    """Add a domain; return its name as it is kept, and why its role addresses reach nobody."""
    normalised = addresses.domain(name)
    session.store.add_domain(normalised)
    return normalised, unread_roles(session)


def unread_roles(session: Session) -> tuple[str, ...]:
    """Return why mail for postmaster and abuse reaches nobody, a sentence each."""
    mail = session.settings.mail
    return session.store.unread_roles(mail.mailname, mail.postmaster)


def list_domains(session: Session) -> tuple[Domain, ...]:
    """Return all domains with how many accounts each has."""
    return session.store.domains()


@_names("domain")
def remove_domain(session: Session, name: str, *, force: bool) -> Domain:
    """Remove a domain; with `force` its mailboxes and aliases too."""
    with _changing(session) as store:
        return store.remove_domain(addresses.domain(name), force=force)


# --- mailboxes ------------------------------------------------------------------------------


@_names("mailbox")
def add_mailbox(
    session: Session,
    address: str,
    password: str,
    *,
    size: str | None = None,
    send_only: bool = False,
    enabled: bool = True,
    old_mail: bool = False,
) -> tuple[Mailbox, tuple[Path, ...]]:
    """Add a mailbox; return it, and where earlier ones of its address have left their mail.

    `size` is the quota, such as ``1G``; None or ``none`` is no limit. It begins empty; with
    `old_mail` it takes over what the last one has left.
    """
    mailbox = Mailbox(
        address=addresses.mailbox(address),
        password_hash=passwords.hashed(password),
        decomposed_hash=passwords.decomposed_hash(password),
        quota_bytes=None if size is None else quota.parse(size),
        send_only=send_only,
        enabled=enabled,
    )
    with _changing(session) as store:
        first = first_folder(mailbox.address)
        if _is_there(session.home.mail / first):
            store.keep_aside([first])
        left = store.add_mailbox(mailbox, old_mail=old_mail)
    return mailbox, tuple(session.home.mail / folder for folder in left)


def list_mailboxes(session: Session, domain: str | None = None) -> tuple[Mailbox, ...]:
    """Return all mailboxes, or those of one domain."""
    name = None if domain is None else addresses.domain(domain)
    return session.store.mailboxes(name)


@_names("mailbox")
def change_mailbox(
    session: Session,
    address: str,
    *,
    size: str | None = None,
    send_only: bool | None = None,
    enabled: bool | None = None,
    password: str | None = None,
    keep_sessions: bool = False,
) -> Mailbox:
    """Change what is given of a mailbox; return it as it is now.

    A new password ends its sessions, unless `keep_sessions` is given.
    """
    change = MailboxChange()
    if size is not None:
        change["quota_bytes"] = quota.parse(size)
    if send_only is not None:
        change["send_only"] = send_only
    if enabled is not None:
        change["enabled"] = enabled
    normalised = addresses.mailbox(address)
    with _changing(session) as store:
        if password is not None:
            # A password is only worth hashing when there is a mailbox for it.
            store.mailbox(normalised)
            change["password_hash"] = passwords.hashed(password)
            change["decomposed_hash"] = passwords.decomposed_hash(password)
        return store.change_mailbox(normalised, keep_sessions=keep_sessions, **change)


@_names("mailbox")
def require_free(session: Session, address: str, size: str | None) -> None:
    """Raise `AccountError` when no such mailbox can be added, before a password is asked."""
    normalised = addresses.mailbox(address)
    if size is not None:
        quota.parse(size)
    session.store.require_free(normalised)


@_names("mailbox")
def require_mailbox(session: Session, address: str) -> Mailbox:
    """Return a mailbox; raise `AccountError` when there is none, before a password is asked."""
    return session.store.mailbox(addresses.mailbox(address))


@_names("mailbox")
def remove_mailbox(session: Session, address: str) -> Removed:
    """Remove a mailbox; its sessions end, its mail stays where it is."""
    normalised = addresses.mailbox(address)
    with _changing(session) as store:
        folder = store.folder(normalised)
        leading = store.remove_mailbox(normalised)
    mail = session.home.mail / folder
    return Removed(normalised, mail if _is_there(mail) else None, leading)


def mail_folders(home: Home) -> tuple[str, ...]:
    """Return the folders of mail on the disk of this place, named as the database names them."""
    found = (
        f"{folder.parent.name}/{folder.name}"
        for folder in home.mail.glob("*/*")
        if folder.parent.name != PROBE_DOMAIN
    )
    # What has another name is nobody's mail, such as a file system's own "lost+found".
    return tuple(name for name in found if name.isascii() and len(name) <= ADDRESS_LENGTH)


def _is_there(folder: Path) -> bool:
    with suppress(OSError):
        return folder.exists()
    return False


# --- aliases --------------------------------------------------------------------------------


@_names("alias")
def add_alias(
    session: Session, address: str, targets: Iterable[str]
) -> tuple[Alias, tuple[str, ...]]:
    """Add an alias; return it, and those of its targets that are ours and do not exist."""
    normalised = dict.fromkeys(addresses.target(target) for target in targets)
    alias = Alias(addresses.alias(address), tuple(normalised))
    return alias, session.store.add_alias(alias)


def list_aliases(session: Session, domain: str | None = None) -> tuple[Alias, ...]:
    """Return all aliases, or those of one domain."""
    name = None if domain is None else addresses.domain(domain)
    return session.store.aliases(name)


@_names("alias")
def remove_alias(session: Session, address: str) -> Alias:
    """Remove an alias; return what it was."""
    return session.store.remove_alias(addresses.alias(address))


# --- import and export ----------------------------------------------------------------------


def import_file(
    session: Session,
    lines: Iterable[bytes],
    name: str,
    form: Format | None = None,
    progress: Progress = lambda _phase, _done, _total: None,
    *,
    old_mail: bool = False,
) -> Imported:
    """Add all accounts of a file, or none; `name` is the file's, which tells the format.

    Mailboxes begin empty; with `old_mail` they take over what earlier ones have left.
    """
    with _changing(session) as store:
        store.keep_aside(mail_folders(session.home))
        return exchange.import_accounts(
            store,
            lines,
            name=name,
            form=form or exchange.format_of(name),
            progress=progress,
            old_mail=old_mail,
        )


def export_lines(session: Session, form: Format) -> Iterator[str]:
    """Yield all accounts as lines that `import_file` reads."""
    yield from exchange.export_accounts(session.store, form)


def export_file(session: Session, file: Path, form: Format | None = None) -> None:
    """Write all accounts to a file that only this user can read.

    An old one is replaced in one step. Raises `OperationError` when it cannot be written.
    """
    chosen = form or exchange.format_of(file.name)
    try:
        descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            # mkstemp makes it 0600, which the replaced file keeps.
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.writelines(export_lines(session, chosen))
            Path(temporary).replace(file)
        except BaseException:
            Path(temporary).unlink()
            raise
    except OSError as error:
        raise OperationError(
            f"{file}: cannot be written: {error.strerror}. Choose another place with --output."
        ).about("unwritable", object="file", value=str(file)) from None


def open_import(name: str) -> tuple[Path, int]:
    """Check that an import file can be read; return it with its size in bytes.

    Raises `ImportFileError` when it cannot.
    """
    file = Path(name)
    try:
        with file.open("rb"):
            return file, file.stat().st_size
    except OSError as error:
        raise ImportFileError(
            f"{name}: cannot be read: {error.strerror}. "
            "Give a file that ends in .csv or .jsonl, or - for standard input."
        ).about("unreadable", object="file", value=name, expected="a .csv or .jsonl file") from None
