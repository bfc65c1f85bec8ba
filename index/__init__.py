"""Pictures on disk and in memory: catalogue, feature rows and exact search."""
