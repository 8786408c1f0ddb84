"""The only room that writes files and starts processes.

Everything decided before it is a value (`gatepost.model.Plan`); what happens here follows from it.
"""
