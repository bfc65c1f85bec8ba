"""Several processes on one index; a file-size limit and a full disk during `index add`; kill -9 during compact; an
index swapped under a server; a catalog that another program locks.

Needs root for the part `full_disk`.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing

from tests.cases.attack.harness import (
    ALEXNET,
    HOME,
    INDEX,
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

PORT = 8606
MOUNT = HOME / "mount"


def many_writers() -> None:
    """Run `index add` five times at once on a new index; then a server and three loops of commands on another."""
    folders = [make_folder(f"new{number}", 25, b"%d" % number) for number in range(5)]
    index = HOME / "index_writers"
    shutil.rmtree(index, ignore_errors=True)
    processes = [start_shell(add_command(folder, index)) for folder in folders]
    for process in processes:
        output = process.communicate(timeout=200)[0].strip()
        report(process.returncode, output[-120:])
    report("verify:", verify(index))
    index = copy_index("index_writers", INDEX)
    server = Server(PORT, index, log="writers.log")
    outcomes, end = list[object](), time.monotonic() + 30

    def add_by_http() -> None:
        while time.monotonic() < end:
            outcomes.append(("POST /images", server.add()))

    def repeat(name: str, command: str) -> Callable[[], None]:
        def run() -> None:
            while time.monotonic() < end:
                result = run_shell(command)
                outcomes.append((name, result.status, result.last(60) if result.status else ""))

        return run

    loops = [
        add_by_http,
        repeat("add", add_command(folders[0], index)),
        repeat("remove, compact", f"{ALEXNET} index remove --index {index} 5; {ALEXNET} index compact --index {index}"),
        repeat("list", f"{ALEXNET} index list --index {index} | tail -1"),
    ]
    threads = [threading.Thread(target=loop) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for outcome, times in count(outcomes).items():
        report("  ", outcome, times)
    report("info:", server.get_json("/info")["index"], server.failures(), server.terminate(), verify(index))


def file_sizes() -> None:
    """The features take 3,840 KiB, the catalog about 1,044."""
    add = add_command(make_folder("new1", 60, b"1"), HOME / "index_sizes")
    for limit in (4000, 1100, 1040):
        index = copy_index("index_sizes")
        report(f"`index add` under ulimit -f {limit}:", run_shell(f"ulimit -f {limit}; {add}"))
        report("   then", verify(index))
        again = run_shell(add)
        report("   again without it:", again.status, again.last(90), verify(index))
    index = copy_index("index_sizes")
    server = Server(PORT, index, log="sizes.log", limits="ulimit -f 4100;")
    statuses = [server.add() for _ in range(25)]
    report("a server under ulimit -f 4100:", count(statuses), "label", server.set_label(3, "q"))
    report("   /ready", server.status("GET", "/ready"), server.terminate(), verify(index))


def full_disk() -> None:
    MOUNT.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(MOUNT)], check=True)
    try:
        index = MOUNT / "index"
        shutil.copytree(INDEX, index)
        add = add_command(make_folder("new1", 120, b"1"), index)
        report("`index add` of 120 images on a disk of 6 MB:", run_shell(add))
        report("   then", verify(index))
        for name, rest in (("list", "| tail -1"), ("remove", "3"), ("compact", "")):
            result = run_shell(f"{ALEXNET} index {name} --index {index} {rest}")
            report(f"   index {name}:", result.status, result.last(120))
        subprocess.run(["mount", "-o", "remount,size=40m", str(MOUNT)], check=True)
        report("   with more space:", run_shell(add).last(120), verify(index))
        export = run_shell(f"{ALEXNET} index export --index {INDEX} --output {MOUNT}/out; ls {MOUNT}")
        report("export to `out`:", export.status, export.last(120))
    finally:
        subprocess.run(["umount", "-l", str(MOUNT)], check=False)


def killed_compact() -> None:
    random.seed(2)
    source, outcomes = copy_index("index_removed"), list[object]()
    run_shell(f"{ALEXNET} index remove --index {source} 5 6 7 100")
    for _ in range(16):
        index = copy_index("index_killed", source)
        process = start_shell(f"exec {ALEXNET} index compact --index {index}")
        deadline = time.monotonic() + 30
        while process.poll() is None and not (index / "features-2.f32").exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.12))
        process.kill()
        ended = "ended" if process.wait() == 0 else "killed"
        with closing(sqlite3.connect(index / "catalog.sqlite")) as database:
            (generation,) = database.execute("SELECT value FROM metadata WHERE key = 'generation'").fetchone()
        before = verify(index)
        again = run_shell(f"{ALEXNET} index compact --index {index}")
        left = sorted(path.name for path in index.glob("features*"))
        outcomes.append((ended, f"generation {generation}", before, again.status, verify(index), *left))
    for outcome, times in count(outcomes).items():
        report("  ", outcome, times)


def swapped_index() -> None:
    live, new, old = (HOME / f"index_{name}" for name in ("live", "new", "old"))
    for path in (live, new, old):
        shutil.rmtree(path, ignore_errors=True)
    run_shell(add_command(make_folder("new1", 50, b"1"), live))
    shutil.copytree(INDEX, new)
    server = Server(PORT, live, log="swap.log")
    live.rename(old)
    new.rename(live)
    server.reload()
    time.sleep(6)
    report("after mv and SIGHUP the server has", server.get_json("/info")["index"], "(the new one: 240 images)")
    report("additions:", [server.add() for _ in range(3)], server.terminate())
    report("new:", verify(live), "old:", verify(old))


def locked_catalog() -> None:
    """Send 45 PATCH requests while another program locks the catalog with BEGIN IMMEDIATE."""
    index = copy_index("index_locked")
    server = Server(PORT, index, log="locked.log")
    with closing(sqlite3.connect(index / "catalog.sqlite", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        start = time.monotonic()
        response = server.request("PATCH", "/images/3", '{"label":"z"}', {"Content-Type": "application/json"})
        report("one PATCH:", response.status, response.headers.get("retry-after"), response.body[:80],
               f"{time.monotonic() - start:.1f} s")  # fmt: skip
        outcomes = list[tuple[int | str, float]]()

        def patch(image_id: int) -> None:
            start = time.monotonic()
            outcomes.append((server.set_label(image_id, "z", timeout=300), time.monotonic() - start))

        threads = [threading.Thread(target=patch, args=(number + 1,)) for number in range(45)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        for path in ("/live", "/labels", "/images/9/thumbnail", "/images/9/similar"):
            start = time.monotonic()
            report("  beside 45 PATCH requests:", path, server.status("GET", path, timeout=70),
                   f"{time.monotonic() - start:.1f} s")  # fmt: skip
        report("  addition:", server.add(timeout=100))
        time.sleep(10)
        slowest = max((seconds for _, seconds in outcomes), default=0)
        report("  answered:", count([status for status, _ in outcomes]), f"slowest {slowest:.1f} s")
        report(server.terminate())
        holder.execute("ROLLBACK")
    for thread in threads:
        thread.join(5)


if __name__ == "__main__":
    run_parts(many_writers, file_sizes, full_disk, killed_compact, swapped_index, locked_catalog)
