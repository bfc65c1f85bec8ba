"""Exact nearest-neighbor search in an array of features, with or without 8-bit copies."""
