"""What runs a pod: a container of podman, or a program of this machine in the pod's network."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import psutil
from kubernetes_logs import written
from kubernetes_objects import Object
from network import DNS, Host
from pods import Place, environment, security, volumes

_LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")


class Running(Protocol):
    """The main container of a pod, as something that runs."""

    def alive(self) -> bool:
        """Tell whether it still runs."""

    def stop(self, seconds: float) -> None:
        """End it with SIGTERM, and with SIGKILL when it takes longer than that."""

    def run(self, *argv: str, said: str = "") -> str:
        """Run a command in it and return what it printed; fail when it does not exit 0."""


# --- containers -----------------------------------------------------------------------------


@dataclass
class Container:
    """A container of podman; see `start_container`."""

    place: Place
    name: str

    def alive(self) -> bool:
        """Tell whether its first process still runs."""
        done = self._podman("inspect", "--format", "{{.State.Running}}", self.name)
        return done.stdout.strip() == "true"

    def stop(self, seconds: float) -> None:
        """End it and forget it."""
        self._podman("stop", "--time", str(int(seconds)), self.name)
        self._podman("rm", "--force", "--volumes", self.name)

    def run(self, *argv: str, said: str = "") -> str:
        """Run a command in it."""
        done = self._podman("exec", "--interactive", self.name, *argv, said=said)
        assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _podman(self, *words: str, said: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.place.podman, *words],
            input=said,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )


def start_container(place: Place, pod: Object, container: Object, host: Host) -> Container:
    """Start a container of a pod in the pod's network."""
    meta = pod["metadata"]
    name = f"{place.mark}-{meta['name']}-{container['name']}-{meta['uid'][:4]}"
    mounts = volumes(place, pod)
    words = [
        *("run", "--detach", "--name", name, "--runtime", "runc", *_LIMITS),
        *("--hostname", meta["name"], "--network", f"ns:{host.path}", "--pull", "never"),
        *("--log-driver", "k8s-file"),
        *(
            "--log-opt",
            f"path={place.api.log_file(meta['name'], container['name'], meta['namespace'])}",
        ),
        *("--dns", DNS, "--dns-option", "ndots:5", "--no-hosts"),
        *("--dns-search", f"{meta['namespace']}.svc.cluster.local"),
        *("--dns-search", "svc.cluster.local", "--dns-search", "cluster.local"),
        *security(pod, container),
    ]
    for key, value in environment(place.api, pod, container).items():
        words += ["--env", f"{key}={value}"]
    for mount in container.get("volumeMounts", []):
        at = mount["mountPath"]
        read_only = mount.get("readOnly")
        option, value = mounts[mount["name"]]
        if path := mount.get("subPath"):
            value = value.replace(":{at}", f"/{path}:{{at}}")
        value = value.format(at=at) + (":ro" if read_only and option == "--volume" else "")
        words += [option, value]
    if command := container.get("command"):
        words += ["--entrypoint", command[0]]
    arguments = [*container.get("command", [])[1:], *container.get("args", [])]
    done = subprocess.run(
        [*place.podman, *words, container["image"], *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    started = Container(place, name)
    if done.returncode:
        started.stop(0)
    assert done.returncode == 0, f"{meta['name']} did not start:\n{done.stderr}"
    return started


# --- stand-ins for images -------------------------------------------------------------------


@dataclass(frozen=True)
class Command:
    """A program of this machine that stands in for an image."""

    argv: Sequence[str]
    user: str = "root"
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: int = signal.SIGTERM


@dataclass
class Program:
    """A program that runs in a pod's network; see `start_program`."""

    process: subprocess.Popen[bytes]
    host: Host
    stop_signal: int
    reader: threading.Thread

    def alive(self) -> bool:
        """Tell whether it still runs."""
        return self.process.poll() is None

    def stop(self, seconds: float) -> None:
        """End it."""
        self.process.send_signal(self.stop_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        with contextlib.suppress(psutil.Error):
            for left in psutil.Process(self.process.pid).children(recursive=True):
                left.kill()
        self.process.kill()
        self.process.wait()
        self.reader.join()

    def run(self, *argv: str, said: str = "") -> str:
        """Run a command of this machine in the pod's network."""
        with self.host.inside():
            done = subprocess.run(
                argv, input=said, capture_output=True, text=True, timeout=60, check=False
            )
        assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout


def start_program(
    place: Place, pod: Object, container: Object, host: Host, command: Command
) -> Program:
    """Start a stand-in in a pod's network; it ends with us, whatever happens."""
    meta = pod["metadata"]
    file = place.api.log_file(meta["name"], container["name"], meta["namespace"])
    with host.inside():
        process = subprocess.Popen(
            [*as_user(command.user), *command.argv],
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **command.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def keep() -> None:
        assert process.stdout is not None
        with file.open("ab", buffering=0) as log:
            for line in process.stdout:
                log.write(written(line.decode(errors="replace").rstrip("\n")))

    reader = threading.Thread(target=keep, daemon=True)
    reader.start()
    return Program(process, host, command.stop_signal, reader)


def as_user(name: str) -> list[str]:
    """Return the words before a command that run it as a user, and end it with our thread."""
    user = pwd.getpwnam(name)
    return [
        *("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"),
        *("--pdeathsig", "KILL", "--"),
    ]
