"""The process: signals, shutdown, and memory."""
