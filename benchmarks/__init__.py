"""Benchmarks: speed and memory of this program, compared with other implementations in the same run."""
