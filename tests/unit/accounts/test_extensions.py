"""Mailboxes that look like extensions of others: refused wherever they would come to be."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from account_fixtures import HASH

from gatepost.accounts.addresses import shorter_forms
from gatepost.accounts.bulk import ConflictError
from gatepost.accounts.database import Database
from gatepost.accounts.records import Alias, Mailbox
from gatepost.accounts.store import Store, open_store
from gatepost.errors import AccountError, SettingsError

ANNA, BOTH = "anna@example.org", "anna-maria@example.org"


def test_shorter_forms() -> None:
    """The mailbox whose extension a name is would not be found."""
    assert list(shorter_forms("a-b+c@x.y", "+-")) == ["a-b@x.y", "a@x.y"]
    assert list(shorter_forms("-a@x.y", "+-")) == []
    assert list(shorter_forms("@x.y", "+-")) == []


@pytest.mark.parametrize(("delimiter", "refused"), [("+", False), ("-", True), ("+-", True)])
def test_one_of_a_pair_is_refused(
    home: Store, database: Database, delimiter: str, *, refused: bool
) -> None:
    """One of the two would get mail that is meant for the other."""
    home.close()
    for first in (Mailbox(ANNA, HASH), Alias(ANNA, ("x@outside.test",))):
        with open_store(database, delimiter=delimiter) as store:
            if isinstance(first, Alias):
                store.remove_mailbox(ANNA)
                store.add_alias(first)
            if not refused:
                store.add_mailbox(Mailbox(BOTH, HASH))
                store.remove_mailbox(BOTH)
                continue
            for add in (store.add_mailbox, lambda m, store=store: store.add_all([m])):
                with pytest.raises(AccountError, match=f'"{BOTH}" and "{ANNA}" cannot be told'):
                    add(Mailbox(BOTH, HASH))
            store.add_alias(Alias(BOTH, (ANNA,)))
            store.remove_alias(BOTH)


@pytest.mark.parametrize("name", ["bob_x", "bob%", "bob"])
def test_the_shorter_one_is_refused_as_well(home: Store, database: Database, name: str) -> None:
    """The order in which accounts are added would decide who gets whose mail."""
    home.close()
    with open_store(database, delimiter="-") as store:
        store.add_mailbox(Mailbox("bob-x@example.org", HASH))
        new = Mailbox(f"{name}@example.org", HASH)
        if name != "bob":
            store.add_mailbox(new)
            return
        with pytest.raises(AccountError, match="bob-x@example"):
            store.add_mailbox(new)
        with pytest.raises(AccountError, match="bob-x@example"):
            store.add_alias(Alias(new.address, (ANNA,)))
        with pytest.raises(ConflictError, match="bob-x@example"):
            store.add_all([Mailbox("carl@example.org", HASH), new])
        assert [m.address for m in store.mailboxes()] == [ANNA, "bob-x@example.org"]


def test_another_delimiter_is_refused_with_the_names(home: Store, database: Database) -> None:
    """Mail would go to the wrong mailbox after a change of RECIPIENT_DELIMITER, silently."""
    home.add_mailbox(Mailbox(BOTH, HASH))
    home.add_mailbox(Mailbox("lone-wolf@example.org", HASH))
    home.add_alias(Alias("anna-lists@example.org", ("x@outside.test",)))
    home.refuse_ambiguous()
    home.close()
    with open_store(database, delimiter="+-") as store:
        with pytest.raises(SettingsError, match=f'"{BOTH}" and "{ANNA}"') as error:
            store.refuse_ambiguous(changed_only=True)
        assert "RECIPIENT_DELIMITER" in str(error.value)
        assert len(error.value.problems) == 1
        store.adopt_delimiter()
        store.refuse_ambiguous(changed_only=True)
        with pytest.raises(SettingsError):
            store.refuse_ambiguous()


def test_destinations_follow_the_delimiter(
    home: Store, database: Database, raw: sa.Connection
) -> None:
    """The owner of a mailbox could not send as an alias that leads to an extension of it."""
    home.add_alias(Alias("sales@example.org", ("anna-x@example.org", "anna+x@example.org")))
    home.close()

    def destinations() -> list[str]:
        rows = raw.exec_driver_sql("SELECT destination FROM alias_targets ORDER BY position")
        return [row[0] for row in rows]

    assert destinations() == ["anna-x@example.org", ANNA]
    with open_store(database, delimiter="-") as store:
        store.adopt_delimiter()
    assert destinations() == [ANNA, "anna+x@example.org"]


def test_aliases_that_lead_to_an_extension_are_named(home: Store, database: Database) -> None:
    """Nobody would learn that mail for an alias comes back, now that its mailbox is removed."""
    home.close()
    with open_store(database, delimiter="+-") as store:
        store.add_mailbox(Mailbox("lea-marie@example.org", HASH))
        for name, target in (
            ("a", "lea-marie+shop@example.org"),
            ("b", "Lea-Marie@example.org"),
            ("c", "lea-marie-x+y@example.org"),
        ):
            assert store.add_alias(Alias(f"{name}@example.org", (target,))) == ()
        for target in ("lea+x@example.org", "lea-mari@example.org", "anna+a/b@example.org"):
            alias = Alias(f"to-{target}", (target,))
            assert store.add_alias(alias) == (target,), "nobody takes such mail"
        found = store.remove_mailbox("lea-marie@example.org")
        assert found == ("a@example.org", "b@example.org", "c@example.org")
