"""Copies of renewed files take the place of the old ones, or nothing does."""

from __future__ import annotations

import stat
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from issuing import Issued, issue

from gatepost.errors import PreflightError
from gatepost.model import Certificate, Check, Copy, Home, Part, Plan, RenderedFile
from gatepost.run import apply, copies, locks, record, renewal

FIRST, SECOND = issue("mail.example.org"), issue("mail.example.org")


def rendered(name: str, copy: Copy, mode: int = 0o600) -> RenderedFile:
    return RenderedFile(PurePosixPath(name), copy.content, "d", mode=mode, original=copy.original)


@pytest.fixture
def given(tmp_path: Path) -> Certificate:
    """Return a pair as the administrator gives it."""
    return Certificate(*FIRST.write(tmp_path))


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    """Return a login at a relay host."""
    file = tmp_path / "relay"
    file.write_text("[smtp.example.net]:587 me:first\n")
    return file


@pytest.fixture
def in_use(
    home: Home, plan: Callable[..., Plan], given: Certificate, passwords: Path
) -> Callable[..., None]:
    """Return how to put a configuration with copies in use."""

    def put(*checks: Check) -> None:
        pair = copies.pair(given)
        made = plan(
            RenderedFile(PurePosixPath("d/main.cf"), "x = y\n", "d", mode=0o640),
            rendered("d/tls.crt", pair.chain, 0o644),
            rendered("d/tls.key", pair.key),
            rendered("d/tls.pem", pair.together),
            rendered("d/relay", copies.copy(Part.PASSWORDS, passwords)),
        )
        apply.apply(replace(made, checks=checks), home)

    return put


def text(home: Home, name: str) -> str:
    return (home.config / "d" / name).read_text()


def shown(home: Home) -> Issued:
    """Return the pair that the copies are of; all of them must be of the same."""
    (found,) = (one for one in (FIRST, SECOND) if text(home, "tls.crt") == one.pem)
    assert text(home, "tls.key") == found.key_pem
    assert text(home, "tls.pem") == found.key_pem + found.pem
    return found


def test_a_renewed_pair_takes_its_place(
    home: Home, in_use: Callable[..., None], given: Certificate
) -> None:
    """The old certificate would be shown until it expires."""
    in_use()
    before = home.config.resolve()
    SECOND.write(given.cert_file.parent)
    told = renewal.renew(home)
    assert told == renewal.Renewal((str(given.cert_file), str(given.key_file)), ())
    assert shown(home) is SECOND
    assert home.config.resolve() != before
    assert text(home, "main.cf") == "x = y\n"
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (home.config / "d").iterdir()}
    assert modes == {
        "main.cf": 0o640,
        "tls.crt": 0o644,
        "tls.key": 0o600,
        "tls.pem": 0o600,
        "relay": 0o600,
    }


def test_an_up_finds_nothing_to_do_after_a_renewal(
    home: Home, in_use: Callable[..., None], given: Certificate
) -> None:
    """The hook's `gatepost up` would reload the daemons a second time."""
    in_use()
    SECOND.write(given.cert_file.parent)
    renewal.renew(home)
    known = record.current(home)
    in_use()
    assert record.current(home) == known
    assert len(list(home.generations.iterdir())) == 2


def test_nothing_new_changes_nothing(home: Home, in_use: Callable[..., None]) -> None:
    """Each look would be another configuration and push out one that one may want back."""
    in_use()
    before = home.config.resolve()
    assert renewal.renew(home) == renewal.Renewal()
    assert home.config.resolve() == before


def test_a_key_before_its_certificate_changes_nothing_yet(
    home: Home, in_use: Callable[..., None], given: Certificate
) -> None:
    """Between the two writes of a renewal the daemons would have no TLS at all."""
    in_use()
    given.key_file.write_text(SECOND.key_pem)
    (problem,) = renewal.renew(home).problems
    assert problem.startswith("TLS_KEY_FILE: ")
    assert not renewal.renew(home).again, "the pair is judged, and stays as bad as it is"
    assert shown(home) is FIRST
    given.cert_file.write_text(SECOND.pem)
    assert renewal.renew(home).problems == ()
    assert shown(home) is SECOND


def test_half_a_file_changes_nothing(
    home: Home, in_use: Callable[..., None], given: Certificate
) -> None:
    """A full disk at the wrong moment would switch TLS off."""
    in_use()
    given.cert_file.write_text(FIRST.pem[: len(FIRST.pem) // 2])
    assert renewal.renew(home).problems
    assert shown(home) is FIRST


def test_one_fault_does_not_keep_the_rest_old(
    home: Home, in_use: Callable[..., None], given: Certificate, passwords: Path
) -> None:
    """A broken certificate would keep a changed password from being used."""
    in_use()
    given.cert_file.unlink()
    passwords.write_text("[smtp.example.net]:587 me:second\n")
    told = renewal.renew(home)
    assert told.renewed == (str(passwords),)
    assert "cannot be read" in told.problems[0]
    assert told.again, "the reason may be the machine's"
    assert "second" in text(home, "relay")
    assert shown(home) is FIRST


def test_a_daemons_checker_is_asked(
    home: Home, in_use: Callable[..., None], passwords: Path
) -> None:
    """What `up` would refuse would go live by itself."""
    in_use(Check("d", ("sh", "-c", "grep -q first {config}/d/relay || { echo no; exit 1; }")))
    passwords.write_text("[smtp.example.net]:587 me:second\n")
    told = renewal.renew(home)
    (problem,) = told.problems
    assert problem.startswith("d refuses the configuration")
    assert told.again, "it may have asked a server that was away"
    assert "first" in text(home, "relay")


def test_a_full_disk_is_no_judgement(
    home: Home, in_use: Callable[..., None], given: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The renewed certificate would not be used when there is room again."""
    in_use()
    SECOND.write(given.cert_file.parent)

    def write(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("gatepost.run.files.write", write)
        told = renewal.renew(home)
    assert told.again
    assert "No space left on device" in told.problems[0]
    assert shown(home) is FIRST
    assert renewal.renew(home).problems == ()
    assert shown(home) is SECOND


def test_an_up_waits_for_a_renewal(home: Home) -> None:
    """The hook of a renewal would be refused: the supervisor has noticed the same a moment ago."""
    order: list[str] = []
    renewing = threading.Event()

    def renew() -> None:
        with locks.writing(home, locks.RENEWAL):
            renewing.set()
            time.sleep(0.3)
            order.append("renewal")

    other = threading.Thread(target=renew)
    other.start()
    renewing.wait(5)
    with locks.writing(home):
        order.append("up")
    other.join()
    assert order == ["renewal", "up"]
    with locks.writing(home), pytest.raises(PreflightError), locks.writing(home):
        pytest.fail("the control: two `up` at once")


def test_an_up_at_work_is_left_alone(home: Home, in_use: Callable[..., None]) -> None:
    """Two would write the next configuration at once."""
    in_use()
    with locks.writing(home), pytest.raises(PreflightError):
        renewal.renew(home)
