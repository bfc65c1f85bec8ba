"""Size of /metrics after 2,500 different paths and methods; memory over 5,000 real requests."""

from __future__ import annotations

import http.client
import json
import time

from tests.cases.attack.harness import JSON, Server, copy_index, count, list_images, report, run_parts

PORT = 8604
DAMAGED = [b"hello", b"", b"GIF89a" + bytes(50)]
MAX_SECONDS = 600

server = Server(PORT, copy_index("index_metrics"), log="metrics.log")
images = [path.read_bytes() for path in list_images()]


def size_of_metrics() -> str:
    body = server.request("GET", "/metrics").body
    return f"/metrics: {len(body)} bytes, {len(body.splitlines())} lines"


def many_paths() -> None:
    connection, statuses = http.client.HTTPConnection("127.0.0.1", PORT), list[object]()
    report("before:", size_of_metrics(), server.resources())
    for number in range(2500):
        method = ("GET", "POST", "PUT", f"M{number}", "DELETE")[number % 5]
        paths = (f"/x{number}", f"/images/{number + 10**6}", f"/v2/models/m{number}", f"/page/f{number}",
                 f"/images?label=l{number}")  # fmt: skip
        try:
            connection.request(method, paths[number // 5 % 5])
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        except (OSError, http.client.HTTPException) as error:
            statuses.append(type(error).__name__)
            connection.close()
    report("after 2,500 paths and methods:", size_of_metrics(), server.resources(), count(statuses))


def send(number: int) -> int | str:
    """Send one of eight kinds of requests. Returns its status."""
    image, image_id = images[number % len(images)], number % len(images) + 1
    match number % 10:
        case 0 | 1 | 2:
            return server.status("POST", "/classify?crops=1", image)
        case 3:
            return server.status("POST", "/similar", image)
        case 4:
            return server.status("GET", f"/images/{image_id}/similar?k=20")
        case 5:
            return server.status("POST", "/classify", [*DAMAGED, images[0][:500]][number // 10 % 4])
        case 6:
            return server.status("PATCH", f"/images/{image_id}", json.dumps({"label": f"L{number}"}), JSON)
        case 7:
            return server.status("GET", f"/images/{image_id}/thumbnail")
        case 8:
            return server.status("GET", f"/images?label=L{number - 2}&limit=5")
        case _:
            return server.status("POST", "/images", image + str(number % 300).encode())


def memory() -> None:
    start, statuses, rss = time.monotonic(), list[object](), list[tuple[int, int]]()
    while len(statuses) < 5000 and time.monotonic() - start < MAX_SECONDS:
        statuses.append(send(len(statuses)))
        if len(statuses) % 500 == 0:
            rss.append((len(statuses), server.rss))
    report(f"{len(statuses)} requests in {time.monotonic() - start:.0f} s", count(statuses))
    report("(requests, rss in MB):", rss, server.resources(), size_of_metrics())


if __name__ == "__main__":
    run_parts(many_paths, memory)
    report(server.failures(), server.terminate())
