#!/bin/bash
# tritonclient's own compression, raw binary requests, and what perf_analyzer requests first.
. "$(dirname "$0")/environment.sh"
serve 8157 --read-only
make_images images cat:1
"$PYTHON" - <<'P'
import json
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
from tritonclient import http

client = http.InferenceServerClient("127.0.0.1:8157")
data = Path("images/cat/000.png").read_bytes()
name = json.load(urllib.request.urlopen("http://127.0.0.1:8157/info"))["model"]["name"]
image = http.InferInput("image", [1], "BYTES")
image.set_data_from_numpy(np.array([data], dtype=np.object_))
calls = {
    "gzip": lambda: client.infer(name, [image], request_compression_algorithm="gzip"),
    "model config": lambda: client.get_model_config(name),
    "statistics": lambda: client.get_inference_statistics(name),
    "repository index": client.get_model_repository_index,
}
for what, call in calls.items():
    try:
        call()
        print(f"{what}: ok")
    except Exception as error:
        print(f"{what}: {error}")
headers = {"Inference-Header-Content-Length": "0", "Content-Type": "application/octet-stream"}
request = urllib.request.Request(f"http://127.0.0.1:8157/v2/models/{name}/infer", data, headers)
try:
    urllib.request.urlopen(request)
    print("raw binary: ok")
except urllib.error.HTTPError as error:
    print("raw binary:", error.code, error.read())
P
