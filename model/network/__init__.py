"""The network: its specification, and its implementations in torch and ONNX."""
