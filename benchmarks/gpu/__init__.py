"""What a GPU does: its peaks, training, two towers, inference, search and serving."""
