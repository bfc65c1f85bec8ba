"""alexnet-server: the command line, and the functions behind it."""
