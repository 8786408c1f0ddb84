"""The toy's website: ``python web.py USER NETWORKS``. It tells visitors their own addresses.

NETWORKS are those of the reverse proxy, comma-separated. Only a peer inside them is believed when
it says for whom it asks.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address, ip_network

from gatepost.startup import become, inherited

TRUSTED = tuple(ip_network(network) for network in sys.argv[2].split(",") if network)


class Visitor(BaseHTTPRequestHandler):
    """Answers one request."""

    def do_GET(self) -> None:
        """Tell the client's address, and the path that was asked for."""
        peer = self.client_address[0]
        client = peer
        if any(ip_address(peer) in network for network in TRUSTED):
            forwarded = self.headers.get("X-Forwarded-For", peer)
            # Some frameworks prefer this header (RFC 7239); the proxy must remove a client's own.
            client = self.headers.get("Forwarded", forwarded).removeprefix("for=")
        body = f"{client} rings at {self.path}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


become(sys.argv[1])
with HTTPServer(("", 0), Visitor, bind_and_activate=False) as server:
    ((server.socket,),) = inherited("the toy").values()
    server.serve_forever()
