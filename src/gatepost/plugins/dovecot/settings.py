"""The settings that only Dovecot has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from gatepost.settings import Settings
from gatepost.settings.concerns import Boolean, Concern, HostPort
from gatepost.settings.loading import NO_PLUGIN, demands_headers


class DovecotSettings(Concern):
    """Dovecot, the mail store.

    Gatepost's own clients connect to the addresses of IMAP and POP3. They may be the proxy's
    internal ports or the internal listeners; unset, they are the internal listeners. A port that
    demands a PROXY header is refused, because a client would hang there.

    The MTA connects to the addresses of LMTP, SASL and quota status when the two run in containers
    of their own. On one machine they use UNIX sockets, and these addresses need not be set.
    """

    mda_upstream_proxy: Boolean = Field(
        default=False,
        json_schema_extra={"default": "true behind a proxy of ours, otherwise false"},
    )
    """Enable the PROXY protocol for MDA (Dovecot) IMAP, POP3 and ManageSieve services.

    The service ports then demand a PROXY header and take it from `TRUSTED_PROXIES` only; the
    internal ports never take one."""
    mda_imap_address: HostPort | None = None
    """Internal IMAP service address (points to the proxy). Example: `traefik-internal:33143`."""
    mda_imaps_address: HostPort | None = None
    """Internal IMAPS service address (points to the proxy). Example: `traefik-internal:33993`."""
    mda_pop3_address: HostPort | None = None
    """Internal POP3 service address (points to the proxy). Example: `traefik-internal:33110`."""
    mda_pop3s_address: HostPort | None = None
    """Internal POP3S service address (points to the proxy). Example: `traefik-internal:33995`."""
    mda_lmtp_address: HostPort | None = Field(
        default=None, json_schema_extra={"default": "mda-internal:2003 beside an MDA elsewhere"}
    )
    """Address to which mail is delivered by LMTP (RFC 2033)."""
    mda_sasl_address: HostPort | None = Field(
        default=None, json_schema_extra={"default": "mda-internal:2004 beside an MDA elsewhere"}
    )
    """Address at which submission checks logins (Dovecot's authentication protocol)."""
    mda_quota_status_address: HostPort | None = Field(
        default=None, json_schema_extra={"default": "mda-internal:2005 beside an MDA elsewhere"}
    )
    """Address at which Postfix asks whether a mailbox accepts a message (its policy protocol)."""
    mda_http_api: Boolean = False
    """Open Dovecot's HTTP interface for administration, for a program of yours.

    Whoever has its key, `secrets/api.key` in `GATEPOST_HOME`, can read and delete all mail. On one
    machine it is the UNIX socket `run/dovecot/http`, open to root only. In a container it is port
    8080; the manifests for Kubernetes publish it in no Service and admit nobody to it."""

    @classmethod
    def derived(cls, settings: Settings) -> Mapping[str, object]:
        """Return that a proxy of ours sends PROXY headers."""
        return {"mda_upstream_proxy": settings.proxy.reverse_proxy != NO_PLUGIN}

    def contradictions(self, settings: Settings) -> Iterator[str]:
        """Yield that headers are demanded which no peer may send."""
        yield from demands_headers(
            "MDA_UPSTREAM_PROXY", on=self.mda_upstream_proxy, settings=settings
        )
