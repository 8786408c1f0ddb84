"""The queries of the daemons, run as they run them: as one text, by the database itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest
import sqlalchemy as sa
from account_fixtures import HASH

from gatepost.accounts import lookups
from gatepost.accounts.addresses import split, without_extension
from gatepost.accounts.lookups import Query
from gatepost.accounts.records import Alias, Domain, Mailbox
from gatepost.accounts.store import Store

Ask = Callable[..., list[str]]
SERVER = {
    "mailname": "mail.example.org",
    "postmaster": "anna@example.org",
    "postmaster_bare": "anna@example.org",
    "postmaster_domain": "example.org",
}
Analyzed = Callable[[], Iterator[Mapping[str, int | None]]]


@pytest.fixture
def connection(home: Store, raw: sa.Connection) -> sa.Connection:
    """Return a database with every kind of account."""
    home.add_domain("catch.example")
    home.add_mailbox(Mailbox("bob@example.org", HASH, quota_bytes=1024))
    home.add_mailbox(Mailbox("away@example.org", HASH, enabled=False))
    home.add_mailbox(Mailbox("noreply@example.org", HASH, send_only=True))
    home.add_mailbox(Mailbox("gone@catch.example", HASH, enabled=False))
    home.add_mailbox(Mailbox("muted@example.org", HASH, enabled=False, send_only=True))
    home.add_alias(Alias("sales@example.org", ("Anna+Sales@example.org", "bob@example.org")))
    home.add_alias(Alias("team@example.org", ("sales@example.org", "away@example.org")))
    home.add_alias(Alias("friend@catch.example", ("Friend@outside.test",)))
    home.add_alias(Alias("@catch.example", ("team@example.org",)))
    return raw


@pytest.fixture
def ask(connection: sa.Connection) -> Ask:
    """Ask a query as a daemon does, with the values in the text; return the first column.

    Of an `address` the parts are given that the query wants.
    """

    def asked(query: Query, **values: str) -> list[str]:
        local, domain = split(values.get("address", ""))
        parts = {"local": local, "domain": domain, **SERVER}
        values = {name: values.get(name, parts.get(name, "")) for name in query.parameters}
        escaped = {name: value.replace("'", "''") for name, value in values.items()}
        rows = connection.exec_driver_sql(query.bind(**escaped)).fetchall()
        by_name = connection.execute(sa.text(query.sql), values).fetchall()
        assert rows == by_name, "the text and the parameters disagree"
        return [row[0] for row in rows]

    return asked


def test_our_domains_are_known(ask: Ask) -> None:
    """Mail for a domain would be refused, or taken for a domain that is not ours."""
    assert ask(lookups.MAILBOX_DOMAIN, domain="example.org") == ["example.org"]
    assert ask(lookups.MAILBOX_DOMAIN, domain="outside.test") == []


def test_recipients(ask: Ask) -> None:
    """A disabled mailbox would lose its mail, or a send-only account would get some."""
    assert ask(lookups.recipient("+"), address="anna@example.org") == ["anna@example.org"]
    assert ask(lookups.recipient("+"), address="away@example.org") == ["away@example.org"]
    for address in ("noreply@example.org", "sales@example.org", "nobody@example.org", "x' OR 1 --"):
        assert ask(lookups.recipient("+"), address=address) == []


def test_aliases(ask: Ask) -> None:
    """Mail would not reach the people behind an alias."""
    assert ask(lookups.alias("+"), address="sales@example.org") == [
        "Anna+Sales@example.org",
        "bob@example.org",
    ]
    assert ask(lookups.alias("+"), address="friend@catch.example") == ["Friend@outside.test"]
    assert ask(lookups.alias("+"), address="nobody@catch.example") == ["team@example.org"]
    assert ask(lookups.alias("+"), address="nobody@example.org") == []
    assert ask(lookups.alias("+"), address="nobody@outside.test") == []


def test_a_catch_all_swallows_no_mailbox(ask: Ask) -> None:
    """Postfix asks for aliases first: the mailbox's owner would get nothing any more."""
    assert ask(lookups.alias("+"), address="gone@catch.example") == []
    assert ask(lookups.alias("+"), address="noreply@example.org") == []


def test_role_addresses_lead_to_the_postmaster(ask: Ask, home: Store) -> None:
    """Mail to postmaster would be refused, go to a catch-all, or never come out of a loop."""
    query = lookups.alias("+-")
    for address in (
        *("postmaster@example.org", "abuse@catch.example", "postmaster@mail.example.org"),
        *("postmaster+x@example.org", "abuse-x@example.org"),
    ):
        assert ask(query, address=address) == ["anna@example.org"], address
    assert ask(query, address="postmaster@outside.test") == []
    assert ask(query, address="postmasters@example.org") == []
    role = "postmaster@catch.example"
    assert ask(query, address=role, postmaster=role) == ["team@example.org"]
    home.add_alias(Alias("postmaster@example.org", ("bob@example.org",)))
    assert ask(query, address="postmaster@example.org") == ["bob@example.org"]
    assert ask(query, address="postmaster-x@example.org") == ["bob@example.org"]
    home.add_mailbox(Mailbox("abuse@example.org", HASH))
    assert ask(query, address="abuse+x@example.org") == []


LONGEST = (
    ("lea-marie@example.org", "lea-marie@example.org"),
    ("lea-marie{}shop@example.org", "lea-marie@example.org"),
    ("lea-marie{}a{}b@example.org", "lea-marie@example.org"),
    ("lea-marie{}@example.org", "lea-marie@example.org"),
    ('"lea-marie{}a(b"@example.org', "lea-marie@example.org"),
    ("lea-marie@catch.example", "lea-marie@catch.example"),
    ("lea-marie{}x@catch.example", "lea-marie@catch.example"),
    ("the-list@example.org", "bob@example.org"),
    ("the-list{}x@example.org", "bob@example.org"),
    # An alias may stand for one extension of a mailbox.
    ("lea-marie{0}list@example.org", "bob@example.org"),
    ("lea-marie{0}list{}x@example.org", "bob@example.org"),
    ("bob{}the-list@example.org", "bob@example.org"),
    ("lea{}marie{}x@catch.example", None),
    ("lea{}x@example.org", ""),
    ("lea-mari{}x@example.org", ""),
    ("{}bob@example.org", ""),
    ("bob@outside.test", ""),
    ("bob{}x@outside.test", ""),
)
"""Address, and whose it is with one of the delimiters; None where that depends on it."""


@pytest.mark.parametrize("delimiter", ["+", "-", "+-"])
def test_one_rule_finds_the_account(home: Store, ask: Ask, delimiter: str) -> None:
    """Mail would be refused, counted or delivered as another's, by one of the look-ups."""
    home.add_mailbox(Mailbox("lea-marie@example.org", HASH, quota_bytes=1))
    home.add_mailbox(Mailbox("lea-marie@catch.example", HASH, quota_bytes=1))
    home.add_alias(Alias("the-list@example.org", ("bob@example.org",)))
    home.add_alias(Alias(f"lea-marie{delimiter[0]}list@example.org", ("bob@example.org",)))
    queries = (lookups.recipient, lookups.alias, lookups.mailbox_kind, lookups.sender)
    recipient, alias, kind, sender = (query(delimiter) for query in queries)
    for character in delimiter:
        for pattern, expected in LONGEST:
            first = pattern.replace("{0}", delimiter[0])
            address = first.replace("{}", character)
            if expected is None:
                continue
            quoted = address.startswith('"')
            is_alias = expected == "bob@example.org" and not address.startswith("bob")
            found = [expected] if expected else []
            mailbox = [] if is_alias or quoted else found
            assert ask(recipient, address=address) == mailbox, address
            assert ask(alias, address=address) == (found if is_alias else []), address
            limited = "limited" if expected and not is_alias else "other"
            assert ask(kind, address=address) == [limited], address
            assert ask(sender, address=address) == found, address
            if quoted:
                continue
            for service in ("lmtp", "quota-status"):
                answer = ask(lookups.user(delimiter), address=address, service=service)
                wanted = [] if is_alias else found
                assert answer == wanted, (address, service)


def test_a_name_that_begins_with_a_quote_is_nobodys(ask: Ask) -> None:
    """Postfix would ask for such a name as for another's quoted one, and the mail would bounce."""
    kind = lookups.mailbox_kind("+")
    assert ask(kind, address='"\\"bob+(x\\""@example.org') == ["unreachable"]
    assert ask(kind, address='"\\"bob+(x\\""@outside.test') == ["other"]
    assert ask(kind, address='","@example.org') == ["other"]
    assert ask(kind, address='"bob+(x"@example.org') == ["limited"]


def test_kinds_of_mailboxes(ask: Ask) -> None:
    """Mail to an account that only sends would be taken and lost, or a full mailbox not noticed."""
    for address, kind in (
        ("noreply@example.org", "send_only"),
        ("bob@example.org", "limited"),
        ("anna@example.org", "unlimited"),
        ("sales@example.org", "other"),
        ("nobody@example.org", "other"),
    ):
        assert ask(lookups.mailbox_kind("+"), address=address) == [kind]
        # What is asked before says the same of a mailbox, and nothing of others.
        first = [] if kind == "other" else [kind]
        assert ask(lookups.EXACT_KIND, address=address) == first
        receives = [address] if kind in {"limited", "unlimited"} else []
        assert ask(lookups.EXACT_RECIPIENT, address=address) == receives


@pytest.fixture
def judge(home: Store, ask: Ask) -> Callable[[str], list[str]]:
    """Add aliases that lead to little; return a function that judges an address."""
    home.add_mailbox(Mailbox("the-limited@example.org", HASH, quota_bytes=1))
    for name, *targets in (
        ("dead", "nobody@example.org"),
        ("mute", "noreply@example.org", "nobody@example.org"),
        ("half", "nobody@example.org", "anna@example.org"),
        ("forward", "x@outside.test", "nobody@example.org"),
        ("full", "bob@example.org", "noreply@example.org"),
        ("full2", "full@example.org"),
        ("role", "abuse@example.org"),
        ("to-extension", "the-limited-x+y@example.org"),
        ("to-nobody", "the-x@example.org"),
    ):
        home.add_alias(Alias(f"{name}@example.org", tuple(targets)))
    home.add_domain("dead.example")
    home.add_alias(Alias("@dead.example", ("dead@example.org",)))

    def judged(address: str, postmaster: str = "anna@example.org") -> list[str]:
        to = {
            "postmaster": postmaster,
            "postmaster_bare": without_extension(postmaster, "+-"),
            "postmaster_domain": split(postmaster)[1],
        }
        return ask(lookups.judgement("+-"), address=address, **to)

    return judged


@pytest.mark.parametrize(
    ("address", "verdict"),
    [
        ("dead@example.org", "unreachable"),
        ("mute@example.org", "unreachable"),
        ("half@example.org", None),
        ("forward@example.org", None),
        ("full@example.org", "only_limited"),
        ("full2@example.org", "only_limited"),
        ("sales@example.org", None),
        ("role@example.org", None),
        ("anyone@dead.example", "unreachable"),
        ("anyone@catch.example", None),
        ("dead+x@example.org", "unreachable"),
        ("dead-x+y@example.org", "unreachable"),
        ("full+x@example.org", "only_limited"),
        ("half+x@example.org", None),
        ("anyone-x@dead.example", "unreachable"),
        ("to-extension@example.org", "only_limited"),
        ("to-nobody@example.org", "unreachable"),
        ("postmaster+x@outside.test", None),
        ("noreply@example.org", "send_only"),
        ("nobody@example.org", None),
        ("x@outside.test", None),
        ("postmaster@outside.test", None),
        ("postmaster@example.org", None),
    ],
)
def test_an_alias_is_judged_by_what_it_leads_to(
    judge: Callable[[str], list[str]], address: str, verdict: str | None
) -> None:
    """Mail that nobody takes would be accepted, and bounce to a sender who is often forged."""
    assert judge(address) == ([verdict] if verdict else [])


def test_role_addresses_are_judged(judge: Callable[..., list[str]]) -> None:
    """Mail to the postmaster would bounce when POSTMASTER is nobody."""
    for address in (
        *("postmaster@example.org", "abuse@mail.example.org"),
        *("postmaster+x@example.org", "abuse-x@mail.example.org"),
    ):
        assert judge(address, "anna@example.org") == []
        assert judge(address, "anna+post@example.org") == []
        assert judge(address, "bob-post@example.org") == ["only_limited"]
        assert judge(address, "x@outside.test") == []
        assert judge(address, "nobody@example.org") == ["unreachable"]
        assert judge(address, "noreply@example.org") == ["send_only"]
        assert judge(address, "bob@example.org") == ["only_limited"]


def test_a_long_list_is_not_judged(home: Store, judge: Callable[[str], list[str]]) -> None:
    """Each recipient would cost as much as a list has members."""
    many = [f"nobody{n}@example.org" for n in range(lookups.JUDGED)]
    home.add_alias(Alias("many@example.org", tuple(many)))
    assert judge("many@example.org") == ["unreachable"], "one address for all that do not exist"
    home.add_alias(Alias("more@example.org", (*many, "anna@example.org")))
    assert judge("more@example.org") == []
    for address in many:
        home.add_mailbox(Mailbox(address, HASH, send_only=True))
    assert judge("many@example.org") == []


@pytest.fixture
def taken(connection: sa.Connection) -> Callable[..., list[str]]:
    """Return a function that asks as Dovecot does for the takers of a recipient, in their order."""
    query = lookups.user("+-")

    def one(address: str, service: str, postmaster: str) -> list[str]:
        local, domain = split(address)
        values = SERVER | {"local": local, "domain": domain, "service": service}
        values |= {"postmaster": postmaster, "postmaster_bare": postmaster}
        values["postmaster_domain"] = split(postmaster)[1]
        escaped = {name: value.replace("'", "''") for name, value in values.items()}
        rows = connection.exec_driver_sql(query.bind(**escaped)).fetchall()
        return [row[0] for row in rows]

    def asked(
        recipient: str, service: str = "quota-status", postmaster: str = "bob@example.org"
    ) -> list[str]:
        found: list[str] = []
        for place in range(1, lookups.JUDGED):
            if not (row := one(lookups.taker(place, recipient), service, postmaster)):
                break
            found += row
        return found

    return asked


def test_takers_are_found_one_after_another(
    home: Store, taken: Callable[..., list[str]], judge: Callable[..., list[str]]
) -> None:
    """Full mailboxes behind an alias would take nothing, and its senders get bounces."""
    for name in ("carl", "dora"):
        home.add_mailbox(Mailbox(f"{name}@example.org", HASH, quota_bytes=1))
    both, three = ["bob@example.org", "carl@example.org"], ["bob", "carl", "dora"]
    home.add_alias(Alias("two@example.org", (*both, "noreply@example.org")))
    home.add_alias(
        Alias("three@example.org", ("dora@example.org", "two@example.org", "x@example.org"))
    )
    home.add_alias(Alias("sl/ash@example.org", ("two@example.org",)))
    home.add_alias(Alias("o'neil-x@example.org", ("dora@example.org",)))
    home.add_domain("all.example")
    home.add_alias(Alias("@all.example", ("three@example.org",)))
    all_three = [f"{name}@example.org" for name in three]
    for recipient, found in {
        "two@example.org": both,
        "two+x@example.org": both,
        "sl/ash@example.org": both,
        "sl/ash-x@example.org": both,
        "three@example.org": all_three,
        "anyone@all.example": all_three,
        "any+one@all.example": all_three,
        '"a(b, {c}=%d\\"@all.example': all_three,
        "!!@all.example": all_three,
        "o'neil-x@example.org": ["dora@example.org"],
        "o'neil-x+y@example.org": ["dora@example.org"],
        # The extension of a mailbox, and role addresses.
        "bob+x@example.org": ["bob@example.org"],
        "abuse@example.org": ["bob@example.org"],
        "postmaster+x@example.org": ["bob@example.org"],
        "nobody@example.org": [],
    }.items():
        assert taken(recipient) == found, recipient
        if recipient in {"two@example.org", "three@example.org", "anyone@all.example"}:
            assert judge(recipient) == ["only_limited"]
    assert taken("abuse@all.example", postmaster="x@all.example") == all_three
    assert taken("postmaster@all.example", postmaster="postmaster@all.example") == all_three
    assert taken("two@example.org", service="lmtp") == [], "only a question about quotas"


def test_as_many_takers_as_are_judged(home: Store, taken: Callable[..., list[str]]) -> None:
    """The last mailboxes of a list would not be asked, and its mail be refused."""
    many = [f"m{n:03}@example.org" for n in range(lookups.JUDGED - 2)]
    for address in many:
        home.add_mailbox(Mailbox(address, HASH, quota_bytes=1))
    home.add_alias(Alias("many@example.org", tuple(many)))
    assert taken("many@example.org") == many


@pytest.mark.parametrize(
    ("sender", "logins"),
    [
        ("anna@example.org", {"anna@example.org"}),
        ("noreply@example.org", {"noreply@example.org"}),
        ("sales@example.org", {"anna@example.org", "bob@example.org"}),
        ("team@example.org", {"anna@example.org", "bob@example.org"}),
        ("nobody@catch.example", {"anna@example.org", "bob@example.org"}),
        ("nobody@example.org", set()),
        ("nobody@outside.test", set()),
        ("sales+x@example.org", {"anna@example.org", "bob@example.org"}),
        ("away+x@example.org", set()),
        ("away@example.org", set()),
        ("gone@catch.example", set()),
        ("friend@catch.example", set()),
    ],
)
def test_who_may_send_as_an_address(ask: Ask, sender: str, logins: set[str]) -> None:
    """One user could write in another's name, or not in their own.

    The owner of a catch-all could write in the name of a disabled mailbox, or of a friend's alias.
    """
    found = ask(lookups.sender("+"), address=sender)
    assert set(found) == logins
    assert len(found) == len(logins)


def test_a_loop_of_aliases_ends(ask: Ask, connection: sa.Connection) -> None:
    """A loop in the database, however it got there, would hang every submission."""
    connection.exec_driver_sql(
        "UPDATE alias_targets SET address = 'team@example.org', destination = 'team@example.org' "
        "WHERE destination = 'bob@example.org'"
    )
    assert ask(lookups.sender("+"), address="team@example.org") == ["anna@example.org"]


@pytest.mark.parametrize(
    ("address", "service", "allowed"),
    [
        ("anna@example.org", "imap", True),
        ("anna@example.org", "smtp", True),
        ("noreply@example.org", "smtp", True),
        ("noreply@example.org", "imap", False),
        ("noreply@example.org", "pop3", False),
        ("noreply@example.org", "sieve", False),
        ("away@example.org", "imap", False),
        ("away@example.org", "smtp", False),
        ("muted@example.org", "smtp", False),
        ("sales@example.org", "imap", False),
        ("nobody@example.org", "imap", False),
    ],
)
def test_who_may_log_in(ask: Ask, address: str, service: str, *, allowed: bool) -> None:
    """A disabled user could still read, or a send-only account could."""
    local, domain = split(address)
    values = {"address": address, "local": local, "domain": domain, "service": service}
    assert ask(lookups.PASSWORD, **values) == [address] * allowed


def test_columns_have_the_names_that_dovecot_reads(connection: sa.Connection) -> None:
    """Dovecot ignores a column it does not know: nobody could log in."""
    for query, names in (
        (lookups.PASSWORD, ["user", "password"]),
        (lookups.user("+-"), ["user", "folder", "quota_bytes", "extensions"]),
        (lookups.USERS, ["user"]),
    ):
        found = connection.execute(sa.text(query.sql), dict.fromkeys(query.parameters, ""))
        assert list(found.keys()) == names


@pytest.mark.parametrize("delimiter", ["+", "-", "+-"])
def test_where_a_mailbox_is(connection: sa.Connection, home: Store, delimiter: str) -> None:
    """Mail would be stored in another place than it is read from."""
    home.add_mailbox(Mailbox("eva-maria@example.org", HASH, quota_bytes=7))
    query, first = lookups.user(delimiter), delimiter[0]
    last = delimiter.replace("-", "") or "/"
    anna = ("anna@example.org", "example.org/anna", None, delimiter)
    eva = ("eva-maria@example.org", "example.org/eva-maria", 7, last)
    for address, found in {
        "bob@example.org": [("bob@example.org", "example.org/bob", 1024, delimiter)],
        "away@example.org": [("away@example.org", "example.org/away", None, delimiter)],
        "noreply@example.org": [],
        "sales@example.org": [],
        "anna@example.org": [anna],
        f"anna{first}lists@example.org": [anna],
        f"anna{first}a{first}b@example.org": [anna],
        f"{first}anna@example.org": [],
        f"anna{first}@outside.test": [],
        "anna=lists@example.org": [],
        # A mailbox that exists wins, and has extensions of its own.
        "eva-maria@example.org": [eva],
        f"eva-maria{first}lists@example.org": [eva],
        "eva@example.org": [],
    }.items():
        local, domain = split(address)
        values = SERVER | {"local": local, "domain": domain, "service": "lmtp"}
        assert connection.exec_driver_sql(query.bind(**values)).fetchall() == found, address
        assert connection.execute(sa.text(query.sql), values).fetchall() == found, address


def test_where_a_mailbox_is_without_extensions(ask: Ask) -> None:
    """A server that knows no extensions would deliver by the first letters of a name."""
    query = lookups.user("")
    for address, found in (("anna@example.org", 1), ("anna+x@example.org", 0)):
        assert len(ask(query, address=address, service="lmtp")) == found


@pytest.mark.parametrize("domain", ["bücher.example", "bu\u0308cher.example", "bÜcher.example"])
def test_a_domain_in_its_own_letters(ask: Ask, home: Store, domain: str) -> None:
    """Who types the address as it was given to `mailbox add` could not log in."""
    home.add_domain("xn--bcher-kva.example")
    home.add_mailbox(Mailbox("anna@xn--bcher-kva.example", HASH))

    def login(local: str, domain: str) -> list[str]:
        address = f"{local}@{domain}"
        return ask(lookups.PASSWORD, address=address, local=local, domain=domain, service="imap")

    assert login("anna", domain) == ["anna@xn--bcher-kva.example"]
    assert login("anna", "xn--bcher-kva.example") == ["anna@xn--bcher-kva.example"]
    assert login("bob", domain) == login("anna", "bucher.example") == []
    home.remove_domain("xn--bcher-kva.example", force=True)
    assert login("anna", domain) == []
    home.add_all([Domain("xn--bcher-kva.example"), Mailbox("eva@xn--bcher-kva.example", HASH)])
    assert login("eva", domain) == ["eva@xn--bcher-kva.example"]


def test_all_users(ask: Ask) -> None:
    """``doveadm -A`` would skip a mailbox, or stumble over one without mail."""
    assert sorted(ask(lookups.USERS)) == [
        "anna@example.org",
        "away@example.org",
        "bob@example.org",
        "gone@catch.example",
    ]


def test_every_query_uses_an_index(
    connection: sa.Connection,  # noqa: ARG001  an empty database would tell nothing
    read_whole: Callable[[str], set[str]],
    analyzed: Analyzed,
) -> None:
    """With many mailboxes every message and every login would read them all."""
    texts = {
        query.name: query.bind(**dict.fromkeys(query.parameters, "x"))
        for query in lookups.QUERIES
        if query.parameters
    }
    wrong = [
        (name, dict(sizes), whole)
        for sizes in analyzed()
        for name, text in texts.items()
        if (whole := read_whole(text))
    ]
    assert wrong == []


def test_the_plan_shows_a_scan(read_whole: Callable[[str], set[str]]) -> None:
    """The control: without it the test above could pass whatever the queries do."""
    assert read_whole("SELECT 1 FROM mailboxes WHERE local_part = 'x'") == {"mailboxes"}


def test_marks_are_put_between_quotes() -> None:
    """A daemon's own escaping protects only what stands between quotes."""
    assert lookups.MAILBOX_DOMAIN.bind(domain="%d") == "SELECT name FROM domains WHERE name = '%d'"
    marks = {name: f"%{{{name}}}" for name in lookups.PASSWORD.parameters}
    assert "'%{address}'" in lookups.PASSWORD.bind(**marks)


def test_a_query_is_one_line_without_a_daemons_marks() -> None:
    """Postfix reads one line and takes ``%`` for its own; Dovecot too."""
    for query in lookups.QUERIES:
        assert "\n" not in query.sql
        assert "%" not in query.sql


@pytest.mark.parametrize(
    "marks", [{}, {"adress": "%s"}, {"local": "%u", "domain": "%d", "address": "%s"}]
)
def test_a_wrong_mark_is_an_error(marks: dict[str, str]) -> None:
    """The query would silently find nothing, on a server that seems to run."""
    with pytest.raises(TypeError, match="RECIPIENT takes"):
        lookups.recipient("+").bind(**marks)


def test_a_mail_store_is_known_by_its_certificate(ask: Ask, home: Store) -> None:
    """What Sieve forwards would be refused as relaying, or a stranger's certificate would relay."""
    old, new = ":".join(["AB"] * 32), ":".join(["CD"] * 32)
    home.set_relay_client("mda-0", old)
    assert ask(lookups.RELAY_CLIENT, fingerprint=old) == ["mda-0"]
    assert ask(lookups.RELAY_CLIENT, fingerprint=new) == []
    home.set_relay_client("mda-0", new)
    assert ask(lookups.RELAY_CLIENT, fingerprint=new.lower()) == ["mda-0"]
    assert ask(lookups.RELAY_CLIENT, fingerprint=old) == []
    home.set_relay_client("mda-1", new)
    assert ask(lookups.RELAY_CLIENT, fingerprint=new) == ["mda-1"]
