"""Errors of networks and ensembles, int8 quantization, and the baseline of Table 1."""
