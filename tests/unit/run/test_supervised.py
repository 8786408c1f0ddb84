"""One service: kept running, replaced, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from gatepost.model import Address, Process, Readiness
from gatepost.run import child as child_room
from gatepost.run import environment
from gatepost.run import supervised as room
from gatepost.run.logs import LogStream
from gatepost.run.supervised import State, Supervised


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_BACK_OFF", (0.02, 0.05))
    monkeypatch.setattr(child_room, "_TERM_SECONDS", 0.05)


@pytest.fixture
def log(tmp_path: Path) -> LogStream:
    """Return a log in a file."""
    return LogStream(tmp_path / "log")


def shell(script: str, **options: Any) -> Process:
    return Process("service", ("sh", "-c", script), **options)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  another process has no event for us
            await asyncio.sleep(0.01)


def restarts(log: LogStream) -> list[str]:
    return [line.partition(" ")[2] for line in log.last("gatepost") if "restart" in line]


def watch(service: Supervised, what: Callable[[], Coroutine[Any, Any, object]]) -> object:
    """Start a service, do something, stop it."""

    async def main() -> object:
        await service.start()
        try:
            return await what()
        finally:
            await service.stop()

    return asyncio.run(main())


def test_one_that_dies_comes_back_later_each_time(log: LogStream) -> None:
    """A broken daemon would be started a thousand times a second, or never again."""
    service = Supervised(shell("exit 3"), log)

    async def main() -> None:
        await until(lambda: service.restarts >= 4)

    watch(service, main)
    assert restarts(log)[:4] == [
        f"service ended with exit code 3; restart {number} in {pause} s"
        for number, pause in enumerate(("0.02", "0.04", "0.05", "0.05"), start=1)
    ]


def test_one_that_ran_long_comes_back_at_once(
    log: LogStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One crash a month would count like a daemon that cannot start."""
    monkeypatch.setattr(room, "_STABLE_SECONDS", 0)
    service = Supervised(shell("exit 3"), log)

    async def main() -> None:
        await until(lambda: service.restarts >= 3)

    watch(service, main)
    assert [line.rpartition(" in ")[2] for line in restarts(log)[:3]] == ["0.02 s"] * 3


def test_what_a_dead_one_has_left_is_removed_before_each_start(
    log: LogStream, tmp_path: Path
) -> None:
    """A number of a living process in a stale file would keep a daemon down for ever."""
    left = tmp_path / "master.pid"
    left.write_text(str(os.getpid()))
    script = f"test -e {left} && exit 9; echo $$ > {left}; exit 3"
    service = Supervised(shell(script, leftovers=(left,)), log)

    async def main() -> None:
        await until(lambda: service.restarts >= 3)

    watch(service, main)
    assert all("exit code 3" in line for line in restarts(log))


def test_one_that_lives_is_left_alone(log: LogStream) -> None:
    """Users would be thrown out by restarts without a reason."""
    service = Supervised(shell("exec sleep 60"), log)

    async def main() -> int:
        assert await service.wait_ready() is None
        assert service.child
        before = service.child.pid
        await asyncio.sleep(0.1)
        assert service.child.pid == before
        return service.restarts

    assert watch(service, main) == 0
    assert restarts(log) == []


def test_a_killed_one_comes_back_and_says_so(
    log: LogStream, server: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One crash at night would stop the mail until morning."""
    monkeypatch.setattr(room, "_BACK_OFF", (0.1, 0.1))
    changes: list[int | None] = []
    service = Supervised(
        server("service"), log, lambda: changes.append(service.child.pid if service.child else None)
    )

    async def main() -> tuple[int, int]:
        assert await service.wait_ready() is None
        assert service.child
        first = service.child.pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: service.restarts == 1)
        states = [service.state]
        assert await service.wait_ready() is None
        states.append(service.state)
        assert states == [State.WAITING, State.READY]
        return first, service.child.pid

    pids = watch(service, main)
    assert restarts(log) == ["service was killed by signal 9; restart 1 in 0.1 s"]
    assert isinstance(pids, tuple)
    assert pids[0] != pids[1]
    assert changes == [*pids]


def test_what_it_forked_is_gone_before_it_comes_back(
    log: LogStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new Postfix would find the port taken by a child of the dead one."""
    monkeypatch.setattr(room, "_BACK_OFF", (5, 5))
    service = Supervised(shell("sleep 60 & sleep 0.1; exit 1"), log)
    left: list[psutil.Process] = []

    async def main() -> None:
        await until(lambda: service.child is not None)
        assert service.child
        pid = service.child.pid
        await until(lambda: service.restarts == 1)
        left.extend(child_room.members(pid))

    watch(service, main)
    assert left == []


def test_a_program_that_cannot_be_started_is_told(
    log: LogStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service would be silent and never come up, even when its program is back."""
    service = Supervised(shell("exec sleep 60"), log)
    path = environment.PATH
    monkeypatch.setattr(environment, "PATH", "/nonexistent")

    async def main() -> str | None:
        await until(lambda: service.restarts >= 2)
        monkeypatch.setattr(environment, "PATH", path)
        return await service.wait_ready()

    assert watch(service, main) is None
    assert restarts(log)[0].startswith("service cannot be started: [Errno 2] No such file")


# --- ready ----------------------------------------------------------------------------------


def test_ready_is_after_the_banner(log: LogStream, server: Callable[..., Process]) -> None:
    """The next service would be started before the one that it needs answers."""
    service = Supervised(server("service", delay=0.1), log)

    async def main() -> list[State]:
        await until(lambda: "up" in log.last("service"))
        before = service.state
        assert await service.wait_ready() is None
        return [before, service.state]

    assert watch(service, main) == [State.STARTING, State.READY]
    assert service.state is State.STOPPED


def tcp_address(process: Process) -> Address:
    address = process.ready[0].address
    assert isinstance(address, Address)
    return address


def test_another_banner_is_not_ready(log: LogStream, server: Callable[..., Process]) -> None:
    """A daemon that greets with an error would count as running."""
    process = server("service")
    wrong = Readiness(process.ready[0].address, b"* OK")
    service = Supervised(replace(process, ready=(wrong,)), log)

    async def main() -> str | None:
        return await service.wait_ready(0.15)

    assert watch(service, main) == "it did not answer within 0.15 seconds"


def test_one_that_dies_while_starting_is_told_soon(log: LogStream) -> None:
    """The user would wait half a minute to read that a file is missing."""
    nowhere = Readiness(Address("127.0.0.1", 1), b"220 ")
    service = Supervised(shell("exit 3", ready=(nowhere,)), log)
    assert watch(service, service.wait_ready) == "it ended three times while starting"


def test_one_whose_port_is_taken_is_told_with_the_port(log: LogStream) -> None:
    """Two plug-ins with one port: the user would read that one ended, and no reason."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = Address("127.0.0.1", other.getsockname()[1])
        service = Supervised(shell("sleep 9", sockets=(("web", taken),)), log)
        why = watch(service, service.wait_ready)
    assert why == f"it cannot be started: [Errno 98] Address already in use: {taken}"


# --- another version of the process ---------------------------------------------------------


def test_a_restart_takes_the_new_version(log: LogStream) -> None:
    """A change would be announced and the old one run on."""
    service = Supervised(shell("echo old; exec sleep 60"), log)

    async def main() -> list[str]:
        await until(lambda: log.last("service") == ["old"])
        await service.restart(shell("echo new; exec sleep 60"))
        await until(lambda: len(log.last("service")) > 1)
        return log.last("service")

    assert watch(service, main) == ["old", "new"]
    assert restarts(log) == []


async def talk(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await reader.readline() == b"220 hello\n"
    return reader, writer


@pytest.mark.parametrize("overlaps", [True, False])
def test_open_connections_outlive_a_restart_that_overlaps(
    log: LogStream, server: Callable[..., Process], *, overlaps: bool
) -> None:
    """A new entry point of Traefik would cut every user's connection."""
    process = replace(server("service", overlaps=overlaps), stop_seconds=0.1)
    port = tcp_address(process).port
    service = Supervised(process, log)

    async def main() -> tuple[bytes, int]:
        assert await service.wait_ready() is None
        assert service.child
        old_child = service.child
        old = old_child.pid
        reader, writer = await talk(port)
        await service.restart(replace(process, environment={"A": "b"}))
        assert await service.wait_ready() is None
        assert service.child.pid != old
        said = b""
        with contextlib.suppress(OSError):
            writer.write(b"x")
            said = await reader.read(1)
        assert [child.pid for child in service.retiring] == ([old] if overlaps else [])
        # Whoever has just connected to the old one is turned away when it closes its port.
        await until(lambda: not old_child.listens_on({tcp_address(process)}))
        (await talk(port))[1].close()
        writer.close()
        await until(lambda: not service.retiring)
        return said, old

    result = watch(service, main)
    assert isinstance(result, tuple)
    assert result[0] == (b"!" if overlaps else b"")
    assert not psutil.pid_exists(result[1])


def test_at_no_moment_is_the_port_closed(log: LogStream, server: Callable[..., Process]) -> None:
    """Who connects during a change of Traefik's would be refused."""
    process = server("service", delay=0.1, overlaps=True)
    port = tcp_address(process).port
    service = Supervised(process, log)

    async def main() -> int:
        assert await service.wait_ready() is None
        change = asyncio.create_task(service.restart(replace(process, environment={"A": "b"})))
        greeted = 0
        while not change.done():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionResetError):
                greeted += (await reader.readline()) == b"220 hello\n"
            writer.close()
            await asyncio.sleep(0.01)
        await change
        return greeted

    greeted = watch(service, main)
    assert isinstance(greeted, int)
    assert greeted >= 3


def test_stopping_amid_a_change_stops_both(log: LogStream, server: Callable[..., Process]) -> None:
    """The old Traefik would keep the ports after `gatepost down`."""
    process = server("service", overlaps=True)
    service = Supervised(process, log)

    async def main() -> int:
        assert await service.wait_ready() is None
        assert service.child
        old = service.child.pid
        change = asyncio.create_task(
            service.restart(replace(process, argv=("sleep", "60"), environment={"A": "b"}))
        )
        await until(lambda: service.child is not None and service.child.pid != old)
        change.cancel()
        await service.stop()
        return old

    old = watch(service, main)
    assert isinstance(old, int)
    assert list(child_room.members(old)) == []


def test_reloading_keeps_the_process(log: LogStream, tmp_path: Path) -> None:
    """A reload would cut connections, or not happen and look as if it had."""
    mark = tmp_path / "reloaded"
    process = shell("exec sleep 60", reload=("touch", str(mark)))
    service = Supervised(process, log)

    async def main() -> str | None:
        assert await service.wait_ready() is None
        assert service.child
        before = service.child.pid
        said = await service.reload(process)
        assert service.child.pid == before
        assert mark.exists()
        return said

    assert watch(service, main) is None


def test_reloading_what_waits_for_its_restart_is_fine(log: LogStream) -> None:
    """A change while a daemon is down would fail, though its next start reads the new files."""
    process = shell("exec sleep 60", reload=("false",))
    assert asyncio.run(Supervised(shell("true"), log).reload(process)) is None
