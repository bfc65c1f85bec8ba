"""The training loop: set-up, steps, epochs, checkpoints and distributed runs."""
