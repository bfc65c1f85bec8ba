"""GPU benchmark: the device's peaks, training, two towers, inference, search and serving."""
