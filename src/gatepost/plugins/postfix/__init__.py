"""Postfix: mail in on port 25, and out of users' mail programs on submission and submissions.

An instance of its own below ``GATEPOST_HOME``; the machine's own Postfix is not touched. All of
this package is pure: values in, values out.
"""
