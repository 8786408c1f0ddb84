"""The settings that only Postfix has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from gatepost.settings import Settings
from gatepost.settings.concerns import Boolean, Concern, HostPort
from gatepost.settings.loading import NO_PLUGIN, demands_headers


class PostfixSettings(Concern):
    """Postfix, the MTA.

    Gatepost's own clients connect to the addresses of SMTP and submission. They may be the proxy's
    internal ports or the internal listeners; unset, they are the internal listeners. A port that
    demands a PROXY header is refused, because a client would hang there.
    """

    mta_upstream_proxy: Boolean = Field(
        default=False,
        json_schema_extra={"default": "true behind a proxy of ours, otherwise false"},
    )
    """Enable the PROXY protocol for MTA (Postfix) SMTP services.

    The service ports then demand a PROXY header and take it from `TRUSTED_PROXIES` only; the
    internal ports never take one."""
    mta_smtp_address: HostPort | None = None
    """Internal SMTP service address (points to the proxy). Example: `traefik-internal:3325`.

    Sieve redirects and vacation replies are submitted here."""
    mta_smtp_submission_address: HostPort | None = None
    """Internal SMTP submission service address (points to the proxy).

    Example: `traefik-internal:33587`."""

    @classmethod
    def derived(cls, settings: Settings) -> Mapping[str, object]:
        """Return that a proxy of ours sends PROXY headers."""
        return {"mta_upstream_proxy": settings.proxy.reverse_proxy != NO_PLUGIN}

    def contradictions(self, settings: Settings) -> Iterator[str]:
        """Yield that headers are demanded which no peer may send."""
        yield from demands_headers(
            "MTA_UPSTREAM_PROXY", on=self.mta_upstream_proxy, settings=settings
        )
