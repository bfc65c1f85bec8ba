"""The process: signals, its end, and its memory."""
