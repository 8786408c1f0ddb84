"""Kubernetes: what the proof reads of a cluster, and what a cluster must say.

It starts nothing and has no settings, so it has no module ``plugin``.
"""
