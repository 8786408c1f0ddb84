"""Vantages: where a proof is made from. Each answers what can be seen and done there."""
