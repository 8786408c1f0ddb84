"""The logs of pods as the daemons' log, read through the Kubernetes API."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatepost.plugins.kubernetes.checks.api import Stream
from gatepost.verify.evidence.logs import Absence
from gatepost.verify.vantage.cluster import Object, Unreadable, container

if TYPE_CHECKING:
    from gatepost.plugins.kubernetes.checks.objects import KubernetesCluster


_OPENING_SECONDS = 2.0
"""A node begins to answer with the first line; a pod that says nothing is waited for no longer."""
_AGAIN_SECONDS = 0.3
_EARLIER_LINES = 20_000


@dataclass(slots=True)
class _Follower:
    """One pod's log."""

    service: str
    pod: Object
    opened: threading.Event = field(default_factory=threading.Event)
    """Set when it is known whether the log can be read."""
    trouble: Unreadable | None = None
    stream: Stream | None = None


class PodLogs:
    """The log of the pods of all services, from a moment on.

    The node that a pod runs on has a clock of its own, so the moment is given by the last line
    there is, and not by its time.
    """

    def __init__(self, cluster: KubernetesCluster) -> None:
        """Name the cluster; nothing is read yet."""
        self._cluster = cluster
        self._followers: tuple[_Follower, ...] = ()
        self._trouble: Unreadable | None = None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._stop = threading.Event()

    def begin(self) -> None:
        """Follow every pod there is, from its last line on."""
        names = sorted(set(self._cluster.services.values()))
        try:
            self._followers = tuple(
                _Follower(name, pod) for name in names for pod in self._cluster.pods(name)
            )
        except Unreadable as error:
            self._trouble = error
            return
        for one in self._followers:
            threading.Thread(target=self._follow, args=(one,), daemon=True).start()
        deadline = time.monotonic() + _OPENING_SECONDS
        for one in self._followers:
            one.opened.wait(max(0.0, deadline - time.monotonic()))

    def read(self) -> Iterator[str]:
        """Yield what has come."""
        while True:
            try:
                yield self._lines.get_nowait()
            except queue.Empty:
                return

    def earlier(self, *, most_bytes: int, deadline: float) -> Iterator[str]:
        """Yield the last lines of all pods, the latest first."""
        lines: list[tuple[str, str]] = []
        for one in self._followers:
            lines.extend(self._tail(one, deadline))
        for _, line in sorted(lines, key=lambda row: row[0], reverse=True):
            most_bytes -= len(line)
            if most_bytes < 0:
                return
            yield line

    def absence(self, daemon: str) -> Absence | None:
        """Say why none of a daemon's pods can be read."""
        if self._trouble:
            return Absence(f"no log to read: {self._trouble.observed}", self._trouble.fix)
        name = self._cluster.services.get(daemon, daemon)
        its = [one for one in self._followers if one.service == name]
        for one in its:
            if one.trouble is None:
                return None
        if its and (trouble := its[0].trouble):
            return Absence(f"no log to read: {trouble.observed}", trouble.fix)
        return Absence(
            f"no log to read: no pod with app.kubernetes.io/name={name} in namespace "
            f"{self._cluster.namespace}",
            f"See why there is none: kubectl describe statefulset {name}",
        )

    def close(self) -> None:
        """Hang up on all of them."""
        self._stop.set()
        for one in self._followers:
            if stream := one.stream:
                stream.close()

    def _follow(self, one: _Follower) -> None:
        """Hand on a pod's lines; the node may hang up when it rotates the log."""
        again = False
        while not self._stop.is_set():
            try:
                self._read_on(one, again=again)
            except Unreadable as error:
                if not again:
                    one.trouble = error
                    one.opened.set()
                    return
            again = True
            self._stop.wait(_AGAIN_SECONDS)

    def _read_on(self, one: _Follower, *, again: bool) -> None:
        api = self._cluster.api
        name = container(one.pod, one.service)
        # Lines of the pause are read again rather than lost: they are evidence only once.
        since = {"sinceSeconds": "2"} if again else {"tailLines": "1"}
        with api.log(one.pod, name, follow="true", **since) as stream:
            one.stream = stream
            lines = stream.lines(api, self._cluster.namespace)
            if not again:
                for _ in lines:
                    one.opened.set()
                    break
            for line in lines:
                self._lines.put(line)

    def _tail(self, one: _Follower, deadline: float) -> Iterator[tuple[str, str]]:
        """Yield time and text of a pod's last lines, none when they cannot be read."""
        name = container(one.pod, one.service)
        with suppress(Unreadable):
            yield from self._cluster.tail(one.pod, name, lines=_EARLIER_LINES, deadline=deadline)
