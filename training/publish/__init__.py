"""A trained run becomes an artifact and a report."""
