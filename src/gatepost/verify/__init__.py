"""The proof: clients from outside, what the daemons say they saw, and what follows from both.

One way through: `targets` (the listener table as a client sees it) → `clients` (mail clients with
one deadline) and `evidence` (the daemons' own log lines) → `checks` (one function each, in the
table of `catalogue`) → `runner` → findings → `report`.

A proof is made `here`, on the machine of the server, from `outside`, or from a pod of its own in a
`cluster`: each is a `vantage`, which answers what can be seen and done there. Checks that need to
know a cluster or a proxy are in the plug-ins (`discovery`: the module ``checks``).

A check never raises and never waits beyond the deadline of its run: a dead server, a hanging port
and garbage are findings. What a check believes, a daemon has said. What could not be tested is
*not proven*, never passed. Nothing is changed but the probe's own mailbox, which is gone at the
end of the run.
"""
