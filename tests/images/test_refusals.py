"""What a container says that cannot work: one line that names what to change."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from containers import CAPABILITIES, HOME, Container, Setup, container

NAMED = {"MAILNAME": "mail.example.org"}
RUN = ("--mount", f"type=tmpfs,destination={HOME}/run,tmpfs-mode=0755")
SERVICES = pytest.mark.parametrize("service", ["mta", "mda"])


def last_words(one: Container, seconds: float = 20) -> str:
    """Wait until a container has given up, never ready; return what it said."""
    deadline = time.monotonic() + seconds
    while one.state()["Running"]:
        assert one.health()[0] != 200, one.log()
        assert time.monotonic() < deadline, f"it still runs:\n{one.log()}"
        time.sleep(0.1)
    assert one.state()["ExitCode"] not in {0, 137}
    return one.log().strip()


@SERVICES
def test_volume_that_is_read_only(images: Mapping[str, str], tmp_path: Path, service: str) -> None:
    """A volume that was mounted by mistake would end in a page of Python."""
    (tmp_path / "run").mkdir()
    setup = Setup(service, NAMED, options=("--volume", f"{tmp_path}:{HOME}:ro", *RUN))
    with container(setup, images) as one:
        said = last_words(one)
    assert len(said.splitlines()) == 1
    assert said.startswith(f'GATEPOST_HOME: "{HOME}" cannot be written to (Read-only file system)')
    assert "Mount it writable" in said


@SERVICES
def test_volume_that_is_full(images: Mapping[str, str], service: str) -> None:
    """Nobody would know whether mail is lost, and what to do."""
    full = ("--mount", f"type=tmpfs,destination={HOME},tmpfs-size=16k", *RUN)
    with container(Setup(service, NAMED, options=full), images) as one:
        said = last_words(one)
    assert len(said.splitlines()) == 1
    assert said.startswith(f'GATEPOST_HOME: "{HOME}" has no room left (No space left on device)')
    assert "Nothing is lost: make room, or enlarge the volume" in said


@SERVICES
def test_proxy_that_nobody_is_trusted_to_be(images: Mapping[str, str], service: str) -> None:
    """A half-filled ConfigMap would give a server that greets nobody."""
    name = f"{service.upper()}_UPSTREAM_PROXY"
    with container(Setup(service, {**NAMED, name: "true"}), images) as one:
        said = last_words(one)
    assert said.startswith(f'{name}: "true" demands PROXY headers, and TRUSTED_PROXIES is empty')
    assert f"TRUSTED_PROXIES=10.42.0.7/32, or set {name}=false" in said


@pytest.mark.parametrize(
    ("service", "capability", "words"),
    [
        ("mta", "CHOWN", "This root lacks CHOWN: "),
        ("mta", "FOWNER", "This root lacks FOWNER: "),
        ("mta", "KILL", "This root lacks KILL: "),
        ("mda", "SETUID", "This root lacks SETUID: "),
        ("mda", "SYS_CHROOT", "Operation not permitted"),
        ("all", "SETPCAP", "apply bounding set: Operation not permitted"),
    ],
)
def test_container_without_a_capability(
    images: Mapping[str, str], service: str, capability: str, words: str
) -> None:
    """Whoever takes one more away would have a pod that waits for ever, and no reason."""
    kept = tuple(name for name in CAPABILITIES[service] if name != capability)
    assert len(kept) == len(CAPABILITIES[service]) - 1
    with container(Setup(service, NAMED, capabilities=kept), images) as one:
        one.wait_for_log(words, seconds=20)
        assert one.health()[0] != 200


@pytest.mark.parametrize("kind", ["missing", "unknown"])
def test_word_that_is_not_a_service(images: Mapping[str, str], kind: str) -> None:
    """A typing error in a manifest would end in the help of some other program."""
    words = ("run",) if kind == "missing" else ("run", "mtaa")
    with container(Setup("mta", NAMED, arguments=words), images) as one:
        said = last_words(one)
    assert (
        "Missing argument 'SERVICE'" if kind == "missing" else '"mtaa" is not a service'
    ) in said
