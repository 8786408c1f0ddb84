"""The settings, the accounts and the supervisor of one server, for actions to work with.

A command opens a session for a moment. A program that lives long, such as one that serves web
pages, keeps one, with the pool of connections to the database; it may be used by several threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from gatepost.model import Home
from gatepost.run import control, preflight, rights
from gatepost.run.control import Answer, Request
from gatepost.settings import Place, Settings

if TYPE_CHECKING:
    from gatepost.accounts.store import Store

OpenAccounts = Callable[[Settings], "Store"]
"""Opens the database of accounts, made and migrated."""


def open_accounts(settings: Settings) -> Store:
    """Open the database of accounts that the settings name; raises as `open_store` does."""
    from gatepost import assembly  # noqa: PLC0415  slow to import
    from gatepost.accounts.database import database_of  # noqa: PLC0415
    from gatepost.accounts.store import open_store  # noqa: PLC0415

    return open_store(
        database_of(settings),
        delimiter=settings.mail.recipient_delimiter,
        tables=assembly.tables(settings),
    )


class Session:
    """The settings of a server, and what they lead to; close it, or use it in a ``with`` block."""

    def __init__(self, settings: Settings, opens: OpenAccounts = open_accounts) -> None:
        """Take settings; nothing is opened yet. `opens` opens the accounts when they are needed."""
        self.settings = settings
        self.home = Home(settings.storage.gatepost_home)
        self._opens = opens
        self._store: Store | None = None
        self._opening = threading.Lock()

    def __enter__(self) -> Self:
        """Return the session itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the session."""
        self.close()

    def close(self) -> None:
        """Close the accounts. The session may be used again: it opens them anew."""
        with self._opening:
            store, self._store = self._store, None
            if store:
                store.close()

    @property
    def store(self) -> Store:
        """The accounts, opened once, made and migrated.

        Raises `PreflightError` when others than root may write in the home, or as `open_store`.
        """
        with self._opening:
            if self._store is None:
                in_container = self.settings.place is Place.CONTAINER
                rights.require(self.home, in_container=in_container)
                self._store = self._opens(self.settings)
            return self._store

    @contextmanager
    def existing(self) -> Iterator[Store | None]:
        """Open the accounts as they are, for the length of a block; None when there are none yet.

        Nothing is made or migrated. Raises `PreflightError` when this user may not read them.
        """
        from gatepost import assembly  # noqa: PLC0415  slow to import
        from gatepost.accounts.database import database_of  # noqa: PLC0415
        from gatepost.accounts.store import Store  # noqa: PLC0415

        database = database_of(self.settings)
        if not database.exists():
            yield None
            return
        with Store(
            database,
            delimiter=self.settings.mail.recipient_delimiter,
            tables=assembly.tables(self.settings),
        ) as store:
            yield store

    def ask(self, request: Request[Answer]) -> Answer | None:
        """Ask the supervisor; None when none runs. Raises as `gatepost.run.control.request`."""
        return control.request(self.home, request)

    def require_folder(self) -> None:
        """Raise `PreflightError` when there is something else than a folder as the home."""
        preflight.require_folder(self.home)
