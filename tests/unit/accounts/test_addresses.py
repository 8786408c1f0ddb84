"""What people type becomes what Postfix and Dovecot look up, or is refused."""

from __future__ import annotations

import time
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatepost.accounts import addresses
from gatepost.errors import AccountError, printable


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Example.ORG", "example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("localhost", "localhost"),
        ("office.local", "office.local"),
        ("home.arpa", "home.arpa"),
        ("mail.test", "mail.test"),
        ("corp.internal", "corp.internal"),
        ("verify.gatepost.invalid", "verify.gatepost.invalid"),
    ],
)
def test_a_domain_is_kept_as_daemons_ask_for_it(typed: str, kept: str) -> None:
    """Mail would be refused for a domain that was added with capitals or umlauts."""
    assert addresses.domain(typed) == kept


@pytest.mark.parametrize(
    "typed", ["", ".", "exa mple", "-a.org", "a..b", "1.2.3.4", "[1.2.3.4]", "a_b.org", "x" * 64]
)
def test_what_is_no_domain_is_refused(typed: str) -> None:
    """The user would wait for mail that no server can send."""
    with pytest.raises(AccountError) as error:
        addresses.domain(typed)
    assert f'"{typed}"' in str(error.value)
    assert "@-sign" not in str(error.value), "the user gave no address"
    assert "example.org" in str(error.value)


def test_an_address_is_no_domain() -> None:
    """The user would wonder what is wrong with a name that looks right."""
    with pytest.raises(AccountError, match=r"for example example\.com"):
        addresses.domain("anna@example.com")


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Anna@Example.org", "anna@example.org"),
        ("anna@bücher.example", "anna@xn--bcher-kva.example"),
        ("o'brien@example.org", "o'brien@example.org"),
        ("first.last@localhost", "first.last@localhost"),
        ("a_b-c=d@example.org", "a_b-c=d@example.org"),
    ],
)
def test_a_mailbox_is_kept_as_daemons_ask_for_it(typed: str, kept: str) -> None:
    """Postfix asks in lower case: a mailbox kept otherwise would not exist for it."""
    assert addresses.mailbox(typed) == kept


@pytest.mark.parametrize(
    "typed",
    [
        "not-an-address",
        "a b@example.org",
        "@example.org",
        "a@b@example.org",
        "a..b@example.org",
        '"a b"@example.org',
        "a@[127.0.0.1]",
        "a\n@example.org",
        "x" * 65 + "@example.org",
        "ü@example.org",
        "Anna <anna@example.org>",
    ],
)
def test_what_is_no_address_is_refused(typed: str) -> None:
    """A typing mistake would become a mailbox that nobody can reach."""
    for normalise in (addresses.mailbox, addresses.target):
        with pytest.raises(AccountError) as error:
            normalise(typed)
        assert f'"{printable(typed)}"' in str(error.value)
        assert "NAME@DOMAIN" in str(error.value)


@pytest.mark.parametrize("typed", ["a%b@example.org", "a!b@example.org", "-a@example.org"])
def test_what_postfix_refuses_is_refused_here(typed: str) -> None:
    """The address would exist, and Postfix would refuse its mail."""
    for normalise in (addresses.mailbox, addresses.alias):
        with pytest.raises(AccountError, match="Postfix"):
            normalise(typed)
    assert addresses.target(typed) == typed, "another server may take it"


def test_a_slash_is_no_part_of_a_mailbox() -> None:
    """One mailbox's folder would lie inside another's."""
    with pytest.raises(AccountError, match="folder"):
        addresses.mailbox("a/b@example.org")
    assert addresses.alias("a/b@example.org") == "a/b@example.org"


def test_a_catch_all_is_an_alias() -> None:
    """Nobody could set up a catch-all for an internationalised domain."""
    assert addresses.alias("@BÜCHER.example") == "@xn--bcher-kva.example"
    assert addresses.split("@example.org") == ("", "example.org")


def test_a_target_keeps_its_name_as_it_is_written() -> None:
    """Another server may tell capital letters apart."""
    assert addresses.target("Some.One@Outside.TEST") == "Some.One@outside.test"


@pytest.mark.parametrize(
    ("address", "delimiter", "expected"),
    [
        ("anna+lists@example.org", "+", "anna@example.org"),
        ("anna+a+b@example.org", "+", "anna@example.org"),
        ("anna-a+b@example.org", "+-", "anna@example.org"),
        ("+anna@example.org", "+", "+anna@example.org"),
        ("anna@example.org", "+", "anna@example.org"),
        ("anna+lists@example.org", "", "anna+lists@example.org"),
    ],
)
def test_extensions_are_cut_as_postfix_does(address: str, delimiter: str, expected: str) -> None:
    """An alias to an extension would not let the mailbox's owner send as the alias."""
    assert addresses.without_extension(address, delimiter) == expected


def test_a_domain_is_shown_with_its_own_letters() -> None:
    """Nobody recognises xn--bcher-kva as the name they typed."""
    assert addresses.readable("xn--bcher-kva.example") == "bücher.example"
    assert addresses.readable("xn--999999.example") == "xn--999999.example"
    assert addresses.readable("example.org") == "example.org"


def on_one_line(error: AccountError) -> None:
    assert all(problem.isprintable() for problem in error.problems)


@given(
    st.builds(
        lambda text, place, odd: text[:place] + odd + text[place:],
        st.sampled_from(
            ["anna@example.org", "A.b@Bücher.example", "@x.y", "mail.test", "a/b%c!@d.e"]
        ),
        st.integers(0, 18),
        st.sampled_from(list("\n\r\t\0 /.@%!-+#'\"\\<>()[],;:\u202e\u200d\udc80ü٣\uff0e/"))
        | st.text(),
    ),
)
@example("x@4")
@example("x@1.2.3.4")
def test_what_is_accepted_is_one_address_and_nothing_more(typed: str) -> None:
    """A name could lead out of its folder, or add a line to a list, a log or a query."""
    for read in (
        addresses.mailbox,
        addresses.alias,
        addresses.target,
    ):
        try:
            kept = read(typed)
        except AccountError as error:
            on_one_line(error)
            continue
        assert read(kept) == kept
        assert kept.isascii()
        assert kept.isprintable()
        assert not set(kept) & set(' ,;:<>()[]"\\')
        assert ".." not in kept
        local_part, domain = addresses.split(kept)
        assert addresses.domain(domain) == domain
        if read not in {addresses.alias, addresses.target}:
            assert PurePosixPath(domain, local_part).parts == (domain, local_part)


@pytest.mark.parametrize("piece", ["a", "a.", "ü", "\u0301", "(", "@", "\udcff"])
def test_a_long_text_is_refused_at_once(piece: str) -> None:
    """A file in the wrong place would keep an import busy, and its error would fill the screen."""
    typed = f"a@{piece * (500_000 // len(piece))}"
    began = time.process_time()
    for read in (addresses.mailbox, addresses.alias, addresses.target):
        with pytest.raises(AccountError) as error:
            read(typed)
        assert len(str(error.value)) < 2500
    assert time.process_time() - began < 3
