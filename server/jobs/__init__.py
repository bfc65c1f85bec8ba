"""Long changes of the served index."""
