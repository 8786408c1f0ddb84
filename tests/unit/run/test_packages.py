"""Debian packages: found missing, and installed without starting what they bring."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gatepost.contracts import Plugin
from gatepost.errors import OperationError, PreflightError
from gatepost.registry import load
from gatepost.run import packages
from gatepost.run.packages import Package

SETTINGS = load({"MAILNAME": "mail.example.org"})

POSTFIX = Plugin(
    name="postfix",
    packages=lambda _: ("postfix", "libsasl2"),
    optional_packages=("postfix-lmdb",),
)
DOVECOT = Plugin(
    name="dovecot",
    packages=lambda _: ("dovecot-core",),
    optional_packages=("dovecot-flatcurve", "xapian"),
)


class Debian:
    """A system whose dpkg-query, apt-cache and apt-get are scripts."""

    def __init__(self, folder: Path) -> None:
        """Begin with nothing in a folder."""
        self.folder = folder
        self.policy = folder / "policy-rc.d"
        self.calls = folder / "calls"
        self.calls.write_text("")

    def program(self, name: str, script: str) -> None:
        """Make a program."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def has(self, *rows: str) -> None:
        """Have packages, each with its state."""
        self.program("dpkg-query", "\n".join(f"echo '{row}'" for row in rows) + "\nexit 1")

    def knows(self, *names: str) -> None:
        """Have packages in the release."""
        self.program("apt-cache", "\n".join(f"echo 'Package: {name}'" for name in names))

    def apt(self, script: str) -> None:
        """Have an apt-get that writes down its calls and the policy it finds."""
        self.program(
            "apt-get",
            f'echo "$@" >> {self.calls}\n'
            f'[ -e {self.policy} ] && while read line; do echo "policy: $line"; '
            f"done < {self.policy} >> {self.calls}\n{script}",
        )

    def said(self) -> list[str]:
        """Return what apt-get has written down."""
        return self.calls.read_text().splitlines()


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Debian:
    """Return a Debian without anything, whose root we are."""
    system = Debian(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(packages, "_POLICY", system.policy)
    monkeypatch.setattr(packages, "_has_service", lambda _name: False)
    return system


def missing(*names: str) -> list[Package]:
    return [Package(name, installed=False, optional=False, available=True) for name in names]


def test_what_is_missing_is_named_with_the_command(debian: Debian) -> None:
    """The user would see "postfix: not found" and have to know Debian's names."""
    debian.has("postfix installed", "libsasl2 config-files")
    with pytest.raises(PreflightError) as told:
        packages.require([POSTFIX, DOVECOT], SETTINGS)
    assert str(told.value) == (
        "System packages are missing: dovecot-core, libsasl2. "
        "Install them: gatepost packages --install"
    )


def test_nothing_missing_is_no_error(debian: Debian) -> None:
    """No server could be started."""
    debian.has("postfix installed", "libsasl2 installed", "dovecot-core installed")
    packages.require([POSTFIX, DOVECOT], SETTINGS)


def test_the_survey_tells_what_can_be_had(debian: Debian) -> None:
    """Installing would ask apt for a package that this release does not have, and fail whole."""
    debian.has("postfix installed", "xapian installed")
    debian.knows("postfix-lmdb")
    assert packages.survey([POSTFIX, DOVECOT], SETTINGS) == (
        Package("dovecot-core", installed=False, optional=False, available=True),
        Package("libsasl2", installed=False, optional=False, available=True),
        Package("postfix", installed=True, optional=False, available=True),
        Package("dovecot-flatcurve", installed=False, optional=True, available=False),
        Package("postfix-lmdb", installed=False, optional=True, available=True),
        Package("xapian", installed=True, optional=True, available=True),
    )


def test_what_is_there_or_nowhere_is_not_installed(debian: Debian) -> None:
    """Each run would take apt's time, or fail for an optional package that does not exist."""
    debian.apt("exit 0")
    found = [
        Package("postfix", installed=True, optional=False, available=True),
        Package("flatcurve", installed=False, optional=True, available=False),
    ]
    assert packages.install(found) == ()
    assert debian.said() == []


def test_no_daemon_starts_while_it_is_installed(debian: Debian) -> None:
    """Debian starts Postfix at once: it would take port 25 and answer for a server unset up."""
    debian.apt("exit 0")
    assert packages.install(missing("postfix", "dovecot-core")) == ("postfix", "dovecot-core")
    assert debian.said() == [
        "-q -y --no-install-recommends install postfix dovecot-core",
        "policy: #!/bin/sh",
        "policy: exit 101",
    ]
    assert not debian.policy.exists()


@pytest.mark.parametrize(("before", "disabled"), [([], ["mta"]), (["mta"], [])])
def test_services_that_come_with_packages_stay_off(
    debian: Debian, monkeypatch: pytest.MonkeyPatch, before: list[str], disabled: list[str]
) -> None:
    """After the next boot Debian's own daemon would hold the ports.

    The control: a service that the host had before is not ours to switch off.
    """
    debian.apt(f": > {debian.folder}/fresh")
    off: list[str] = []
    monkeypatch.setattr(packages, "_disable", off.extend)
    fresh = debian.folder / "fresh"
    monkeypatch.setattr(
        packages,
        "_has_service",
        lambda name: name in before or (name == "mta" and fresh.exists()),
    )
    plugin = Plugin(name="postfix", system_services=("mta", "none"))
    packages.install(missing("postfix"), [plugin])
    assert off == disabled


def test_the_admins_own_policy_stays(debian: Debian) -> None:
    """The host's own rule about starting daemons would be gone afterwards."""
    debian.policy.write_text("exit 102\n")
    debian.apt("exit 0")
    packages.install(missing("postfix"))
    assert debian.said()[1:] == ["policy: exit 102"]
    assert debian.policy.read_text() == "exit 102\n"


def test_old_lists_are_renewed(debian: Debian) -> None:
    """In a fresh container apt knows no package at all."""
    debian.apt(f"[ $3 = update ] && : > {debian.folder}/fresh\n[ -e {debian.folder}/fresh ]")
    assert packages.install(missing("postfix")) == ("postfix",)
    calls = [line for line in debian.said() if not line.startswith("policy")]
    assert calls == [
        "-q -y --no-install-recommends install postfix",
        "-q -y update",
        "-q -y --no-install-recommends install postfix",
    ]


def test_a_failing_apt_is_told_in_its_own_words(debian: Debian) -> None:
    """The admin would not know that the disk is full; a left policy would stop all daemons."""
    debian.apt("echo E: no space left >&2\n[ $3 = update ]")
    with pytest.raises(OperationError) as told:
        packages.install(missing("postfix"))
    assert str(told.value) == (
        "`apt-get -q -y --no-install-recommends install postfix` failed:\nE: no space left"
    )
    assert not debian.policy.exists()


def test_only_root_installs(debian: Debian, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user would see apt's riddles about a lock file."""
    debian.apt("exit 0")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PreflightError) as told:
        packages.install(missing("postfix"))
    assert str(told.value) == (
        "Installing postfix needs root. Run: sudo gatepost packages --install"
    )
    assert debian.said() == []


def test_a_system_without_apt_is_told_what_to_install(debian: Debian) -> None:
    """On another distribution the user would see a traceback."""
    assert not (debian.folder / "apt-get").exists()
    with pytest.raises(PreflightError) as told:
        packages.install(missing("postfix", "dovecot-core"))
    assert str(told.value) == (
        "apt-get is missing. Install with this system's own tool: postfix dovecot-core"
    )
