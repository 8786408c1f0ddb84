"""One child process: started with its user and rights, its output read, ended with all its kin.

Each child leads a session of its own, so that whatever it forks can be found and ended with it.
setpriv(1) drops rights and has the kernel end the child when the supervisor dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import psutil

from gatepost.model import Address, Process
from gatepost.run import environment
from gatepost.run.sockets import Sockets

_BLOCK = 65536
_PAUSE_SECONDS = 0.01
"""Between two looks at what a child prints: to wake up for each line costs more than the line."""
_TERM_SECONDS = 1.0


class Child:
    """A running process of the plan."""

    def __init__(
        self, process: Process, child: asyncio.subprocess.Process, output: _Output, created: float
    ) -> None:
        """Wrap a process that was started by `start`."""
        self.process = process
        self.created = created
        self._child = child
        self._output = output

    @property
    def pid(self) -> int:
        """Process id, and id of its session."""
        return self._child.pid

    @classmethod
    async def start(
        cls, process: Process, output: Callable[[bytes], None], sockets: Sockets | None = None
    ) -> Child:
        """Start it with listening sockets; `output` gets what it prints, in blocks."""
        sockets = sockets or Sockets()
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            child = await asyncio.create_subprocess_exec(
                *_command(process),
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                env={**environment.fixed(), **process.environment, **sockets.environment},
                pass_fds=sockets.descriptors,
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        said = _Output(reading, output)
        created = time.time()
        # One that has ended already is gone; `wait` returns how.
        with contextlib.suppress(psutil.NoSuchProcess):
            created = psutil.Process(child.pid).create_time()
        return cls(process, child, said, created)

    async def wait(self) -> int:
        """Wait until it ends, read its last words, and return its exit code or minus a signal."""
        code = await self._child.wait()
        self._output.read_out()
        return code

    def terminate(self) -> None:
        """Ask it to end."""
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(signal.SIGTERM)

    async def stop(self, *, seconds: float | None = None) -> None:
        """End it and everything it has forked; return when nothing of it is left."""
        self.terminate()
        limit = self.process.stop_seconds if seconds is None else seconds
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._child.wait()
        await end_session(self.pid)
        await self.wait()

    async def tell(self, command: tuple[str, ...], text: str = "") -> str | None:
        """Run a command of the process, for example to reload; return its words if it failed.

        `text` is what the command reads from its standard input.
        """
        argv = [word.replace("{pid}", str(self.pid)) for word in command]
        try:
            done = await asyncio.create_subprocess_exec(
                *argv,
                env=environment.fixed(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            return f"{argv[0]} cannot be started: {error.strerror}"
        said, _ = await done.communicate(text.encode())
        if not done.returncode:
            return None
        return said.decode(errors="replace").strip() or f"exit code {done.returncode}"

    def listens_on(self, addresses: set[Address]) -> bool:
        """Tell whether this very process listens on all these ports."""
        with contextlib.suppress(psutil.Error):
            ports = {
                c.laddr.port
                for c in psutil.Process(self.pid).net_connections("tcp")
                if c.status == psutil.CONN_LISTEN
            }
            return {address.port for address in addresses} <= ports
        return False


def _command(process: Process) -> list[str]:
    """Return the command that starts it as its user."""
    words = ["setpriv", "--pdeathsig", "TERM"]
    if process.user != "root":
        words += ["--reuid", process.user, "--regid", process.user, "--init-groups"]
        granted = "".join(f",+{name}" for name in process.capabilities)
        words += ["--inh-caps", f"-all{granted}", "--bounding-set", f"-all{granted}"]
        if granted:
            words += ["--ambient-caps", granted.removeprefix(",")]
        words += ["--no-new-privs"]
    return [*words, "--", *process.argv]


class _Output:
    """The reading end of the pipe into which a child prints."""

    def __init__(self, descriptor: int, to: Callable[[bytes], None]) -> None:
        """Hand blocks over as they come, until the last writer has closed the pipe."""
        self._descriptor = descriptor
        self._to = to
        self._loop = asyncio.get_running_loop()
        self._ended = False
        os.set_blocking(descriptor, False)
        self._listen()

    def read_out(self) -> None:
        """Hand over what has been printed until now."""
        self._block()  # as much as the kernel holds (pipe(7))

    def _listen(self) -> None:
        if not self._ended:
            self._loop.add_reader(self._descriptor, self._readable)

    def _readable(self) -> None:
        self._loop.remove_reader(self._descriptor)
        # A full block is not the last: a child that prints much must not wait for us.
        pause = 0 if self._block() == _BLOCK else _PAUSE_SECONDS
        self._loop.call_later(pause, self._listen)

    def _block(self) -> int:
        """Hand over the next block; return its size, and 0 when there is none."""
        if self._ended:
            return 0
        try:
            block = os.read(self._descriptor, _BLOCK)
        except BlockingIOError:
            return 0
        if block:
            self._to(block)
        else:
            self._ended = True
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
        return len(block)


def members(session: int) -> Iterator[psutil.Process]:
    """Yield the processes of a session."""
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                yield process


async def end_session(session: int) -> None:
    """End what is left of a session: asked first, killed after a second."""
    left = list(members(session))
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _TERM_SECONDS
    while list(members(session)):
        if loop.time() > deadline:
            for process in members(session):
                with contextlib.suppress(psutil.Error):
                    process.kill()
        await asyncio.sleep(0.02)
