"""Errors of networks and ensembles, calibration, familiarity, int8 quantization, and baselines."""
