"""Mail clients for probes: connections with one deadline, mail protocols, the probe's mailbox."""
