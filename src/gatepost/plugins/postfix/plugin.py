"""Postfix as a plug-in: everything that the other rooms know of it."""

from __future__ import annotations

from gatepost.contracts import Plugin
from gatepost.model import DELIVERY, QUOTA_STATUS, SASL
from gatepost.plugins.postfix.files import USER, copies, files
from gatepost.plugins.postfix.listeners import LISTENERS
from gatepost.plugins.postfix.process import checks, directories, handoffs, processes, sockets
from gatepost.plugins.postfix.settings import PostfixSettings
from gatepost.plugins.postfix.witness import observe

PLUGIN = Plugin(
    name="postfix",
    unit="mta",
    settings=(PostfixSettings,),
    listeners=LISTENERS,
    proxied=lambda settings: settings.of(PostfixSettings).mta_upstream_proxy,
    needs=dict.fromkeys((DELIVERY, SASL, QUOTA_STATUS), USER),
    contributes=handoffs,
    packages=lambda settings: ("postfix", f"postfix-{settings.database.db_driver}"),
    system_services=("postfix",),
    # -d: the compiled-in value, so that a broken /etc/postfix/main.cf does not matter.
    version_command=("postconf", "-dh", "mail_version"),
    copies=copies,
    files=files,
    processes=processes,
    directories=directories,
    sockets=sockets,
    checks=checks,
    observe=observe,
)
