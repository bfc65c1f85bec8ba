"""The process: its server and its signals."""
