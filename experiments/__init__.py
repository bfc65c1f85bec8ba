"""Experiments of the paper: each is a command that can be stopped and resumed, and writes JSON and a plot."""
