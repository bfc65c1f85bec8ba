"""Request bodies: compression, forms, JSON, and the images in them."""
