"""Methods that ours are compared with."""
