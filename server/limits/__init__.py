"""Limits on requests in flight, clients' shares, time, and body size."""
