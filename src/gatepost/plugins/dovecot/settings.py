"""The settings that only Dovecot has."""

from __future__ import annotations

from gatepost.settings.concerns import Boolean, Concern


class DovecotSettings(Concern):
    """Dovecot, the mail store."""

    mda_http_api: Boolean = False
    """Open Dovecot's HTTP interface for administration, for a program of yours.

    Whoever has its key, `secrets/api.key` in `GATEPOST_HOME`, can read and delete all mail. On one
    machine it is the UNIX socket `run/dovecot/http`, open to root only. In a container it is port
    8080; the manifests for Kubernetes publish it in no Service and admit nobody to it."""
