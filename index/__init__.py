"""Index: images' features, labels and thumbnails, and the search for the nearest."""
