"""Mail daemons, a folder each."""
