"""Limits: requests in flight, shares of clients, time, and size of bodies."""
