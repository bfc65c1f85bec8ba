"""features-1.f32 is cut to 100 of 240 rows under a running server, then one POST /images: do rows 100 to 239 come back
as zeros, and as neighbors? Is damage reported at the next start? Second part: the crops in the metadata are changed.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from tests.cases.attack.harness import Server, copy_index, list_images, report, run_shell, verify

PORT = 8631
ROW_BYTES = 4096 * 4


def similar(server: Server, image_id: int, k: int = 240) -> dict[int, float]:
    """Distances by id; empty if the search fails."""
    response = server.request("GET", f"/images/{image_id}/similar?k={k}")
    if response.status != 200:
        report("   ", response.status, response.body[:150])
        return {}
    return {neighbor["id"]: round(neighbor["distance"], 3) for neighbor in response.json()["neighbors"]}


def cut_features() -> None:
    index = copy_index("index_cut")
    server = Server(PORT, index, log="r04.log")
    before = similar(server, 3)
    with (index / "features-1.f32").open("r+b") as file:
        file.truncate(100 * ROW_BYTES)
    after = similar(server, 3)
    report("after the cut:", len(after), "neighbors of 240, ids above 100:", sum(i > 100 for i in after))
    report("   image 200 as query:", similar(server, 200, 3))
    report("addition:", server.add(), server.get_json("/info")["index"])
    later = similar(server, 3)
    wrong = {i: (before[i], distance) for i, distance in later.items() if i in before and before[i] != distance}
    report("after it:", len(later), "neighbors, with another distance:", len(wrong), list(wrong.items())[:2])
    report("   image 200 as query:", similar(server, 200, 3), "/ready", server.status("GET", "/ready"))
    report(server.terminate(), "lines on damage in the log:", len(damage_lines(server)), verify(index))
    server = Server(PORT, index, log="r04b.log")
    metrics = server.request("GET", "/metrics").body
    report(
        "restart:", server.get_json("/info")["index"], damage_lines(server), "/metrics has one:", b"damag" in metrics
    )
    server.terminate()


def damage_lines(server: Server) -> list[str]:
    lines = server.log.read_text(errors="replace").splitlines()
    return [line for line in lines if "damag" in line or "truncated" in line]


def other_crops() -> None:
    """Change one bit of the crops, from '4', the center crop, to '0'."""
    index = copy_index("index_crops")
    with closing(sqlite3.connect(index / "catalog.sqlite")) as database, database:
        report("crops:", database.execute("SELECT value FROM metadata WHERE key = 'crops'").fetchall())
        database.execute("UPDATE metadata SET value = '0' WHERE key = 'crops'")
    try:
        server = Server(PORT, index, log="r04c.log")
    except RuntimeError as error:
        report(error)
        return
    neighbors: list[dict[str, Any]] = server.request("POST", "/similar", list_images(1)[0].read_bytes()).json()[
        "neighbors"
    ]
    nearest = [(neighbor["id"], round(neighbor["distance"], 3)) for neighbor in neighbors[:2]]
    report("crops set to 0, an indexed image as query, nearest:", nearest, "(right: its own id at distance 0)")
    report(server.terminate(), verify(index), run_shell(f"ls {index}").last(100))


if __name__ == "__main__":
    cut_features()
    other_crops()
