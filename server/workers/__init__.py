"""Worker threads: decoding, inference, search."""
