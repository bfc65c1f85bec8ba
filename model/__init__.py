"""The 2012 network and its artifact: what is computed, and the folder that holds it."""

import os

# since 1.29 onnxruntime tells its makers about networks and machines, unless this is set before it is loaded
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
