"""The Open Inference Protocol v2 (KServe, Triton): its tensors, requests, responses, and model description."""
