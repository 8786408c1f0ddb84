"""Text whose values stay values."""

from __future__ import annotations

from gatepost.model.words import (
    Command,
    Detail,
    Duration,
    Logs,
    Text,
    Typed,
    blended,
    joined,
    text,
)


def test_a_text_is_printed_with_its_values() -> None:
    """It is what an administrator reads."""
    said = Text("See ", Logs("postfix", 5), ", at ", Detail("[::1]:25"), " after ", Duration(1.26))
    assert str(said) == "See gatepost logs -n 5 postfix, at [::1]:25 after 1.3 s"
    assert str(Text("Type: ", Command("mailbox add"))) == "Type: gatepost mailbox add"
    assert "::1" in said
    assert not Text("", Text())


def test_texts_among_its_pieces_are_taken_apart() -> None:
    """Two texts that were put together otherwise say the same."""
    assert Text(Text("a", Detail(1)), "b") == Text("a", Detail(1), "b")
    assert str(joined(" and ", [Detail(1), Text("x", Detail(2))])) == "1 and x2"
    assert text("a") == text(Text("a"))
    assert Text("a", "b", Detail(1)).pattern == Text("ab", Detail(2)).pattern
    assert Text("ab").pattern != Text("a", Detail("b")).pattern


def test_steps_can_be_typed_another_way_and_stay_steps() -> None:
    """A page would have a button where a terminal has a command."""
    said = Text("Read ", Logs(), ".")
    other = said.typed(lambda step: f"<{step}>")
    assert str(other) == "Read <gatepost logs>."
    assert other.pieces[1] == Typed(Logs(), "<gatepost logs>")
    assert other.steps == said.steps == (Logs(),)


def test_placeholders_are_replaced_in_plain_words_only() -> None:
    """An address in braces would be an error, or another value."""
    said = Text("port {port} of ", Detail("{port}")).formatted(port=25)
    assert str(said) == "port 25 of {port}"


def test_times_of_several_texts_become_a_range() -> None:
    """Twice the rows, and none says more."""
    many = [Text("after ", Duration(s), " and ", Duration(1)) for s in (2, 0.5, 1)]
    assert str(blended(many)) == "after 0.5\N{EN DASH}2.0 s and 1.0 s"
