"""Evidence of the clients that daemons saw: their log, and the kernel's table of connections."""
