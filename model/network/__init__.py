"""The network: its specification, and what interprets it in torch and in ONNX."""
