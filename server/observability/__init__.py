"""What can be seen of a server: its log, metrics and timings."""
