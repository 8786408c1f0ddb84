"""The proof: clients from outside, what the daemons say they saw, and what follows from both.

One way through: `targets` (the listener table as a client sees it) → `clients` (mail clients with
one deadline) and `evidence` (the daemons' own log lines) → `checks` (one function each, in the
table of `catalogue`) → `runner` → findings → `report`.

In a cluster the same is made from a pod of its own (`cluster`): the log is that of other pods
(`pods`), and some checks ask the API (`kubernetes`, `objects`).

A check never raises and never waits beyond the deadline of its run: a dead server, a hanging port
and garbage are findings. What a check believes, a daemon has said. What could not be tested is
*not proven*, never passed. Nothing is changed but the probe's own mailbox, which is gone at the
end of the run.
"""
