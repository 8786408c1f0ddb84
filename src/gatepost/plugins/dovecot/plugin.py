"""Dovecot as a plug-in: everything that the other rooms know of it."""

from __future__ import annotations

from gatepost.contracts import Plugin
from gatepost.plugins.dovecot.files import API_KEY, RELAY_CLIENT, files
from gatepost.plugins.dovecot.listeners import API, LISTENERS, OFFERS
from gatepost.plugins.dovecot.process import USER, checks, directories, processes, sockets
from gatepost.plugins.dovecot.settings import DovecotSettings
from gatepost.plugins.dovecot.witness import observe

PLUGIN = Plugin(
    name="dovecot",
    unit="mda",
    settings=(DovecotSettings,),
    listeners=LISTENERS,
    proxied=lambda settings: settings.of(DovecotSettings).mda_upstream_proxy,
    offers=OFFERS,
    opens=lambda settings: {API: "root"} if settings.of(DovecotSettings).mda_http_api else {},
    packages=lambda settings: (
        "dovecot-core",
        "dovecot-imapd",
        "dovecot-pop3d",
        "dovecot-lmtpd",
        "dovecot-managesieved",
        "dovecot-sieve",
        f"dovecot-{settings.database.db_driver}",
    ),
    # Debian 13 has it, Debian 12 does not.
    optional_packages=("dovecot-flatcurve",),
    system_services=("dovecot",),
    version_command=("dovecot", "--version"),
    feature_files={"flatcurve": "/usr/lib/dovecot/modules/lib21_fts_flatcurve_plugin.so"},
    secrets=(RELAY_CLIENT, API_KEY),
    files=files,
    processes=processes,
    directories=directories,
    users=(USER,),
    sockets=sockets,
    checks=checks,
    observe=observe,
)
