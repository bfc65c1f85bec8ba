"""Worker threads: one runs the network, one searches the index."""
