"""Traefik as a plug-in: everything that the other rooms know of it."""

from __future__ import annotations

from gatepost.contracts import Plugin
from gatepost.model import HttpRoute
from gatepost.plugins.traefik.files import USER, files
from gatepost.plugins.traefik.process import processes

PLUGIN = Plugin(
    name="traefik",
    chosen_by="REVERSE_PROXY",
    preferred=True,
    fronts=True,
    consumes=(HttpRoute,),
    version_command=("traefik", "version"),
    files=files,
    processes=processes,
    users=(USER,),
    believe_nobody="Traefik: proxyProtocol.trustedIPs with their addresses, never "
    "proxyProtocol.insecure.",
)
