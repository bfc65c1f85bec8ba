"""ONNX graphs of `index.integer_products`."""
