"""One child process: its output, its rights, its end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import psutil
import pytest

from gatepost.model import Address, Process
from gatepost.run import child as room
from gatepost.run import readiness
from gatepost.run.child import Child


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_TERM_SECONDS", 0.05)


def shell(script: str, **options: object) -> Process:
    return Process("service", ("sh", "-c", script), **options)  # type: ignore[arg-type]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  another process has no event for us
            await asyncio.sleep(0.01)


async def run(process: Process) -> tuple[int, bytes]:
    """Run a process to its end; return its exit code and output."""
    said: list[bytes] = []
    child = await Child.start(process, said.append)
    code = await child.wait()
    return code, b"".join(said)


def test_output_and_errors_are_read() -> None:
    """The log would miss what a daemon says on standard error, which is why it died."""
    assert asyncio.run(run(shell("echo one; echo two >&2; exit 3"))) == (3, b"one\ntwo\n")


def test_many_lines_cost_few_looks() -> None:
    """To wake up for each line of a busy mail server would cost it a tenth of a processor."""

    async def main() -> list[bytes]:
        said: list[bytes] = []
        child = await Child.start(
            shell("i=0; while [ $i -lt 200 ]; do echo line; sleep 0.001; i=$((i+1)); done"),
            said.append,
        )
        await child.wait()
        return said

    blocks = asyncio.run(main())
    assert b"".join(blocks) == b"line\n" * 200
    assert len(blocks) < 150


def test_much_output_is_not_held_up() -> None:
    """A daemon that says much would wait for its own log."""

    async def main() -> tuple[int, float]:
        sizes: list[int] = []
        begun = time.monotonic()
        process = shell("head -c 60000000 /dev/zero")
        child = await Child.start(process, lambda block: sizes.append(len(block)))
        await child.wait()
        return sum(sizes), time.monotonic() - begun

    size, seconds = asyncio.run(main())
    assert size == 60_000_000
    assert seconds < 6, "with a pause after each block it would be nine"


def test_it_gets_its_environment_and_no_input() -> None:
    """A daemon would wait for somebody to type, or keep a folder from being unmounted."""
    process = shell('echo "$WORD $(pwd)"; cat; echo end', environment={"WORD": "hello"})
    assert asyncio.run(run(process)) == (0, b"hello /\nend\n")


def test_one_that_ends_at_once_is_told_as_such() -> None:
    """A daemon that refuses its configuration would never be started again, nor say why."""

    async def main() -> list[int]:
        return [await (await Child.start(shell("exit 3"), print)).wait() for _ in range(10)]

    assert asyncio.run(main()) == [3] * 10


def test_what_it_says_at_its_end_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log would miss what a daemon says of its end, just before the log ends as well."""
    # Whoever stops it does not wait for the next look.
    monkeypatch.setattr(room, "_PAUSE_SECONDS", 60)

    async def main() -> bytes:
        said: list[bytes] = []
        child = await Child.start(
            shell("trap 'echo down; exit' TERM; echo up; while :; do sleep 0.01; done"), said.append
        )
        await until(lambda: bool(said))
        await child.stop()
        return b"".join(said)

    assert asyncio.run(main()) == b"up\ndown\n"


def test_one_that_ignores_sigterm_is_killed() -> None:
    """`gatepost down` would hang for ever on a stuck daemon."""

    async def main() -> tuple[int, float, bytes]:
        said: list[bytes] = []
        process = shell("trap '' TERM; echo up; while :; do sleep 0.05; done", stop_seconds=0.1)
        child = await Child.start(process, said.append)
        await until(lambda: bool(said))
        begun = time.monotonic()
        await child.stop()
        return await child.wait(), time.monotonic() - begun, b"".join(said)

    code, seconds, said = asyncio.run(main())
    assert (code, said) == (-9, b"up\n")
    assert 0.1 <= seconds < 2


def test_one_that_takes_its_time_may_finish() -> None:
    """Postfix would be killed in the middle of a delivery."""

    async def main() -> tuple[int, bytes]:
        said: list[bytes] = []
        script = (
            "trap 'sleep 0.15; echo delivered; exit 0' TERM; echo up; while :; do sleep 0.02; done"
        )
        child = await Child.start(shell(script, stop_seconds=5), said.append)
        await until(lambda: bool(said))
        await child.stop()
        await asyncio.sleep(0.02)
        return await child.wait(), b"".join(said)

    assert asyncio.run(main()) == (0, b"up\ndelivered\n")


def test_what_it_has_forked_ends_with_it() -> None:
    """Thirty daemons of a dead Postfix would hold its ports and its queue."""

    async def main() -> tuple[int, int]:
        child = await Child.start(shell("sleep 60 & sleep 60 & exec sleep 60"), print)
        await until(lambda: len(list(room.members(child.pid))) == 3)
        before = len(list(room.members(child.pid)))
        await child.stop()
        return before, len(list(room.members(child.pid)))

    assert asyncio.run(main()) == (3, 0)


def test_another_service_does_not_end_with_it() -> None:
    """Stopping one service would stop them all."""

    async def main() -> bool:
        one = await Child.start(shell("exec sleep 60"), print)
        other = await Child.start(shell("exec sleep 60"), print)
        await one.stop()
        lives = psutil.Process(other.pid).is_running() and bool(list(room.members(other.pid)))
        await other.stop()
        return lives

    assert asyncio.run(main())


def test_stopping_a_dead_one_is_fine() -> None:
    """A daemon that dies while the server stops would end the stop with a traceback."""

    async def main() -> int:
        child = await Child.start(shell("exit 0"), print)
        await child.wait()
        await child.stop()
        return await child.wait()

    assert asyncio.run(main()) == 0


def test_it_ends_when_its_supervisor_is_killed(capfd: pytest.CaptureFixture[str]) -> None:
    """After a crash of the supervisor, daemons that nobody watches would hold the ports."""
    program = (
        "import asyncio\n"
        "from gatepost.model import Process\n"
        "from gatepost.run.child import Child\n"
        "async def main():\n"
        "    child = await Child.start(Process('x', ('sleep', '60')), print)\n"
        "    print(child.pid, flush=True)\n"
        "    await child.wait()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout
        pid = int(supervisor.stdout.readline())
        service = psutil.Process(pid)
        asyncio.run(until(lambda: service.name() == "sleep"))
        supervisor.kill()
        supervisor.wait()
    try:
        asyncio.run(until(lambda: not list(room.members(pid))))
    finally:
        if service.is_running():
            service.kill()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (("sh", "-c", '[ "$1" -gt 1 ] && kill -0 "$1"', "reload", "{pid}"), None),
        (("sh", "-c", "echo bad file >&2; exit 1"), "bad file"),
        (("/no/such/program",), "/no/such/program cannot be started: No such file or directory"),
    ],
)
def test_reloading_names_the_process_and_tells_what_went_wrong(
    command: tuple[str, ...], problem: str | None
) -> None:
    """A failed reload would look like a change that was applied."""

    async def main() -> str | None:
        child = await Child.start(shell("exec sleep 60", reload=command), print)
        try:
            return await child.tell(child.process.reload)
        finally:
            await child.stop()

    assert asyncio.run(main()) == problem


def test_who_listens_is_the_process_itself(server: Callable[..., Process]) -> None:
    """The old one beside it answers on the same port; the new one would be trusted too early."""

    async def main() -> tuple[bool, bool, bool]:
        process = server("proxy")
        address = process.ready[0].address
        assert isinstance(address, Address)
        child = await Child.start(process, lambda _: None)
        other = await Child.start(shell("exec sleep 60"), print)
        async with asyncio.timeout(5):
            await readiness.wait(process.ready)
        answers = (
            child.listens_on({address}),
            child.listens_on({address, replace(address, port=1)}),
            other.listens_on({address}),
        )
        await child.stop()
        await other.stop()
        return answers

    assert asyncio.run(main()) == (True, False, False)


def test_a_user_other_than_root_gets_no_rights() -> None:
    """The process that faces the internet could become root through any set-user-id program."""
    words = room._command(Process("proxy", ("traefik",), user="gatepost-proxy"))
    assert words[words.index("--reuid") + 1] == "gatepost-proxy"
    assert words[words.index("--regid") + 1] == "gatepost-proxy"
    assert words[words.index("--inh-caps") + 1] == "-all"
    assert words[words.index("--bounding-set") + 1] == "-all"
    assert "--ambient-caps" not in words
    assert "--no-new-privs" in words
    assert words[-2:] == ["--", "traefik"]


def test_a_granted_right_is_granted_alone() -> None:
    """Traefik could not open port 25, or could do much more than that."""
    words = room._command(
        Process("proxy", ("traefik",), user="nobody", capabilities=("net_bind_service",))
    )
    for option in ("--inh-caps", "--bounding-set"):
        assert words[words.index(option) + 1] == "-all,+net_bind_service"
    assert words[words.index("--ambient-caps") + 1] == "+net_bind_service"


def test_root_keeps_its_rights() -> None:
    """Postfix's master drops its rights itself and could not start without them."""
    assert room._command(Process("postfix", ("master", "-d"))) == [
        *("setpriv", "--pdeathsig", "TERM", "--", "master", "-d")
    ]
