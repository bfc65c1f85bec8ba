"""The paper's claims, measured: a command each, which can be stopped and goes on, and writes JSON and a plot."""
