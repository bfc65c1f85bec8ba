"""Backend: an index on PostgreSQL."""
