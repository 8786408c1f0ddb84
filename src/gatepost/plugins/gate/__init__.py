"""The SMTP front door: nobody but a trusted proxy may say who a client is.

Postfix believes a PROXY header from whoever connects. The gate stands where Postfix would listen:
it accepts the connection, reads the header itself, decides by `TRUSTED_PROXIES`, and hands the
connected socket to a ``pass`` service of Postfix (master(5)) together with the client's address.
From then on it is out of the data path: no byte of the session goes through it.

The process needs no right but that of Postfix's user, who may write to the queue's ``private``
folder. Its listening sockets are opened by the supervisor and survive it.
"""
