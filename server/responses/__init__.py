"""Responses: their schemas, and how exceptions become responses."""
