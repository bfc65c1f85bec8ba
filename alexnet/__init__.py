"""The command line of alexnet-server."""
