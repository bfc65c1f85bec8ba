"""Observability of a server: its log, metrics and timings."""
