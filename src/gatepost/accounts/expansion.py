"""Limits of the number of addresses behind an alias, other aliases included. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from gatepost.accounts.loops import falls_to

MOST_TARGETS = 10_000
"""Most addresses that an alias may lead to, those of the aliases behind it included."""
MOST_STEPS = 100
"""Most aliases in a chain; Postfix gives up at 1,000."""


def beyond(
    starts: Iterable[str],
    targets_of: Callable[[str], Sequence[str]],
    is_mailbox: Callable[[str], bool],
    delimiter: str,
) -> tuple[str, str] | None:
    """Return the first alias of `starts` that leads to too many addresses, and the reason.

    The arguments are those of `gatepost.accounts.loops.find_loop`. There must be no loop.
    """
    for start in starts:
        seen, level, steps = {start}, [start], 0
        while level:
            steps += 1
            if steps > MOST_STEPS:
                return start, f"it leads through more than {MOST_STEPS} aliases one after another"
            found: list[str] = []
            for address in level:
                for target in targets_of(address):
                    # Postfix counts an alias and what it leads to.
                    if (lower := target.lower()) in seen:
                        continue
                    seen.add(lower)
                    if len(seen) > MOST_TARGETS + 1:
                        return start, f"it leads to more than {MOST_TARGETS:,} addresses"
                    alias = falls_to(lower, targets_of, is_mailbox, delimiter)
                    if alias:
                        found.append(alias)
            level = list(dict.fromkeys(found))
    return None


def sentence(address: str, reason: str) -> str:
    """Return the error message about an alias that leads to too many addresses."""
    return (
        f'The alias "{address}" cannot be: {reason}, and Postfix would defer all mail for it. '
        "Use a mailing list program, or several aliases that people write to one by one."
    )
