"""Connections: listening sockets, and the HTTP protocol on them."""
