"""A mailbox's folder and sessions are its own: no earlier and no later owner shares them."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from account_fixtures import HASH

from gatepost.accounts import lookups
from gatepost.accounts.records import PROBE_DOMAIN, Domain, Mailbox
from gatepost.accounts.store import Store

ANNA = Mailbox("anna@example.org", HASH)


def login(raw: sa.Connection, address: str = ANNA.address) -> str:
    """Return the user name that Postfix gets for a submission session that begins now."""
    local, _, domain = address.partition("@")
    query = lookups.PASSWORD.bind(address=address, local=local, domain=domain, service="smtp")
    return str(raw.exec_driver_sql(query).one()[0])


def is_over(raw: sa.Connection, session: str) -> bool:
    """Tell whether Postfix is told that a submission session is nobody's any more."""
    query = lookups.ENDED_SESSION.bind(login=session, answer="over")
    return raw.exec_driver_sql(query).fetchall() == [("over",)]


def ended(raw: sa.Connection) -> list[tuple[str, str]]:
    """Return whose sessions every supervisor is told to end."""
    rows = raw.exec_driver_sql(
        "SELECT address, folder FROM account_changes WHERE address IS NOT NULL ORDER BY id"
    )
    return [(row[0], row[1]) for row in rows]


def test_each_owner_has_a_folder(home: Store) -> None:
    """A new owner would read the mail of the one before."""
    folders = []
    for _ in range(3):
        folders.append(home.folder(ANNA.address))
        home.remove_mailbox(ANNA.address)
        left = home.add_mailbox(ANNA)
        assert left == tuple(folders)
    assert folders == ["example.org/anna", "example.org/anna@2", "example.org/anna@3"]


@pytest.mark.parametrize("many", [False, True])
def test_old_mail_may_be_taken_over(home: Store, *, many: bool) -> None:
    """A mailbox that was removed by mistake could not be brought back."""
    for _ in range(10):
        home.remove_mailbox(ANNA.address)
        home.add_mailbox(ANNA)
    home.remove_mailbox(ANNA.address)
    if many:
        home.add_all([ANNA, Mailbox("bob@example.org", HASH)], old_mail=True)
        assert home.folder("bob@example.org") == "example.org/bob"
    else:
        home.add_mailbox(ANNA, old_mail=True)
    assert home.folder(ANNA.address) == "example.org/anna@11"
    home.remove_mailbox(ANNA.address)
    home.add_mailbox(ANNA)
    assert home.folder(ANNA.address) == "example.org/anna@12"


def test_an_import_begins_with_empty_folders(home: Store) -> None:
    """Accounts that are imported again would read what others have left."""
    home.remove_domain("example.org", force=True)
    home.add_all([Domain("example.org"), ANNA])
    assert home.folder(ANNA.address) == "example.org/anna@2"


def test_mail_without_a_mailbox_is_kept_aside(home: Store) -> None:
    """Mail from before folders were on record would go to the next owner."""
    found = ["example.org/anna", "example.org/bob", "example.org/bob@3"]
    assert home.keep_aside(found) == ("example.org/bob", "example.org/bob@3")
    assert home.keep_aside(found) == ()
    home.add_mailbox(Mailbox("bob@example.org", HASH))
    assert home.folder("bob@example.org") == "example.org/bob@4"


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.change_mailbox(ANNA.address, enabled=False),
        lambda store: store.change_mailbox(ANNA.address, password_hash="{SSHA}eA=="),
        lambda store: store.remove_mailbox(ANNA.address),
        lambda store: store.remove_domain("example.org", force=True),
    ],
    ids=["disable", "passwd", "remove", "remove-domain"],
)
def test_sessions_end_with_a_change(home: Store, raw: sa.Connection, change: object) -> None:
    """An old session would go on, in the name of the next owner too."""
    session = login(raw)
    assert not is_over(raw, session)
    assert callable(change)
    change(home)
    assert is_over(raw, session)
    assert ended(raw) == [(ANNA.address, "example.org/anna")]
    if not [d for d in home.domains() if d.name == "example.org"]:
        home.add_domain("example.org")
    if not home.mailboxes():
        home.add_mailbox(ANNA)
    home.change_mailbox(ANNA.address, enabled=True)
    assert is_over(raw, session)
    assert not is_over(raw, login(raw))


def test_the_next_owner_sends_as_themselves(home: Store, raw: sa.Connection) -> None:
    """The owner of a session would not be the one that Postfix compares senders with."""
    for _ in range(2):
        assert raw.exec_driver_sql(
            lookups.sender("+").bind(local="anna", domain="example.org")
        ).fetchall() == [(login(raw),)]
        home.remove_mailbox(ANNA.address)
        home.add_mailbox(ANNA)
    assert login(raw).endswith("@example.org")
    assert "/" in login(raw)


@pytest.mark.parametrize(
    "change",
    [
        {"quota_bytes": 5},
        {"enabled": True},
        {"send_only": False},
        {"password_hash": "{SSHA}eA==", "keep_sessions": True},
    ],
)
def test_other_changes_end_no_session(
    home: Store, raw: sa.Connection, change: dict[str, object]
) -> None:
    """Everybody with a larger mailbox would be logged out."""
    session = login(raw)
    home.change_mailbox(ANNA.address, **change)  # type: ignore[arg-type]
    assert not is_over(raw, session)
    assert ended(raw) == []


def test_send_only_ends_what_reads(home: Store, raw: sa.Connection) -> None:
    """An account that only sends would go on reading, or could send no more."""
    session = login(raw)
    home.change_mailbox(ANNA.address, send_only=True)
    assert not is_over(raw, session)
    assert ended(raw) == [(ANNA.address, "example.org/anna")]


def test_a_probe_leaves_no_folder_behind(home: Store) -> None:
    """Each proof would leave a folder on record for ever."""
    probe = Mailbox(f"probe@{PROBE_DOMAIN}", HASH)
    for _ in range(2):
        home.add_hidden_mailbox(probe)
        assert home.folder(probe.address) == f"{PROBE_DOMAIN}/probe"
        home.remove_mailbox(probe.address)


def test_a_refused_change_ends_nothing(home: Store, raw: sa.Connection) -> None:
    """A mistyped address would log somebody out."""
    before = raw.exec_driver_sql("SELECT count(*) FROM account_changes").scalar_one()
    with pytest.raises(Exception, match="no mailbox"):
        home.change_mailbox("nobody@example.org", enabled=False)
    after = raw.exec_driver_sql("SELECT count(*) FROM account_changes").scalar_one()
    assert after == before
