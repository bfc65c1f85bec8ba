"""Nearest features of an array: exact, and by 8-bit copies."""
