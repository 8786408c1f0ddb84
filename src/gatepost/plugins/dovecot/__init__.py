"""Dovecot: keeps the mail, lets users read it, and knows who may log in.

An instance of its own below ``GATEPOST_HOME``; the machine's own Dovecot is not touched. Dovecot
2.3 and 2.4 read two languages, so there are two folders of templates with the same file names.
All of this package is pure: values in, values out.
"""
