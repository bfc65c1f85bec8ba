"""The training loop: steps, epochs, checkpoints and distributed runs."""
