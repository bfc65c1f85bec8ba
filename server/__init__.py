"""HTTP server: classification, similarity search, the index, and the web page."""
