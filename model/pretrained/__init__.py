"""Networks that others published, imported as artifacts."""
