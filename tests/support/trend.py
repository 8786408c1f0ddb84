"""Does a row of figures grow? Medians of its halves tell, whatever single figures jump about."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

FEWEST = 8
"""With fewer figures the median of a half says nothing."""


@dataclass(frozen=True)
class Tolerance:
    """How much a row may grow from its first half to its second and still count as flat."""

    absolute: float
    relative: float

    def allows(self, before: float, after: float) -> bool:
        """Tell whether going from one median to the other is no growth."""
        return after - before <= self.absolute + self.relative * before


def halves(row: Sequence[float]) -> tuple[float, float]:
    """Return the medians of a row's two halves.

    What grows steadily shows half of its growth between the two.
    """
    if len(row) < FEWEST:
        raise ValueError(f"a row of {len(row)} figures: at least {FEWEST} tell a trend")
    middle = len(row) // 2
    return statistics.median(row[:middle]), statistics.median(row[-middle:])


def grows(row: Sequence[float], tolerance: Tolerance) -> str | None:
    """Say how a row grows, or return None for one that is flat."""
    before, after = halves(row)
    if tolerance.allows(before, after):
        return None
    return f"from {before:,.0f} to {after:,.0f}"
