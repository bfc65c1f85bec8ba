"""ONNX graphs of `index.scanning.integer_products`."""
