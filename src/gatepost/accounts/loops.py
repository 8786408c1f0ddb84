"""Aliases that end in themselves: Postfix would defer their mail for ever. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from gatepost.accounts.addresses import shorter_forms, split


def find_loop(
    starts: Iterable[str],
    targets_of: Callable[[str], Sequence[str]],
    is_mailbox: Callable[[str], bool],
    delimiter: str,
) -> tuple[str, ...] | None:
    """Follow aliases from `starts`; return the first way that comes back to where it has been.

    `targets_of` gives an alias's targets, and none for what is no alias. An address that does not
    exist falls to the catch-all of its domain, and one with an extension to the longest name before
    it. The way begins and ends with the same alias; None when there is no loop.
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
    """Return the alias that takes mail for an address; empty when a mailbox or nobody does."""
    *exact, catch_all = forms(address, delimiter)
    for candidate in exact:
        if is_mailbox(candidate):
            return ""
        if targets_of(candidate):
            return candidate
    return catch_all if targets_of(catch_all) else ""


def forms(address: str, delimiter: str) -> tuple[str, ...]:
    """Return the addresses that may take mail for one, in their order, the catch-all last."""
    return (address, *shorter_forms(address, delimiter), "@" + split(address)[1])
