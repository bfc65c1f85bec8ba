"""Images on disk and in memory: catalog, feature rows and exact search."""
