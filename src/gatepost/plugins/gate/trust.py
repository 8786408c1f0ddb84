"""The test for trusted proxies."""

from __future__ import annotations

from collections.abc import Iterable

from gatepost import ip_addresses
from gatepost.model import IPNetwork

_REMEMBERED = 4096


class Trust:
    """Answers whether a peer is inside a trusted network, and remembers the answers."""

    def __init__(self, networks: Iterable[IPNetwork]) -> None:
        """Trust these networks and nobody else; an empty list trusts nobody."""
        self._networks = tuple(networks)
        self._answers: dict[str, bool] = {}

    def __contains__(self, host: str) -> bool:
        """Tell whether an IP address in numbers is trusted."""
        answer = self._answers.get(host)
        if answer is None:
            if len(self._answers) >= _REMEMBERED:
                # A flood of strangers must not fill the memory.
                self._answers.clear()
            answer = self._answers[host] = ip_addresses.within(host, self._networks)
        return answer
