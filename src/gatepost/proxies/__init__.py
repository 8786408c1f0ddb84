"""Reverse proxies, a folder each."""
