"""A read-only server beside a program that writes; kill -9 of `index add` and `index merge` at random moments; many
label changes; an index copied while it is written.
"""

from __future__ import annotations

import http.client
import json
import random
import shutil
import subprocess
import threading
import time
from collections import Counter

from tests.cases.attack.harness import (
    ALEXNET,
    HOME,
    JSON,
    Server,
    add_command,
    copy_index,
    count,
    make_folder,
    report,
    run_parts,
    run_shell,
    start_shell,
    verify,
)

PORT = 8635

random.seed(9)


def reading_server() -> None:
    images, index = make_folder("new0", 40, b"r"), copy_index("index_readonly")
    server = Server(PORT, index, log="r08.log", options=("--read-only",))
    report("a read-only server;", run_shell(add_command(images, index)).output)
    listed = [image["id"] for image in server.get_json("/images?cursor=238&limit=10")["images"]]
    statuses = {path: server.status("GET", path) for path in
                ("/images/241", "/images/241/thumbnail", "/images/241/similar")}  # fmt: skip
    report("listed", listed, statuses, server.get_json("/info")["index"])
    removed = run_shell(f"{ALEXNET} index remove --index {index} 7; {ALEXNET} index compact --index {index}")
    report(removed.output)
    neighbors = [neighbor["id"] for neighbor in server.get_json("/images/6/similar?k=240")["neighbors"]]
    report("after remove and compact:", len(neighbors), "neighbors, with 7:", 7 in neighbors,
           "GET 7:", server.status("GET", "/images/7"),
           "similar to 280:", server.status("GET", "/images/280/similar"))  # fmt: skip
    server.reload()
    time.sleep(5)
    report("SIGHUP:", server.get_json("/info")["index"], server.failures(), server.terminate())


def kill_after(command: str, shortest: float, longest: float) -> None:
    process = start_shell(f"exec {command}")
    try:
        process.wait(random.uniform(shortest, longest))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def killed_add() -> None:
    images, outcomes = make_folder("new0", 150, b"s"), list[object]()
    for _ in range(8):
        index = HOME / "index_killed_add"
        shutil.rmtree(index, ignore_errors=True)
        for _ in range(4):
            kill_after(add_command(images, index), 0.9, 2.6)
            outcomes.append(("after a kill", verify(index)[:1] if index.exists() else "no index"))
        result = run_shell(add_command(images, index))
        outcomes.append(("in the end", result.status, verify(index)))
    for outcome, times in count(outcomes).items():
        report("index add:", outcome, times)


def killed_merge() -> None:
    images, outcomes, other = make_folder("new0", 120, b"t"), list[object](), HOME / "index_other"
    shutil.rmtree(other, ignore_errors=True)
    run_shell(add_command(images, other))
    for _ in range(5):
        index = copy_index("index_killed_merge")
        merge = f"{ALEXNET} index merge --index {index} {other}"
        for _ in range(3):
            kill_after(merge, 0.25, 0.6)
            outcomes.append(("after a kill", verify(index)[:1]))
        result = run_shell(merge)
        outcomes.append(("in the end", result.status, verify(index)))
    for outcome, times in count(outcomes).items():
        report("index merge:", outcome, times)


def many_labels() -> None:
    index = copy_index("index_labels")
    server, start = Server(PORT, index, log="r08b.log"), time.monotonic()
    before = server.rss
    connection = http.client.HTTPConnection("127.0.0.1", PORT)
    for number in range(6000):
        body = json.dumps({"label": f"{number:0200d}"})
        connection.request("PATCH", f"/images/{number % 240 + 1}", body, JSON)
        connection.getresponse().read()
    wal = (index / "catalog.sqlite-wal").stat().st_size // 1024
    report(f"6,000 labels of 200 characters: {time.monotonic() - start:.0f} s, rss {before} -> {server.rss} MB,",
           f"write-ahead log {wal} KiB;", server.terminate())  # fmt: skip


def copied_index() -> None:
    """Copy the index file by file during additions, as cp -r does."""
    index = copy_index("index_copied")
    server, end, outcomes = Server(PORT, index, log="r08c.log"), time.monotonic() + 8, Counter[str]()

    def add() -> None:
        while time.monotonic() < end:
            server.add()

    thread = threading.Thread(target=add)
    thread.start()
    while time.monotonic() < end - 1:
        copy = HOME / "index_copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(index, copy)
        outcomes[verify(copy)[-60:]] += 1
    thread.join()
    report("copies:", dict(outcomes), server.terminate())


if __name__ == "__main__":
    run_parts(reading_server, killed_add, killed_merge, many_labels, copied_index)
