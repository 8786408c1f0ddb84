"""Values that nobody means well: refused in words of ours, or read by every daemon as they stand.

The same is fuzzed for longer by fuzz/settings.py.
"""

from __future__ import annotations

import time
from pathlib import Path

import daemon_languages
import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from rendered import DEBIAN_12, DEBIAN_13, Machine, site

from gatepost import assembly
from gatepost.errors import SettingsError, UsageError
from gatepost.registry import concerns, load
from gatepost.settings import Settings
from gatepost.settings.concerns import CONCERNS
from gatepost.settings.sources import Source

VARIABLES = tuple(
    name.upper() for one in (*CONCERNS.values(), *concerns()) for name in one.model_fields
)
PGSQL = {
    "DB_DRIVER": "pgsql",
    "DB_HOST": "db.example.net",
    "DB_NAME": "gatepost",
    "DB_USER": "gatepost",
    "DB_PASSWORD": "s3cr3t-K",
}
MEANT = {
    "MAILNAME": "mail.bücher.example",
    "POSTMASTER": "o'brien+x@example.org",
    "RECIPIENT_DELIMITER": "+#",
    "MYNETWORKS": "192.0.2.64/28, 2001:db8:5::/64",
    "MESSAGE_SIZE_LIMIT": "20 MiB",
    "RELAYHOST": "[fd00::7]:587",
    "GATEPOST_HOME": "/srv/gate-post_2.0",
    "PUBLIC_BIND_ADDRESS": "[fd00::1],10.0.0.1",
    "SERVICE_BIND_ADDRESS": "127.0.0.2\n,fd00::2",
    "MTA_PROXY_HEADER_SECONDS": "0.25",
    "MDA_IMAP_ADDRESS": "traefik-internal:33143",
    "TLS_CERT_FILE": "/etc/ssl/mail.crt",
    "TLS_KEY_FILE": "/etc/ssl/mail.key",
}
# Right values, and with what an injection is made of in some place of them.
odd = st.sampled_from(list("\n\r\t\0 %$#;,'\"`\\{}[]<>|&=:/.-²٣\u2028\u202e\x1b\udc80")) | st.text(
    max_size=5
)
hostile = st.builds(
    lambda value, place, text: value[:place] + text + value[place:],
    st.sampled_from([*MEANT.values(), "", "all", "true"]),
    st.integers(0, 30),
    odd,
)
environments = st.dictionaries(
    st.sampled_from([v for v in VARIABLES if not v.startswith("DB_")]), hostile, max_size=4
)


def told_well(problems: tuple[str, ...], *, lines: int = 2, secret: str | None = None) -> None:
    for problem in problems:
        assert secret is None or secret not in problem
        told = problem.split("\n")
        assert len(told) <= lines, problem
        assert all(line.isprintable() for line in told), problem
        assert len(problem) < 2500


def check(settings: Settings, machine: Machine) -> None:
    try:
        plan = assembly.assemble(settings, site(settings, machine))
    except UsageError as error:
        told_well(error.problems)
    else:
        daemon_languages.check(settings, plan)


@examples(max_examples=60)
@given(environments, st.sampled_from([DEBIAN_12, DEBIAN_13]))
@example({"RECIPIENT_DELIMITER": "#"}, DEBIAN_12)
@example({"SERVICE_BIND_ADDRESS": ","}, DEBIAN_12)
@example({"SERVICE_BIND_ADDRESS": 'fe80::1%"\n'}, DEBIAN_12)
@example({"MYNETWORKS": "fe80::1%$x y"}, DEBIAN_12)
@example({"RELAYHOST": "[fe80::1%$x]:٥٨"}, DEBIAN_12)
@example({"POSTMASTER": "ü@example.org"}, DEBIAN_12)
def test_no_value_brings_a_setting_of_its_own(environ: dict[str, str], machine: Machine) -> None:
    """Whoever may choose a value could make the server relay, or run a program."""
    try:
        found = load(MEANT | environ)
    except SettingsError as error:
        told_well(error.problems)
        return
    check(found, machine)
    shown = [value for value in found.values() if value.source is not Source.DEFAULT]
    assert all(value.text.isprintable() for value in shown)
    if all(value.text for value in shown):
        again = load({value.name: value.text for value in shown})
        assert again.groups == found.groups


@examples(max_examples=50)
@given(st.text(min_size=1, max_size=40), st.sampled_from([DEBIAN_12, DEBIAN_13]))
@example("p#a%s\"w\\o{r}d $x %{user} =;é'", DEBIAN_13)
def test_a_password_is_read_as_it_was_set_or_not_told(password: str, machine: Machine) -> None:
    """A password with a quote would end the file's line, and the rest would be a setting."""
    try:
        found = load(PGSQL | {"MAILNAME": "mail.example.org", "DB_PASSWORD": "s3cr3t-K" + password})
    except SettingsError as error:
        told_well(error.problems, secret="s3cr3t-K")
        return
    assert all("s3cr3t-K" not in value.text for value in found.values())
    check(found, machine)


@given(st.dictionaries(st.sampled_from(VARIABLES), st.text(max_size=20), max_size=3))
def test_a_file_says_the_same_as_the_environment(
    tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]
) -> None:
    """A value with a quote or a "#" would mean one thing in `.env` and another outside."""
    variables = {name: text.replace("\r", "") for name, text in variables.items()}
    variables = {name: text for name, text in variables.items() if text.isprintable()}
    file = tmp_path_factory.getbasetemp() / "settings.env"
    quoted = {n: v.replace("\\", "\\\\").replace("'", "\\'") for n, v in variables.items()}
    file.write_text("".join(f"{name}='{value}'\n" for name, value in quoted.items()), "utf-8")
    outcomes = []
    for environ, dotenv in ((variables, None), ({}, file)):
        try:
            found = load(environ, dotenv=dotenv, hostname=lambda: "mail.example.org")
        except SettingsError as error:
            outcomes.append(str(error))
        else:
            outcomes.append(str([(value.name, value.text) for value in found.values()]))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("content", [b"MAILNAME=\xff\n", b"\xff\xfeM\0A\0"])
def test_a_file_in_another_encoding_is_told(tmp_path: Path, content: bytes) -> None:
    """A `.env` that an old editor saved would end in a traceback."""
    file = tmp_path / ".env"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match="not UTF-8") as refused:
        load({}, dotenv=file)
    assert str(file) in str(refused.value)


def test_a_file_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's `.env` would end in a traceback."""

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    file = tmp_path / ".env"
    file.touch()
    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(SettingsError, match="Permission denied"):
        load({}, dotenv=file)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("MYNETWORKS", "10.0.0.0/²", "0 to 32"),
        ("MYNETWORKS", "fe80::1%eth0/64", "the scope of an address"),
        ("MESSAGE_SIZE_LIMIT", "9" * 5000, "MESSAGE_SIZE_LIMIT=50M"),
        ("MESSAGE_SIZE_LIMIT", "2T", "at most 1T"),
        ("MDA_IMAP_ADDRESS", "a:" + "9" * 5000, "1 to 65535"),
        ("RELAYHOST", "[a.example]:" + "9" * 5000, "RELAYHOST="),
        ("SERVICE_BIND_ADDRESS", ",", "not an IP address"),
        ("SERVICE_BIND_ADDRESS", "fe80::1%eth0", "not an IP address"),
        ("GATEPOST_HOME", "/", "root folder"),
        ("GATEPOST_HOME", "//srv/..", "root folder"),
        ("MTA_PROXY_HEADER_SECONDS", "0.00001", "MTA_PROXY_HEADER_SECONDS=3"),
        ("REVERSE_PROXY", "no\x1bne", "not printable"),
    ],
)
def test_what_no_daemon_could_do_with_is_refused(variable: str, value: str, words: str) -> None:
    """The server would fail later, at a place that names neither the variable nor the value."""
    with pytest.raises(SettingsError) as refused:
        load({"MAILNAME": "mail.example.org", variable: value})
    (problem,) = refused.value.problems
    assert problem.startswith(f"{variable}: ")
    assert words in problem
    told_well((problem,))


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_long_value_is_refused_or_read_in_time(variable: str) -> None:
    """A file pasted into a variable would keep `gatepost up` busy for hours, or fill the screen."""
    for piece in ("1.2.3.4,", "a", "a.", "[", "1"):
        began = time.process_time()
        try:
            load({"MAILNAME": "mail.example.org", variable: piece * (100_000 // len(piece))})
        except SettingsError as error:
            told_well(error.problems)
        assert time.process_time() - began < 10
