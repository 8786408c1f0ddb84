"""A bell: the smallest plug-in that has something of everything.

It is a distribution of its own, found by its entry point. Nothing in Gatepost names it, and
`tests/unit/test_toy.py` looks for it in every place where a plug-in must appear.
"""
