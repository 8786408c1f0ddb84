"""The whole: started in order, changed, stopped in reverse, without a trace."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import psutil
import pytest

from gatepost.accounts.records import Mailbox
from gatepost.accounts.store import Store, open_store
from gatepost.errors import PreflightError, StartError
from gatepost.model import Address, Home, Job, OnChange, Plan, Process, Readiness, RenderedFile
from gatepost.run import answering, apply, control, jobs, logs, memory, record, versions, watches
from gatepost.run import child as child_room
from gatepost.run import supervised as supervised_room
from gatepost.run.account_watch import AccountWatch
from gatepost.run.logs import LogStream
from gatepost.run.supervise import Supervisor


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised_room, "_BACK_OFF", (0.02, 0.05))
    monkeypatch.setattr(child_room, "_TERM_SECONDS", 0.05)


def sleeper(name: str, **options: Any) -> Process:
    return Process(name, ("sleep", "60"), **options)


def file(process: str, content: str, on_change: OnChange) -> RenderedFile:
    return RenderedFile(PurePosixPath(process), content, process, on_change)


def lines(home: Home) -> list[str]:
    """Return the log without the times."""
    found = logs.path(home).read_text().splitlines()
    return [
        f"gatepost | {line.split(' ', 3)[3]}" if line.startswith("gatepost | ") else line
        for line in found
    ]


def move(file: Path, to: Path) -> None:
    """Give a file another name, as an upgrade does."""
    file.rename(to)


def write(file: Path, words: str) -> None:
    """Write a file, as an installation does."""
    file.write_text(words)


async def ask(home: Home, request: str) -> Any:
    return await asyncio.to_thread(control.ask, home, request, seconds=10)


def run(home: Home, what: Callable[[], Coroutine[Any, Any, Any]] | None = None) -> Any:
    """Run the configuration of a home, do something once it is ready, stop it."""

    async def main() -> Any:
        async with asyncio.timeout(20):
            running = asyncio.create_task(Supervisor(home, LogStream(logs.path(home))).run())
            try:
                while (answer := await ask(home, "wait")) is None and not running.done():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                return await what() if what and answer and not answer["problem"] else answer
            finally:
                await ask(home, "stop")
                await running

    return asyncio.run(main())


async def pids(home: Home) -> dict[str, int]:
    return {row["name"]: row["pid"] for row in (await ask(home, "status"))["services"]}


# --- starting and stopping ------------------------------------------------------------------


def test_each_starts_when_those_before_it_answer_and_stops_before_them(
    home: Home, plan: Callable[..., Plan], server: Callable[..., Process]
) -> None:
    """Mail would arrive before the store is up, and be lost while the store is going down."""
    store = server("store", delay=0.08)
    mta = server("mta", delay=0.05, after=("store",))
    apply.apply(plan(store, mta, server("proxy", after=("mta",))), home)
    run(home)
    assert lines(home) == [
        "store | up",
        "store | listening",
        "mta | up",
        "mta | listening",
        "proxy | up",
        "proxy | listening",
        "gatepost | ready: store, mta, proxy",
        "proxy | bye",
        "mta | bye",
        "store | bye",
        "gatepost | stopped",
    ]


def test_one_that_cannot_start_is_told_with_its_last_words(
    home: Home, plan: Callable[..., Plan], server: Callable[..., Process]
) -> None:
    """The user would read "failed" and have to search; half a server would be left running."""
    bad = replace(server("mta"), argv=("sh", "-c", "echo fatal: no room; exit 1"))
    apply.apply(plan(server("store"), bad, sleeper("proxy")), home)
    with pytest.raises(StartError) as told:
        run(home)
    said = str(told.value).splitlines()
    assert said[0] == ("mta did not start: it ended three times while starting. Its last words:")
    assert said[1:]
    assert set(said[1:]) == {"  fatal: no room"}
    assert lines(home)[-2:] == ["store | bye", "gatepost | stopped"]
    assert not any(line.startswith("proxy") for line in lines(home))


def test_whoever_waits_is_told_why(home: Home, plan: Callable[..., Plan]) -> None:
    """`gatepost up --detach` would say that it is ready, or hang."""
    nowhere = Readiness(Address("127.0.0.1", 1), b"220 ")
    apply.apply(plan(Process("mta", ("false",), ready=(nowhere,))), home)
    answers: list[Any] = []

    async def main() -> None:
        running = asyncio.create_task(Supervisor(home, LogStream(None)).run())
        while not control.path(home).exists():  # noqa: ASYNC110  the socket has no event for us
            await asyncio.sleep(0.01)
        answers.append(await ask(home, "wait"))
        await running

    with pytest.raises(StartError):
        asyncio.run(main())
    assert answers == [
        {
            "problem": (
                "mta did not start: it ended three times while starting. Its last words:\n  (none)"
            )
        }
    ]


def test_a_home_without_a_configuration_is_told(home: Home) -> None:
    """Somebody who starts the supervisor by hand would see a traceback."""
    with pytest.raises(StartError) as told:
        run(home)
    assert str(told.value) == f"{home.root} has no configuration. Run: gatepost up"


def test_a_fault_of_our_own_ends_the_run(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server would hang half started, with nothing in its log."""

    def fail(_home: Home) -> None:
        raise RuntimeError("fault")

    monkeypatch.setattr(record, "generation", fail)

    async def main() -> None:
        async with asyncio.timeout(5):
            await Supervisor(home, LogStream(None)).run()

    with pytest.raises(RuntimeError, match="fault"):
        asyncio.run(main())


def test_nothing_is_left_in_the_home(home: Home, plan: Callable[..., Plan]) -> None:
    """The next start would take a dead supervisor for a live one."""
    apply.apply(plan(sleeper("store")), home)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(control.path(home)))

    async def during() -> set[str]:
        return {path.name for path in home.run.iterdir()}

    assert run(home, during) == {"control.sock", "processes.json", "supervisor.lock"}
    assert [path.name for path in home.run.iterdir()] == ["supervisor.lock"]


def test_a_second_supervisor_is_refused(home: Home, plan: Callable[..., Plan]) -> None:
    """Two would start everything twice and each take the other's daemons for strangers."""
    apply.apply(plan(sleeper("store")), home)

    async def during() -> tuple[str, bool]:
        with pytest.raises(PreflightError) as told:
            await Supervisor(home, LogStream(None)).run()
        return str(told.value), (await ask(home, "status"))["ready"]

    said, ready = run(home, during)
    assert said == (
        f"A mail server (process {os.getpid()}) runs in {home.root} already. Nothing was changed. "
        "See it with `gatepost status`, stop it with `gatepost down`, or give this one a home of "
        "its own with GATEPOST_HOME."
    )
    assert ready is True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_all(
    home: Home, plan: Callable[..., Plan], server: Callable[..., Process], number: signal.Signals
) -> None:
    """A container or systemd that stops it would leave processes behind."""
    process = server("store")
    apply.apply(plan(process), home)
    with subprocess.Popen(
        [sys.executable, "-m", "gatepost.run.supervise", str(home.root)],
        stderr=subprocess.PIPE,
        text=True,
    ) as supervisor:
        try:
            while (answer := control.ask(home, "wait")) is None:
                assert supervisor.poll() is None
            assert answer == {"problem": None}
        finally:
            supervisor.send_signal(number)
        try:
            _, said = supervisor.communicate(timeout=10)
        finally:
            supervisor.kill()
    assert (supervisor.returncode, said) == (0, "")
    assert lines(home)[-2:] == ["store | bye", "gatepost | stopped"]


# --- answering ------------------------------------------------------------------------------


def test_status_tells_who_runs(home: Home, plan: Callable[..., Plan]) -> None:
    """Scripts and monitoring read exactly these names."""
    apply.apply(plan(sleeper("store"), sleeper("mta")), home)

    async def during() -> Any:
        status = await ask(home, "status")
        assert [psutil.Process(row["pid"]).name() for row in status["services"]] == ["sleep"] * 2
        assert status["processes"] == [os.getpid(), *(row["pid"] for row in status["services"])]
        return status

    status = run(home, during)
    assert status["ready"] is True
    for row, name in zip(status["services"], ("store", "mta"), strict=True):
        assert row.keys() == {"name", "state", "pid", "restarts", "since"}
        assert (row["name"], row["state"], row["restarts"]) == (name, "ready", 0)


def test_status_is_not_ready_while_one_is_down(
    home: Home, plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Monitoring would be content with a server that takes no mail."""
    monkeypatch.setattr(supervised_room, "_BACK_OFF", (5, 5))
    apply.apply(plan(sleeper("store"), sleeper("mta")), home)

    async def during() -> Any:
        os.kill((await pids(home))["mta"], signal.SIGKILL)
        while (status := await ask(home, "status"))["services"][1]["state"] != "restarting":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return status

    status = run(home, during)
    assert status["ready"] is False
    assert status["services"][1]["pid"] is None


@pytest.mark.parametrize("words", [b"{}\n", b"[]\n", b'{"do": []}\n', b"hello\n", b"\n"])
def test_a_strange_request_is_turned_away(
    home: Home, plan: Callable[..., Plan], words: bytes
) -> None:
    """Another version's `gatepost` would wait two minutes for an answer."""
    apply.apply(plan(sleeper("store")), home)

    async def during() -> tuple[bytes, bool]:
        reader, writer = await asyncio.open_unix_connection(str(control.path(home)))
        writer.write(words)
        said = await asyncio.wait_for(reader.read(), 2)
        writer.close()
        return said, (await ask(home, "status"))["ready"]

    assert run(home, during) == (b"", True)
    assert any("a request could not be answered" in line for line in lines(home))


def test_an_unknown_request_is_answered(home: Home, plan: Callable[..., Plan]) -> None:
    """A newer `gatepost` could not tell an old supervisor from none, and would start another."""
    apply.apply(plan(sleeper("store")), home)

    async def during() -> tuple[Any, bool]:
        return await ask(home, "dance"), (await ask(home, "status"))["ready"]

    answer, ready = run(home, during)
    assert answer == {
        "error": "this supervisor speaks version 2 of the control protocol, which has no request "
        '"dance"'
    }
    assert ready
    assert any("a request could not be answered" in line for line in lines(home))


@pytest.mark.parametrize("words", [b"", b'{"do": "sta', b"x" * 100_000])
def test_half_a_request_is_hung_up_on(
    home: Home, plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch, words: bytes
) -> None:
    """A program that hangs would hold a descriptor of the supervisor for ever."""
    monkeypatch.setattr(answering, "REQUEST_SECONDS", 0.5)
    apply.apply(plan(sleeper("store")), home)

    async def during() -> tuple[bytes, bool]:
        peers = [await asyncio.open_unix_connection(str(control.path(home))) for _ in range(50)]
        for _, writer in peers:
            writer.write(words)
        ready = (await ask(home, "status"))["ready"]
        try:
            said = await asyncio.wait_for(peers[0][0].read(), 4)
        except ConnectionError:  # what was still on its way had no reader any more
            said = b""
        for _, writer in peers:
            writer.close()
        return said, ready

    assert run(home, during) == (b"", True)


def test_only_its_own_user_may_ask(home: Home, plan: Callable[..., Plan]) -> None:
    """Any user of the machine could stop the mail server."""
    apply.apply(plan(sleeper("store")), home)

    async def during() -> int:
        return control.path(home).stat().st_mode & 0o777

    assert run(home, during) == 0o600


@pytest.fixture
def accounts(home: Home, tmp_path: Path) -> Iterator[tuple[Store, str]]:
    """Return the accounts of a home, with one mailbox, and the file that names them."""
    file = tmp_path / "place"
    file.write_text(f"{home.database}\n")
    with open_store(home.database) as store:
        store.add_domain("example.org")
        store.add_mailbox(Mailbox("anna@example.org", "{SSHA}x"))
        yield store, str(file)


@pytest.mark.parametrize("told", [True, False])
def test_services_act_on_changed_accounts(
    home: Home,
    plan: Callable[..., Plan],
    tmp_path: Path,
    accounts: tuple[Store, str],
    *,
    told: bool,
) -> None:
    """A locked mailbox could be read on; one deaf service must not keep others from it.

    The change may have been made elsewhere, by a command that cannot tell this supervisor.
    """
    store, place = accounts
    deafness = "deaf could not be informed of changed accounts: no such socket"
    mark = tmp_path / "ended"
    record = ("sh", "-c", f"cat >>{mark}")
    deaf = sleeper("deaf", forget=("sh", "-c", "echo no such socket; exit 1"), accounts=place)
    acting = sleeper("store", forget=("touch", str(mark)), end_sessions=record, accounts=place)
    apply.apply(plan(deaf, sleeper("other"), acting), home)

    async def during() -> None:
        assert not mark.exists()
        store.remove_mailbox("anna@example.org")
        if told:
            assert await ask(home, "forget") == {"problems": [deafness]}
        else:
            await asyncio.sleep(0.9)
        assert mark.read_text() == "anna@example.org\texample.org/anna\n"
        await asyncio.sleep(0.6)
        (problem,) = (await ask(home, "status"))["problems"]
        assert problem.startswith(deafness)

    run(home, during)
    complaints = [line for line in lines(home) if "changed accounts" in line]
    assert complaints == [f"gatepost | {deafness}"], "it is told once, and tried again"


def test_a_watch_that_fails_is_started_again(
    home: Home,
    plan: Callable[..., Plan],
    accounts: tuple[Store, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After one fault nobody would act on a locked mailbox, for as long as the server runs."""
    store, place = accounts
    mark = tmp_path / "ended"
    monkeypatch.setattr(watches, "PAUSE", 0.05)
    faults = [RuntimeError("can't start new thread")]
    look = AccountWatch.look

    async def looking(watch: AccountWatch) -> list[str]:
        if faults and mark.parent.joinpath("now").exists():
            raise faults.pop()
        return await look(watch)

    monkeypatch.setattr(AccountWatch, "look", looking)
    acting = sleeper("store", end_sessions=("sh", "-c", f"cat >>{mark}"), accounts=place)
    apply.apply(plan(acting), home)

    async def during() -> None:
        (tmp_path / "now").touch()
        await asyncio.sleep(0.5)
        assert not faults
        store.remove_mailbox("anna@example.org")
        await asyncio.sleep(0.9)
        assert mark.exists()

    run(home, during)
    assert (
        "gatepost | the watch over changed accounts has failed (RuntimeError: can't start new "
        "thread) and starts again in 0.05 s"
    ) in lines(home)


# --- changes --------------------------------------------------------------------------------


def test_only_what_has_changed_is_touched(
    home: Home, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    """A change of one limit at noon would throw every user out."""
    mark = tmp_path / "reloaded"
    names = ("same", "watching", "reloading", "restarting", "stiff", "other", "dropped")
    processes = {name: sleeper(name, reload=("touch", str(mark))) for name in names}
    processes["stiff"] = sleeper("stiff")
    changes = {
        "same": OnChange.RESTART,
        "watching": OnChange.NOTHING,
        "reloading": OnChange.RELOAD,
        "restarting": OnChange.RESTART,
        "stiff": OnChange.RELOAD,
    }
    before = [file(name, "old", change) for name, change in changes.items()]
    after = [replace(one, content="new") for one in before if one.process != "same"]
    apply.apply(plan(*processes.values(), *before), home)

    async def during() -> Any:
        old = await pids(home)
        del processes["dropped"]
        processes["other"] = sleeper("other", environment={"A": "b"})
        processes["fresh"] = sleeper("fresh")
        apply.apply(plan(*processes.values(), before[0], *after), home)
        answer = await ask(home, "apply")
        return old, answer, await pids(home), await ask(home, "apply")

    old, answer, new, again = run(home, during)
    assert answer == {
        "changed": [
            "dropped stopped",
            "reloading reloaded",
            "restarting restarted",
            "stiff restarted",
            "other restarted",
            "fresh started",
        ],
        "problem": None,
    }
    assert mark.exists()
    assert {name for name in new if new[name] == old.get(name)} == {"same", "watching", "reloading"}
    assert set(new) == set(processes)
    assert again == {"changed": []}


def test_a_failed_reload_is_told(home: Home, plan: Callable[..., Plan]) -> None:
    """The user would believe that the change is at work."""
    process = sleeper("mta", reload=("sh", "-c", "echo bad file; exit 1"))
    apply.apply(plan(process, file("mta", "old", OnChange.RELOAD)), home)

    async def during() -> Any:
        apply.apply(plan(process, file("mta", "new", OnChange.RELOAD)), home)
        return await ask(home, "apply")

    assert run(home, during) == {
        "changed": ["mta reloaded"],
        "problem": "mta could not reload: bad file",
    }


def test_a_failed_reload_is_tried_again(
    home: Home, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    """`gatepost up` would say that nothing has changed, and the daemon run on with the old."""
    mark = tmp_path / "may reload"
    process = sleeper("mta", reload=("test", "-e", str(mark)))
    apply.apply(plan(process, file("mta", "old", OnChange.RELOAD)), home)

    async def during() -> Any:
        before = (await ask(home, "status"))["problems"]
        apply.apply(plan(process, file("mta", "new", OnChange.RELOAD)), home)
        await ask(home, "apply")
        failed = (await ask(home, "status"))["problems"]
        mark.touch()
        again = await ask(home, "apply")
        return before, failed, again, (await ask(home, "status"))["problems"]

    before, failed, again, after = run(home, during)
    assert before == after == []
    (problem,) = failed
    assert problem == (
        "mta could not read the new configuration and may run with the one before. "
        "Look why with `gatepost logs`, then: gatepost up"
    )
    assert again == {"changed": ["mta reloaded"], "problem": None}


def test_what_was_in_use_meanwhile_is_read_over(
    home: Home, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    """A process that a daemon forked meanwhile has read another configuration than its parent."""
    mark = tmp_path / "reloaded"
    process = sleeper("mta", reload=("touch", str(mark)))
    mine = plan(process, file("mta", "mine", OnChange.RELOAD))
    apply.apply(mine, home)

    async def during() -> Any:
        apply.apply(plan(process, file("mta", "other", OnChange.RELOAD)), home)
        apart = (await ask(home, "status"))["problems"]
        apply.apply(mine, home)
        answer = await ask(home, "apply")
        return apart, answer, (await ask(home, "status"))["problems"], await ask(home, "apply")

    apart, answer, after, again = run(home, during)
    (problem,) = apart
    assert problem == (
        "The services run configuration 000001, and config/current is 000002. "
        "Bring them together: gatepost up"
    )
    assert answer == {"changed": ["mta reloaded"], "problem": None}
    assert mark.exists()
    assert after == []
    assert again == {"changed": []}


def test_a_configuration_of_another_version_is_told(home: Home, plan: Callable[..., Plan]) -> None:
    """After an upgrade, `gatepost up` would say that nothing has changed."""
    apply.apply(plan(sleeper("store")), home)

    async def during() -> Any:
        (home.config / record.NAME).write_text("{}")
        return await ask(home, "apply")

    assert run(home, during) == {
        "changed": [],
        "problem": "The running supervisor is of another version of Gatepost and cannot read the "
        "new configuration. Start it anew: gatepost down, then gatepost up",
    }


def test_what_runs_an_older_version_is_restarted(
    home: Home, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    """After an upgrade the old program would go on beside the new one's files.

    The programs are copies of sleep(1), which only stand for daemons.
    """
    programs = [Path(shutil.copy("/usr/bin/sleep", tmp_path / name)) for name in ("mda", "mta")]

    def planned() -> Plan:
        return plan(
            *(
                Process(one.name, (str(one), "60"), versions=versions.installed([str(one)]))
                for one in programs
            )
        )

    def replace_file(program: Path) -> None:
        shutil.copy(program, tmp_path / "new")
        (tmp_path / "new").replace(program)

    apply.apply(planned(), home)

    async def up() -> tuple[list[str], dict[str, int]]:
        apply.apply(planned(), home)
        return (await ask(home, "apply"))["changed"], await pids(home)

    async def during() -> None:
        before = await pids(home)
        assert await up() == ([], before), "the control: nothing was replaced"
        replace_file(programs[0])
        changed, after = await up()
        assert changed == ["mda restarted"]
        assert after["mda"] != before["mda"]
        assert after["mta"] == before["mta"]
        assert await up() == ([], after), "it is restarted once"
        # What has ended by itself was started again with what is installed.
        replace_file(programs[1])
        os.kill(after["mta"], signal.SIGKILL)
        while (now := await pids(home))["mta"] in {after["mta"], None}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert await up() == ([], now)

    run(home, during)
    assert "gatepost | mda restarted: it ran an older version" in lines(home)


def test_one_that_came_back_older_is_restarted(
    home: Home, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    """`status` would say what is old for ever, and `up` that nothing has changed."""
    program = Path(shutil.copy("/usr/bin/sleep", tmp_path / "mda"))
    shutil.copy2(program, tmp_path / "kept")

    def planned() -> Plan:
        return plan(
            Process("mda", (str(program), "60"), versions=versions.installed([str(program)]))
        )

    apply.apply(planned(), home)

    async def during() -> Any:
        before = (await pids(home))["mda"]
        # An upgrade, a crash, and the file of before again: the record never changes.
        move(program, tmp_path / "old")
        move(tmp_path / "kept", program)
        os.kill(before, signal.SIGKILL)
        while (await pids(home))["mda"] in {before, None}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        move(tmp_path / "old", program)
        apply.apply(planned(), home)
        first = await ask(home, "apply")
        return first, await ask(home, "apply")

    first, second = run(home, during)
    assert first["changed"] == ["mda restarted"]
    assert second["changed"] == []


def test_another_package_is_no_other_version(
    home: Home, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    """A setting that names another database's client would end every open connection."""
    parts = [str(tmp_path / name) for name in ("daemon", "sqlite", "pgsql", "optional")]
    for part in parts[:3]:
        Path(part).write_text(part)

    def planned(content: str, *used: str) -> Plan:
        process = sleeper("mda", reload=("true",), versions=versions.installed(used))
        return plan(process, file("mda", content, OnChange.RELOAD))

    apply.apply(planned("1", parts[0], parts[1], parts[3]), home)

    async def during() -> Any:
        write(Path(parts[3]), "installed meanwhile")
        apply.apply(planned("2", parts[0], parts[2], parts[3]), home)
        changed = (await ask(home, "apply"))["changed"]
        left = (await ask(home, "status"))["versions"]["mda"]
        write(Path(parts[2]), "a new version")
        apply.apply(planned("2", parts[0], parts[2], parts[3]), home)
        return changed, set(left), (await ask(home, "apply"))["changed"]

    changed, left, control = run(home, during)
    assert changed == ["mda reloaded"]
    assert left == {parts[0], parts[2], parts[3]}
    assert control == ["mda restarted"]


def test_a_look_that_fails_loses_no_change(
    home: Home, plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every later `up` would say that nothing has changed. The failing disk is a fake."""
    part = tmp_path / "part"
    part.write_text("part")
    real, fails = versions.installed, [False]

    def installed(parts: Iterable[str]) -> dict[str, str]:
        if fails[0]:
            raise OSError("planted")
        return real(parts)

    monkeypatch.setattr(versions, "installed", installed)
    process = sleeper("mda", versions=real([str(part)]))
    apply.apply(plan(process, file("mda", "1", OnChange.RESTART)), home)

    async def during() -> Any:
        apply.apply(plan(process, sleeper("mta"), file("mda", "2", OnChange.RESTART)), home)
        fails[0] = True
        assert await ask(home, "apply") is None
        fails[0] = False
        return await ask(home, "apply"), await ask(home, "apply")

    first, second = run(home, during)
    assert first["changed"] == ["mda restarted", "mta started"]
    assert second["changed"] == []


def test_status_tells_the_versions_that_run(
    home: Home, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    """Nobody could see what an upgrade has left running."""
    program = str(shutil.copy("/usr/bin/sleep", tmp_path / "mda"))
    installed = versions.installed([program])
    apply.apply(plan(Process("mda", (program, "60"), versions=installed), sleeper("mta")), home)

    async def during() -> tuple[Any, Any]:
        same = versions.older((await ask(home, "status"))["versions"])
        os.utime(program, (1, 1))
        return same, versions.older((await ask(home, "status"))["versions"])

    same, changed = run(home, during)
    assert same == ()
    (one,) = changed
    assert (one.name, one.part, one.running) == ("mda", program, installed[program])
    assert one.installed.startswith("1970-01-01T00:00:01")


@pytest.mark.parametrize("moment", ["dropping", "starting"])
def test_stopping_amid_a_change_leaves_nothing(
    home: Home, plan: Callable[..., Plan], server: Callable[..., Process], moment: str
) -> None:
    """`gatepost down` would end with a traceback, and daemons run on that nobody watches."""
    dropped = replace(server("dropped", delay=60), ready=(), stop_seconds=0.15)
    stubborn = ("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
    if moment == "dropping":
        dropped = replace(dropped, argv=stubborn)
    apply.apply(plan(sleeper("store"), dropped), home)
    sessions: list[int] = []

    async def during() -> None:
        sessions.extend((await pids(home)).values())
        late = server("late", delay=60)
        apply.apply(plan(sleeper("store"), sleeper("new"), late), home)
        change = asyncio.create_task(ask(home, "apply"))
        await asyncio.sleep(0.1)
        status = await ask(home, "status")
        sessions.extend(status["processes"])
        names = [row["name"] for row in status["services"]]
        assert names == (["store", "dropped"] if moment == "dropping" else ["store", "new", "late"])
        await ask(home, "stop")
        assert await change is None

    run(home, during)
    assert [member for session in sessions for member in child_room.members(session)] == []


# --- after a crash --------------------------------------------------------------------------


@pytest.mark.parametrize("ours", [True, False])
def test_only_its_own_leftovers_are_ended(
    home: Home, plan: Callable[..., Plan], *, ours: bool
) -> None:
    """A killed supervisor's daemons would hold the ports; a stranger's process must not be hit."""
    apply.apply(plan(sleeper("store")), home)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as left:
        try:
            created = psutil.Process(left.pid).create_time() - (0 if ours else 100)
            (home.run / "processes.json").write_text(
                json.dumps([{"pid": left.pid, "created": created}])
            )
            run(home)
            assert (left.poll() is not None) is ours
        finally:
            left.kill()
    told = f"gatepost | ending what is left of process {left.pid} from before a crash"
    assert (told in lines(home)) is ours


def test_a_job_that_runs_is_remembered(
    home: Home, plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash of the supervisor, the next one would run it a second time beside the first."""
    monkeypatch.setattr(jobs, "_LOOK_SECONDS", 0.01)
    job = Job("job", ("sleep", "60"), after_start=True)
    apply.apply(replace(plan(sleeper("store")), jobs=(job,)), home)

    async def during() -> int:
        while not any(row["running"] for row in (await ask(home, "status"))["jobs"]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        services = set((await pids(home)).values())
        return len({left.pid for left in memory.recall(home)} - services)

    assert run(home, during) == 1


@pytest.mark.parametrize("text", ["", "[", "[]"])
def test_a_torn_memory_is_no_hindrance(home: Home, plan: Callable[..., Plan], text: str) -> None:
    """After a power cut the server would not start."""
    apply.apply(plan(sleeper("store")), home)
    (home.run / "processes.json").write_text(text)
    assert run(home) == {"problem": None}


def test_a_full_disk_starts_nobody_twice(
    home: Home, plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who could not be written down would run unseen, keep its ports, and its successors fail."""

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(memory, "remember", no_room)
    apply.apply(plan(sleeper("store")), home)

    async def main() -> list[int]:
        first = (await pids(home))["store"]
        os.kill(first, signal.SIGKILL)
        while (await pids(home))["store"] in {first, None}:  # noqa: ASYNC110  another process
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        return [child.pid for child in psutil.Process().children() if child.name() == "sleep"]

    assert len(run(home, main)) == 1
    told = "gatepost | who runs could not be written down: [Errno 28] No space left on device"
    assert lines(home).count(told) == 2
