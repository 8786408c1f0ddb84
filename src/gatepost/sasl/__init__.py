"""The login relay: a login that cannot be checked now is a temporary failure, never a refusal.

Dovecot's authentication protocol has one word, ``FAIL``, for a wrong password and for a database
that does not answer; a field after it tells them apart. Postfix does not read that field and
answers 535 to both, so mail programs ask their users for a password that was right. Only a lost
connection is temporary to Postfix (454, RFC 4954 section 6).

The relay stands between the two. It passes on what they say, and hangs up on Postfix instead of
passing on a failure that is temporary. It greets Postfix itself, so that a session begins although
the mail store is away, and connects to the mail store anew for each login, so that no connection
is stale.

It also answers about aliases whose mailboxes have quotas (`gatepost.sasl.takers`): Postfix asks it
at RCPT, and it asks Dovecot about each of them.

The process has no rights but those of Postfix's user, and knows no password longer than it takes to
pass it on.
"""

NAME = "sasl"
"""The name of the process, and of its socket for logins."""
TAKERS = "takers"
"""The name of its socket for questions about aliases."""

NOBODY = b"DUNNO nobody"
"""Dovecot's answer about quotas when there is no such mailbox; Postfix reads ``DUNNO``."""

MECHANISMS = ("PLAIN", "LOGIN")
"""The ways in which clients may log in. Both send the password itself, which TLS protects and a
slow hash in the database needs. LOGIN is for old mail programs that know nothing else."""
