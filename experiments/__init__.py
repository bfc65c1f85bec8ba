"""Experiments of the paper: one command each, which can be stopped and resumed, and writes JSON and a plot."""
