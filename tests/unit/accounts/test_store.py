"""Domains, mailboxes and aliases come and go whole, and what is wrong changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from account_fixtures import HASH

from gatepost.accounts.bulk import ConflictError
from gatepost.accounts.database import Database
from gatepost.accounts.records import PROBE_DOMAIN, Alias, Domain, Mailbox
from gatepost.accounts.store import Store, open_store
from gatepost.errors import AccountError, OperationError


def everything(store: Store) -> tuple[object, ...]:
    """Return all that is in a store."""
    return (store.domains(), store.mailboxes(), store.aliases())


# --- domains --------------------------------------------------------------------------------


def test_domains_come_and_go(home: Store) -> None:
    """A domain could not be taken out of service again."""
    home.add_domain("b.example")
    home.add_alias(Alias("@b.example", ("anna@example.org",)))
    assert home.domains() == (Domain("b.example", 0, 1), Domain("example.org", 1, 0))
    home.remove_alias("@b.example")
    home.remove_domain("b.example")
    assert home.domains() == (Domain("example.org", 1, 0),)


def test_a_domain_in_use_is_kept(home: Store) -> None:
    """One wrong word would delete every account of a domain."""
    home.add_alias(Alias("sales@example.org", ("anna@example.org",)))
    home.add_alias(Alias("team@example.org", ("sales@example.org",)))
    before = everything(home)
    with pytest.raises(AccountError, match=r"1 mailbox and 2 aliases.*--force"):
        home.remove_domain("example.org")
    assert everything(home) == before
    assert home.remove_domain("example.org", force=True) == Domain("example.org", 1, 2)
    assert everything(home) == ((), (), ())


def test_removing_a_domain_leaves_no_rows(home: Store, raw: sa.Connection) -> None:
    """A mailbox without a domain would still receive: SQLite has foreign keys off by itself."""
    home.add_alias(Alias("sales@example.org", ("anna@example.org",)))
    home.remove_domain("example.org", force=True)
    for table in ("mailboxes", "aliases", "alias_targets"):
        assert raw.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0  # noqa: S608


# --- mailboxes ------------------------------------------------------------------------------


def test_mailboxes_come_back_as_they_went_in(home: Store) -> None:
    """A limit or a switch would be lost on the way."""
    made = Mailbox("bob@example.org", HASH, quota_bytes=2**40, enabled=False, send_only=True)
    home.add_mailbox(made)
    assert home.mailbox("bob@example.org") == made
    assert home.mailboxes() == (Mailbox("anna@example.org", HASH), made)


def test_lists_are_of_one_domain_when_asked(home: Store) -> None:
    """A host of many domains would have to search through them all."""
    home.add_domain("b.example")
    home.add_mailbox(Mailbox("bob@b.example", HASH))
    home.add_alias(Alias("@b.example", ("bob@b.example",)))
    assert [m.address for m in home.mailboxes("b.example")] == ["bob@b.example"]
    assert [a.address for a in home.aliases("b.example")] == ["@b.example"]
    assert home.aliases("example.org") == ()
    for listing in (home.mailboxes, home.aliases):
        with pytest.raises(AccountError, match=r"nope\.example"):
            listing("nope.example")


def test_only_what_is_given_changes(home: Store) -> None:
    """A new password would lift the limit, or enable a disabled mailbox."""
    home.change_mailbox("anna@example.org", quota_bytes=1024, enabled=False)
    changed = home.change_mailbox("anna@example.org", password_hash="{SSHA}new")
    assert changed == Mailbox("anna@example.org", "{SSHA}new", 1024, enabled=False)
    assert home.change_mailbox("anna@example.org", quota_bytes=None).quota_bytes is None


def test_removing_a_mailbox_tells_who_leads_to_it(home: Store) -> None:
    """Mail to the alias would come back, and nobody would know since when."""
    home.add_alias(Alias("sales@example.org", ("Anna+x@example.org", "friend@outside.test")))
    assert home.remove_mailbox("anna@example.org") == ("sales@example.org",)
    assert home.mailboxes() == ()


# --- aliases --------------------------------------------------------------------------------


def test_aliases_keep_the_order_of_their_targets(home: Store) -> None:
    """The list would look different each time."""
    made = Alias("sales@example.org", ("z@outside.test", "anna@example.org", "a@outside.test"))
    assert home.add_alias(made) == ()
    assert home.aliases() == (made,)
    assert home.remove_alias("sales@example.org") == made
    assert home.aliases() == ()


def test_targets_that_do_not_exist_are_told(home: Store) -> None:
    """Mail for the alias would come back, and only its senders would know."""
    targets = ("bob@example.org", "anna+x@example.org", "x@outside.test")
    assert home.add_alias(Alias("a@example.org", targets)) == ("bob@example.org",)
    home.add_alias(Alias("@example.org", ("anna@example.org",)))
    assert home.add_alias(Alias("b@example.org", targets)) == (), "the catch-all takes it"


# --- what cannot be -------------------------------------------------------------------------


def test_advice_can_be_pasted_into_a_shell(home: Store) -> None:
    """Whoever follows it would run what somebody else chose as a name."""
    name = "`id`@example.org"
    home.add_alias(Alias(name, ("anna@example.org",)))
    for attempt in (
        lambda: home.add_mailbox(Mailbox(name, HASH)),
        lambda: home.change_mailbox(name, enabled=True),
    ):
        with pytest.raises(AccountError) as error:
            attempt()
        assert f"alias remove '{name}'" in str(error.value)


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (lambda s: s.add_domain("example.org"), ["example.org", "exists"]),
        (lambda s: s.remove_domain("nope.example"), ["nope.example", "domain list"]),
        (
            lambda s: s.add_mailbox(Mailbox("a@nope.example", HASH)),
            ["a@nope.example", "domain add nope.example"],
        ),
        (
            lambda s: s.add_mailbox(Mailbox("anna@example.org", HASH)),
            ["anna@example.org", "exists", "mailbox remove"],
        ),
        (
            lambda s: s.add_mailbox(Mailbox("sales@example.org", HASH)),
            ["sales@example.org", "an alias", "alias remove"],
        ),
        (lambda s: s.change_mailbox("ghost@example.org", enabled=True), ["ghost@example.org"]),
        (lambda s: s.change_mailbox("sales@example.org", enabled=True), ["alias remove"]),
        (lambda s: s.remove_mailbox("ghost@example.org"), ["ghost@example.org", "mailbox list"]),
        (
            lambda s: s.add_alias(Alias("anna@example.org", ("x@outside.test",))),
            ["anna@example.org", "a mailbox", "mailbox remove"],
        ),
        (
            lambda s: s.add_alias(Alias("sales@example.org", ("x@outside.test",))),
            ["sales@example.org", "an alias"],
        ),
        (
            lambda s: s.add_alias(Alias("@nope.example", ("x@outside.test",))),
            ["@nope.example", "domain add nope.example"],
        ),
        (lambda s: s.add_alias(Alias("a@example.org", ())), ["a@example.org", "no target"]),
        (
            lambda s: s.add_alias(Alias("a@example.org", ("anna@example.org", "A@example.org"))),
            ["a@example.org → a@example.org"],
        ),
        (
            lambda s: s.add_alias(Alias("missing@example.org", ("sales@example.org",))),
            ["missing@example.org → sales@example.org → missing@example.org"],
        ),
        (lambda s: s.remove_alias("anna@example.org"), ["anna@example.org", "alias list"]),
        (
            lambda s: s.add_hidden_mailbox(Mailbox("probe@example.org", HASH)),
            ["probe@example.org", PROBE_DOMAIN],
        ),
    ],
)
def test_what_cannot_be_is_told_and_changes_nothing(
    home: Store, attempt: Callable[[Store], object], words: list[str]
) -> None:
    """Half a change would be left behind, and the user would not know what to do next."""
    home.add_alias(Alias("sales@example.org", ("anna@example.org", "missing@example.org")))
    before = everything(home)
    with pytest.raises(AccountError) as error:
        attempt(home)
    for word in words:
        assert word in str(error.value)
    assert everything(home) == before


# --- many at once ---------------------------------------------------------------------------


def test_many_go_in_in_any_order(home: Store) -> None:
    """A file would have to be sorted by hand."""
    told: list[int] = []
    home.add_all(
        [
            Alias("team@new.example", ("bob@new.example", "anna@example.org")),
            Mailbox("bob@new.example", HASH, 1024, enabled=False),
            Domain("new.example"),
        ],
        told.append,
    )
    assert home.mailbox("bob@new.example") == Mailbox("bob@new.example", HASH, 1024, enabled=False)
    assert home.aliases("new.example")[0].targets == ("bob@new.example", "anna@example.org")
    assert told[-1] == 3


def test_every_conflict_of_many_is_told_and_nothing_goes_in(home: Store) -> None:
    """The user would correct one line, import, correct the next, and so on."""
    before = everything(home)
    with pytest.raises(ConflictError) as error:
        home.add_all(
            [
                Domain("new.example"),
                Mailbox("good@new.example", HASH),
                Mailbox("anna@example.org", HASH),
                Mailbox("bob@nope.example", HASH),
                Domain("new.example"),
                Alias("good@new.example", ("x@outside.test",)),
            ]
        )
    assert sorted(error.value.reasons) == [2, 3, 4, 5]
    assert "it is a mailbox" in error.value.reasons[5]
    assert everything(home) == before


def test_a_loop_through_many_is_found(home: Store) -> None:
    """An import would make an alias that defers its mail for ever."""
    home.add_alias(Alias("a@example.org", ("b@example.org",)))
    before = everything(home)
    with pytest.raises(ConflictError) as error:
        home.add_all([Mailbox("c@example.org", HASH), Alias("b@example.org", ("a@example.org",))])
    assert list(error.value.reasons) == [1]
    assert everything(home) == before


# --- hidden accounts ------------------------------------------------------------------------


def test_hidden_accounts_are_shown_nowhere(home: Store) -> None:
    """The probe's mailbox would end in backups and on other servers."""
    before = everything(home)
    probe = Mailbox(f"probe@{PROBE_DOMAIN}", HASH)
    home.add_hidden_mailbox(probe)
    home.add_hidden_mailbox(probe)
    assert everything(home) == before
    assert home.mailbox(probe.address) == probe, "it must be there all the same"
    assert home.remove_hidden() == 1
    assert home.remove_hidden() == 0
    with pytest.raises(AccountError):
        home.mailbox(probe.address)
    assert everything(home) == before


# --- the database itself --------------------------------------------------------------------


def test_lists_are_in_the_order_of_characters(home: Store) -> None:
    """An export would look different after a move, because databases sort as they like."""
    for name in ("a-b.example", "ab.example", "a.example", "example.com"):
        home.add_domain(name)
        home.add_mailbox(Mailbox(f"z_z@{name}", HASH))
        home.add_alias(Alias(f"@{name}", (f"z_z@{name}", "a@outside.test")))
    for names in (
        [domain.name for domain in home.domains()],
        [mailbox.address for mailbox in home.mailboxes()],
        [alias.address for alias in home.aliases()],
    ):
        assert names == sorted(names)


def test_a_newer_database_is_left_alone(store: Store, raw: sa.Connection) -> None:
    """An older Gatepost would write rows that the newer one cannot read."""
    raw.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(OperationError, match=r"9999.*newer"):
        store.migrate()


def test_a_locked_database_is_told(
    store: Store, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second command would wait without a word, then end in a traceback."""
    for kind in ("sqlite", "pgsql"):
        monkeypatch.setattr(f"gatepost.accounts.{kind}.BUSY_SECONDS", 0.1)
    with open_store(database) as other:
        with store._writing():
            with pytest.raises(OperationError, match="nother command is writing"):
                other.add_domain("example.org")
            assert other.domains() == (), "reading must not wait for the writer"
        other.add_domain("example.org")


def test_two_writers_see_what_the_other_did(store: Store, database: Database) -> None:
    """Both would find an address free, and it would be a mailbox and an alias at once."""
    store.add_domain("example.org")
    with open_store(database) as other, ThreadPoolExecutor() as threads:
        for number in range(20):
            address = f"{number}@example.org"
            attempts = (
                threads.submit(store.add_mailbox, Mailbox(address, HASH)),
                threads.submit(other.add_alias, Alias(address, ("x@outside.test",))),
            )
            refused = [a.exception() for a in attempts if a.exception()]
            assert len(refused) == 1, refused
            assert isinstance(refused[0], AccountError)
