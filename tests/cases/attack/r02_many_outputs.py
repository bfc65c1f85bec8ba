"""A request of 150 kB for `features` 6,000 times: would the event loop encode 61 kB of JSON for each?"""

from __future__ import annotations

import base64
import json
import time

from tests.cases.attack.harness import INFER, JSON, Server, first_image, probe_live, report, worst

PORT = 8629
TIMES = 6000


def main() -> None:
    server = Server(PORT, log="r02.log")
    image = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(first_image()).decode()]}
    body = json.dumps({"outputs": [{"name": "features"}] * TIMES, "inputs": [image]}, separators=(",", ":"))
    start = time.monotonic()
    with probe_live(server) as probes:
        response = server.request("POST", INFER, body, JSON, timeout=120)
    report(f"request {len(body)} bytes, status {response.status}, response {len(response.body)} bytes,",
           f"{time.monotonic() - start:.1f} s, worst /live {worst(probes)},", server.resources())  # fmt: skip
    report(server.terminate())


if __name__ == "__main__":
    main()
