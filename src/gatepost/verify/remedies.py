"""Remedies that several checks give."""

from __future__ import annotations

from gatepost.model.words import Command, Detail, Text
from gatepost.verify.targets import Target

UP = Command("up", "--detach")
STATUS = Command("status")
MAILBOXES = Command("mailbox list")
VERIFY = Command("verify")


def only(check: str) -> Command:
    """Return the command that makes one check."""
    return Command("verify", f"--only {check}")


def see(check: str, target: Target) -> Text:
    """Name the row to read first: that of a check at the same listener and IP version."""
    return Text(
        f"See the {check} row of ", Detail(target.bound.name), " ", Detail(target.family), " first."
    )
