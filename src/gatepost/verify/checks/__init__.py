"""One module for each check: a function that probes one target and says what follows.

A check may raise `ProbeError`, which becomes a finding; whatever else it raises becomes one too.
Which checks there are, and what they mean, is in `gatepost.verify.catalogue`.
"""
