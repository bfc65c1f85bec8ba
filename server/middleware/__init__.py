"""Middleware around the application, one module each."""
