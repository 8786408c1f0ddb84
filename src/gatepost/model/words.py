"""Text of findings in which values stay values: commands, addresses, times.

A face can print such a text as it is, or print a command its own way, or see that two texts differ
in an address only. So no sentence is ever parsed to find out what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Detail:
    """A value that may differ between rows that say the same.

    Such as an address, a listener's name or an IP version.
    """

    value: object

    def __str__(self) -> str:
        """Return the value as it is printed."""
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Duration:
    """A time that was measured; rows that say the same print the range of all."""

    seconds: float
    unit: str = "s"
    """``s``, with one digit after the point, or ``ms``, with none."""
    longest: float | None = None
    """The other end of a range, in seconds; None for a single time."""

    def __str__(self) -> str:
        """Return the time or the range with its unit."""
        ends = [self._number(self.seconds)]
        if self.longest is not None:
            ends.append(self._number(self.longest))
        return "\N{EN DASH}".join(dict.fromkeys(ends)) + f" {self.unit}"

    def _number(self, seconds: float) -> str:
        return f"{seconds * 1000:.0f}" if self.unit == "ms" else f"{seconds:.1f}"


@dataclass(frozen=True, slots=True)
class Command:
    """A command of Gatepost's, to be typed where the server is."""

    name: str
    """The words that choose it, such as ``mailbox list``."""
    arguments: str = ""

    def __str__(self) -> str:
        """Return the command as it is typed on the machine of the server."""
        return " ".join(filter(None, ("gatepost", self.name, self.arguments)))


@dataclass(frozen=True, slots=True)
class Logs:
    """The log of the server, to be read."""

    service: str = ""
    """Whose lines; empty for those of all."""
    lines: int = 0
    """Number of the latest lines; 0 for the usual number."""

    def __str__(self) -> str:
        """Return the command as it is typed on the machine of the server."""
        count = f"-n {self.lines}" if self.lines else ""
        return " ".join(filter(None, ("gatepost logs", count, self.service)))


Step = Command | Logs
"""Something to do."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A step with the words that do it elsewhere than on the machine of the server."""

    step: Step
    words: str

    def __str__(self) -> str:
        """Return the words."""
        return self.words


Piece = str | Detail | Duration | Step | Typed


@dataclass(frozen=True, slots=True, init=False)
class Text:
    """A text of pieces, some of which are values."""

    pieces: tuple[Piece, ...]

    def __init__(self, *pieces: Piece | Text) -> None:
        """Put pieces together; texts among them are taken apart."""
        flat: list[Piece] = []
        for piece in pieces:
            flat.extend(piece.pieces if isinstance(piece, Text) else [piece])
        object.__setattr__(self, "pieces", tuple(piece for piece in flat if piece != ""))

    def __str__(self) -> str:
        """Return the text as it is printed."""
        return "".join(map(str, self.pieces))

    def __bool__(self) -> bool:
        """Tell whether there is anything to print."""
        return bool(self.pieces)

    def __contains__(self, words: str) -> bool:
        """Tell whether some words are in the text as it is printed."""
        return words in str(self)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps that the text advises."""
        found = (piece.step if isinstance(piece, Typed) else piece for piece in self.pieces)
        return tuple(piece for piece in found if isinstance(piece, Step))

    def typed(self, words: Callable[[Step], str]) -> Text:
        """Return the text with other words for its steps."""
        return Text(
            *(
                Typed(piece, words(piece)) if isinstance(piece, Command | Logs) else piece
                for piece in self.pieces
            )
        )

    def formatted(self, **values: object) -> Text:
        """Return the text with ``{name}`` in its plain pieces replaced, as `str.format` does."""
        return Text(
            *(piece.format(**values) if isinstance(piece, str) else piece for piece in self.pieces)
        )

    @property
    def pattern(self) -> tuple[object, ...]:
        """The part that two texts with the same meaning have in common."""
        same: list[object] = []
        for piece in self.pieces:
            if isinstance(piece, str) and same and isinstance(same[-1], str):
                same[-1] += piece
            else:
                same.append(type(piece) if isinstance(piece, Detail | Duration) else piece)
        return tuple(same)

    @property
    def durations(self) -> tuple[Duration, ...]:
        """The times in it, in their order."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Duration))


Words = str | Text
"""A text, which is a plain string when there is no value in it."""


def text(words: Words) -> Text:
    """Return words as a text."""
    return words if isinstance(words, Text) else Text(words)


def joined(separator: str, pieces: Iterable[Piece | Text]) -> Text:
    """Put pieces together with a separator between them."""
    found: list[Piece | Text] = []
    for piece in pieces:
        found += [separator, piece] if found else [piece]
    return Text(*found)


def blended(texts: Iterable[Text]) -> Text:
    """Return the first of some texts with the same pattern, its times the range of all."""
    first, *others = texts
    columns = iter(zip(first.durations, *(one.durations for one in others), strict=True))
    pieces: list[Piece] = []
    for piece in first.pieces:
        if isinstance(piece, Duration):
            seconds = [one.seconds for one in next(columns)]
            piece = replace(piece, seconds=min(seconds), longest=max(seconds))  # noqa: PLW2901
        pieces.append(piece)
    return Text(*pieces)
