"""Detection of aliases that lead to themselves: Postfix would defer their mail for ever. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from gatepost.accounts.addresses import shorter_forms, split


def find_loop(
    starts: Iterable[str],
    targets_of: Callable[[str], Sequence[str]],
    is_mailbox: Callable[[str], bool],
    delimiter: str,
) -> tuple[str, ...] | None:
    """Follow aliases from `starts`; return the first loop, or None.

    `targets_of` returns an alias's targets, and none for other addresses. Mail for an address that
    does not exist goes to the catch-all of its domain; mail for an address with an extension goes
    to the longest name before it. The loop begins and ends with the same alias.
    """
    clear: set[str] = set()
    for start in starts:
        if start in clear:
            continue
        way = [start]
        on_way = {start}
        pending = [iter(targets_of(start))]
        while way:
            target = next(pending[-1], None)
            if target is None:
                clear.add(way[-1])
                on_way.discard(way.pop())
                pending.pop()
                continue
            alias = falls_to(target.lower(), targets_of, is_mailbox, delimiter)
            if alias in on_way:
                return (*way[way.index(alias) :], alias)
            if alias and alias not in clear:
                way.append(alias)
                on_way.add(alias)
                pending.append(iter(targets_of(alias)))
    return None


def falls_to(
    address: str,
    targets_of: Callable[[str], Sequence[str]],
    is_mailbox: Callable[[str], bool],
    delimiter: str,
) -> str:
    """Return the alias that takes mail for an address; empty when no alias does."""
    *exact, catch_all = forms(address, delimiter)
    for candidate in exact:
        if is_mailbox(candidate):
            return ""
        if targets_of(candidate):
            return candidate
    return catch_all if targets_of(catch_all) else ""


def forms(address: str, delimiter: str) -> tuple[str, ...]:
    """Return the addresses that may take mail for an address, in order; the catch-all is last."""
    return (address, *shorter_forms(address, delimiter), "@" + split(address)[1])
