"""Bodies of requests: compression, forms, JSON, and the images in them."""
