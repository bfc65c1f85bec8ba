"""Wheels and data for a machine without a network, in pieces with checksums."""
