"""The reference of the HTTP API that a server shows at /docs."""
