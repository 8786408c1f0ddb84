"""Frozen values that the rooms hand to each other. No I/O happens here, and no decisions.

Data flows one way: settings → `Topology` → `Plan` → files and processes → `Observation` →
`Finding`. Everything here can be compared, printed and serialised.
"""

from gatepost.model.contributions import Handoff, HttpRoute, Standing
from gatepost.model.evidence import Event, Finding, Observation, Status
from gatepost.model.listeners import (
    DELIVERY,
    HTTPS_ENTRY_POINT_PORT,
    HTTPS_PORT,
    QUOTA_STATUS,
    SASL,
    SOCKET_PATH_BYTES,
    Address,
    BoundListener,
    Endpoint,
    IPAddress,
    IPNetwork,
    Listener,
    Offer,
    Protocol,
    Role,
    SocketPath,
    Tls,
    Topology,
)
from gatepost.model.place import Certificate, Copy, Home, Installed, Original, Pair, Part, Site
from gatepost.model.plan import (
    Check,
    Directory,
    Job,
    OnChange,
    Plan,
    Process,
    Readiness,
    RenderedFile,
    SystemUser,
)
from gatepost.model.secrets import KeyPair, Secret, Token
from gatepost.model.tables import Tables

__all__ = [
    "DELIVERY",
    "HTTPS_ENTRY_POINT_PORT",
    "HTTPS_PORT",
    "QUOTA_STATUS",
    "SASL",
    "SOCKET_PATH_BYTES",
    "Address",
    "BoundListener",
    "Certificate",
    "Check",
    "Copy",
    "Directory",
    "Endpoint",
    "Event",
    "Finding",
    "Handoff",
    "Home",
    "HttpRoute",
    "IPAddress",
    "IPNetwork",
    "Installed",
    "Job",
    "KeyPair",
    "Listener",
    "Observation",
    "Offer",
    "OnChange",
    "Original",
    "Pair",
    "Part",
    "Plan",
    "Process",
    "Protocol",
    "Readiness",
    "RenderedFile",
    "Role",
    "Secret",
    "Site",
    "SocketPath",
    "Standing",
    "Status",
    "SystemUser",
    "Tables",
    "Tls",
    "Token",
    "Topology",
]
