"""The catalog of an index in a folder: an SQLite file."""
