"""Errors of networks and ensembles, and the baseline of Table 1."""
