"""Connections of one run lie apart, and none waits beyond its time."""

from __future__ import annotations

import threading
import time

from gatepost.verify.clients.pace import Pace


def test_moments_lie_apart_whoever_asks() -> None:
    """A name server would be asked for a hundred names at once, and lose some."""
    pace, moments = Pace(0.02), []

    def take() -> None:
        pace.wait(time.monotonic() + 10)
        moments.append(time.monotonic())

    threads = [threading.Thread(target=take) for _ in range(10)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, moment in enumerate(sorted(moments)):
        assert moment - began >= number * 0.02


def test_the_first_moment_is_now() -> None:
    """A single probe would be slower for nothing."""
    began = time.monotonic()
    Pace(5).wait(began + 10)
    assert time.monotonic() - began < 1


def test_nobody_waits_beyond_the_deadline() -> None:
    """The proof would take longer than it promises."""
    pace = Pace(5)
    pace.wait(time.monotonic() + 1)
    began = time.monotonic()
    pace.wait(began + 0.05)
    assert time.monotonic() - began < 1
