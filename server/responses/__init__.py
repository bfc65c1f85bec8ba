"""Responses: their schemas, and what becomes of an exception."""
