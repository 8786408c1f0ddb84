"""Gatepost: a mail server for life behind a reverse proxy, and the proof that it works."""
