"""The 2012 network, and the artifact: the folder that stores a network."""

import os

# since 1.29, onnxruntime sends its makers data about networks and machines unless this is set before it is loaded
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
