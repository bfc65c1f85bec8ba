"""Middleware, around the application: one module for each."""
